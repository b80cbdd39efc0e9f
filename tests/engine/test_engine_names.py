"""Tables and views of the client's DuckDB in all places: schemas, attached databases, temporary ones, transactions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from engine_checks import FLEET

import sord

Both = tuple[sord.Connection, duckdb.DuckDBPyConnection]

_TYPED = """CREATE TABLE typed AS SELECT n_nationkey k,
    (n_nationkey + 170141183460469231731687303715884105700)::HUGEINT h,
    ('00000000-0000-0000-0000-0000000000' || (10 + n_nationkey)::VARCHAR)::UUID u, '10:00:00.12+02:30'::TIMETZ z,
    '101'::BIT b, n_nationkey::UHUGEINT uh, [n_nationkey::HUGEINT] hl, 'a'::ENUM ('a', 'b') e, '{"a": 1}'::JSON j,
    {'a': n_nationkey::HUGEINT, 'b': 'it''s, [x] "q" \\ NULL', 'd': '\\x01'::BLOB} st, NULL::HUGEINT n FROM nation"""


@pytest.fixture
def both(tpch_sf001: Path, plain: duckdb.DuckDBPyConnection) -> Iterator[Both]:
    with sord.connect(FLEET) as db:
        db.register_dir(tpch_sf001)
        yield db, plain


def run(both: Both, *statements: str) -> None:
    for statement in statements:
        for connection in both:
            connection.sql(statement)


def same(both: Both, sql: str, fallback: str | None = None) -> None:
    """The same names, types and rows, in any order, and computed by the fleet."""
    mine, theirs = both[0].sql(sql), both[1].sql(sql)
    assert mine is not None
    assert (mine.columns, list(map(str, mine.types))) == (theirs.columns, list(map(str, theirs.types)))
    assert sorted(map(repr, mine.fetchall())) == sorted(map(repr, theirs.fetchall()))
    assert mine.report is not None
    assert mine.report.fallback == fallback


def fails_alike(both: Both, sql: str) -> None:
    for connection in both:
        with pytest.raises(duckdb.Error):
            connection.sql(sql)


def test_schemas(both: Both) -> None:
    run(both, "CREATE SCHEMA s", "CREATE TABLE s.t AS SELECT n_nationkey k, n_name x FROM nation")
    run(both, "CREATE TABLE t AS SELECT n_nationkey k, 'main' x FROM nation")
    join = "SELECT min(x), count(*) FROM {} JOIN lineitem ON k = l_suppkey"
    for name in ("t", "s.t", "S.T", '"s"."T"', "memory.s.t", "main.t", "memory.t", "memory.main.t"):
        same(both, join.format(name))
    same(both, "SELECT s.t.x FROM s.t, region WHERE r_regionkey = k")
    run(
        both,
        "CREATE VIEW s.v AS SELECT * FROM t",
        "CREATE VIEW s.renamed(a, b) AS SELECT * FROM s.t WHERE k > 3",
    )
    same(both, join.format("s.v"))
    run(both, "USE s")
    for name in ("t", "v", "s.t", "memory.main.t", "main.t", "memory.t"):
        same(both, join.format(name))
    same(both, "SELECT b, count(*) FROM renamed JOIN lineitem ON a = l_suppkey GROUP BY b")
    run(both, "CREATE OR REPLACE VIEW v AS SELECT * FROM t", "SET search_path = 'main,s'")
    for name in ("t", "v", "s.v"):
        same(both, join.format(name))
    run(both, "DROP TABLE main.t")
    same(both, join.format("t"))
    run(both, "RESET search_path")
    fails_alike(both, "FROM t")


def test_odd_names(both: Both) -> None:
    run(
        both,
        'CREATE SCHEMA "We ird"',
        'CREATE TABLE "We ird"."Ta.ble" AS SELECT n_nationkey "K ey" FROM nation',
    )
    same(both, 'SELECT count(*) FROM "we ird"."ta.ble", lineitem WHERE "k EY" = l_suppkey')
    run(both, "CREATE SCHEMA s", 'CREATE TABLE "s.t" AS SELECT 1 AS k', "CREATE TABLE s.t AS SELECT 2 AS k")
    same(
        both,
        'SELECT a.k, b.k, count(*) FROM "s.t" a, s.t b, lineitem WHERE l_suppkey = b.k GROUP BY ALL',
        "several tables that are called s.t",
    )


def test_attached_databases(both: Both, tmp_path: Path) -> None:
    for connection, name in zip(both, ("mine", "theirs"), strict=True):
        connection.sql(f"ATTACH '{tmp_path}/{name}.duckdb' AS x")
    run(both, "CREATE TABLE t AS SELECT n_nationkey k, 'memory' x FROM nation", "CREATE SCHEMA x.deep")
    run(
        both,
        "CREATE TABLE x.t AS SELECT k, 'x' x FROM t",
        "CREATE TABLE x.deep.t AS SELECT k * 2 k, 'deep' x FROM t",
    )
    run(both, "CREATE VIEW x.v AS SELECT * FROM t", "CREATE VIEW x.w AS SELECT * FROM deep.t")
    join = "SELECT min(x), count(*) FROM {} JOIN memory.lineitem ON k = l_suppkey"
    for name in ("t", "x.t", "x.main.t", "X.deep.T", "x.v", "x.w"):
        same(both, join.format(name))
    run(both, "USE x")
    for name in ("t", "deep.t", "v", "w", "memory.t"):
        same(both, join.format(name))
    run(both, "INSERT INTO t SELECT l_suppkey, 'new' FROM memory.lineitem WHERE l_linenumber = 7")
    same(both, join.format("v"))
    run(both, "USE memory", "DETACH x")
    fails_alike(both, "FROM x.t")


def test_temporary_tables(both: Both) -> None:
    run(both, "CREATE TEMP TABLE t AS SELECT n_nationkey k, n_name x FROM nation")
    run(both, "CREATE TABLE memory.main.t AS SELECT n_nationkey k, 'main' x FROM nation")
    run(both, "CREATE TEMP VIEW v AS SELECT k, count(*) n FROM t JOIN lineitem ON k = l_suppkey GROUP BY k")
    for name in ("t", "temp.t", "main.t", "memory.t"):
        same(both, f"SELECT min(x), count(*) FROM {name} JOIN lineitem ON k = l_suppkey")
    same(both, "SELECT sum(n) FROM v JOIN nation ON k = n_nationkey")
    same(both, "FROM t")
    same(both, "WITH a AS (SELECT k, count(*) FROM t GROUP BY k) FROM a UNION ALL FROM a")
    mine = both[0].sql("SELECT x FROM t ORDER BY x DESC")
    assert mine is not None
    assert mine.fetchall() == both[1].sql("SELECT x FROM t ORDER BY x DESC").fetchall()
    run(both, "CREATE OR REPLACE TEMP VIEW v AS SELECT 5 AS n, 1 AS k")
    same(both, "SELECT sum(n) FROM v JOIN nation ON k = n_nationkey")
    run(both, "DROP TABLE temp.t")
    same(both, "SELECT min(x), count(*) FROM t JOIN lineitem ON k = l_suppkey")


def test_transactions(both: Both) -> None:
    run(both, "CREATE TABLE t AS SELECT n_nationkey k FROM nation", "BEGIN", "DELETE FROM t WHERE k > 20")
    same(both, "SELECT count(*) FROM t JOIN lineitem ON k = l_suppkey")
    run(both, "CREATE TABLE made AS SELECT l_suppkey, count(*) c FROM lineitem GROUP BY ALL")
    run(both, "INSERT INTO made SELECT l_orderkey, 1 FROM lineitem, t WHERE k = l_suppkey")
    same(both, "SELECT count(*), sum(c) FROM made")
    same(both, "SELECT count(*), sum(c) FROM made JOIN nation ON n_nationkey = l_suppkey")
    run(both, "ROLLBACK")
    same(both, "SELECT count(*) FROM t JOIN lineitem ON k = l_suppkey")
    fails_alike(both, "FROM made")


def test_an_error_in_a_transaction(both: Both) -> None:
    run(both, "CREATE TABLE t AS SELECT n_name x FROM nation", "BEGIN", "INSERT INTO t VALUES ('later')")
    failing = both[0].sql("SELECT sum(x::INTEGER) FROM t JOIN lineitem ON x = l_comment OR l_suppkey = 1")
    assert failing is not None
    with pytest.raises(sord.QueryError, match="Could not convert"):
        failing.fetchall()
    both[0].sql("ROLLBACK")
    both[1].sql("ROLLBACK")
    same(both, "SELECT count(*) FROM t, region")


def test_views_follow_what_they_read(both: Both) -> None:
    run(both, "CREATE VIEW few AS SELECT * FROM lineitem WHERE l_suppkey < 10")
    run(both, "CREATE VIEW counted AS SELECT l_suppkey, count(*) c FROM few GROUP BY ALL")
    same(both, "FROM counted")
    run(both, "CREATE OR REPLACE VIEW few AS SELECT * FROM lineitem WHERE l_suppkey = 5")
    same(both, "FROM counted")
    run(both, "DROP VIEW few", "CREATE TABLE few AS SELECT 7 AS l_suppkey FROM nation")
    same(both, "FROM counted")
    run(both, "CREATE OR REPLACE VIEW nation AS SELECT 1 AS n_nationkey, 'me' AS n_name")
    same(both, "SELECT n_name, count(*) FROM nation, lineitem WHERE n_nationkey = l_suppkey GROUP BY ALL")
    run(both, "DROP VIEW nation", "CREATE TABLE nation (n_nationkey INT NOT NULL, n_name VARCHAR)")
    run(both, "INSERT INTO nation VALUES (1, 'a'), (2, 'b')")
    same(both, "SELECT n_name, count(*) FROM nation, lineitem WHERE n_nationkey = l_suppkey GROUP BY ALL")


def test_a_frame_whose_name_something_else_gets(both: Both) -> None:
    import pyarrow

    for connection in both:
        connection.register("frame", pyarrow.table({"k": [1, 2, 3]}))
    same(both, "SELECT count(*) FROM frame JOIN lineitem ON k = l_suppkey")
    run(both, "CREATE OR REPLACE TEMP VIEW frame AS SELECT 5 AS k")
    same(both, "SELECT count(*) FROM frame JOIN lineitem ON k = l_suppkey")
    run(both, "DROP VIEW frame", "CREATE TABLE frame AS SELECT 6 AS k")
    same(both, "SELECT count(*) FROM frame JOIN lineitem ON k = l_suppkey")


def test_types_that_arrow_has_not(both: Both) -> None:
    run(both, _TYPED)
    columns = "h, u, z, b, uh, hl, e, j, st, n"
    for temporary in ("", "temp."):
        if temporary:
            run(both, "CREATE TEMP TABLE typed AS FROM main.typed")
        same(
            both,
            f"SELECT {columns} FROM {temporary}typed JOIN lineitem ON k = l_suppkey WHERE l_linenumber = 7",
        )
        types = ", ".join(f"typeof({column})" for column in columns.split(", "))
        same(both, f"SELECT {types}, count(*) FROM typed JOIN lineitem ON k = l_suppkey GROUP BY ALL")
        same(both, "SELECT max(h), max(u), max(z), max(st) FROM typed JOIN lineitem ON k = l_suppkey")
        same(both, f"FROM {temporary}typed")


def test_threads_share_temporary_tables(both: Both) -> None:
    run(both, "CREATE TEMP TABLE t AS SELECT n_nationkey k FROM nation")
    sql = "SELECT count(*) FROM t JOIN lineitem ON k = l_suppkey"
    expected, found = both[1].sql(sql).fetchall(), []

    def query() -> None:
        for _ in range(3):
            relation = both[0].sql(sql)
            assert relation is not None
            found.append(relation.fetchall())

    threads = [threading.Thread(target=query) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [expected] * 12
