"""What people write in DuckDB's SQL and in no other, distributed: DuckDB decides."""

from __future__ import annotations

import pytest
from select_tables import assert_distributed, make_tables

from sord.fuzzing.databases import Database
from sord.planner.catalog import Unsupported
from sord.planner.context import Options
from sord.planner.physical import plan_query


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    return make_tables(tmp_path_factory.mktemp("tables"))


LITERALS = [
    "SELECT a, x'AB', X'00ff', B'101', '\\xAA\\x00b'::BLOB || x'01' FROM t",
    "SELECT a FROM t WHERE encode(s) = x'61'",
    "SELECT typeof(.5), typeof(5.), -.5, a*.5, a+.5, a FROM t WHERE a > .5",
    "SELECT INTERVAL '1.5 days' AS i, ts + INTERVAL '1 day ago', ts - INTERVAL '01:30:00', INTERVAL '-3 months' FROM t",
    "SELECT a::VARCHAR(3), CAST(s AS CHAR(2)), a::NUMERIC(10), a::NUMERIC, a::DECIMAL FROM t",
    "SELECT a, b IS NOT NULL AS k, (a, b) IS NOT DISTINCT FROM (1, 1) AS same FROM t",
]

FUNCTIONS = [
    "SELECT a, log2(a + 1), log10(a + 1), log(2, a + 1) FROM t",
    "SELECT sum(log2(a + 1)) FROM t WHERE log10(a + 1) > 0.5",
    "SELECT a, date_add(d, INTERVAL 1 DAY), date_add(ts, INTERVAL 1 MONTH) FROM t",
    "SELECT jaro_winkler_similarity(s, 'ab', 0.5), decode(encode(s), 'strict') FROM t WHERE s IS NOT NULL",
    "SELECT to_json(st) ->> 'b', to_json(st) -> '$.a', to_json(l) -> 0 ->> 0, to_json(l)->>-1 FROM n",
    "SELECT json_extract(to_json(st), 'a'), json_extract_string(to_json(st), 'b') FROM n",
    "SELECT id FROM n WHERE to_json(st) ->> 'a' = '1'",
    "SELECT '{\"a\": {\"b c\": 1}}'::JSON -> 'a' ->> 'b c' FROM f",
    # methods
    "SELECT l.list_sum(), n.l.len(), l[1].add(1).subtract(2) FROM n",
    "SELECT k.upper() FROM (SELECT s AS q, y AS k FROM t JOIN f USING (a))",
    "SELECT s.upper() FROM (SELECT s AS q, y AS s FROM t JOIN f USING (a))",
    "SELECT t1.s.upper(), t2.s.lower() FROM t AS t1 JOIN t AS t2 ON t1.a = t2.b",
    "SELECT s.upper().lower().length() AS k, count(*) FROM t GROUP BY k",
    "SELECT l.list_transform(lambda x: x.add(id)).list_sum(), st.b.upper(), [x.add(1) FOR x IN l].len() FROM n",
]

VALUES = [
    "VALUES (1), (3), (2) ORDER BY col0 LIMIT 2 OFFSET 1",
    "VALUES (1, NULL), (3, 'x') ORDER BY 1 DESC",
    "VALUES (1) UNION VALUES (2) ORDER BY 1",
    "(VALUES (1), (2)) UNION ALL SELECT a FROM t",
    "SELECT a, (VALUES (1)) FROM t",
    "SELECT a FROM t WHERE a IN (VALUES (1), (2), (NULL))",
    "SELECT a FROM t WHERE a NOT IN (VALUES (1), (2))",
    "SELECT a FROM t WHERE (a, b) IN (VALUES (1, 1), (2, 2))",
]

CLAUSES = [
    "WITH RECURSIVE w AS (SELECT a FROM t), z AS (SELECT a + 1 AS a FROM w) SELECT * FROM z",
    "SELECT t.a, u.a, count(*) FROM t, u WHERE t.a = u.a GROUP BY CUBE (t.a, u.a)",
    "SELECT b AS k, s, count(*) FROM t GROUP BY CUBE (1, 2)",
    "SELECT b AS k, s, count(*) FROM t GROUP BY ROLLUP (k, s)",
    "SELECT b, s, GROUPING_ID(), GROUPING_ID(b, s), GROUPING(b) FROM t GROUP BY ROLLUP (b, s)",
    "SELECT b AS k, s, GROUPING_ID() FROM t GROUP BY GROUPING SETS ((k), (s)), CUBE (a % 2)",
    "SELECT b, s, GROUPING_ID() AS g FROM t GROUP BY GROUPING SETS ((2), (1, 2), ()) HAVING GROUPING_ID() > 0",
    "SELECT b, count(*) FROM t GROUP BY b HAVING GROUPING_ID() = 0",
]

WHOLE_ROWS = [
    "SELECT t FROM t",
    "SELECT to_json(t), u.c FROM t JOIN u ON t.a = u.a",
    "SELECT t, f FROM t FULL JOIN f USING (a)",
    "SELECT t IS NULL, count(t), count(*) FROM u LEFT JOIN t ON t.a = u.a + 100 GROUP BY ALL",
    "SELECT f, count(*) FROM f GROUP BY f ORDER BY f",
    "SELECT count(DISTINCT t), max(t) FROM t",
    "SELECT t.b, list(t ORDER BY t.a)[1].s FROM t GROUP BY t.b",
    "SELECT a, (SELECT f FROM f WHERE f.a = t.a LIMIT 1) FROM t",
    "SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE to_json(u) = to_json(t))",
    'SELECT q FROM (SELECT a AS "it\'s", b AS "x y" FROM t) AS q',
    "WITH w AS (SELECT b, count(*) AS n FROM t GROUP BY b) SELECT w, w.n FROM w",
    "SELECT x.n FROM (SELECT v AS x FROM v)",
    "SELECT q.a FROM (SELECT t AS q FROM t)",
]

ROWS_IN = [
    "SELECT a FROM t WHERE (a, b) NOT IN (SELECT a, c FROM u)",
    "SELECT a FROM t WHERE (b, s) NOT IN (SELECT c, upper(s) FROM u WHERE c < 3)",
    "SELECT a FROM t WHERE (b + 1, s, a) NOT IN (SELECT c, s, a FROM u WHERE c < 3) AND a > 2",
    "SELECT a FROM t WHERE (a, b) NOT IN (SELECT a, c FROM e)",
    "SELECT a, (b, s) IN (SELECT c, s FROM u) AS k FROM t",
    "SELECT a, (b, s) IN (SELECT c, s FROM u WHERE c > 2) AS k FROM t ORDER BY k, a",
    "SELECT a, (b, b) NOT IN (SELECT c, c FROM u) FROM t",
    "SELECT a, (b > 1, b) IN (SELECT flag, c FROM u) FROM t",
    "SELECT a FROM t WHERE NOT ((b, s) IN (SELECT c, s FROM u)) OR a < 3",
    "SELECT b, count(*) FROM t GROUP BY b HAVING (b, count(*)) NOT IN (SELECT c, count(*) FROM u GROUP BY c)",
    "SELECT a FROM t WHERE (NULL, b) NOT IN (SELECT a, c FROM u)",
]

LIMITS = [
    "SELECT a FROM t ORDER BY a LIMIT ALL",
    "SELECT a FROM t ORDER BY a LIMIT 10% OFFSET 2",
    "SELECT b, a FROM t ORDER BY b, a LIMIT 33.3 PERCENT",
    "SELECT a FROM t ORDER BY a LIMIT 50% OFFSET (SELECT 30)",
    "SELECT count(*) FROM (SELECT a FROM t LIMIT 25%)",
    "(SELECT a FROM t) UNION ALL (SELECT a FROM u) ORDER BY 1 LIMIT 5%",
    "SELECT DISTINCT b FROM t ORDER BY b DESC LIMIT 50%",
    "SELECT a FROM e LIMIT 10%",
    "SELECT a AS z FROM t ORDER BY b + 1, a LIMIT (SELECT min(c) + 3 FROM u) OFFSET (SELECT 2)",
    "SELECT a FROM t ORDER BY a LIMIT (SELECT 1 WHERE false) OFFSET 38",
    "SELECT DISTINCT ON (b) b, a FROM t ORDER BY b, a LIMIT (SELECT 2)",
    "SELECT count(*) FROM (SELECT a FROM t LIMIT (SELECT 3) OFFSET 1)",
    "SELECT a FROM t LIMIT (SELECT a FROM u)",
]

COLUMNS = [
    "SELECT * LIKE 'a%' FROM t",
    "SELECT t.* NOT LIKE '%s', * ILIKE 'S', * SIMILAR TO 'a|b', * GLOB 't*' FROM t",
    "SELECT * EXCLUDE (a) LIKE 's%' FROM t",
    "SELECT u.* LIKE 'a%', t.* NOT LIKE '%s' FROM t JOIN u ON t.a = u.a",
    "SELECT count(*) FROM t WHERE COLUMNS(*) IS NOT NULL",
    "SELECT a FROM t WHERE COLUMNS('a|b') > 1 OR s = 'a'",
    "SELECT a FROM t WHERE COLUMNS(lambda c: c IN ('a', 'b')) > 2 AND a < 30",
    "SELECT t.a FROM t JOIN u ON t.a = u.a WHERE COLUMNS(u.*) IS NOT NULL",
    "SELECT a FROM t WHERE a IN (SELECT a FROM u WHERE COLUMNS(*) IS NOT NULL)",
    "SELECT coalesce(*COLUMNS('a|b')), greatest(*COLUMNS(['a', 'b']), 5), list_value(*COLUMNS('a|b')) FROM t",
    "SELECT max(COLUMNS(u.*)) FROM t JOIN u ON t.a = u.a",
    "SELECT id, st.*, st.* EXCLUDE (a) FROM n",
    "SELECT f.* FROM (SELECT f FROM f) AS q",
]

ARRAYS = [
    "SELECT ARRAY(SELECT a FROM u ORDER BY flag, a)[2:4], ARRAY(SELECT a FROM e)",
    "SELECT a, ARRAY(SELECT u.a FROM u WHERE u.c = t.b ORDER BY u.a) FROM t",
    "SELECT a, ARRAY(SELECT 'x' AS s FROM u WHERE u.c = t.b ORDER BY 1) FROM t",
    "SELECT a, ARRAY(SELECT -u.a AS a FROM u WHERE u.c = t.b ORDER BY a) FROM t",
    "SELECT a, ARRAY(SELECT -u.a AS k FROM u WHERE u.c = t.b ORDER BY k) FROM t",
    "SELECT a, ARRAY(SELECT DISTINCT u.s FROM u WHERE u.c = t.b ORDER BY u.s) FROM t",
    "SELECT a, ARRAY(SELECT c FROM u WHERE u.a < t.a ORDER BY 1, u.a DESC LIMIT 2) FROM t",
    "SELECT ARRAY(SELECT c FROM u UNION SELECT b FROM t ORDER BY c DESC LIMIT 2)",
    "SELECT ARRAY(SELECT max(a) FROM u GROUP BY c ORDER BY 1)",
    "SELECT b, list(len(ARRAY(SELECT 1 FROM u WHERE u.a = t.a)) ORDER BY a) FROM t GROUP BY b",
    "SELECT id, ARRAY(SELECT x + 1 FROM unnest(l) AS z(x) ORDER BY x) FROM n",
    "SELECT a FROM t WHERE len(ARRAY(SELECT 1 FROM u WHERE u.a = t.a)) > 0",
]

USING = [
    "SELECT * FROM t FULL JOIN u USING (a) FULL JOIN f USING (a)",
    "SELECT a, t.a, u.a, f.a, typeof(a) FROM t FULL JOIN u USING (a) FULL JOIN f USING (a) WHERE a > 3 ORDER BY a",
    "SELECT typeof(a), b, y FROM t RIGHT JOIN u USING (a) LEFT JOIN f USING (a)",
    "SELECT a, b, y FROM t RIGHT JOIN u USING (a) FULL JOIN f USING (a)",
    "SELECT a, b, y FROM t FULL JOIN u USING (a) RIGHT JOIN f USING (a)",
    "SELECT a, b, y FROM t FULL JOIN u USING (a) JOIN f USING (a)",
    "SELECT * FROM t JOIN u USING (a) RIGHT JOIN f USING (a)",
    "SELECT * FROM t FULL JOIN u USING (a) SEMI JOIN f USING (a)",
    "SELECT * FROM t FULL JOIN f USING (a) ANTI JOIN u USING (a, s)",
    "SELECT * FROM t NATURAL RIGHT JOIN u NATURAL FULL JOIN f",
    "SELECT * FROM t SEMI JOIN u ON t.a = u.c NATURAL JOIN f",
    "SELECT x FROM (SELECT x, a FROM t) q FULL JOIN (SELECT x, b FROM t) r USING (x) FULL JOIN f ON f.a = r.b",
    "SELECT (SELECT max(z.c) FROM u AS z WHERE z.c = b) FROM t JOIN f USING (a) LEFT JOIN u USING (a)",
    "SELECT a, count(*) FROM t FULL JOIN u USING (a) FULL JOIN f USING (a) GROUP BY a HAVING a IS NOT NULL",
    "FROM t JOIN f USING (a) LEFT JOIN u USING (a) SELECT a, y",
    "FROM t, f SELECT t.a WHERE t.a = f.a",
]


@pytest.mark.parametrize("sql", USING)
def test_using(sql: str, database: Database) -> None:
    assert_distributed(database, sql)


@pytest.mark.parametrize("sql", COLUMNS + ARRAYS)
def test_columns_and_arrays(sql: str, database: Database) -> None:
    assert_distributed(database, sql)


@pytest.mark.parametrize("sql", WHOLE_ROWS + ROWS_IN + LIMITS)
def test_rows(sql: str, database: Database) -> None:
    assert_distributed(database, sql)


@pytest.mark.parametrize("sql", LITERALS + FUNCTIONS + VALUES + CLAUSES)
def test_constructs(sql: str, database: Database) -> None:
    assert_distributed(database, sql)


REFUSED = {
    "SELECT b, count(*) FROM t GROUP BY GROUPING SETS ((), (b), (1))": "written in two ways",
    "SELECT b AS k, count(*) FROM t GROUP BY CUBE (k, b)": "written in two ways",
    "SELECT b, count(*) FROM t GROUP BY ROLLUP (t.b, b)": "written in two ways",
    "SELECT Q FROM (SELECT a AS Big FROM t) AS q(Other)": "capital letters",
    "SELECT q FROM (SELECT b, count(*) FROM t GROUP BY b) AS q": "a column that nobody named",
    "SELECT q FROM (SELECT a, a FROM t) AS q": "one name twice",
    "SELECT * LIKE 's%' FROM t JOIN u USING (a)": "COLUMNS over columns of one name",
    "SELECT ARRAY(SELECT -a AS k FROM u ORDER BY k LIMIT 3)": "cut by its alias",
    "SELECT q FROM (SELECT * FROM t NATURAL JOIN f JOIN u ON t.a = u.c) AS q": "a star over USING and other joins",
    "SELECT COLUMNS(* REPLACE (a + 1 AS a)) FROM f": "COLUMNS of a star with REPLACE",
    "SELECT '{\"c.d\": 2}'::JSON -> 'c.d' FROM f": "otherwise than DuckDB",
    "WITH RECURSIVE w AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM w WHERE a < 4) SELECT * FROM w": "RECURSIVE",
}
"""What sord would answer otherwise than DuckDB, and the reason that it gives for not trying."""


@pytest.mark.parametrize("sql", REFUSED)
def test_refused(sql: str, database: Database) -> None:
    database.connection.sql(sql)
    with pytest.raises(Unsupported, match=REFUSED[sql]):
        plan_query(sql, database.catalog, Options(2))
