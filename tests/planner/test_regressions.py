"""Queries that were once answered wrongly, or broke the planner, over tables small enough to think about."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sord.catalog import Catalog
from sord.fuzzing.checking import Report, check
from sord.fuzzing.databases import Database
from sord.planner.catalog import Unsupported
from sord.planner.context import Options
from sord.planner.physical import plan_query

SHUFFLE = {"scan": 1e3, "stage": 0.0, "build": 1.0, "few_rows": -1, "small": -1.0, "split": -1.0, "push": 0.0}
"""Move both sides of joins, and groups, to other workers."""
SPLIT = {**SHUFFLE, "split": 1e9, "push": 1e9}
"""And aggregate before moving."""
BROADCAST = {"scan": 1e3, "stage": 1e3}
REPLICATE = {"scan": 0.0, "stage": 1e3}
ADAPT = {"surprise": 1.0, "replan": -1.0, "reorder": -math.inf, "share": math.inf}
"""Plan anew after every fragment."""
COSTS: dict[str, dict[str, float]] = {
    "default": {},
    "shuffle": SHUFFLE,
    "split": SPLIT,
    "broadcast": BROADCAST,
    "replicate": REPLICATE,
    "adapt": {**SHUFFLE, **ADAPT},
    "adapt, split": {**SPLIT, **ADAPT},
    "adapt, replicate": {"scan": 0.0, "build": 1.0, "sort_at_client": -1.0, **ADAPT},
}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """``t`` and ``u`` are clustered by ``k``, each otherwise; ``v`` is not; ``e`` is empty; ``f`` is at the client."""
    folder = tmp_path_factory.mktemp("tables")
    connection = duckdb.connect()
    connection.execute("SET arrow_lossless_conversion = true")
    connection.execute("SET threads = 1")
    catalog = Catalog(connection)
    found = Database(connection, catalog)
    t = [(i * 97, i % 5, None if i % 7 == 0 else i % 3, float(i % 4)) for i in range(64)]
    u = [(None if i % 9 == 4 else i * 31 + 1000, i % 4, "ab"[i % 2], Decimal(i % 6)) for i in range(80)]
    u[40:40] = [(2231, i, "c", Decimal("1.50")) for i in range(3)]
    v = [
        (i * 97 % 1940, i % 5, None if i % 4 == 0 else i % 5, datetime.date(1995, 1, 1 + i % 9))
        for i in range(30)
    ]
    _write(folder / "t", t, [("k", pa.int32()), ("a", pa.int32()), ("n", pa.int32()), ("x", pa.float64())])
    _write(
        folder / "u",
        u,
        [("k", pa.int64()), ("a", pa.int32()), ("s", pa.string()), ("d", pa.decimal128(9, 2))],
    )
    _write(folder / "v", v, [("k", pa.int32()), ("a", pa.int64()), ("n", pa.int32()), ("day", pa.date32())])
    _write(folder / "e", [], [("k", pa.int32()), ("a", pa.int32()), ("s", pa.string())])
    catalog.register_dir(folder)
    catalog.register(
        "f", pa.table({"k": pa.array([0, 97, None, 291], pa.int32()), "a": pa.array([1, 2, 3, 4])})
    )
    connection.execute("CREATE VIEW totals AS SELECT a, count(*) AS n FROM t GROUP BY a")
    return found


def _write(folder: Path, rows: list[tuple[object, ...]], columns: list[tuple[str, pa.DataType]]) -> None:
    folder.mkdir()
    arrays = [pa.array([row[i] for row in rows], type_) for i, (_, type_) in enumerate(columns)]
    table = pa.table(arrays, [name for name, _ in columns])
    half = table.num_rows // 2
    pq.write_table(table.slice(0, half), folder / "0.parquet", row_group_size=8)
    pq.write_table(table.slice(half), folder / "1.parquet", row_group_size=8)


CASES = [
    # A right join was planned as if it kept its left rows.
    "SELECT t.k, u.s FROM t RIGHT JOIN u ON t.k = u.k AND u.s = 'a' WHERE t.a IS NULL OR t.a < 3",
    # A join's computed key was pruned from below the join.
    "SELECT t.a, count(*) FROM t JOIN v ON v.k = t.k + 97 GROUP BY t.a",
    # An exchange below a join that needs no columns has one all the same.
    "SELECT count(*) FROM v WHERE EXISTS (SELECT 1 FROM t JOIN u ON t.k = u.k)",
    # Types of what an empty input leaves empty.
    "SELECT t.a, sum(v.a + 1), avg(v.n), max(v.day) FROM t JOIN v ON t.k = v.k WHERE v.a > 100 GROUP BY t.a",
    "SELECT upper(s || 'x'), sum(a + 1) FROM u WHERE EXISTS (SELECT 1 FROM e WHERE e.k = u.k) GROUP BY 1",
    # Planning anew moved inputs of a set operation again and again.
    "SELECT a FROM t WHERE k < 0 INTERSECT SELECT a FROM u",
    "WITH c AS (SELECT k, count(*) AS n FROM u GROUP BY k) "
    "SELECT x.n FROM c x JOIN t ON x.k = t.k JOIN c y ON y.k = x.k",
    # A key that is computed for a join was one column too many below a set operation.
    "SELECT t.k, v.k FROM t JOIN v ON t.k + 1 = v.k + 1 EXCEPT SELECT k, k FROM u",
    # Planning anew grouped by the argument of a DISTINCT aggregate.
    "SELECT t.a, count(DISTINCT t.x) FROM t JOIN v ON t.k = v.k WHERE v.a <> 1 GROUP BY t.a",
    # FILTER, and aggregates as windows.
    "SELECT a, sum(n) FILTER (WHERE x > 1) FROM t GROUP BY a",
    "SELECT k, sum(n) FILTER (WHERE x > 1) OVER (PARTITION BY a) FROM t",
    "SELECT a, sum(count(*)) OVER (ORDER BY a) FROM t GROUP BY a",
    # An aggregate of the right side of a left join also saw the rows without a match.
    "SELECT t.a, sum(coalesce(v.a, 1)), count(CASE WHEN v.a IS NULL THEN 1 END), max(v.n) "
    "FROM t LEFT JOIN v ON t.k = v.k GROUP BY t.a",
    # NULL keys lie with the first worker's range, also those in files that its range doesn't reach.
    "SELECT u.k, count(*) FROM u LEFT JOIN t ON t.k = u.k GROUP BY u.k",
    "SELECT k, count(*), sum(a) FROM u GROUP BY k",
    # Rows of a shared table can't be moved to other boundaries by reading them otherwise.
    # Conditions that concern one input or none were lost when joins were reordered.
    "SELECT t.k, v.a FROM t JOIN v ON t.k = v.k AND NULL",
    "SELECT t.k, v.a FROM t LEFT JOIN v ON t.k = v.k AND NULL WHERE v.k = t.k",
    "SELECT t.k FROM t, v, u WHERE t.k = v.k AND 1 = 0",
    "SELECT s.k, t.a FROM (SELECT v.k, 1 AS one FROM u JOIN v ON u.a = v.a) s JOIN t ON s.one = t.a",
    "SELECT s.k, t.a FROM (SELECT v.k, v.a + 1 AS b FROM u JOIN v ON u.a = v.a) s, t WHERE s.b = t.a AND s.k = t.k",
    # DuckDB spells functions of a view in its own way.
    "SELECT totals.n, v.k FROM totals JOIN v ON v.a = totals.a",
    # A comma binds less than JOIN.
    "SELECT t.k, v.a, u.k AS uk FROM v, t RIGHT JOIN u ON t.k = u.k WHERE v.k = u.a * 97",
    "SELECT count(*) FROM v, t FULL JOIN u ON t.k = u.k WHERE v.n = u.a OR v.k = t.k",
    # Rows that every worker has were sorted, or shared, once by each.
    "SELECT k FROM t WHERE n NOT IN (SELECT n FROM v WHERE a > 100) ORDER BY k",
    "WITH c AS (SELECT a, max(k) AS k FROM t WHERE n NOT IN (SELECT n FROM v WHERE a > 100) GROUP BY a) "
    "SELECT x.k, y.a FROM c x JOIN c y ON x.a = y.a",
    "WITH c AS (SELECT DISTINCT a, k FROM t WHERE n NOT IN (SELECT n FROM v WHERE a > 100)) "
    "SELECT a FROM c UNION ALL SELECT k FROM c",
    # Two columns of one input that equal one of another.
    "SELECT x.k, y.a FROM v x, t y WHERE x.a = y.a AND x.n = y.a",
    "SELECT v.k, v.n, t.k AS tk FROM t JOIN v ON t.a = v.n JOIN u ON u.a = t.n AND u.a = t.a",
    "SELECT x.a, y.k FROM t x JOIN v y ON x.n = y.n JOIN t z ON z.a = y.n AND z.n = x.n",
    # Nothing has a FROM here, but stars and windows are written over it.
    "SELECT 1 AS a, count(*) OVER (PARTITION BY 'x') AS n WHERE NOT (0 IS NOT NULL)",
    "SELECT (SELECT count(*) FROM t) AS a, dense_rank() OVER (ORDER BY 'x') AS n WHERE 2 > 1",
    # Aliases and columns of one name in ORDER BY.
    "SELECT -k AS k, a FROM t ORDER BY k + 0, a LIMIT 5",
    "SELECT a AS k, k AS a FROM t ORDER BY -k, a LIMIT 5",
    "SELECT k AS z FROM t ORDER BY z % 10, z LIMIT 5",
    "SELECT sum(a) AS z, n FROM t GROUP BY n ORDER BY -z, n",
    "SELECT t.k, v.k AS vk FROM t, v WHERE t.k = v.k ORDER BY vk * -1, t.a + 0 LIMIT 4",
    # A subquery's operand is grouped as everything else.
    "SELECT a + 1 AS b, count(*) FROM t GROUP BY a + 1 HAVING a + 1 IN (SELECT a FROM v)",
    "SELECT a, (SELECT max(v.n) FROM v WHERE v.a = t.a) AS m FROM t GROUP BY a",
    # Parameters of lambdas, the user's and our own, hid columns of their names.
    "SELECT list_transform([1, 2], lambda a: a + t.a) FROM t",
    "SELECT list_transform([1, 2], lambda a_2: a_2 + x.a + y.a) FROM t x JOIN v y ON x.k = y.k",
    "SELECT list_filter([a, 2], lambda K: K > z) FROM (SELECT a, k AS z FROM v)",
    "SELECT a AS b, n AS m FROM t ORDER BY b DESC, m",
    "SELECT a AS boundaries, k AS __boundaries, n AS __bound, k AS __partition FROM t ORDER BY 1, 2",
    "SELECT [e + t.a + e_2 FOR e IN [1, 2] IF e > e_2] FROM (SELECT a, k AS e_2 FROM t) t",
    # Joins of keys that meet nowhere, below another join.
    "SELECT q.m, z.k FROM v z JOIN (SELECT sum(x.k) AS m, y.k AS l FROM (SELECT k FROM t WHERE k <= 96) x "
    "JOIN (SELECT k FROM v WHERE k >= 97) y ON x.k = y.k GROUP BY y.k) q ON z.k = q.l",
    "SELECT z.k FROM v z SEMI JOIN (SELECT x.k FROM t x, f y WHERE x.k = y.k AND x.k > 291) q ON z.k = q.k",
    # Parentheses around keys, and what sqlglot writes with NOT.
    "SELECT (a + 2) AS k, (a + 2) * 3 AS l, count(*) FROM t GROUP BY (a + 2)",
    "SELECT (a + 2) AS k, count(*) FROM t GROUP BY (1)",
    "SELECT a, n IS NOT TRUE, (n > 1) IS NOT FALSE, n IS NOT UNKNOWN FROM t WHERE (n = 1) IS NOT TRUE",
    "WITH c AS (SELECT DISTINCT k, a FROM t) SELECT x.a, u.s FROM c x JOIN u ON x.k = u.k JOIN c y ON y.k = u.k",
    # The type of NULL alone has no name.
    "SELECT unnest(NULL) AS x, a FROM t UNION SELECT NULL, a FROM t",
    "SELECT x, count(*) FROM (SELECT NULL AS x, a FROM t UNION ALL SELECT NULL, k FROM v) q GROUP BY x",
    # No rows, of a type that the planner must know.
    "SELECT len(r.l[1:2]) FROM (SELECT t.x, min(t.n, 2) AS l FROM t JOIN v ON t.a = v.a - 9 GROUP BY t.x) AS r",
]


@pytest.mark.parametrize("sql", CASES)
@pytest.mark.parametrize("name", COSTS)
def test_duckdb_agrees(sql: str, name: str, database: Database) -> None:
    workers = (1, 2, 3, 8) if name == "default" else (1, 3)
    report = Report()
    check(database, sql, 0, workers, report, COSTS[name])
    assert not report.findings, "\n".join(map(str, report.findings))
    assert report.ran.total() == len(workers), (report.refused, report.invalid)


REFUSED = [
    "SELECT 7 AS c FROM t GROUP BY ALL",
    "SELECT list_transform([1, 2], lambda A: a + n) FROM t",
    "SELECT [a + t.a FOR a IN [1, 2]] FROM t",
    "SELECT * REPLACE (t.a + 5 AS k) FROM t JOIN v ON t.k = v.k",
    "SELECT * REPLACE (t.a + 5 AS k) FROM t JOIN v USING (k)",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_refused(sql: str, database: Database) -> None:
    with pytest.raises(Unsupported):
        plan_query(sql, database.catalog, Options(3))
