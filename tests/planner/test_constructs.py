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
    "SELECT a FROM t ORDER BY a LIMIT ALL",
    "WITH RECURSIVE w AS (SELECT a FROM t), z AS (SELECT a + 1 AS a FROM w) SELECT * FROM z",
    "SELECT t.a, u.a, count(*) FROM t, u WHERE t.a = u.a GROUP BY CUBE (t.a, u.a)",
    "SELECT b AS k, s, count(*) FROM t GROUP BY CUBE (1, 2)",
    "SELECT b AS k, s, count(*) FROM t GROUP BY ROLLUP (k, s)",
]


@pytest.mark.parametrize("sql", LITERALS + FUNCTIONS + VALUES + CLAUSES)
def test_constructs(sql: str, database: Database) -> None:
    assert_distributed(database, sql)


REFUSED = {
    "SELECT b, count(*) FROM t GROUP BY GROUPING SETS ((), (b), (1))": "written in two ways",
    "SELECT b AS k, count(*) FROM t GROUP BY CUBE (k, b)": "written in two ways",
    "SELECT b, count(*) FROM t GROUP BY ROLLUP (t.b, b)": "written in two ways",
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
