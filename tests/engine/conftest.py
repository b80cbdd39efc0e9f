"""Connections that tests share: they leave no settings behind, and names of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from engine_checks import FLEET

import sord


@pytest.fixture(scope="session")
def pair(tpch_sf001: Path) -> Iterator[sord.Connection]:
    """Two workers with the tables of TPC-H."""
    with sord.connect(FLEET) as db:
        db.register_dir(tpch_sf001)
        yield db


@pytest.fixture(scope="session")
def trio(tpch_sf001: Path) -> Iterator[sord.Connection]:
    """Three workers with the tables of TPC-H."""
    with sord.connect("local://3", threads=1, memory="512MB") as db:
        db.register_dir(tpch_sf001)
        yield db


@pytest.fixture(scope="session")
def embedded(tpch_sf001: Path) -> Iterator[sord.Connection]:
    with sord.connect() as db:
        db.register_dir(tpch_sf001)
        yield db


@pytest.fixture(params=["embedded", "pair"])
def db(request: pytest.FixtureRequest) -> sord.Connection:
    connection: sord.Connection = request.getfixturevalue(request.param)
    return connection


@pytest.fixture
def plain(tpch_sf001: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with the tables of TPC-H."""
    with duckdb.connect() as connection:
        for path in tpch_sf001.glob("*.parquet"):
            connection.execute(f"CREATE VIEW {path.stem} AS FROM '{path}'")
        yield connection


@pytest.fixture
def frail(tpch_sf001: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sord.Connection]:
    """Two workers to be broken, their files in ``tmp_path / 'fleet'``."""
    (tmp_path / "fleet").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "fleet"))
    with sord.connect(FLEET) as db:
        db.register_dir(tpch_sf001)
        db.start()
        yield db
