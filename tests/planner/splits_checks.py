"""How tests of splits compare plans over files with DuckDB on the same text."""

from __future__ import annotations

from pathlib import Path

import duckdb

from sord.catalog import Catalog
from sord.fuzzing.simulation import Simulation
from sord.planner.context import Options
from sord.planner.logical import Scan, leaves
from sord.planner.physical import DistributedPlan, plan_query

WORKERS = (1, 2, 3, 8)


def write(path: Path, sql: str, options: str = "FORMAT parquet") -> Path:
    """A query's rows as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({sql}) TO '{str(path).replace(chr(39), 2 * chr(39))}' ({options})")
    return path


def same(sql: str, catalog: Catalog | None = None, workers: tuple[int, ...] = WORKERS) -> None:
    """Names, types and rows (in any order) are DuckDB's, by any number of workers."""
    catalog = catalog or Catalog(duckdb.connect())
    plain = catalog.database.sql(sql)
    expected = (plain.columns, list(map(str, plain.types)), sorted(map(repr, plain.fetchall())))
    for number in workers:
        simulation = Simulation(catalog, number)
        rows = sorted(map(repr, simulation.run(plan_query(sql, catalog, Options(workers=number)))))
        # The coordinator renames; types are the plan's.
        found = (plain.columns, simulation.types, rows)
        assert found == expected, f"{number} workers"


def plan(sql: str, catalog: Catalog | None = None, workers: int = 2) -> DistributedPlan:
    return plan_query(sql, catalog or Catalog(duckdb.connect()), Options(workers=workers))


def scanned(sql: str, catalog: Catalog | None = None) -> list[str]:
    """The names of the files that a plan reads."""
    tables = [leaf.table for leaf in leaves(plan(sql, catalog).logical) if isinstance(leaf, Scan)]
    return sorted(Path(file.path).name for table in tables for file in table.files or ())
