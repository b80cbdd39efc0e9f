"""Fixtures that every room's tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sord.tpch.generate import generate


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Statistics that a user's ANALYZE has left must not change plans here, nor ours theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tpch_sf001(pytestconfig: pytest.Config) -> Path:
    """The folder of TPC-H data at scale factor 0.01, made once and kept in pytest's cache."""
    folder = pytestconfig.cache.mkdir("tpch") / "sf0.01"
    generate(folder, 0.01, log=lambda message: None)
    return folder
