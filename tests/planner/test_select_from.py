"""FROM, set operations and WITH, distributed: DuckDB decides."""

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


JOINS = [
    "SELECT t.a, u.c FROM t JOIN u USING (a)",
    "SELECT a, t.b, u.c FROM t LEFT JOIN u USING (a)",
    "SELECT a, t.b, u.c FROM t RIGHT JOIN u USING (a)",
    "SELECT a, t.a AS ta, u.a AS ua FROM t FULL JOIN u USING (a)",
    "SELECT * FROM t FULL JOIN u USING (a, s)",
    "SELECT * FROM t JOIN f USING (a)",
    "SELECT a, count(*) FROM t FULL JOIN u USING (a) GROUP BY a",
    "SELECT a, t.s, u.s, y FROM t JOIN u USING (a) LEFT JOIN f USING (a)",
    "SELECT a, x.c, y.c FROM t LEFT JOIN u x USING (a) JOIN u y USING (a) LEFT JOIN f USING (a)",
    "SELECT a, typeof(a), c, y FROM t RIGHT JOIN (SELECT a::BIGINT AS a, c, 1 AS y FROM u) q USING (a)",
    "SELECT a, typeof(a), c FROM t LEFT JOIN (SELECT a::BIGINT AS a, c FROM u) q USING (a)",
    "SELECT * FROM t RIGHT JOIN (SELECT a::VARCHAR AS a, c FROM u) q USING (a) WHERE coalesce(a, 'x') < '3'",
    "SELECT sum(a) FROM t NATURAL JOIN (SELECT a::DECIMAL(9, 2) AS a FROM u) q GROUP BY t.b",
    "SELECT q.*, a FROM t LEFT JOIN (SELECT a, c FROM u) q USING (a)",
    "SELECT a, (SELECT count(*) FROM f WHERE f.a = t.a) FROM t RIGHT JOIN u USING (a)",
    "SELECT a, EXISTS (SELECT 1 FROM f JOIN u USING (a) WHERE a > t.b) FROM t LEFT JOIN u USING (a)",
    "SELECT * FROM t NATURAL JOIN u",
    "SELECT * FROM t NATURAL LEFT JOIN f",
    "SELECT count(*) FROM t CROSS JOIN u",
    "SELECT count(*) FROM t, u WHERE t.a < u.a AND t.b = u.c",
    "SELECT a FROM t SEMI JOIN u ON t.a = u.a",
    "SELECT a FROM t ANTI JOIN u ON t.a = u.a AND u.flag",
    "SELECT * FROM t SEMI JOIN u USING (a)",
    "SELECT * FROM t ANTI JOIN u USING (a)",
    "SELECT t.a, u.a FROM t FULL JOIN u ON t.a < u.a AND t.b = u.c AND t.s <> u.s",
    "SELECT t.a, u.a FROM t LEFT JOIN u ON t.a = u.a OR t.b = u.c",
    "SELECT t.a, x.c FROM t JOIN (u JOIN f ON u.a = f.a) ON t.a = u.a JOIN u AS x ON x.a = t.a",
    "SELECT t.a, u.c, f.y FROM t LEFT JOIN (u JOIN f ON u.a = f.a) ON t.a = u.a",
    "SELECT t.a, u.c, f.y FROM (t LEFT JOIN u ON t.a = u.a) JOIN f ON f.a = t.a",
    "SELECT x.a, y.a FROM t x JOIN t y ON x.b = y.a",
    'SELECT "T".A, "t"."B" FROM T AS "t" WHERE T.a < 5',
    "SELECT main.t.a, memory.main.t.b FROM memory.main.t WHERE main.t.a > 30",
    'SELECT q.p, q."two words" FROM (SELECT a AS p, b AS "two words" FROM t) q',
    "SELECT q.k, q.l FROM (SELECT a, b FROM t) AS q(k, l)",
    "SELECT x.k FROM t AS x(k, l) WHERE x.l = 1",
    "SELECT v.n, t.a FROM v JOIN t ON v.a = t.a",
    "SELECT * FROM e FULL JOIN f USING (a)",
]

SETS = [
    "SELECT a FROM t UNION SELECT a FROM u",
    "SELECT a FROM t UNION ALL SELECT a FROM u UNION ALL SELECT c FROM u UNION ALL SELECT a FROM f",
    "SELECT b FROM t INTERSECT SELECT c FROM u",
    "SELECT b FROM t INTERSECT ALL SELECT c FROM u",
    "SELECT b FROM t EXCEPT SELECT c FROM u",
    "SELECT b FROM t EXCEPT ALL SELECT c FROM u",
    "SELECT a, s FROM t UNION BY NAME SELECT s, c FROM u",
    "SELECT a, s FROM t UNION ALL BY NAME SELECT s, flag FROM u",
    "SELECT a FROM t UNION ALL SELECT x FROM t",
    "SELECT a, NULL AS z FROM t UNION ALL SELECT c, s FROM u",
    "(SELECT a FROM t ORDER BY a LIMIT 3) UNION ALL (SELECT a FROM u ORDER BY a DESC, c LIMIT 2)",
    "SELECT a FROM t UNION SELECT a FROM u ORDER BY a LIMIT 4",
    "SELECT a FROM t UNION ALL SELECT a FROM u ORDER BY -a, a LIMIT 4",
    "SELECT a AS k, b FROM t UNION SELECT a, c FROM u ORDER BY k + b, k, b LIMIT 9",
    "SELECT a FROM t EXCEPT (SELECT a FROM u UNION SELECT a FROM f)",
    "(SELECT a FROM t EXCEPT SELECT a FROM u) INTERSECT SELECT a FROM f",
    "SELECT count(*) FROM (SELECT a FROM t UNION SELECT a FROM u) q",
    "SELECT a FROM t UNION ALL (SELECT c FROM u INTERSECT SELECT b FROM t)",
    "SELECT st FROM n UNION SELECT {'a': 1, 'b': 'x'}",
    "SELECT a FROM t UNION ALL VALUES (1), (NULL)",
    "FROM f UNION ALL FROM f",
    "SELECT a, b FROM t UNION SELECT a, b FROM t ORDER BY ALL",
]

SOURCES = [
    "VALUES (1, 'a'), (2, NULL)",
    "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS w(k, s) JOIN t ON t.a = w.k",
    "WITH w(k) AS (VALUES (1), (2), (NULL)) SELECT t.a, w.k FROM t JOIN w ON t.b = w.k",
    "SELECT * FROM (VALUES (1, 2.5), (2, 3)) q",
    "SELECT id, unnest(l) FROM n",
    "SELECT id, unnest(l) AS x, unnest([1, 2]) FROM n WHERE id > 2",
    "SELECT x, count(*) FROM (SELECT unnest(l) AS x FROM n) GROUP BY x",
    "SELECT id, x FROM n, unnest(l) AS q(x)",
    "SELECT id, q.x FROM n CROSS JOIN unnest(n.l) AS q(x) WHERE q.x > 1",
    "SELECT * FROM unnest([1, 2, 3]) AS q(x)",
    "SELECT t.a, r.i FROM t JOIN range(3) AS r(i) ON t.b = r.i",
    "SELECT range FROM range(2, 9, 3)",
    "SELECT * FROM generate_series(1, 3)",
    "SELECT i, count(t.a) FROM generate_series(0, 5) AS g(i) LEFT JOIN t ON t.b = g.i GROUP BY i",
    "SELECT id, unnest(l) AS x FROM n ORDER BY id, x",
    "SELECT 1 AS one",
    "SELECT id, (SELECT unnest([1])), (SELECT row_number() OVER ()) FROM n",
    "SELECT id, x, y FROM n, unnest(l) AS q(x), unnest([x, x + 1]) AS r(y)",
    "SELECT t.a, i FROM t, range(t.b) AS r(i)",
]

CTES = [
    "WITH c AS (SELECT b, count(*) AS n FROM t GROUP BY b) SELECT x.n, y.b FROM c x JOIN c y ON x.b = y.b",
    "WITH c AS MATERIALIZED (SELECT a, b FROM t) SELECT * FROM c WHERE a > 3",
    "WITH c AS NOT MATERIALIZED (SELECT b, count(*) AS n FROM t GROUP BY b) SELECT * FROM c x JOIN c y ON x.b = y.b",
    "WITH c AS (SELECT a FROM t), c2 AS (SELECT a FROM c WHERE a > 3) SELECT * FROM c2",
    "WITH t AS (SELECT a + 100 AS a FROM t) SELECT a FROM t",
    "WITH c AS (SELECT 1 AS a) SELECT * FROM (WITH c AS (SELECT a FROM t) SELECT a FROM c WHERE a < 3) q, c",
    "WITH c(k, l) AS (SELECT a, b FROM t) SELECT k FROM c WHERE l = 1",
    "SELECT * FROM (WITH c AS (SELECT a FROM t WHERE b = 1) SELECT a FROM c UNION ALL SELECT a FROM c) q",
]


@pytest.mark.parametrize("sql", JOINS)
def test_joins(sql: str, database: Database) -> None:
    assert_distributed(database, sql)


@pytest.mark.parametrize("sql", SETS)
def test_set_operations(sql: str, database: Database) -> None:
    assert_distributed(database, sql)


@pytest.mark.parametrize("sql", SOURCES + CTES)
def test_sources(sql: str, database: Database) -> None:
    assert_distributed(database, sql)


FALLBACKS = {
    "WITH RECURSIVE c AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM c WHERE i < 3) SELECT * FROM c": "RECURSIVE",
    "WITH c AS (SELECT a FROM t), unused AS (SELECT random() FROM t) SELECT a FROM c": "random() is another value",
    "SELECT * FROM (t JOIN f USING (a)) LEFT JOIN u USING (a)": "parenthesised join",
    "SELECT * FROM t JOIN (u JOIN f ON u.a = f.a AND f.y = 1) USING (s)": "parenthesised join",
    "SELECT u.c FROM t, u JOIN f USING (a)": "USING beside a comma",
    "SELECT t.a FROM t ASOF JOIN u ON t.a >= u.a": "ASOF join",
    "SELECT * FROM t POSITIONAL JOIN u": "POSITIONAL join",
    "SELECT * FROM t TABLESAMPLE 10 PERCENT (bernoulli)": "TABLESAMPLE",
    "SELECT a FROM t USING SAMPLE 3 ROWS": "",
    "PIVOT t ON b USING count(*)": "",
    "UNPIVOT (SELECT a, b FROM t) ON a, b INTO NAME k VALUE v": "",
    "SELECT * FROM range(100000000) AS r(i) WHERE i < 3": "a long range() in FROM",
    "SELECT rowid FROM t": "rowid",
    "SELECT name FROM duckdb_settings()": "duckdb_settings() in FROM",
    "SELECT count(*) FROM t, (SELECT random() AS r) q": "random",
    "SUMMARIZE t": "",
}


@pytest.mark.parametrize("sql", FALLBACKS)
def test_what_one_duckdb_answers(sql: str, database: Database) -> None:
    with pytest.raises(Unsupported) as caught:
        plan_query(sql, database.catalog, Options(3))
    assert FALLBACKS[sql] in str(caught.value)
    assert 3 < len(str(caught.value)) < 200
