"""Every class of subquery, with NULLs on both sides, against DuckDB."""

from __future__ import annotations

import random
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sord.catalog import Catalog
from sord.fuzzing.simulation import Simulation
from sord.planner.context import Options
from sord.planner.physical import plan_query


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> tuple[duckdb.DuckDBPyConnection, Catalog]:
    """Tables o, i and e of two integers and a text each, in two files with NULLs and duplicates; e is empty."""
    connection = duckdb.connect()
    connection.execute("SET arrow_lossless_conversion = true")
    catalog = Catalog(connection)
    rng = random.Random(7)
    for name, rows in (("o", 40), ("i", 60), ("e", 0), ("n", 30)):
        folder: Path = tmp_path_factory.mktemp(name)
        for part in range(2):
            nulls = 0 if name == "n" else 6
            table = pa.table(
                {
                    "k": pa.array(
                        [rng.choice([*range(9), *[None] * nulls]) for _ in range(rows // 2)], pa.int32()
                    ),
                    "v": pa.array(
                        [rng.choice([*range(20), *[None] * nulls]) for _ in range(rows // 2)], pa.int64()
                    ),
                    "s": pa.array([rng.choice("abc") for _ in range(rows // 2)], pa.string()),
                }
            )
            pq.write_table(table, folder / f"{part}.parquet", row_group_size=7)
        catalog.register(name, folder)
    return connection, catalog


PREDICATES = [
    "EXISTS (SELECT 1 FROM i WHERE i.k = o.k)",
    "EXISTS (SELECT 1 FROM i WHERE i.k = o.k AND i.v > o.v)",
    "EXISTS (SELECT 1 FROM i WHERE i.v > o.v + 15)",
    "EXISTS (SELECT 1 FROM i WHERE i.k = o.k OR i.v = o.v)",
    "EXISTS (SELECT i.s FROM i WHERE i.k = o.k GROUP BY i.s HAVING count(*) > 2)",
    "EXISTS (SELECT count(*) FROM i WHERE i.k = o.k)",
    "EXISTS (SELECT count(*) FROM i WHERE i.k = o.k HAVING count(*) > 5)",
    "EXISTS (SELECT 1 FROM e WHERE e.k = o.k)",
    "EXISTS (SELECT 1 FROM i WHERE i.v = 3)",
    "EXISTS (SELECT 1 FROM i WHERE i.k = o.k LIMIT 1)",
    "EXISTS (SELECT 1 FROM i WHERE i.k = o.k OFFSET 3)",
    "EXISTS (SELECT 1 FROM i WHERE i.k = o.k UNION ALL SELECT 1 FROM n WHERE n.v = o.v)",
    "EXISTS (SELECT 1 FROM i LEFT JOIN n ON n.k = i.k AND n.v = o.v WHERE n.k IS NULL AND i.k = o.k)",
    "EXISTS (SELECT 1 FROM i WHERE i.k = o.k AND EXISTS (SELECT 1 FROM n WHERE n.k = i.k AND n.v > o.v))",
    "EXISTS (SELECT 1 FROM i WHERE i.k = o.k AND i.v IN (SELECT v FROM n WHERE n.k = o.k))",
    "o.v IN (SELECT v FROM i)",
    "o.v IN (SELECT v FROM n)",
    "o.v IN (SELECT v FROM e)",
    "o.v IN (SELECT v FROM i WHERE i.k = o.k)",
    "o.v IN (SELECT v FROM i WHERE i.k < o.k)",
    "o.v IN (SELECT v + o.k FROM i)",
    "o.v IN (SELECT max(v) FROM i WHERE i.k = o.k)",
    "o.v IN (SELECT count(*) FROM i WHERE i.k = o.k)",
    "o.v IN (SELECT v FROM i WHERE i.k = o.k ORDER BY v DESC NULLS LAST LIMIT 2)",
    "o.v IN (SELECT i.v FROM i WHERE i.k = o.k EXCEPT SELECT n.v FROM n WHERE n.k = o.k)",
    "o.v > ALL (SELECT v FROM i WHERE i.k = o.k)",
    "o.v > ALL (SELECT v FROM e)",
    "o.v <= ANY (SELECT v FROM i WHERE i.k = o.k)",
    "o.v = ANY (SELECT v FROM i)",
    "o.v <> ANY (SELECT v FROM n WHERE n.k = o.k)",
    "o.v = ALL (SELECT v FROM n WHERE n.k = o.k)",
    "o.v <> ALL (SELECT v FROM n WHERE n.k = o.k)",
    "o.v > (SELECT avg(v) FROM i WHERE i.k = o.k)",
    "o.v > (SELECT count(*) FROM i WHERE i.k < o.k)",
    "o.v > (SELECT min(v) FROM i)",
    "o.v > (SELECT v FROM e WHERE e.k = o.k)",
    "(SELECT count(v) FROM i WHERE i.k = o.k AND i.v <> o.v) = 3",
]


@pytest.mark.parametrize("predicate", PREDICATES)
@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM o WHERE {}",
        "SELECT * FROM o WHERE NOT {}",
        "SELECT o.k, o.v, {} AS found FROM o",
        "SELECT * FROM o WHERE s = 'a' OR {}",
        "SELECT s, count(*) FROM o WHERE s = 'a' OR NOT ({} AND v > 3) GROUP BY s",
    ],
)
def test_predicates(predicate: str, query: str, database: tuple[duckdb.DuckDBPyConnection, Catalog]) -> None:
    _check(query.format(predicate), database, (3,))


SCALARS = [
    "(SELECT sum(v) FROM i WHERE i.k = o.k)",
    "(SELECT count(*) FROM i WHERE i.k = o.k)",
    "(SELECT count(*) + 1 FROM i WHERE i.k = o.k AND i.v > o.v)",
    "(SELECT count(DISTINCT v) FROM i WHERE i.k > o.k)",
    "(SELECT sum(v) FROM i WHERE i.k = o.k OR i.v = o.v)",
    "(SELECT sum(i.v + o.v) FROM i WHERE i.k = o.k)",
    "(SELECT max(v) + o.k FROM i WHERE i.k = o.k HAVING count(*) > 4)",
    "(SELECT v FROM n WHERE n.k = o.k ORDER BY v LIMIT 1)",
    "(SELECT v FROM n WHERE n.k >= o.k ORDER BY v, s LIMIT 1 OFFSET 2)",
    "(SELECT max(c) FROM (SELECT count(*) AS c FROM i WHERE i.k = o.k GROUP BY s))",
    "(SELECT max(c) FROM (SELECT count(*) AS c FROM i WHERE i.k = o.k))",
    "(SELECT max(v) FROM (SELECT DISTINCT v FROM i WHERE i.k = o.k))",
    "(SELECT max(r) FROM (SELECT row_number() OVER (ORDER BY v) AS r FROM i WHERE i.k = o.k))",
    "(SELECT max(v) FROM (SELECT v FROM i WHERE i.k = o.k UNION SELECT v FROM n WHERE n.k = o.k))",
    "(SELECT max(v) FROM (SELECT v FROM i WHERE i.k = o.k UNION ALL SELECT v FROM n WHERE n.v < o.v))",
    "(SELECT max(v) FROM (SELECT v FROM i WHERE i.k = o.k INTERSECT SELECT v FROM n))",
    "(SELECT o.v)",
    "(SELECT o.v + max(v) FROM i)",
    "(SELECT max(v) FROM i)",
    "(SELECT v FROM e)",
    "(SELECT sum(v) FROM i WHERE i.k = o.k AND i.v > (SELECT avg(v) FROM n WHERE n.k = i.k))",
    "(SELECT sum(v) FROM i WHERE i.k = o.k AND i.v > (SELECT min(v) FROM n WHERE n.k = o.k))",
    "(SELECT sum(m) FROM (SELECT (SELECT max(n.v) FROM n WHERE n.k = i.k AND n.v < o.v) AS m FROM i WHERE i.k = o.k))",
    "(SELECT sum(a.v) FROM i AS a FULL JOIN n AS b ON a.k = b.k AND b.v > o.v WHERE a.s <> o.s)",
]


@pytest.mark.parametrize("scalar", SCALARS)
@pytest.mark.parametrize(
    "query",
    [
        "SELECT o.k, o.v, {} AS x FROM o",
        "SELECT * FROM o WHERE {} > 5",
        "SELECT s, sum(x) AS x FROM (SELECT s, {} AS x FROM o) GROUP BY s",
        "SELECT o.k, {} AS x FROM (SELECT k, v, min(s) AS s FROM o GROUP BY k, v) AS o ORDER BY o.k, x LIMIT 7",
    ],
)
def test_scalars(scalar: str, query: str, database: tuple[duckdb.DuckDBPyConnection, Catalog]) -> None:
    _check(query.format(scalar), database, (3,))


@pytest.mark.parametrize(
    "query",
    [
        "SELECT k, sum(v) AS x FROM o GROUP BY k HAVING sum(v) > (SELECT avg(v) * 3 FROM i)",
        "SELECT k, sum(v) AS x FROM o GROUP BY k HAVING EXISTS (SELECT 1 FROM i WHERE i.k = o.k)",
        "SELECT k, (SELECT count(*) FROM i WHERE i.k = o.k) AS x, count(*) FROM o GROUP BY k",
        "SELECT * FROM o WHERE (k, v) IN (SELECT k, v FROM n)",
        "SELECT * FROM o WHERE s = 'a' OR (k, v) IN (SELECT k, v FROM n)",
        "SELECT * FROM n WHERE (k, v) NOT IN (SELECT k, v FROM n AS m WHERE m.s = 'a')",
        "SELECT CASE WHEN EXISTS (SELECT 1 FROM e) THEN 1 ELSE (SELECT max(v) FROM n) END AS x FROM o",
        "SELECT * FROM o WHERE EXISTS (SELECT 1 FROM i WHERE i.k = o.k) = (v > 5)",
        "SELECT b FROM (SELECT v IN (SELECT v FROM i) AS b FROM o) WHERE b",
        "SELECT (SELECT count(*) FROM i WHERE v > 5) AS a, (SELECT avg(v) FROM i WHERE v > 9) AS b, "
        "(SELECT max(k) FROM i) AS c, (SELECT count(*) FROM i WHERE v > 5) AS d FROM o WHERE k = 1",
        "SELECT * FROM (SELECT count(*) FROM o JOIN i ON o.k = i.k WHERE o.v > 3), "
        "(SELECT sum(i.v) FROM o JOIN i ON o.k = i.k WHERE i.v > 3), (SELECT count(DISTINCT v) FROM o), "
        "(SELECT min(v) FILTER (k > 2) FROM o WHERE k < 5) AS m, (SELECT count(*) FROM o WHERE k > 5) AS n",
        "SELECT k + 1 AS b, (SELECT max(v) FROM i WHERE i.k = o.k + 1) AS x FROM o GROUP BY k + 1",
        "SELECT k FROM o WHERE EXISTS (WITH c AS (SELECT DISTINCT v FROM i WHERE i.k = o.k) "
        "SELECT 1 FROM c AS x, c AS y WHERE x.v > y.v)",
        "SELECT * FROM (SELECT v, k BETWEEN 2 AND 5 AS b, v IN (1, 2, 3) AS c FROM o) "
        "WHERE b IN (true) AND c IS NOT NULL",
        "SELECT * FROM o ORDER BY (SELECT count(*) FROM i WHERE i.k = o.k), k, v, s",
        "WITH c AS (SELECT k, count(*) AS n FROM i GROUP BY k) "
        "SELECT * FROM o WHERE v > (SELECT n FROM c WHERE c.k = o.k)",
        "WITH c AS (SELECT k, max(v) AS m FROM i GROUP BY k) SELECT * FROM c WHERE m > (SELECT avg(m) FROM c)",
        "SELECT (SELECT a.v FROM (SELECT * FROM n ORDER BY k, v LIMIT 1) AS a WHERE a.v < o.v OR true) AS x FROM o",
    ],
)
@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_places(query: str, workers: int, database: tuple[duckdb.DuckDBPyConnection, Catalog]) -> None:
    _check(query, database, (workers,))


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM o, LATERAL (SELECT sum(v) AS x FROM i WHERE i.k = o.k) AS s",
        "SELECT * FROM o, (SELECT i.v AS x, o.v AS y FROM i WHERE i.k = o.k) AS s",
        "SELECT o.k, s.* FROM o LEFT JOIN LATERAL (SELECT v FROM i WHERE i.k = o.k AND i.v < o.v) AS s ON true",
        "SELECT o.k, s.* FROM o LEFT JOIN LATERAL "
        "(SELECT v FROM i WHERE i.k < o.k ORDER BY v, s LIMIT 2) AS s ON s.v > 3",
        "SELECT * FROM o JOIN LATERAL (SELECT v FROM n WHERE n.k = o.k ORDER BY v LIMIT 1) AS s ON s.v = o.v",
        "SELECT * FROM o, LATERAL (SELECT o.k + 1 AS a) AS s, "
        "LATERAL (SELECT count(*) AS b FROM i WHERE i.k = s.a) AS u",
        "SELECT * FROM o, n JOIN i ON i.k = n.k AND i.v = o.v",
        "SELECT o.k, n.k, i.k FROM o, n FULL JOIN i ON o.k = i.k",
        "SELECT * FROM o JOIN n ON o.k = n.k AND EXISTS (SELECT 1 FROM i WHERE i.k = o.k AND i.v > n.v)",
        "SELECT * FROM o LEFT JOIN n ON o.k = n.k AND n.v IN (SELECT v FROM i WHERE i.k = n.k)",
        "SELECT * FROM o LEFT JOIN n ON o.k = n.k AND o.v NOT IN (SELECT v FROM i)",
        "SELECT * FROM o FULL JOIN n ON o.k = n.k AND n.v > (SELECT avg(v) FROM i)",
        "SELECT * FROM o WHERE EXISTS (SELECT 1 FROM i, "
        "LATERAL (SELECT n.v FROM n WHERE n.k = i.k AND n.v > o.v) AS s)",
    ],
)
@pytest.mark.parametrize("workers", [1, 3, 8])
def test_lateral_joins_and_join_conditions(
    query: str, workers: int, database: tuple[duckdb.DuckDBPyConnection, Catalog]
) -> None:
    _check(query, database, (workers,))


@pytest.mark.parametrize(
    "query",
    [
        "SELECT (SELECT v FROM i WHERE i.k = o.k) FROM o",
        "SELECT (SELECT v FROM i) FROM o",
        "SELECT * FROM o WHERE (SELECT v FROM i WHERE i.k < o.k) > 3",
        "SELECT (SELECT (SELECT n.v FROM n WHERE n.k = i.k OR n.k = o.k) FROM i LIMIT 1) FROM o",
    ],
)
def test_several_rows_raise(query: str, database: tuple[duckdb.DuckDBPyConnection, Catalog]) -> None:
    connection, catalog = database
    with pytest.raises(duckdb.Error, match="More than one row returned by a subquery"):
        connection.sql(query).fetchall()
    plan = plan_query(query, catalog, Options(3))
    with pytest.raises(duckdb.Error, match="More than one row returned by a subquery"):
        Simulation(connection, 3).run(plan)


def test_no_error_for_outer_rows_that_are_not_there(
    database: tuple[duckdb.DuckDBPyConnection, Catalog],
) -> None:
    # i has several rows for most keys, but none for the keys that are asked.
    _check("SELECT k, (SELECT v FROM i WHERE i.k = n.k + 100) AS x FROM n", database, (1, 3))


def _check(sql: str, database: tuple[duckdb.DuckDBPyConnection, Catalog], counts: tuple[int, ...]) -> None:
    connection, catalog = database
    expected = connection.sql(sql)
    rows = expected.fetchall()
    for workers in counts:
        simulation = Simulation(connection, workers)
        got = simulation.run(plan_query(sql, catalog, Options(workers)))
        assert simulation.types == list(map(str, expected.types))
        assert sorted(map(repr, got)) == sorted(map(repr, rows))
