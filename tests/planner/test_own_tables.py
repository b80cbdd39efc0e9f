"""Tables of the client's DuckDB: small ones stay, large ones are divided among the workers."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from sord.catalog import Catalog
from sord.fuzzing.simulation import Simulation
from sord.planner.context import Options
from sord.planner.fragment import Place, Route
from sord.planner.physical import DistributedPlan, plan_query

Database = tuple[duckdb.DuckDBPyConnection, Catalog]

QUERIES = [
    "SELECT o.g, count(*), sum(l.v) FROM l JOIN o ON l.k = o.k GROUP BY ALL",
    "SELECT count(*), sum(f.v) FROM l JOIN f USING (k) WHERE l.v > 20",
    "SELECT count(*) FROM f LEFT JOIN l ON f.k = l.k AND l.v < 50",
    "SELECT count(*) FROM l LEFT JOIN f ON f.k = l.k AND l.v < f.v",
    "SELECT count(*) FROM o FULL JOIN l ON o.k = l.k + 1",
    "SELECT count(*) FROM l WHERE NOT EXISTS (SELECT 1 FROM f WHERE f.k = l.k AND f.v > 30)",
    "SELECT count(*) FROM f WHERE k NOT IN (SELECT k FROM l WHERE v > 90)",
    "SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v, t) FROM l",
    "SELECT k FROM l INTERSECT SELECT k FROM f",
    "SELECT a.k, count(*) FROM l a JOIN l b ON a.k = b.k AND a.v < b.v GROUP BY ALL",
    "WITH x AS (SELECT k, count(*) c FROM l GROUP BY k) SELECT sum(a.c * b.c) FROM x a JOIN x b ON a.k = b.k + 1",
    "SELECT t, count(*) FROM l JOIN n ON n.k IS NOT DISTINCT FROM l.k GROUP BY ALL",
]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    connection = duckdb.connect()
    catalog = Catalog(connection)
    path: Path = tmp_path_factory.mktemp("data") / "f.parquet"
    rows = "SELECT nullif(i % 97, 11) AS k, (i * 7 % 101)::BIGINT AS v, 'text ' || i % 5 AS t FROM range({}) r(i)"
    connection.execute(f"CREATE TABLE l AS {rows.format(3000)}")
    connection.execute(
        "CREATE TABLE o AS SELECT i AS k, i % 3 AS g FROM range(80) r(i) UNION ALL SELECT NULL, 5"
    )
    connection.execute("CREATE TABLE n AS SELECT 5 AS k WHERE false")
    connection.execute(f"COPY ({rows.format(700)}) TO '{path}' (ROW_GROUP_SIZE 100)")
    catalog.register("f", path)
    return connection, catalog


def planned(database: Database, sql: str, workers: int) -> DistributedPlan:
    return plan_query(sql, database[1], Options(workers=workers))


@pytest.mark.parametrize("limit", [0.0, 64e6])
@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("sql", QUERIES)
def test_answers(
    database: Database, monkeypatch: pytest.MonkeyPatch, sql: str, workers: int, limit: float
) -> None:
    monkeypatch.setattr("sord.planner.distribute._KEPT_AT_CLIENT", limit)
    monkeypatch.setattr("sord.planner.distribute._FEW_ROWS", 10)
    plan = planned(database, sql, workers)
    found = Simulation(database[0], workers).run(plan)
    assert sorted(map(repr, found)) == sorted(map(repr, database[0].sql(sql).fetchall()))


def test_a_large_table_is_moved_once_and_in_shares(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sord.planner.distribute._KEPT_AT_CLIENT", 1000.0)
    plan = planned(database, "SELECT o.g, sum(l.v) FROM l JOIN o ON l.k = o.k GROUP BY ALL", 3)
    moved = [f for f in plan.fragments if f.place is Place.CLIENT and f.route is not Route.RESULT]
    (large,) = (f for f in moved if f.route is Route.PARTITION)
    assert (large.title, large.inputs) == ("scan l", ())
    assert large.estimated_rows == 3000


@pytest.mark.parametrize(
    "sql", ["SELECT count(*) FROM l", "FROM l ORDER BY v LIMIT 3", "SELECT t, sum(v) FROM l GROUP BY t"]
)
def test_what_the_client_does_itself(database: Database, monkeypatch: pytest.MonkeyPatch, sql: str) -> None:
    monkeypatch.setattr("sord.planner.distribute._KEPT_AT_CLIENT", 1000.0)
    assert len(planned(database, sql, 3).fragments) == 1


def test_statistics_of_duckdb(database: Database) -> None:
    table = database[1].table("l")
    assert table is not None
    assert table.rows == 3000
    known = table.statistics["v"]
    assert (known.minimum, known.maximum) == (0.0, 100.0)
    assert known.distinct is not None
    assert 80 < known.distinct < 125
    assert known.null_fraction is None
