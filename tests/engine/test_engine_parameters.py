"""Values for placeholders: on a fleet they mean what they mean to DuckDB."""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import Any

import duckdb
import pytest
from engine_checks import answer, rows

import sord

ZONE = datetime.timezone(datetime.timedelta(hours=2))


@pytest.mark.parametrize(
    "value",
    [
        None, True, 1, -5, 2**70, 1.5, -0.0, 1e300, float("nan"), float("-inf"), decimal.Decimal("1.50"),
        decimal.Decimal("-1E+3"), "a", "it's \"x\" \\ $1 ? ü", "", b"\x00'b", datetime.date(1995, 1, 1),
        datetime.datetime(2024, 1, 1, 1, 2, 3, 4), datetime.datetime(2024, 1, 1, tzinfo=ZONE), datetime.time(1, 2),
        datetime.timedelta(days=1, seconds=3), uuid.UUID(int=5), [1, 2], [], ["NULL", None, "a,b", "'"], [[1.5], []],
        {"a": 1, "b c": ["x"]},
    ],
    ids=repr,
)  # fmt: skip
def test_values(pair: sord.Connection, plain: duckdb.DuckDBPyConnection, value: object) -> None:
    for sql in (
        "SELECT ? AS x FROM nation LIMIT 1",
        "SELECT $1 AS x, $1 IS NULL AS n, count(*) AS c FROM nation",
    ):
        assert repr(answer(pair.sql(sql, params=[value]))) == repr(answer(plain.sql(sql, params=[value])))


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("SELECT ?::INT + n_nationkey FROM nation ORDER BY 1 LIMIT 1", [1]),
        (
            "SELECT count(*) FROM orders WHERE o_orderkey < $2 AND o_custkey > $1 OR o_orderkey = $2",
            [50, 1000],
        ),
        (
            "SELECT count(*) FROM orders WHERE o_orderkey < $top AND o_orderdate < $day",
            {"top": 99, "day": "1995-03-01"},
        ),
        ("SELECT count(*) FROM orders WHERE o_orderdate < ?", [datetime.date(1995, 1, 1)]),
        ("SELECT count(*) FROM orders WHERE o_totalprice < ?", [decimal.Decimal("1000.50")]),
        ("SELECT count(*) FROM orders WHERE list_contains(?, o_orderkey)", [[1, 2, 3]]),
        ("SELECT count(*) FROM orders WHERE o_comment LIKE ?", ["%it's%"]),
        ("SELECT 3-? AS x, '?' AS \"$1\", count(*) AS z -- ?\nFROM nation LIMIT ?", [-5, 1]),
        ("SELECT o_orderkey FROM orders ORDER BY 1 LIMIT ? OFFSET ?", (2, 3)),
        ("SELECT count(*) FROM orders", []),
    ],
)
def test_places(pair: sord.Connection, plain: duckdb.DuckDBPyConnection, sql: str, params: Any) -> None:
    relation = pair.sql(sql, params=params)
    assert answer(relation) == answer(plain.sql(sql, params=params))
    assert relation is not None
    assert relation.report is not None
    assert relation.report.fallback is None


@pytest.mark.parametrize(
    ("sql", "params", "words"),
    [
        ("SELECT ? FROM nation", [], "Values were not provided for the following parameters: 1"),
        ("SELECT ? FROM nation", None, "Values were not provided for the following parameters: 1"),
        ("SELECT ? FROM nation", [1, 2], "identifiers of the excess parameters: 2"),
        ("SELECT $a FROM nation", {}, "Values were not provided for the following parameters: a"),
        ("SELECT $a FROM nation", {"a": 1, "b": 2}, "identifiers of the excess parameters: b"),
        ("SELECT $a FROM nation", [1], "parameter"),
        ("SELECT 1 FROM nation", [1], "Expected 0, got 1"),
        ("SELECT ? FROM nation", [object()], "Unable to transform python value of type"),
        ("SELECT nosuch, ? FROM nation", [1], '"nosuch" not found'),
    ],
)
def test_mistakes(db: sord.Connection, sql: str, params: Any, words: str) -> None:
    with pytest.raises(duckdb.Error, match=words):
        rows(db, sql, params)


def test_other_statements(db: sord.Connection) -> None:
    db.sql("CREATE OR REPLACE TABLE given AS SELECT ?::INT AS a", params=[5])
    db.sql("SELECT 1; INSERT INTO given VALUES ($b)", params={"b": 6})
    assert rows(db, "SELECT a FROM given ORDER BY a") == [(5,), (6,)]
    assert "n_nationkey < 5" in str(rows(db, "EXPLAIN SELECT n_name FROM nation WHERE n_nationkey < ?", [5]))
    db.sql("DROP TABLE given")
