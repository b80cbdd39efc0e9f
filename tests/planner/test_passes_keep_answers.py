"""The planner's invariant: what any pass before distribution leaves has, on plain DuckDB, the query's answer."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from sord.catalog import Catalog
from sord.planner.bind import bind
from sord.planner.context import Context, Options
from sord.planner.logical import Plan
from sord.planner.optimizer import LOGICAL_PASSES
from sord.planner.parse import parse
from sord.planner.render import quote, render
from sord.tpch.spec import query_text


@pytest.fixture(scope="module")
def database(tpch_sf001: Path) -> tuple[duckdb.DuckDBPyConnection, Catalog]:
    connection = duckdb.connect()
    catalog = Catalog(connection)
    catalog.register_dir(tpch_sf001)
    return connection, catalog


@pytest.mark.parametrize("number", range(1, 23))
def test_every_pass_keeps_the_answer(
    number: int, database: tuple[duckdb.DuckDBPyConnection, Catalog]
) -> None:
    connection, catalog = database
    sql = query_text(number, 0.01).strip().rstrip(";")
    expected = _rows(connection, sql)
    assert expected, "a query without rows would prove nothing"
    context = Context(catalog, Options(workers=3))
    plan, ids = bind(parse(sql, catalog), context)
    assert _rows(connection, _query(plan, ids)) == expected, "bind"
    for logical_pass in LOGICAL_PASSES:
        plan = logical_pass(plan, context)
        assert _rows(connection, _query(plan, ids)) == expected, logical_pass.__name__


def _query(plan: Plan, ids: tuple[str, ...]) -> str:
    return f"SELECT {', '.join(map(quote, ids))} FROM ({render(plan)})"


def _rows(connection: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    # Ten digits: the passes change the order in which floating point numbers are added.
    rows = connection.sql(sql).fetchall()
    return sorted(
        repr([f"{value:.10g}" if isinstance(value, float) else value for value in row]) for row in rows
    )
