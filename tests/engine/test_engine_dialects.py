"""Texts of other dialects: right, or refused with an error that says why."""

from __future__ import annotations

import duckdb
import pytest

import sord

# In each dialect what its users would write, then what DuckDB's would.
TEXTS = [
    (
        "spark",
        "SELECT c_mktsegment, collect_set(c_nationkey % 2) IS NOT NULL AS s, count_if(c_acctbal > 0) AS n "
        "FROM customer LATERAL VIEW explode(array(1, 2)) x AS i WHERE i = 1 GROUP BY c_mktsegment ORDER BY 1",
        "SELECT c_mktsegment, true AS s, count_if(c_acctbal > 0) AS n FROM customer GROUP BY 1 ORDER BY 1",
    ),
    (
        "spark",
        "SELECT date_add(o_orderdate, 7) AS d, nvl(o_clerk, 'none') AS c, o_orderkey <=> NULL AS k "
        "FROM orders ORDER BY o_orderkey LIMIT 5",
        "SELECT o_orderdate + INTERVAL 7 DAY AS d, coalesce(o_clerk, 'none') AS c, o_orderkey IS NULL AS k "
        "FROM orders ORDER BY o_orderkey LIMIT 5",
    ),
    (
        "trino",
        "SELECT date_trunc('month', o_orderdate) AS m, approx_distinct(o_custkey) > 0 AS c, "
        "element_at(array_agg(o_orderkey ORDER BY o_orderkey), 1) AS k FROM orders GROUP BY 1 ORDER BY 1",
        "SELECT date_trunc('month', o_orderdate) AS m, true AS c, min(o_orderkey) AS k "
        "FROM orders GROUP BY 1 ORDER BY 1",
    ),
    (
        "postgres",
        "SELECT n_name::text AS n, extract(year FROM o_orderdate)::int AS y, count(*) "
        "FILTER (WHERE o_totalprice > 1e5) AS c FROM orders JOIN customer ON c_custkey = o_custkey JOIN "
        "nation ON n_nationkey = c_nationkey "
        "WHERE n_name ~ '^A' GROUP BY 1, 2 ORDER BY 1, 2",
        "SELECT n_name AS n, year(o_orderdate)::INTEGER AS y, count(*) FILTER (o_totalprice > 1e5) AS c FROM orders "
        "JOIN customer ON c_custkey = o_custkey JOIN nation ON n_nationkey = c_nationkey WHERE n_name LIKE 'A%' "
        "GROUP BY 1, 2 ORDER BY 1, 2",
    ),
    (
        "snowflake",
        "SELECT n_regionkey, iff(n_nationkey > 10, 'high', 'low') AS h, zeroifnull(n_nationkey) AS z FROM nation "
        "QUALIFY row_number() OVER (PARTITION BY n_regionkey ORDER BY n_nationkey) = 1 ORDER BY 1",
        "SELECT n_regionkey, if(n_nationkey > 10, 'high', 'low') AS h, coalesce(n_nationkey, 0) AS z FROM nation "
        "QUALIFY row_number() OVER (PARTITION BY n_regionkey ORDER BY n_nationkey) = 1 ORDER BY 1",
    ),
    (
        "bigquery",
        "SELECT * EXCEPT (n_comment), SAFE_CAST(n_name AS INT64) AS i FROM `nation` ORDER BY n_nationkey",
        "SELECT * EXCLUDE (n_comment), TRY_CAST(n_name AS BIGINT) AS i FROM nation ORDER BY n_nationkey",
    ),
    (
        "mysql",
        "SELECT `n_name`, IF(n_regionkey = 1, 'a', 'b') AS x FROM nation ORDER BY n_nationkey LIMIT 2, 3",
        "SELECT n_name, if(n_regionkey = 1, 'a', 'b') AS x FROM nation ORDER BY n_nationkey LIMIT 3 OFFSET 2",
    ),
    (
        "tsql",
        "SELECT TOP 3 n_name, ISNULL(n_comment, '') AS c, LEN(n_name) AS l FROM [nation] ORDER BY n_nationkey",
        "SELECT n_name, coalesce(n_comment, '') AS c, length(n_name) AS l FROM nation ORDER BY n_nationkey LIMIT 3",
    ),
    (
        "oracle",
        "SELECT n_name, NVL(n_comment, '-') AS c FROM nation ORDER BY n_nationkey FETCH FIRST 3 ROWS ONLY",
        "SELECT n_name, coalesce(n_comment, '-') AS c FROM nation ORDER BY n_nationkey LIMIT 3",
    ),
    (
        "clickhouse",
        "SELECT countIf(n_regionkey = 1) AS c, any(n_regionkey) IS NOT NULL AS a FROM nation",
        "SELECT count_if(n_regionkey = 1) AS c, true AS a FROM nation",
    ),
]


@pytest.mark.parametrize(("dialect", "text", "meant"), TEXTS)
def test_what_is_meant(
    pair: sord.Connection, plain: duckdb.DuckDBPyConnection, dialect: str, text: str, meant: str
) -> None:
    relation = pair.sql(text, read=dialect)
    assert relation is not None
    got, right = relation.fetchall(), plain.sql(meant).fetchall()
    assert got == right
    assert right


@pytest.mark.parametrize(
    ("dialect", "text", "error"),
    [
        ("spark", "SELECT FROM WHERE", "cannot read this as spark"),
        ("postgres", "SELECT nosuch FROM nation", "nosuch"),
        ("snowflake", "SELECT no_such_function(n_name) FROM nation", "no_such_function"),
    ],
)
def test_what_is_wrong(pair: sord.Connection, dialect: str, text: str, error: str) -> None:
    with pytest.raises((sord.Error, duckdb.Error)) as caught:
        pair.sql(text, read=dialect)
    assert error in str(caught.value).lower()
