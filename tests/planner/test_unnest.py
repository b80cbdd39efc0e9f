"""UNNEST and series wherever SQL lets them stand, distributed: DuckDB decides."""

from __future__ import annotations

import pytest
from select_tables import assert_distributed, make_tables

from sord.fuzzing.databases import Database
from sord.planner.catalog import Unsupported
from sord.planner.context import Options
from sord.planner.estimate import Estimator
from sord.planner.format import format_plan
from sord.planner.physical import plan_query


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    return make_tables(tmp_path_factory.mktemp("tables"))


LATERAL = [
    "SELECT id, q.x, t.a FROM n, t, unnest(l) AS q(x) WHERE t.a = id",
    "SELECT id, q.x, t.a FROM n, t, unnest(l) AS q(x) WHERE t.a = q.x",
    "SELECT id, q.x, t.a FROM n, unnest(l) AS q(x), t WHERE t.a = q.x",
    "SELECT id, x FROM n CROSS JOIN LATERAL UNNEST(n.l) AS u(x)",
    "SELECT id, x FROM n, LATERAL UNNEST(n.l) AS u(x)",
    "SELECT id, x FROM n, LATERAL (SELECT unnest(n.l)) AS u(x)",
    "SELECT id, x FROM n LEFT JOIN UNNEST(n.l) AS u(x) ON true",
    "SELECT id, x FROM n LEFT JOIN LATERAL UNNEST(n.l) AS u(x) ON x > 1",
    "SELECT id, x FROM n JOIN LATERAL UNNEST(n.l) AS u(x) ON u.x = n.id",
    "SELECT id, q.* FROM n LEFT JOIN LATERAL (SELECT unnest(n.l) AS x, n.id AS z) q ON true",
    "SELECT id, q.* FROM n LEFT JOIN LATERAL (SELECT unnest(n.l) AS x, unnest([n.id]) AS z) q ON true",
    "SELECT id, q.* FROM n LEFT JOIN LATERAL (SELECT x + id AS y, id AS z FROM unnest(n.l) u(x)) q ON q.y > 3",
    "SELECT id, q.* FROM n, LATERAL (SELECT x + id AS y FROM unnest(n.l) u(x) WHERE x > 1) q",
    "SELECT id, q.* FROM n, LATERAL (SELECT sum(x) AS s, count(*) AS c FROM unnest(n.l) u(x)) q",
    "SELECT id, q.* FROM n LEFT JOIN LATERAL (SELECT x, count(*) FROM unnest(n.l) u(x) GROUP BY x) q ON true",
    "SELECT id, q.* FROM n, LATERAL (SELECT x FROM unnest(n.l) u(x) ORDER BY x DESC LIMIT 2) q",
    "SELECT id, q.* FROM n, LATERAL (SELECT x, row_number() OVER (ORDER BY x) FROM unnest(n.l) u(x)) q",
    "SELECT id, x FROM n JOIN LATERAL (SELECT unnest(l) AS x UNION ALL SELECT id) q ON true",
    "SELECT x, x2 FROM n, unnest(l) q(x) LEFT JOIN LATERAL (SELECT q.x * 2 AS x2) w ON true",
    "SELECT a.id, b.id, q.x FROM n a, n b JOIN unnest(a.l) q(x) ON q.x = b.id",
    "SELECT a.id, b.id, x, y FROM n a, unnest(a.l) AS u(x), n b, unnest(b.l) AS w(y) WHERE x = y",
    "SELECT id, x FROM (SELECT id % 3 AS id, list(id) AS l FROM n GROUP BY 1) s, unnest(s.l) AS u(x)",
    "SELECT id, x, y FROM n LEFT JOIN unnest(l) q(x) ON x > id LEFT JOIN unnest([x, id]) w(y) ON y = x",
]

UNQUALIFIED = [
    "SELECT x, y FROM n, unnest(l) u(x), (SELECT x + 1 AS y) q",
    "SELECT id, x, y FROM n, (SELECT unnest(l) AS x, unnest([id]) AS y) q",
    "SELECT id, q.m FROM n, (SELECT max(a) AS m FROM t WHERE b = id) q",
    "SELECT id, q.x FROM n, (SELECT x + 1 AS x FROM unnest(l) u(x) WHERE x > 1) q",
    "SELECT (SELECT id FROM (SELECT x AS q) z) FROM n, unnest(l) u(x)",
]

JOINS = [
    "SELECT * FROM t JOIN u USING (a) CROSS JOIN unnest([1, 2]) q(z)",
    "SELECT a, z FROM t LEFT JOIN u USING (a) CROSS JOIN unnest([t.b, 2]) q(z)",
    "SELECT * FROM t CROSS JOIN unnest([1, 2]) q(z) LEFT JOIN u USING (a)",
    "SELECT a, q.a FROM t FULL JOIN range(60) q(a) USING (a)",
    "SELECT id, q.x, t.b FROM n, unnest(n.l) AS q(x) JOIN t ON t.a = q.x",
    "SELECT id, q.x, t.b FROM n CROSS JOIN unnest(n.l) AS q(x) LEFT JOIN t ON t.a = q.x",
    "SELECT id, q.x, t.b FROM n CROSS JOIN unnest(n.l) AS q(x) RIGHT JOIN t ON t.a = q.x",
    "SELECT id, q.x, t.b FROM n CROSS JOIN unnest(n.l) AS q(x) FULL JOIN t ON t.a = q.x",
    "SELECT id, q.x, t.b FROM n, unnest([1, 2]) AS q(x) RIGHT JOIN t ON t.a = q.x",
    "SELECT id, q.x FROM n FULL JOIN unnest([1, 2, NULL, 99]) AS q(x) ON n.id = q.x",
    "SELECT t.a, r.i FROM t RIGHT JOIN range(6) AS r(i) ON t.b = r.i",
    "SELECT t.a, r.i FROM range(6) AS r(i) FULL JOIN t ON t.b = r.i",
    "SELECT t.a, r.i FROM t RIGHT JOIN u ON t.a = u.a, range(3) AS r(i)",
    "SELECT n.id, q.x, t.a FROM t FULL JOIN n ON t.a = n.id LEFT JOIN unnest(n.l) AS q(x) ON true",
    "SELECT n.id, q.x, t.a FROM t RIGHT JOIN n ON t.a = n.id CROSS JOIN unnest(n.l) AS q(x)",
    "SELECT id FROM n ANTI JOIN range(4) AS u(x) ON n.id = x",
    "SELECT a, i FROM t LEFT JOIN LATERAL generate_series(1, t.b) AS r(i) ON true",
    "SELECT a, i FROM t LEFT JOIN range(b) g(i) ON true WHERE i IS NULL",
    "SELECT a, i FROM t JOIN range(t.b) AS r(i) ON r.i > 1",
    "SELECT d, i FROM t, generate_series(d, d + INTERVAL 3 DAY, INTERVAL 1 DAY) AS r(i)",
    "SELECT id, i FROM n, generate_series(id, 0, -5) r(i)",
    "SELECT t.a, q.w FROM t LEFT JOIN u ON t.a = u.a, unnest([t.b, u.c]) q(w) WHERE u.c IS NULL",
]

SUBQUERIES = [
    "SELECT id, (SELECT sum(x) FROM unnest(n.l) AS q(x)) FROM n",
    "SELECT id, (SELECT max(x) FROM (SELECT unnest(n.l) AS x)) FROM n",
    "SELECT id, (SELECT list(x ORDER BY x) FROM unnest(n.l) AS q(x)) FROM n",
    "SELECT id, (SELECT x FROM unnest(n.l) AS q(x) ORDER BY x LIMIT 1) FROM n",
    "SELECT id, (SELECT count(*) FROM unnest(n.l) q(x), t WHERE t.a = q.x) FROM n",
    "SELECT id, (SELECT count(*) FROM t, unnest([t.a, n.id]) q(y) WHERE y > 3) FROM n",
    "SELECT id FROM n WHERE EXISTS (SELECT 1 FROM unnest(n.l) AS q(x) WHERE x > 2)",
    "SELECT id FROM n WHERE NOT EXISTS (SELECT unnest(n.l))",
    "SELECT id, id IN (SELECT unnest(l)), id NOT IN (SELECT unnest(l)) FROM n",
    "SELECT id FROM n WHERE 3 IN (SELECT unnest(n.l)) OR id = 4",
    "SELECT id FROM n WHERE NOT 3 = ANY(l)",
    "SELECT id, id = ANY(l), id < ALL(l), id <> ALL(l), id >= ANY(l) FROM n",
    "SELECT a, (SELECT count(*) FROM n, unnest(l) AS q(x) WHERE q.x = t.a) FROM t",
    "SELECT a, (SELECT list(i ORDER BY i) FROM range(t.b) g(i)) FROM t",
    "SELECT s.g, (SELECT sum(x) FROM unnest(s.l) q(x)) FROM (SELECT b AS g, list(a) AS l FROM t GROUP BY b) s",
    "SELECT id, x FROM n, unnest((SELECT list(a ORDER BY a) FROM t WHERE t.b = n.id)) AS q(x)",
    "SELECT i FROM range((SELECT count(*) FROM n)) AS r(i)",
]

STRUCTS = [
    "SELECT id, unnest(st) AS q, unnest(l), id + 1 AS z FROM n ORDER BY 5, 1, 4",
    "SELECT a, count(*) FROM (SELECT unnest(st) FROM n) GROUP BY a",
    "SELECT q.* FROM (SELECT id, unnest(st) FROM n) q JOIN t ON t.a = q.a AND q.b = 'x'",
    "SELECT id % 2 AS g, unnest(max({'m': id, 'n': 1})) FROM n GROUP BY g",
    "SELECT unnest(st), count(*) FROM n GROUP BY st",
    "SELECT unnest(row(id, 'x')) FROM n",
    "SELECT n.*, st.* FROM n",
    "SELECT a, b FROM (SELECT id, x.* FROM n, unnest([st]) AS u(x)) q WHERE a > 0",
    "SELECT id, unnest([st, NULL], recursive := true) FROM n",
    "SELECT unnest({'a': {'b': id, 'c': l}, 'd': [id]}, recursive := true, keep_parent_names := true) FROM n",
    "SELECT unnest([{'a': {'b': id, 'c': 2}, 'd': [1]}], max_depth := 2) FROM n",
    "SELECT unnest([[1, 2], [id], NULL, []], recursive := true), unnest(['a', 'b']) FROM n",
    "SELECT unnest([[1, id], [3]], recursive := true), unnest([[[7]], [[id]]], recursive := true) FROM n",
    "SELECT unnest([[l], [l]], max_depth := 2), unnest([l, NULL, l], recursive := true) + 1 FROM n",
    "SELECT id, key, value FROM (SELECT id, unnest(map_entries(m), max_depth := 2) FROM n)",
    "WITH c AS (SELECT unnest([st], recursive := true) FROM n), d AS (SELECT unnest({'k': a}) FROM c) "
    "SELECT k, count(*) FROM d GROUP BY k",
    "SELECT id, e.b FROM n, unnest([st]) AS e WHERE e.a > 0",
]

NAMES = [
    "SELECT * FROM unnest(['a', 'b']) WITH ORDINALITY",
    "SELECT id, x, o FROM n LEFT JOIN LATERAL unnest(l) WITH ORDINALITY AS q(x, o) ON o = 2",
    "SELECT id, x, q.ordinality FROM n LEFT JOIN unnest(l) WITH ORDINALITY AS q(x) ON true",
    "SELECT * FROM n, range(id) WITH ORDINALITY AS r(i, o)",
    "SELECT r, r.range FROM range(3) r",
    "SELECT id, u, u.unnest, u.u FROM n, unnest(l) AS u",
    "SELECT * FROM n, unnest(l)",
]

LISTS = [
    "SELECT unnest(l) AS x, count(*), sum(id) FROM n GROUP BY x",
    "SELECT unnest(l) + 1 AS x, unnest([1, 2]), count(*) FROM n GROUP BY 1 HAVING count(*) > 1",
    "SELECT unnest(l) AS x, id % 2 AS g, count(*) FROM n GROUP BY ROLLUP (x, g)",
    "SELECT b, unnest(list(DISTINCT a)) AS x, count(*) FROM t GROUP BY b",
    "SELECT b + 1 AS c, unnest([b + 1, 5]) FROM t GROUP BY c",
    "SELECT id, unnest(l) AS x, generate_subscripts(l, 1) AS o FROM n",
    "SELECT id, unnest(l), unnest([1, 2, 3, 4]), unnest(l) FROM n",
    "SELECT unnest(NULL), unnest([]), unnest(NULL::INT[]), unnest([]::INT[]), unnest([1, NULL]) FROM n",
    "SELECT DISTINCT ON (x) unnest(l) AS x, id FROM n ORDER BY x, id",
    "SELECT id, unnest(l) AS x, row_number() OVER (ORDER BY id) AS r FROM n ORDER BY id, x LIMIT 5 OFFSET 2",
    "SELECT id FROM n ORDER BY unnest(l)",
    "SELECT regexp_split_to_table(s, 'b'), a FROM t",
    "SELECT id, unnest(flatten(list(l))) AS x FROM n GROUP BY id",
]


@pytest.mark.parametrize("sql", LATERAL + UNQUALIFIED + JOINS)
def test_in_from(sql: str, database: Database) -> None:
    assert_distributed(database, sql)


@pytest.mark.parametrize("sql", SUBQUERIES)
def test_of_outer_queries(sql: str, database: Database) -> None:
    assert_distributed(database, sql)


@pytest.mark.parametrize("sql", STRUCTS + NAMES + LISTS)
def test_in_select_lists(sql: str, database: Database) -> None:
    assert_distributed(database, sql)


FALLBACKS = {
    "SELECT q.a FROM n, (SELECT id + 1 AS a, (SELECT a) AS b) q": "could not be resolved",
    "SELECT unnest FROM unnest([1]) u": "a column called unnest",
    "SELECT DISTINCT unnest(st) FROM n": "UNNEST of a struct in SELECT DISTINCT",
    "SELECT id, q FROM n, unnest(l) WITH ORDINALITY AS q": "a row of UNNEST WITH ORDINALITY",
    "SELECT id, (SELECT count(*) FROM (SELECT unnest(n.st))) FROM n": "UNNEST of a struct",
    "SELECT id, q.a FROM n, LATERAL (SELECT unnest([n.st], recursive := true)) q": "recursive UNNEST in a correlated",
}


@pytest.mark.parametrize("sql", FALLBACKS)
def test_what_one_duckdb_answers(sql: str, database: Database) -> None:
    with pytest.raises(Unsupported) as caught:
        plan_query(sql, database.catalog, Options(3))
    assert FALLBACKS[sql] in str(caught.value)


SIZES = {
    "SELECT id, x FROM n, unnest(l) AS q(x)": 12 * 2,
    "SELECT id, unnest(l), generate_subscripts(l, 1) FROM n": 12 * 2,
    "SELECT id, x, o FROM n LEFT JOIN unnest(l) WITH ORDINALITY AS q(x, o) ON true": 12 * 2,
    "SELECT a, unnest([a, b, 3]) FROM t": 40 * 3,
    "SELECT a, i FROM t, range(-2, 10, 4) AS r(i)": 40 * 3,
    "SELECT id, unnest(list_sort(l)) FROM n": 12 * 4,
}
"""Footers say how many elements the lists of a column have; of others four are expected."""


@pytest.mark.parametrize("sql", SIZES)
def test_rows_are_estimated_by_the_sizes_of_lists(sql: str, database: Database) -> None:
    plan = plan_query(sql, database.catalog, Options(3))
    assert Estimator()(plan.logical).rows == SIZES[sql]


def test_a_lateral_unnest_is_no_join(database: Database) -> None:
    plan = plan_query("SELECT id, x FROM n LEFT JOIN unnest(l) AS q(x) ON true", database.catalog, Options(3))
    assert "Join" not in format_plan(plan)
