"""Common table expressions with several readers: computed once, in parts, or with what any reader wants."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sord.catalog import Catalog
from sord.fuzzing.simulation import Simulation
from sord.planner.context import Options
from sord.planner.logical import Filter, Plan, Scan, SharedRef, With
from sord.planner.physical import plan_query

Database = tuple[duckdb.DuckDBPyConnection, Catalog]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    connection = duckdb.connect()
    catalog = Catalog(connection)
    folder: Path = tmp_path_factory.mktemp("data")
    for name in ("a", "b"):
        rows = range(400)
        table = pa.table(
            {
                "k": pa.array([None if i % 11 == 0 else i % 40 for i in rows], pa.int32()),
                "y": pa.array([i % 5 for i in rows], pa.int32()),
                "v": pa.array([i * 7 % 101 for i in rows], pa.int64()),
            }
        )
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=50)
        catalog.register(name, folder / f"{name}.parquet")
    return connection, catalog


TOTALS = """WITH totals AS (
    SELECT k, y, sum(v) AS total, 'x' AS kind FROM a GROUP BY k, y
    UNION ALL SELECT k, y, sum(v), 'w' FROM a GROUP BY k, y
    UNION ALL SELECT k, y, sum(v), 'z' FROM b GROUP BY k, y) """


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(
    "query",
    [
        TOTALS + "SELECT * FROM totals s JOIN totals t ON s.k = t.k "
        "WHERE s.kind = 'x' AND s.y = 1 AND t.kind = 'z' AND t.y = 2",
        TOTALS
        + "SELECT s.k FROM totals s LEFT JOIN totals t ON s.k = t.k AND t.kind = 'z' WHERE s.kind = 'x'",
        TOTALS + "SELECT * FROM totals s JOIN totals t ON s.k = t.k AND t.y = 3 WHERE s.total > 50",
        TOTALS + "SELECT count(*), (SELECT max(total) FROM totals WHERE kind = 'z' AND y < 2) "
        "FROM totals WHERE kind = 'q'",
        "WITH c AS (SELECT TRY_CAST(v AS VARCHAR) AS c0, e FROM a, LATERAL (SELECT a.k AS e)), "
        "d AS MATERIALIZED (SELECT b.k FROM b, c) SELECT * FROM c WHERE c0 < '3'",
        TOTALS + ", more AS (SELECT y, count(*) AS n FROM totals WHERE kind = 'x' GROUP BY y) "
        "SELECT * FROM more m JOIN more n ON m.n = n.n WHERE m.y = 1 AND n.y = 2",
    ],
)
def test_answers(query: str, workers: int, database: Database) -> None:
    connection, catalog = database
    got = Simulation(connection, workers).run(plan_query(query, catalog, Options(workers)))
    assert sorted(map(repr, got)) == sorted(map(repr, connection.sql(query).fetchall()))


def test_readers_of_disjoint_parts_get_copies(database: Database) -> None:
    sql = TOTALS + (
        "SELECT * FROM totals s JOIN totals t ON s.k = t.k "
        "WHERE s.kind = 'x' AND s.y = 1 AND t.kind = 'z' AND t.y = 2"
    )
    plan = plan_query(sql, database[1], Options(3)).logical
    assert not _nodes(plan, With)
    assert len(_nodes(plan, Scan)) == 2, "each copy reads one branch of the union"


def test_a_shared_table_makes_only_what_a_reader_wants(database: Database) -> None:
    sql = (
        "WITH c AS (SELECT k, y, sum(v) AS total FROM a GROUP BY k, y) "
        "SELECT * FROM c s JOIN c t ON s.k = t.k WHERE s.total > 100 AND t.total > 200"
    )
    plan = plan_query(sql, database[1], Options(3)).logical
    assert isinstance(plan, With)
    assert _nodes(plan.definitions[0], Filter)
    assert len(_nodes(plan.body, SharedRef)) == 2


def _nodes(plan: Plan, kind: type[Plan]) -> list[Plan]:
    return [node for child in plan.children for node in _nodes(child, kind)] + (
        [plan] if isinstance(plan, kind) else []
    )
