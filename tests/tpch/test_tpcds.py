"""TPC-DS at a small scale: all 99 queries by simulation, many through real worker processes, DuckDB decides.

At scale factor 0.01 a third of the answers is empty, so this finds plans that break; `make tpcds` checks values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from sord.catalog import Catalog
from sord.cli import main
from sord.fuzzing.simulation import Simulation
from sord.planner.context import Options
from sord.planner.physical import plan_query
from sord.tpch.compare import Answer
from sord.tpch.tpcds import QUERIES, faults, tpcds

DATA = Path(__file__).parents[2] / "data" / "tpcds" / "sf0.01"
BENCHMARK = tpcds(DATA.parent / "queries")


@pytest.fixture(scope="module")
def data() -> Path:
    assert DATA.is_dir(), "make test makes the data; by hand: make data/tpcds/sf0.01"
    return DATA


@pytest.fixture(scope="module")
def catalog(data: Path) -> Iterator[Catalog]:
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.execute("SET arrow_lossless_conversion = true")
        catalog = Catalog(connection)
        catalog.register_dir(data)
        yield catalog


def ask(catalog: Catalog, sql: str) -> Answer:
    relation = catalog.cursor().sql(sql)
    return Answer(tuple(relation.columns), tuple(map(str, relation.types)), relation.fetchall())


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_is_distributed_and_right(catalog: Catalog, query: int) -> None:
    sql = BENCHMARK.query_text(query, 0.01)
    simulation = Simulation(catalog, 3)
    rows = simulation.run(plan_query(sql, catalog, Options(3)))
    answer = Answer(tuple(simulation.names), tuple(simulation.types), rows)
    assert faults(sql, answer, ask(catalog, sql), lambda other: ask(catalog, other)) == []


def test_real_workers_give_the_same(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    queries = list(range(1, 100, 3))
    arguments = ["--query", ",".join(map(str, queries)), "--fleet", "local://3?threads=1&memory=512MB"]
    assert main(["tpcds", "run", "--sf", "0.01", "--data", str(data), *arguments, "--json"]) == 0
    answered = json.loads(capsys.readouterr().out)["queries"]
    assert [answer["query"] for answer in answered] == queries
    assert all(answer["correct"] and answer["fallback"] is None for answer in answered)
