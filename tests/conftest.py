"""Fixtures that every room's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from sord.tpch.generate import generate


@pytest.fixture(scope="session")
def tpch_sf001(pytestconfig: pytest.Config) -> Path:
    """The folder of TPC-H data at scale factor 0.01, made once and kept in pytest's cache."""
    folder = pytestconfig.cache.mkdir("tpch") / "sf0.01"
    generate(folder, 0.01, log=lambda message: None)
    return folder
