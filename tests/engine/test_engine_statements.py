"""Statements: views, tables of DuckDB's own, sessions, settings, dialects, EXPLAIN; what one DuckDB answers."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest
from engine_checks import answer, fallback, rows, same

import sord


def test_views(
    pair: sord.Connection, trio: sord.Connection, plain: duckdb.DuckDBPyConnection, tpch_sf001: Path
) -> None:
    definitions = [
        "CREATE VIEW big AS SELECT l_orderkey AS k, l_quantity AS q FROM lineitem WHERE l_comment NOT LIKE '%a'",
        "CREATE VIEW sums AS SELECT k, sum(q) AS s, count(*) AS n FROM big GROUP BY k",
        'CREATE VIEW renamed("the key", "Größe") AS SELECT k, s, n FROM sums',
        f"CREATE VIEW direct AS FROM '{tpch_sf001}/orders.parquet'",
        "CREATE VIEW later AS WITH c AS (FROM orders) SELECT extract(year FROM o_orderdate) AS y, count(*) AS n "
        "FROM c WHERE o_orderdate BETWEEN '1995-01-01' AND '1996-12-31' GROUP BY 1",
        "CREATE OR REPLACE VIEW later AS SELECT y + 1 AS y "
        "FROM (SELECT extract(year FROM o_orderdate) AS y FROM direct)",
    ]
    queries = [
        "SELECT count(*), sum(s), sum(n) FROM sums",
        'SELECT sum("the key"), max("Größe"), max(n) FROM renamed',
        "SELECT count(*), max(o_comment) FROM direct",
        "SELECT y, count(*) FROM later GROUP BY y ORDER BY y",
        "SELECT a.k, b.s FROM big AS a JOIN sums AS b USING (k) ORDER BY 1, 2 LIMIT 5",
    ]
    for definition in definitions:
        plain.execute(definition)
    for db in (pair, trio):
        for definition in definitions:
            db.sql(definition)
        for query in queries:
            same(db, plain, query)
            assert fallback(db, query) is None
        db.sql("DROP VIEW big")
        with pytest.raises(duckdb.CatalogException, match="Table with name big does not exist"):
            db.sql("SELECT * FROM sums")


def test_tables_of_duckdb(db: sord.Connection, plain: duckdb.DuckDBPyConnection) -> None:
    for connection in (db, plain):
        connection.sql(
            "CREATE TABLE own AS SELECT o_orderkey AS k, o_comment AS c FROM orders WHERE o_orderkey < 100"
        )
        connection.sql("INSERT INTO own VALUES (1, 'it''s')")
        connection.sql("DELETE FROM own WHERE k > 50")
        connection.sql("UPDATE own SET c = 'new' WHERE k = 2")
    for sql in (
        "SELECT count(*), max(c) FROM own",
        "SELECT count(*), sum(l_quantity), min(c) FROM own JOIN lineitem ON k = l_orderkey",
        "FROM own ORDER BY k, c",
        "INSERT INTO own SELECT 1000 + k, c FROM own RETURNING k",
    ):
        assert sorted(answer(db.sql(sql))[2]) == sorted(answer(plain.sql(sql))[2])
    assert rows(db, "SELECT count(*) FROM own") == plain.sql("SELECT count(*) FROM own").fetchall()
    db.sql("DROP TABLE own")


def test_what_belongs_to_the_session(pair: sord.Connection) -> None:
    pair.sql("CREATE TEMP TABLE nation AS SELECT 'mine' AS n_name")
    assert rows(pair, "SELECT n_name FROM nation") == [("mine",)]
    relation = pair.sql("FROM nation")
    assert relation is not None
    assert relation.reader().read_all().to_pylist() == [{"n_name": "mine"}]
    pair.sql("DROP TABLE temp.nation")
    assert rows(pair, "SELECT count(*) FROM nation") == [(25,)]
    pair.sql("SET VARIABLE chosen = 3")
    assert rows(pair, "SELECT n_nationkey FROM nation WHERE n_nationkey = getvariable('chosen')") == [(3,)]
    pair.sql("PREPARE counting AS SELECT count(*) FROM nation WHERE n_nationkey < $1")
    assert rows(pair, "EXECUTE counting(7)") == [(7,)]


def test_a_transaction_sees_its_own_rows(pair: sord.Connection) -> None:
    pair.sql("CREATE TABLE counted AS SELECT 1 AS a")
    pair.sql("BEGIN; INSERT INTO counted VALUES (2)")
    assert rows(pair, "SELECT count(*) FROM counted, nation") == [(50,)]
    assert fallback(pair, "SELECT count(*) FROM counted, nation") is None
    pair.sql("ROLLBACK")
    assert rows(pair, "SELECT count(*) FROM counted, nation") == [(25,)]
    assert fallback(pair, "SELECT count(*) FROM counted, nation") is None
    pair.sql("DROP TABLE counted")


def test_another_default_schema(pair: sord.Connection) -> None:
    pair.sql("CREATE SCHEMA other; CREATE TABLE other.nation AS SELECT 1 AS a; USE other")
    assert rows(pair, "SELECT count(*) FROM nation") == [(1,)]
    assert fallback(pair, "SELECT count(*) FROM nation") is None
    pair.sql("USE memory.main")
    assert fallback(pair, "SELECT count(*) FROM nation") is None
    assert rows(pair, "SELECT count(*) FROM other.nation, main.nation, memory.main.region") == [(125,)]
    pair.sql("DROP SCHEMA other CASCADE")


@pytest.mark.parametrize("extra", ["", ", random() < 2"])
def test_settings_hold_everywhere(pair: sord.Connection, extra: str) -> None:
    moment = "SELECT (TIMESTAMPTZ '2024-01-01 00:00:00+00' + to_days(n_nationkey::INT))::VARCHAR"
    moment += f" AS t{extra} FROM nation"
    first = f"SELECT nullif(n_nationkey, 3) AS k{extra} FROM nation ORDER BY 1 LIMIT 2"
    zone = rows(pair, moment + " ORDER BY 1")[0][0]
    pair.sql("SET TimeZone = 'Asia/Tokyo'; SET default_null_order = 'nulls_first'")
    try:
        assert rows(pair, moment + " ORDER BY 1")[0][0] == "2024-01-01 09:00:00+09"
        assert [row[0] for row in rows(pair, first)] == [None, 0]
        (value,) = rows(pair, "SELECT max(TIMESTAMPTZ '2024-01-01 00:00:00+00') FROM nation")[0]
        assert str(value) == "2024-01-01 09:00:00+09:00"
    finally:
        pair.sql("RESET TimeZone; RESET default_null_order")
    assert rows(pair, moment + " ORDER BY 1")[0][0] == zone
    assert [row[0] for row in rows(pair, first)] == [0, 1]


def test_several_statements(db: sord.Connection) -> None:
    sql = "CREATE TABLE several AS SELECT 1 AS a; INSERT INTO several VALUES (2); SELECT sum(a) FROM several; -- done;"
    assert rows(db, sql) == [(3,)]
    assert rows(db, "DROP TABLE several; SELECT count(*) FROM orders /* ; */ ;") == [(15000,)]
    with pytest.raises(duckdb.BinderException, match='"nosuch"'):
        db.sql("SELECT nosuch; SELECT 1")
    for empty in ("", " ", ";", "-- nothing"):
        assert db.sql(empty) is None


@pytest.mark.parametrize(
    ("dialect", "sql", "expected"),
    [
        (
            "postgres",
            "SELECT o_orderkey::text || 'a' AS x FROM orders ORDER BY o_orderkey LIMIT 1",
            [("1a",)],
        ),
        ("spark", "SELECT `o_orderkey` AS `a b` FROM orders ORDER BY 1 LIMIT 1", [(1,)]),
        ("mysql", "SELECT count(*) FROM `orders` WHERE o_orderkey < ?", [(4,)]),
        ("duckdb", "SELECT count(*) FROM orders WHERE o_orderkey < ?", [(4,)]),
    ],
)
def test_dialects(db: sord.Connection, dialect: str, sql: str, expected: list[tuple[object]]) -> None:
    relation = db.sql(sql, params=[5] if "?" in sql else None, read=dialect)
    assert relation is not None
    assert relation.fetchall() == expected


def test_dialects_that_are_none(db: sord.Connection) -> None:
    with pytest.raises(sord.Error, match="cannot read this as klingon: Unknown dialect 'klingon'"):
        db.sql("SELECT 1", read="klingon")
    with pytest.raises(sord.Error, match="cannot read this as spark: "):
        db.sql("SELEC FROM", read="spark")


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT count(*) FROM nation WHERE random() < 2", "random"),
        ("SELECT count(DISTINCT uuid()) FROM nation", "uuid"),
        ("SHOW TABLES", "SHOW"),
        ("DESCRIBE nation", "DESCRIBE"),
        ("SUMMARIZE nation", "SUMMARIZE"),
        ("SELECT count(*) > 0 FROM duckdb_settings()", "duckdb_settings() in FROM"),
    ],
)
def test_what_one_duckdb_answers(
    pair: sord.Connection, plain: duckdb.DuckDBPyConnection, sql: str, reason: str
) -> None:
    if sql != "SHOW TABLES":
        same(pair, plain, sql)
    assert reason in str(fallback(pair, sql))


def test_pragma_and_call(db: sord.Connection) -> None:
    assert rows(db, "PRAGMA version")[0][0] == f"v{duckdb.__version__}"
    assert len(rows(db, "CALL pragma_table_info('nation')")) == 4


def test_copy_to(db: sord.Connection, tmp_path: Path) -> None:
    db.sql(f"COPY (SELECT o_orderkey FROM orders WHERE o_orderkey < 10) TO '{tmp_path}/few.parquet'")
    assert rows(db, f"SELECT count(*) FROM '{tmp_path}/few.parquet'") == [(9 - 2,)]


def test_explain(pair: sord.Connection) -> None:
    relation = pair.sql(
        "/* why */ EXPLAIN SELECT count(*) FROM lineitem JOIN orders ON l_orderkey = o_orderkey"
    )
    assert relation is not None
    assert (relation.columns, relation.types) == (["explain_key", "explain_value"], ["VARCHAR", "VARCHAR"])
    ((key, text),) = relation.fetchall()
    assert key == "distributed_plan"
    for words in ("Logical plan", "Fragments (2 workers)", "Scan lineitem", "~60.2k rows"):
        assert words in str(text)
    query = pair.sql("SELECT count(*) FROM nation WHERE n_nationkey < 10")
    assert query is not None
    assert "n_nationkey < 10" in query.explain()
    assert query.report is None


def test_explain_as_json(pair: sord.Connection) -> None:
    ((_, text),) = rows(pair, "EXPLAIN (FORMAT JSON) SELECT count(*) FROM nation")
    assert set(json.loads(str(text))) >= {"logical", "fragments"}
    ((_, text),) = rows(pair, "EXPLAIN (ANALYZE, FORMAT JSON) SELECT count(*) FROM nation")
    assert json.loads(str(text))["fragments"][0]["measured"]["rows_by_task"]
    ((_, text),) = rows(pair, "EXPLAIN (FORMAT JSON) SELECT random() FROM nation")
    assert json.loads(str(text)) == {"fallback": "random() is another value each time"}


def test_explain_analyze(pair: sord.Connection) -> None:
    ((key, text),) = rows(pair, "EXPLAIN ANALYZE SELECT count(*) FROM lineitem")
    assert key == "analyzed_plan"
    for words in (
        " on the wire",
        "Fragments as they ran (2 workers)",
        "Scan lineitem",
        "2 rows (~",
        "skew 1.00",
    ):
        assert words in str(text)
    ((_, text),) = rows(pair, "EXPLAIN ANALYZE SELECT max(random()) FROM nation")
    assert "One DuckDB answers this: random" in str(text)
    ((_, text),) = rows(pair, "EXPLAIN (ANALYZE, FORMAT JSON) SELECT max(random()) FROM nation")
    assert json.loads(str(text))["fallback"].startswith("random")


def test_explain_of_statements_around_a_query(pair: sord.Connection, tmp_path: Path) -> None:
    for statement in (
        f"COPY (SELECT l_orderkey FROM lineitem) TO '{tmp_path}/out' (FORMAT parquet, PER_THREAD_OUTPUT)",
        "CREATE TABLE explained AS SELECT l_orderkey FROM lineitem",
        "INSERT INTO explained SELECT l_orderkey FROM lineitem",
        "SUMMARIZE SELECT l_orderkey FROM lineitem",
    ):
        ((key, text),) = rows(pair, f"EXPLAIN {statement}")
        assert key == "distributed_plan"
        assert "Scan lineitem (l_orderkey)" in str(text)
        assert (tmp_path / "out").exists() != ("COPY" in statement)
        ((key, text),) = rows(pair, f"EXPLAIN ANALYZE {statement}")
        assert key == "analyzed_plan"
        assert ("1 rows" if "SUMMARIZE" in statement else "60,175 rows") in str(text)
        if "COPY" in statement:
            assert "→ files" in str(text)
            assert "60,175 rows written" in str(text)
            assert rows(pair, f"SELECT count(*) FROM '{tmp_path}/out/*.parquet'") == [(60175,)]
    assert rows(pair, "SELECT count(*) FROM explained") == [(60175 * 2,)]
    rows(pair, "DROP TABLE explained")


def test_explain_does_not_execute(db: sord.Connection) -> None:
    rows(db, "EXPLAIN CREATE TABLE never AS SELECT 1")
    with pytest.raises(duckdb.CatalogException):
        db.sql("FROM never")
    with pytest.raises(duckdb.Error, match="foo"):
        rows(db, "EXPLAIN (foo) SELECT 1")


@pytest.mark.parametrize(
    ("define", "sql", "reason", "drop"),
    [
        (
            "CREATE MACRO upper(x) AS 'mine'",
            "SELECT upper(n_name) FROM nation LIMIT 1",
            "upper is",
            "MACRO upper",
        ),
        (
            "CREATE TEMP MACRO lower(x) AS 'mine'",
            "SELECT lower('A') FROM nation",
            "lower is a macro",
            "MACRO lower",
        ),
        (
            "CREATE FUNCTION nvl(x, y, z := 1) AS 7",
            "SELECT max(NVL(n_name, 'a')) FROM nation",
            "nvl is a macro",
            "MACRO nvl",
        ),
        (
            "CREATE TYPE mood AS ENUM ('x')",
            "SELECT max('x'::Mood) FROM nation",
            "mood is a type",
            "TYPE mood",
        ),
        (
            "CREATE TABLE exchange_0 AS SELECT 1 AS a",
            "SELECT max(a) FROM exchange_0",
            "exchange_0",
            "TABLE exchange_0",
        ),
    ],
)
def test_what_workers_do_not_know(
    pair: sord.Connection, plain: duckdb.DuckDBPyConnection, define: str, sql: str, reason: str, drop: str
) -> None:
    for connection in (pair, plain):
        connection.sql(define)
        connection.sql(f"CREATE OR REPLACE VIEW names AS {sql}")
    try:
        for query in (sql, "FROM names"):
            same(pair, plain, query)
            assert reason in str(fallback(pair, query))
    finally:
        pair.sql(f"DROP VIEW names; DROP {drop}")
    assert fallback(pair, "SELECT upper(n_name), lower(n_name) FROM nation") is None


@pytest.mark.parametrize(
    "setting",
    [
        "default_null_order = 'nulls_first'",
        "default_null_order = 'nulls_first_on_asc_last_on_desc'",
        "default_order = 'desc'",
        "preserve_insertion_order = false",
    ],
)
def test_settings_about_order(
    pair: sord.Connection, plain: duckdb.DuckDBPyConnection, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sord.planner.distribute._SORT_AT_CLIENT", 0)
    sql = "SELECT nullif(l_orderkey, 7) AS k, l_linenumber FROM lineitem ORDER BY k{}, l_linenumber"
    assert "move by sort range" in str(rows(pair, f"EXPLAIN {sql.format('')}")).lower()
    for connection in (pair, plain):
        connection.sql(f"SET {setting}")
    try:
        for direction in ("", " ASC", " DESC", " NULLS LAST"):
            same(pair, plain, sql.format(direction))
    finally:
        pair.sql(f"RESET {setting.split()[0]}")


def test_casts_of_typed_literals(pair: sord.Connection, plain: duckdb.DuckDBPyConnection) -> None:
    sql = "SELECT max(DATE '2024-01-01'::TIMESTAMP)::VARCHAR AS d FROM nation"
    for connection in (pair, plain):
        connection.sql(f"CREATE OR REPLACE VIEW dates AS {sql}")
    same(pair, plain, sql)
    same(pair, plain, "FROM dates")
    pair.sql("DROP VIEW dates")
    same(
        pair,
        plain,
        "SELECT max(n_name) FROM nation WHERE n_name LIKE 'A%'::VARCHAR AND DATE '2024-01-01' < DATE '2025-01-01'",
    )


def test_every_kind_of_statement_says_who_executed_it(pair: sord.Connection) -> None:
    for sql, falls_back in (
        ("CREATE SCHEMA told", True),
        ("CREATE TABLE told.a AS SELECT n_name FROM nation", False),
        ("CREATE VIEW told.v AS SELECT n_name FROM nation", True),
        ("INSERT INTO told.a SELECT n_name FROM nation", False),
        ("INSERT INTO told.a VALUES ('x')", True),
        ("UPDATE told.a SET n_name = 'y' WHERE n_name = 'x'", True),
        ("DELETE FROM told.a WHERE n_name = 'y'", True),
        ("DESCRIBE SELECT n_name FROM nation", True),
        ("SUMMARIZE SELECT n_name FROM nation", False),
        ("SHOW TABLES", True),
        ("SET VARIABLE told = 1", True),
        ("PREPARE told AS SELECT 1", True),
        ("EXECUTE told", True),
        ("SELECT count(*) FROM nation", False),
        ("DROP SCHEMA told CASCADE", True),
    ):
        relation = pair.sql(sql)
        assert relation is not None
        relation.fetchall()
        assert relation.report is not None, sql
        assert (relation.report.fallback is not None) == falls_back, sql
