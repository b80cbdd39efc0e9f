"""Fleets of real worker processes, and tables for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest
from exec_flock import Flock


@pytest.fixture(scope="session")
def flocks() -> Iterator[Callable[[int], Flock]]:
    """Flocks of a size, shared by the tests that leave them whole."""
    made: dict[int, Flock] = {}

    def flock(size: int) -> Flock:
        if size not in made:
            made[size] = Flock(f"local://{size}?threads=1&memory=512MB")
        return made[size]

    yield flock
    for one in made.values():
        one.close()


@pytest.fixture(params=[1, 2, 3])
def flock(flocks: Callable[[int], Flock], request: pytest.FixtureRequest) -> Flock:
    return flocks(request.param)


@pytest.fixture
def pair(flocks: Callable[[int], Flock]) -> Flock:
    return flocks(2)


@pytest.fixture
def frail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flock]:
    """Two workers to be broken, their files in ``tmp_path``."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    one = Flock("local://2?threads=1&memory=512MB")
    yield one
    one.close()


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with orders and lineitem, 20,000 and about 80,000 rows in several row groups."""
    folder = tmp_path_factory.mktemp("tables")
    with duckdb.connect() as connection:
        connection.execute(f"""
            COPY (SELECT range AS o_orderkey, range % 5 AS o_priority,
                         DATE '1995-01-01' + (range % 900)::INT AS o_date
                  FROM range(20000))
            TO '{folder}/orders.parquet' (ROW_GROUP_SIZE 4096);
            COPY (SELECT hash(range) % 21000 AS l_orderkey, (range % 50)::DECIMAL(15,2) AS l_quantity,
                         CASE WHEN range % 7 > 0 THEN chr(65 + (range % 3)::INT) END AS l_flag
                  FROM range(80000))
            TO '{folder}/lineitem.parquet' (ROW_GROUP_SIZE 8192)""")
    return folder
