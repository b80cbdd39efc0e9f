"""Clauses of SELECT, distributed: DuckDB decides."""

from __future__ import annotations

import pytest
from select_tables import assert_distributed, make_tables

from sord.fuzzing.databases import Database


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    return make_tables(tmp_path_factory.mktemp("tables"))


WINDOWS = [
    "SELECT a, row_number() OVER (PARTITION BY b ORDER BY a) FROM t",
    "SELECT a, row_number() OVER (PARTITION BY b ORDER BY a) AS r, sum(a) OVER (PARTITION BY s ORDER BY a) FROM t",
    "SELECT a, sum(b) OVER w, avg(x) OVER w, count(*) OVER (w ORDER BY a) FROM t WINDOW w AS (PARTITION BY s)",
    "SELECT a, first_value(a) OVER v, rank() OVER v FROM t WINDOW w AS (PARTITION BY b), v AS (w ORDER BY s, a)",
    "SELECT a, sum(a) OVER (ORDER BY a ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING) FROM t",
    "SELECT a, sum(a) OVER (ORDER BY b RANGE BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t",
    "SELECT a, count(*) OVER (ORDER BY b GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING) FROM t",
    "SELECT a, sum(a) OVER (ORDER BY a ROWS BETWEEN 2 PRECEDING AND 2 FOLLOWING EXCLUDE CURRENT ROW) FROM t",
    "SELECT a, sum(a) OVER (PARTITION BY s ORDER BY b RANGE UNBOUNDED PRECEDING EXCLUDE TIES) FROM t",
    "SELECT a, sum(a) OVER (ORDER BY d RANGE BETWEEN INTERVAL 60 DAY PRECEDING AND CURRENT ROW) FROM t",
    "SELECT a, lag(a, 2, -1) OVER (PARTITION BY s ORDER BY a), lead(a) OVER (ORDER BY a), ntile(3) OVER "
    "(ORDER BY a) FROM t",
    "SELECT a, first_value(b IGNORE NULLS) OVER (ORDER BY a DESC), nth_value(a, 3) OVER (ORDER BY a) FROM t",
    "SELECT a, last_value(b IGNORE NULLS) OVER (PARTITION BY s ORDER BY a ROWS UNBOUNDED PRECEDING) FROM t",
    "SELECT a, lag(b IGNORE NULLS) OVER (ORDER BY a), lead(b, 1 IGNORE NULLS) OVER (ORDER BY a) FROM t",
    "SELECT a, percent_rank() OVER (ORDER BY b), cume_dist() OVER (ORDER BY b), dense_rank() OVER (ORDER "
    "BY b DESC NULLS LAST) FROM t",
    "SELECT a, count(DISTINCT s) OVER (PARTITION BY b), sum(a) FILTER (WHERE a > 5) OVER (PARTITION BY b) FROM t",
    "SELECT a, list(s ORDER BY a DESC) OVER (PARTITION BY b) FROM t",
    "SELECT a, string_agg(s, ',' ORDER BY a) OVER (PARTITION BY b ORDER BY a) FROM t",
    "SELECT b, sum(count(*)) OVER (ORDER BY b), rank() OVER (ORDER BY sum(a) DESC) FROM t GROUP BY b",
    "SELECT b, s, sum(a), sum(sum(a)) OVER (PARTITION BY b) FROM t GROUP BY b, s",
    "SELECT b, sum(a) / sum(sum(a)) OVER () AS share FROM t GROUP BY b HAVING count(*) > 2",
    "SELECT a, sum(a) OVER (PARTITION BY b + 1) FROM t",
    "SELECT a, sum(a) OVER (PARTITION BY b, s ORDER BY x, a) + 1 AS z FROM t WHERE a < 30 ORDER BY z, a",
    "SELECT DISTINCT b, count(*) OVER (PARTITION BY b) FROM t",
    "SELECT a FROM t ORDER BY row_number() OVER (ORDER BY a DESC) LIMIT 5",
    "SELECT max(r) FROM (SELECT row_number() OVER (PARTITION BY b ORDER BY a) AS r FROM t)",
    "SELECT a, min(a) OVER () FROM e",
    "SELECT a, any_value(s) OVER (PARTITION BY a), median(a) OVER (PARTITION BY b), arg_max(s, a) OVER "
    "(PARTITION BY b) FROM t",
]

QUALIFY = [
    "SELECT a, b FROM t QUALIFY row_number() OVER (PARTITION BY b ORDER BY a) = 1",
    "SELECT a, b, row_number() OVER (PARTITION BY b ORDER BY a) AS r FROM t QUALIFY r <= 2 ORDER BY a",
    "SELECT b, count(*) AS n FROM t GROUP BY b QUALIFY rank() OVER (ORDER BY n DESC, b) <= 2",
    "SELECT b, count(*) FROM t GROUP BY b QUALIFY rank() OVER (ORDER BY count(*) DESC, b) <= 2",
    "SELECT a FROM t WINDOW w AS (PARTITION BY s) QUALIFY sum(a) OVER w > 100 AND count(*) OVER w > 3",
    "SELECT DISTINCT b FROM t QUALIFY count(*) OVER (PARTITION BY b) > 8",
    "SELECT * FROM t QUALIFY row_number() OVER (ORDER BY a DESC) = 1",
]

DISTINCT = [
    "SELECT DISTINCT b, s FROM t",
    "SELECT DISTINCT ON (b) b, a FROM t ORDER BY b, a DESC",
    "SELECT DISTINCT ON (b, s) a, b, s FROM t ORDER BY b, s, a",
    "SELECT DISTINCT ON (b + 1) a FROM t ORDER BY b + 1, a",
    "SELECT DISTINCT ON (b) a FROM t ORDER BY b, a LIMIT 2",
    "SELECT DISTINCT ON (b) a, s FROM t ORDER BY a",
    "SELECT count(*) FROM (SELECT DISTINCT ON (b) a FROM t)",
    "SELECT DISTINCT b FROM t ORDER BY b + 1 DESC",
    "SELECT DISTINCT upper(s) FROM t ORDER BY upper(s)",
    "SELECT DISTINCT b, count(*) FROM t GROUP BY b, s",
    "SELECT DISTINCT b AS z FROM t ORDER BY z LIMIT 2 OFFSET 1",
]

ORDERS = [
    "SELECT b, a FROM t ORDER BY ALL",
    "SELECT b, a FROM t ORDER BY ALL DESC NULLS LAST LIMIT 7",
    "SELECT a FROM t ORDER BY b NULLS FIRST, a DESC LIMIT 5 OFFSET 2",
    "SELECT a FROM t ORDER BY a LIMIT 2 + 3",
    "SELECT a FROM t ORDER BY a FETCH FIRST 3 ROWS ONLY",
    "SELECT a FROM t ORDER BY a OFFSET 35",
    "SELECT a FROM t ORDER BY a LIMIT CAST('3' AS INTEGER)",
    "SELECT a FROM t ORDER BY a LIMIT NULL",
    "SELECT count(*) FROM (SELECT a FROM t LIMIT 5)",
    "SELECT count(*) FROM (SELECT a FROM t LIMIT 0)",
    "SELECT sum(a) FROM (SELECT a FROM t ORDER BY a DESC LIMIT 3)",
    "SELECT (SELECT a FROM t ORDER BY a DESC LIMIT 1) AS m, c FROM u",
    "SELECT a, b AS k FROM t ORDER BY k DESC, 1",
    "SELECT a + 1 AS a FROM t ORDER BY a DESC LIMIT 3",
    "SELECT a FROM t ORDER BY x DESC, a",
]

ALIASES = [
    "SELECT a + 1 AS p, p * 2 AS q, q - p AS r FROM t",
    "SELECT a % 3 AS p, count(*) FROM t GROUP BY p",
    "SELECT a % 3 AS p FROM t WHERE p = 1",
    "SELECT b AS p, sum(a) AS z FROM t GROUP BY p HAVING z > 50",
    "SELECT a AS b, b AS c, c + 1 AS z FROM t WHERE b > 1",
    "SELECT b + 1 AS k, sum(a) AS z, z * 2 AS twice FROM t GROUP BY k ORDER BY twice",
    "SELECT sum(a) AS z, z / count(*) FROM t",
    "SELECT b, s, count(*) FROM t GROUP BY ALL ORDER BY ALL",
    "SELECT b + 1, max(a) - min(a) FROM t GROUP BY ALL",
    "SELECT b, count(*) FROM t GROUP BY 1 ORDER BY 2, 1",
    # columns go before aliases of their name
    "SELECT a + 1 AS a, a * 2 AS c FROM t",
    "SELECT -a AS b FROM t WHERE b > 1",
    "SELECT -a AS b FROM t QUALIFY row_number() OVER (ORDER BY b, a) < 5",
    "SELECT max(a) AS b, count(*) FROM t GROUP BY s HAVING b > 10",
]

STARS = [
    "FROM t",
    "FROM t SELECT a, b WHERE a > 30",
    "FROM t LIMIT 0",
    "SELECT * EXCLUDE (a, ts) FROM t",
    "SELECT * EXCLUDE a FROM t",
    "SELECT * REPLACE (a + 1 AS a, upper(s) AS s) FROM t",
    "SELECT * EXCLUDE (x) REPLACE (b * 2 AS b) FROM t",
    "SELECT * RENAME (a AS first) FROM t",
    "SELECT t.* EXCLUDE (a), u.a AS ua FROM t JOIN u ON t.a = u.a",
    "SELECT COLUMNS('a|b') FROM t",
    "SELECT COLUMNS(lambda c: c LIKE 't%') FROM t",
    "SELECT COLUMNS(['a', 'b']) FROM t",
    "SELECT COLUMNS(* EXCLUDE (x, d, ts, s)) + 1 FROM t",
    "SELECT min(COLUMNS(*)), max(COLUMNS('a|b')) FROM t",
    "SELECT a, COLUMNS('b|s') FROM t WHERE a < 9",
    "SELECT * FROM (SELECT min(COLUMNS('a|b')) FROM t)",
    "SELECT count(*) FROM (SELECT *, a AS a2 FROM t) WHERE a2 > 3",
    "SELECT *, * FROM f",
]


@pytest.mark.parametrize("sql", WINDOWS + QUALIFY)
def test_windows(sql: str, database: Database) -> None:
    assert_distributed(database, sql)


@pytest.mark.parametrize("sql", DISTINCT + ORDERS)
def test_distinct_order_and_limit(sql: str, database: Database) -> None:
    assert_distributed(database, sql)


@pytest.mark.parametrize("sql", ALIASES + STARS)
def test_names(sql: str, database: Database) -> None:
    assert_distributed(database, sql)
