"""Results: names and types are DuckDB's, each way to ask for rows gives the same, and rows stream."""

from __future__ import annotations

import gc
from pathlib import Path

import duckdb
import pytest
from engine_checks import answer, copy, rows, same

import sord

TYPED = [
    "1::UTINYINT", "1::HUGEINT", "170141183460469231731687303715884105727::HUGEINT", "1::UHUGEINT",
    "18446744073709551615::UBIGINT", "1::BIGNUM", "1.5::DECIMAL(4,1)", "12345678901234567890.123::DECIMAL(38,3)",
    "1::FLOAT", "'nan'::DOUBLE", "-0.0::DOUBLE", "true", "'ü😀'", "''", "'\\x00a'::BLOB", "'101'::BIT",
    "INTERVAL '1 month 2 days'", "'b'::ENUM('a', 'b')", "['a'::ENUM('a', 'b')]", "{'x': 1, 'y z': {'q': [1]}}",
    "[1, NULL]", "[]", "[1, 2]::INT[2]", "MAP {'a': 1}", "uuid '00000000-0000-0000-0000-000000000001'",
    "TIMESTAMPTZ '2024-01-01 00:00:00+02'", "TIMESTAMP_NS '2024-01-01 00:00:00.123456789'",
    "TIMESTAMP_S '2024-01-01'", "TIMESTAMP 'infinity'", "DATE '0001-01-01'", "TIME '10:00'", "'10:00:00+02'::TIMETZ",
    "NULL", "NULL::DATE", "union_value(k := 1)", "'{}'::JSON",
]  # fmt: skip


@pytest.mark.parametrize("expression", TYPED)
def test_types(pair: sord.Connection, plain: duckdb.DuckDBPyConnection, expression: str) -> None:
    for sql in (
        f"SELECT {expression} AS v, o_orderkey FROM orders ORDER BY o_orderkey LIMIT 2",
        f"SELECT v, count(*) AS n FROM (SELECT {expression} AS v FROM nation) GROUP BY v",
        f"SELECT CASE WHEN n_nationkey % 2 = 0 THEN {expression} END AS v FROM nation ORDER BY n_nationkey",
    ):
        same(pair, plain, sql)
        relation = pair.sql(sql)
        assert relation is not None
        assert relation.arrow().schema == plain.sql(sql).to_arrow_table().schema
        assert relation.reader().schema == relation.arrow().schema


@pytest.mark.parametrize(
    "sql",
    [
        "WITH t AS (SELECT s_nationkey AS k, sum(s_suppkey) AS h FROM supplier GROUP BY 1) "
        "SELECT * FROM t WHERE h = (SELECT max(h) FROM t)",
        "WITH t AS (SELECT n_regionkey AS k, count(*) AS n FROM nation GROUP BY 1) "
        "SELECT a.k, b.n FROM t AS a JOIN t AS b ON a.n <= b.n ORDER BY ALL",
        "SELECT o_orderkey AS x, o_custkey AS x, count(*) AS X FROM orders GROUP BY ALL ORDER BY 1 LIMIT 3",
        'SELECT n_name AS "a b", n_nationkey AS "Q""x", 1 AS "ü", 2 AS "select", 3 AS "it\'s" FROM nation ORDER BY 1',
        "SELECT N_NAME, n_regionkey + 1, count(*), max(n_nationkey) FROM NATION GROUP BY 1, 2 ORDER BY 1",
        "SELECT * FROM nation a JOIN nation b USING (n_nationkey) ORDER BY 1 LIMIT 2",
        "SELECT * FROM orders WHERE false",
        "SELECT count(*), sum(o_orderkey), max(o_comment) FROM orders WHERE o_orderkey < 0",
        "SELECT o_custkey, count(*) FROM orders WHERE o_orderkey < 0 GROUP BY 1",
        "SELECT NULL AS n FROM nation",
        "SELECT 42, 1 AS a, 'x' AS a",
        "FROM region ORDER BY r_regionkey",
    ],
)
def test_names(
    pair: sord.Connection, trio: sord.Connection, plain: duckdb.DuckDBPyConnection, sql: str
) -> None:
    same(pair, plain, sql)
    same(trio, plain, sql)


def test_columns_of_a_file(pair: sord.Connection, tmp_path: Path) -> None:
    copy(
        'SELECT range AS "a b", range * 2 AS "Q""x", -range AS "Größe", 1 AS "Select" FROM range(9)',
        tmp_path / "odd.parquet",
    )
    pair.register("odd", tmp_path / "odd.parquet")
    with duckdb.connect() as plain:
        plain.execute(f"CREATE VIEW odd AS FROM '{tmp_path}/odd.parquet'")
        same(pair, plain, "FROM odd ORDER BY ALL")
        same(
            pair,
            plain,
            'SELECT "A B", sum("Q""x"), min("größe"), max("select") FROM odd GROUP BY 1 ORDER BY 1',
        )


def test_zero_rows(db: sord.Connection, tmp_path: Path) -> None:
    copy("SELECT 1 AS a, 'x' AS b WHERE false", tmp_path / "zero.parquet")
    db.register("zero", tmp_path / "zero.parquet")
    assert answer(db.sql("FROM zero")) == (["a", "b"], ["INTEGER", "VARCHAR"], [])
    assert rows(db, "SELECT count(*), max(b) FROM zero") == [(0, None)]
    assert rows(db, "SELECT count(*) FROM zero JOIN orders ON a = o_orderkey") == [(0,)]
    assert rows(db, "SELECT count(*) FROM orders LEFT JOIN zero ON a = o_orderkey") == [(15000,)]


def test_every_way_to_ask(db: sord.Connection, tmp_path: Path) -> None:
    relation = db.sql("SELECT o_orderkey AS k, o_comment AS c FROM orders WHERE o_orderkey < 1000 ORDER BY k")
    assert relation is not None
    expected = relation.fetchall()
    assert len(expected) == 255
    assert (relation.columns, relation.types) == (["k", "c"], ["BIGINT", "VARCHAR"])
    assert repr(relation) == "<sord.Relation (k BIGINT, c VARCHAR)>"
    assert [tuple(row.values()) for row in relation.arrow().to_pylist()] == expected
    assert [tuple(row.values()) for row in relation.reader(100).read_all().to_pylist()] == expected
    assert list(relation.df().itertuples(index=False, name=None)) == expected
    assert relation.pl().rows() == expected
    relation.write_parquet(tmp_path / "out.parquet")
    assert rows(db, f"FROM '{tmp_path}/out.parquet' ORDER BY k") == expected
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]
    assert relation.fetchall() == expected


def test_write_parquet_all_or_nothing(db: sord.Connection, tmp_path: Path) -> None:
    relation = db.sql("SELECT CAST(o_comment AS INT) AS c FROM orders")
    assert relation is not None
    (tmp_path / "old.parquet").write_text("old")
    with pytest.raises((sord.QueryError, duckdb.ConversionException)):
        relation.write_parquet(tmp_path / "old.parquet")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
    with pytest.raises(sord.Error, match=r"cannot write '.*none/x.parquet': its folder does not exist"):
        relation.write_parquet(tmp_path / "none" / "x.parquet")


def test_show(
    db: sord.Connection, plain: duckdb.DuckDBPyConnection, capsys: pytest.CaptureFixture[str]
) -> None:
    for sql in (
        "SELECT n_name AS x, sum(n_nationkey) AS x, max('a'::ENUM('a')) AS e FROM nation GROUP BY 1 ORDER BY 1 LIMIT 3",
        "SELECT * FROM nation WHERE false",
    ):
        plain.sql(sql).show(max_rows=40)
        expected = capsys.readouterr().out
        relation = db.sql(sql)
        assert relation is not None
        relation.show()
        assert capsys.readouterr().out == expected


def test_reports(pair: sord.Connection, embedded: sord.Connection) -> None:
    relation = pair.sql("SELECT o_custkey, count(*) AS n FROM orders GROUP BY 1")
    assert relation is not None
    assert relation.report is None
    relation.fetchall()
    first = relation.report
    assert first is not None
    assert first.fallback is None
    assert first.fragments == len(first.details) + 1
    assert first.bytes_exchanged > 0
    assert first.seconds > first.plan_seconds > 0
    assert relation.reader().read_all().num_rows == 1000
    assert relation.report is not None
    assert relation.report is not first
    other = embedded.sql("SELECT 1")
    assert other is not None
    other.fetchall()
    assert other.report is None


@pytest.mark.parametrize("extra", ["", "WHERE random() < 2"])
def test_readers_stream(db: sord.Connection, extra: str) -> None:
    endless = db.sql(
        f"SELECT a.l_orderkey AS x, b.l_partkey AS y FROM lineitem a, lineitem b, nation {extra}"
    )
    assert endless is not None
    reader = endless.reader(1000)
    for _ in range(3):
        assert 0 < reader.read_next_batch().num_rows <= 2048
    # Given up half way, it frees the workers.
    del reader
    gc.collect()
    assert rows(db, "SELECT count(*) FROM nation") == [(25,)]


def test_several_readers_take_turns(db: sord.Connection) -> None:
    relation = db.sql("SELECT l_orderkey FROM lineitem")
    assert relation is not None
    readers = [relation.reader(1000) for _ in range(3)]
    counts = [0, 0, 0]
    for number, reader in enumerate(readers):
        counts[number] += reader.read_next_batch().num_rows
    for number in (2, 0, 1):
        counts[number] += sum(batch.num_rows for batch in readers[number])
    assert counts == [60175] * 3
