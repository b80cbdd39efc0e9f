"""CREATE TABLE … AS and INSERT INTO …: rows of a fleet in the client's DuckDB; SUMMARIZE of a query."""

from __future__ import annotations

import os
import re
import signal
import threading
import time

import duckdb
import pytest
from engine_checks import answer, fallback, rows, same

import sord

JOIN = (
    "SELECT o_orderpriority AS p, l_shipmode AS m, sum(l_quantity) AS q, count(*) AS n, min(o_orderdate) AS d "
    "FROM lineitem JOIN orders ON l_orderkey = o_orderkey GROUP BY ALL"
)
LARGE = "SELECT a.l_orderkey AS k, b.l_comment AS c FROM lineitem AS a JOIN lineitem AS b USING (l_shipmode)"


def report(relation: sord.Relation | None) -> str | None:
    assert relation is not None
    assert relation.report is not None
    return relation.report.fallback


@pytest.mark.parametrize(
    "create",
    [
        "CREATE TABLE made AS",
        "CREATE OR REPLACE TABLE made AS",
        "CREATE TABLE IF NOT EXISTS made AS",
        "CREATE TABLE main.made AS",
        'CREATE TABLE "made" (a, b, c, d, e) AS',
        "create /* AS */ or replace table memory.main.made as",
    ],
)
def test_create_table(
    db: sord.Connection, pair: sord.Connection, plain: duckdb.DuckDBPyConnection, create: str
) -> None:
    plain.execute(f"{create} {JOIN}")
    relation = db.sql(f"{create} {JOIN}")
    assert answer(relation) == (["Count"], ["BIGINT"], [(35,)])
    if db is pair:
        assert report(relation) is None
    same(db, plain, "FROM made ORDER BY ALL")
    same(db, plain, "SELECT count(*) FROM made, lineitem WHERE l_orderkey < 10")
    rows(db, "DROP TABLE made")


def test_create_table_that_exists(db: sord.Connection) -> None:
    rows(db, "CREATE TABLE taken AS SELECT 1 AS a")
    with pytest.raises(duckdb.CatalogException, match='"taken" already exists'):
        db.sql(f"CREATE TABLE taken AS {JOIN}")
    rows(db, f"CREATE TABLE IF NOT EXISTS taken AS {JOIN}")
    assert rows(db, "FROM taken") == [(1,)]
    with pytest.raises(duckdb.Error, match="taken"):
        db.sql(f"CREATE OR REPLACE VIEW taken AS {JOIN}")
    rows(db, "DROP TABLE taken")


def test_temporary_tables(
    db: sord.Connection, pair: sord.Connection, plain: duckdb.DuckDBPyConnection
) -> None:
    for sql in (
        f"CREATE TEMP TABLE passing AS {JOIN}",
        f"CREATE OR REPLACE TEMPORARY TABLE passing AS {JOIN}",
    ):
        relation = db.sql(sql)
        if db is pair:
            assert report(relation) is None
    plain.execute(f"CREATE TABLE passing AS {JOIN}")
    same(db, plain, "FROM passing ORDER BY ALL")
    same(
        db, plain, "SELECT p, count(*) FROM passing JOIN orders ON p = o_orderpriority GROUP BY p ORDER BY p"
    )
    rows(db, f"INSERT INTO passing {JOIN}")
    assert rows(db, "SELECT count(*) FROM passing") == [(70,)]
    rows(db, "DROP TABLE passing")


def test_insert(db: sord.Connection, pair: sord.Connection, plain: duckdb.DuckDBPyConnection) -> None:
    statements = [
        "CREATE TABLE insertions (m VARCHAR, n BIGINT DEFAULT 7, q DOUBLE)",
        "INSERT INTO insertions SELECT m, n, q FROM ({})",
        "INSERT INTO insertions (q, m) SELECT q, m FROM ({})",
        "INSERT INTO insertions BY NAME SELECT q, m FROM ({})",
        "INSERT INTO insertions BY NAME (SELECT 'x' AS m FROM orders LIMIT 3)",
        "INSERT INTO insertions WITH c AS ({}) SELECT m, n, q FROM c",
        "INSERT INTO insertions FROM insertions",
        "INSERT INTO insertions VALUES ('a', 1, 2), (DEFAULT, DEFAULT, NULL)",
        "INSERT INTO insertions SELECT NULL, NULL, NULL FROM nation",
        "INSERT INTO insertions SELECT n_name, '5', n_nationkey::VARCHAR FROM nation -- the end",
    ]
    for statement in statements:
        sql = statement.format(JOIN)
        relation = db.sql(sql)
        expected = plain.sql(sql)
        assert answer(relation) == answer(expected) or "CREATE" in sql
        if db is pair:
            falls_back = "CREATE" in sql or "VALUES" in sql
            assert (report(relation) is None) != falls_back, sql
    same(db, plain, "FROM insertions ORDER BY ALL")
    rows(db, "DROP TABLE insertions")


def test_insert_that_returns(db: sord.Connection) -> None:
    rows(db, "CREATE TABLE kept (k BIGINT PRIMARY KEY, s VARCHAR)")
    few = "SELECT n_nationkey, n_name FROM nation WHERE n_nationkey < 3"
    relation = db.sql(f"INSERT INTO kept {few} RETURNING s, k + 1 AS t")
    assert relation is not None
    for _ in range(2):
        assert relation.fetchall() == [("ALGERIA", 1), ("ARGENTINA", 2), ("BRAZIL", 3)]
    assert rows(db, "SELECT count(*) FROM kept") == [(3,)]
    with pytest.raises(duckdb.ConstraintException, match="Duplicate key"):
        db.sql("INSERT INTO kept SELECT n_nationkey, n_name FROM nation ORDER BY n_nationkey DESC")
    assert rows(db, "SELECT count(*) FROM kept") == [(3,)]
    rows(db, "INSERT INTO kept SELECT n_nationkey, 'new' FROM nation ON CONFLICT DO NOTHING")
    rows(
        db,
        "INSERT OR REPLACE INTO kept AS q SELECT n_nationkey, 'newer' FROM nation WHERE n_nationkey = ?",
        [1],
    )
    assert rows(
        db, "SELECT count(*), count(*) FILTER (s = 'new'), any_value(s) FILTER (k = 1) FROM kept"
    ) == [(25, 22, "newer")]
    rows(db, "DROP TABLE kept")


@pytest.mark.parametrize("statement", ["CREATE TABLE half AS", "CREATE TEMP TABLE half AS"])
def test_rows_that_cannot_be_computed(db: sord.Connection, statement: str) -> None:
    failing = (
        "SELECT CASE WHEN l_orderkey = 59970 THEN 'x' ELSE l_orderkey::VARCHAR END::INT AS a FROM lineitem"
    )
    with pytest.raises((sord.QueryError, duckdb.ConversionException), match="Could not convert string 'x'"):
        db.sql(f"{statement} {failing}")
    with pytest.raises(duckdb.CatalogException):
        db.sql("FROM half")
    rows(db, f"{statement} SELECT 1 AS a")
    with pytest.raises((sord.QueryError, duckdb.ConversionException), match="Could not convert string 'x'"):
        db.sql(f"INSERT INTO half {failing}")
    assert rows(db, "FROM half") == [(1,)]
    rows(db, "DROP TABLE half")


@pytest.mark.parametrize(
    ("sql", "error", "words"),
    [
        ("INSERT INTO nosuch SELECT 1 FROM nation", duckdb.CatalogException, "nosuch"),
        ("CREATE TABLE wrong AS SELECT nosuch FROM nation", duckdb.BinderException, "LINE 1: CREATE TABLE"),
        (
            "CREATE TABLE wrong AS SELECT (SELECT n_name FROM nation) FROM region",
            (sord.Error, duckdb.Error),
            "row",
        ),
        ("CREATE TABLE nosuch.wrong AS SELECT 1 FROM nation", duckdb.Error, "nosuch"),
        ("CREATE TABLE wrong AS SELECT ? FROM nation", duckdb.Error, "arameter"),
    ],
)
def test_mistakes(db: sord.Connection, sql: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        db.sql(sql)
    with pytest.raises(duckdb.CatalogException):
        db.sql("FROM wrong")
    assert rows(db, "SELECT count(*) FROM nation") == [(25,)]


@pytest.mark.parametrize("statement", ["CREATE TABLE large AS", "INSERT INTO large"])
def test_a_killed_worker(frail: sord.Connection, statement: str) -> None:
    rows(frail, "CREATE TABLE other AS SELECT 1 AS a")
    if "INSERT" in statement:
        rows(frail, "CREATE TABLE large (k BIGINT, c VARCHAR)")
    timer = threading.Timer(0.7, os.kill, (frail.coordinator.pids[0], signal.SIGKILL))
    timer.start()
    with pytest.raises(sord.WorkerLost, match="worker 0 "):
        frail.sql(f"{statement} {LARGE}")
    timer.join()
    if "INSERT" in statement:
        assert rows(frail, "FROM large") == []
    else:
        with pytest.raises(duckdb.CatalogException):
            frail.sql("FROM large")
    rows(frail, "CREATE OR REPLACE TABLE large AS SELECT count(*) AS n FROM lineitem")
    assert rows(frail, "FROM large") == [(60175,)]


def test_ctrl_c(pair: sord.Connection) -> None:
    pair.start()
    timer = threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        pair.sql(f"CREATE TABLE large AS {LARGE}")
    timer.join()
    with pytest.raises(duckdb.CatalogException):
        pair.sql("FROM large")
    assert rows(pair, "CREATE TABLE large AS FROM nation") == [(25,)]
    rows(pair, "DROP TABLE large")


def test_stored_rows_are_spread_again(pair: sord.Connection, plain: duckdb.DuckDBPyConnection) -> None:
    for connection in (pair, plain):
        connection.sql("CREATE TABLE stored AS SELECT l_orderkey, l_partkey, l_quantity FROM lineitem")
    for sql in (
        "SELECT l_partkey % 10 AS g, sum(l_quantity), count(*) FROM stored GROUP BY g ORDER BY g",
        "SELECT count(*), sum(o_totalprice) FROM stored JOIN orders ON l_orderkey = o_orderkey WHERE l_quantity > 10",
    ):
        same(pair, plain, sql)
        assert fallback(pair, sql) is None
    rows(pair, "DROP TABLE stored")


def test_summarize(db: sord.Connection, plain: duckdb.DuckDBPyConnection) -> None:
    for sql in (
        "SUMMARIZE nation",
        "SUMMARIZE SELECT n_regionkey, count(*) AS n, min(n_name) AS first FROM nation GROUP BY 1",
        "SUMMARIZE FROM lineitem WHERE l_orderkey < 0",
        "summarize (SELECT NULL::INT AS a, DATE '2020-01-01' AS b)",
    ):
        same(db, plain, sql)


def test_summarize_of_a_query_is_distributed(pair: sord.Connection, plain: duckdb.DuckDBPyConnection) -> None:
    sql = f"SUMMARIZE {JOIN}"
    assert fallback(pair, sql) is None
    # Averages and deviations are texts, whose last digits depend on the order in which rows come.
    digits = re.compile(r"(\.\d{8})\d+")
    got, expected = (
        [digits.sub(r"\1", repr(row)) for row in found]
        for found in (rows(pair, sql), plain.sql(sql).fetchall())
    )
    assert sorted(got) == sorted(expected)
    assert "SUMMARIZE" in str(fallback(pair, "SUMMARIZE nation"))


def test_others_query_while_rows_are_stored(frail: sord.Connection) -> None:
    frail.sql("CREATE TABLE small AS SELECT 1 AS a")
    endless = "CREATE TABLE large AS SELECT a.l_comment FROM lineitem a, lineitem b WHERE a.l_suppkey <> b.l_suppkey"
    errors: list[BaseException] = []
    answers: list[object] = []

    def store() -> None:
        try:
            frail.sql(endless)
        except sord.QueryCancelled as error:
            errors.append(error)

    def query() -> None:
        for number in range(40):
            answers.append(rows(frail, "SELECT count(*) FROM small"))
            frail.sql(f"CREATE TABLE other{number} AS SELECT 1 AS a")
            time.sleep(0.05)

    storing, querying = threading.Thread(target=store), threading.Thread(target=query)
    storing.start()
    querying.start()
    querying.join(60)
    finished = not querying.is_alive()
    while storing.is_alive():
        frail.interrupt()
        storing.join(0.1)
    querying.join()
    assert finished
    assert answers == [[(1,)]] * 40
    assert len(errors) == 1
    with pytest.raises(duckdb.CatalogException):
        frail.sql("FROM large")
