"""Settings that change answers: they hold on workers and on every connection of the client, or one DuckDB answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from engine_checks import FLEET, LONG, answer

import sord


@pytest.fixture
def db(tpch_sf001: Path) -> Iterator[sord.Connection]:
    with sord.connect(FLEET) as db:
        db.register_dir(tpch_sf001)
        yield db


_ANYWHERE = ", random() < 2"
"""With this one DuckDB answers: on another connection than the one with the setting."""


@pytest.mark.parametrize(
    ("setting", "sql"),
    [
        ("integer_division = true", "SELECT n_nationkey / 2{} FROM nation"),
        ("integer_division = true", "SELECT sum(n_nationkey) / count(*), 7 / 2{} FROM nation"),
        ("ieee_floating_point_ops = false", "SELECT TRY(n_nationkey / 0.0::DOUBLE){} FROM nation"),
        ("error_on_division_by_zero = false", "SELECT n_nationkey % 0{} FROM nation"),
        ("old_implicit_casting = true", "SELECT substring(n_nationkey, 1, 1){} FROM nation"),
        ("Calendar = 'japanese'", "SELECT year(l_shipdate::TIMESTAMPTZ), count(*){} FROM lineitem GROUP BY ALL"),
        ("TimeZone = 'Asia/Tokyo'", "SELECT max(l_shipdate::TIMESTAMPTZ)::VARCHAR{} FROM lineitem"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("extra", ["", _ANYWHERE])
def test_settings_of_values(
    db: sord.Connection, plain: duckdb.DuckDBPyConnection, setting: str, sql: str, extra: str
) -> None:
    for connection in (db, plain):
        connection.sql(f"SET {setting}")
    mine = db.sql(sql.format(extra))
    assert mine is not None
    found, expected = answer(mine), answer(plain.sql(sql.format(extra)))
    assert sorted(map(repr, found[2])) == sorted(map(repr, expected[2]))
    assert found[:2] == expected[:2]
    assert mine.report is not None
    assert (mine.report.fallback is None) == (not extra)


@pytest.mark.parametrize(
    ("setting", "sql", "reason"),
    [
        (
            "default_collation = 'nocase'",
            "SELECT count(*) FROM nation WHERE n_name = 'france'",
            "the setting default_collation has been changed",
        ),
        (
            "scalar_subquery_error_on_multiple_rows = false",
            "SELECT n_name FROM nation WHERE n_nationkey = (SELECT n_nationkey FROM nation)",
            "the setting scalar_subquery_error_on_multiple_rows has been changed",
        ),
        (
            "TimeZone = 'UTC'",
            "SELECT count(*) FROM nation JOIN region ON n_name COLLATE nocase < lower(r_name)",
            "COLLATE",
        ),
        (
            "TimeZone = 'UTC'; CREATE TABLE collated (a VARCHAR COLLATE nocase); INSERT INTO collated VALUES ('Peru')",
            "SELECT count(*) FROM collated JOIN nation ON a = n_name",
            "a collation in the table collated",
        ),
    ],
)
def test_what_workers_do_not_follow(
    db: sord.Connection, plain: duckdb.DuckDBPyConnection, setting: str, sql: str, reason: str
) -> None:
    for connection in (db, plain):
        connection.sql(f"SET {setting}")
    mine = db.sql(sql)
    assert mine is not None
    assert answer(mine) == answer(plain.sql(sql))
    assert mine.report is not None
    assert mine.report.fallback == reason


def test_a_maximum_execution_time(db: sord.Connection) -> None:
    db.sql("SET max_execution_time = 200")
    relation = db.sql(LONG)
    assert relation is not None
    with pytest.raises(sord.QueryCancelled, match="maximum execution time"):
        relation.fetchall()
    db.sql("RESET max_execution_time")
    found = db.sql("SELECT count(*) FROM nation")
    assert found is not None
    assert found.fetchall() == [(25,)]


def test_sequences_advance_once(db: sord.Connection, plain: duckdb.DuckDBPyConnection) -> None:
    for connection in (db, plain):
        connection.sql("CREATE SEQUENCE numbers")
    for sql in (
        "SELECT nextval('numbers') FROM region",
        "SELECT nextval('numbers'), n_name FROM nation LIMIT 3",
    ):
        assert answer(db.sql(sql)) == answer(plain.sql(sql))


def test_create_table_with_and_without_data(db: sord.Connection) -> None:
    for end, rows in (("DATA", 25), ("NO DATA", 0)):
        db.sql(f"CREATE OR REPLACE TABLE made AS SELECT n_name FROM nation WITH {end}")
        found = db.sql("SELECT count(*) FROM made")
        assert found is not None
        assert found.fetchall() == [(rows,)]


@pytest.mark.parametrize("url", [None, "local://2?threads=1"])
def test_nan_in_files_is_neither_lost_nor_let_through(url: str | None, tmp_path: Path) -> None:
    """DuckDB's default takes bounds in footers, which leave NaN out, for those of all values."""
    with duckdb.connect() as plain:
        for number in range(2):
            plain.execute(
                f"COPY (SELECT if(r % {number + 2} = 0, 'nan'::DOUBLE, r / 10) AS x FROM range(3000) t(r)) "
                f"TO '{tmp_path}/{number}.parquet'"
            )
    with sord.connect(url) as db:
        db.register("t", str(tmp_path))
        for condition, count in (("x <> 'nan'", 3500), ("x > 250", 3083), ("x <= 0.1", 2)):
            assert db.sql(f"SELECT count(*) FROM t WHERE {condition}").fetchall() == [(count,)], condition
