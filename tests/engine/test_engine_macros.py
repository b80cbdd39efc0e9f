"""Macros that users have defined: replaced by what they stand for where DuckDB agrees that it's the same query."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from engine_checks import FLEET, answer

import sord

_DEFINITIONS = [
    "CREATE MACRO more(x) AS x + 1",
    "CREATE MACRO times(x, y := 2) AS x * y",
    "CREATE MACRO few(n) AS TABLE SELECT l_suppkey, count(*) c FROM lineitem WHERE l_suppkey < n GROUP BY ALL",
    "CREATE MACRO either(a) AS a + 1, (a, b) AS a * b",
    "CREATE TEMP MACRO best(a) AS (SELECT max(n_name) FROM nation WHERE n_regionkey = a)",
    "CREATE MACRO over(a) AS list_transform([a], lambda q: q + a)",
    "CREATE MACRO nested(a) AS more(more(a)) * 2",
    """CREATE MACRO odd("in put") AS "in put" || ',)'""",
    "CREATE MACRO pair(a) AS {'a': a, 'b': 1}",
    "CREATE MACRO five() AS 5",
]


@pytest.fixture(scope="module")
def db(tpch_sf001: Path) -> Iterator[sord.Connection]:
    with sord.connect(FLEET) as db:
        db.register_dir(tpch_sf001)
        for definition in _DEFINITIONS:
            db.sql(definition)
        yield db


def check(db: sord.Connection, plain: duckdb.DuckDBPyConnection, sql: str, reason: str | None) -> None:
    mine, (names, types, rows) = db.sql(sql), answer(plain.sql(sql))
    assert mine is not None
    found = answer(mine)
    assert (found[:2], sorted(map(repr, found[2]))) == ((names, types), sorted(map(repr, rows)))
    assert mine.report is not None
    assert mine.report.fallback == reason


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT more(l_suppkey), count(*) FROM lineitem GROUP BY ALL", None),
        ("SELECT more(2) * 3, n_name, five() FROM nation WHERE n_nationkey = five()", None),
        ("SELECT times(l_suppkey, y := 3), times(y := 4, x := 2), count(*) FROM lineitem GROUP BY ALL", None),
        ("SELECT sum(c) FROM few(10)", None),
        ("SELECT n_name, t.c, u.c FROM few(10) t, few(3 + 4) u, nation "
         "WHERE n_nationkey = t.l_suppkey AND n_nationkey = u.l_suppkey", None),
        ("SELECT either(l_suppkey), either(l_suppkey, 2), count(*) FROM lineitem GROUP BY ALL", None),
        ("SELECT best(r_regionkey), r_name FROM region", None),
        ("SELECT nested(l_linenumber - 1), count(*) FROM lineitem GROUP BY ALL", None),
        ("SELECT odd(n_name || 'a,(b') FROM nation", None),
        ("SELECT pair(n_name), pair(n_name).b FROM nation", None),
        # A default can't be asked for, and a lambda's parameter may hide the macro's.
        ("SELECT times(l_suppkey), count(*) FROM lineitem GROUP BY ALL", "times is a macro of the client's DuckDB"),
        ("SELECT over(l_linenumber), count(*) FROM lineitem GROUP BY ALL", "over is a macro of the client's DuckDB"),
        ("SELECT 'more(3)', n_name FROM nation", "more is a macro of the client's DuckDB"),
    ],
)  # fmt: skip
def test_macros(db: sord.Connection, plain: duckdb.DuckDBPyConnection, sql: str, reason: str | None) -> None:
    for definition in _DEFINITIONS:
        plain.sql(definition)
    check(db, plain, sql, reason)


def test_macros_change(tpch_sf001: Path, plain: duckdb.DuckDBPyConnection) -> None:
    sql = "SELECT more(l_suppkey), count(*) FROM lineitem GROUP BY ALL"
    with sord.connect(FLEET) as db:
        db.register_dir(tpch_sf001)
        for added in (1, 100):
            for connection in (db, plain):
                connection.sql(f"CREATE OR REPLACE MACRO more(x) AS x + {added}")
            check(db, plain, sql, None)
        for connection in (db, plain):
            connection.sql("DROP MACRO more")
            with pytest.raises(duckdb.CatalogException):
                connection.sql(sql)


def test_a_macro_that_hides_a_function_of_the_planner(
    tpch_sf001: Path, plain: duckdb.DuckDBPyConnection
) -> None:
    with sord.connect(FLEET) as db:
        db.register_dir(tpch_sf001)
        for connection in (db, plain):
            connection.sql("CREATE MACRO hash(x) AS 1")
        check(db, plain, "SELECT count(*) FROM nation", "hash is a macro of the client's DuckDB")
