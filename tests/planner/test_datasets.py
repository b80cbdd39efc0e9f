"""pyarrow's datasets: Parquet files become tables that are shared, and what can't be shared keeps its rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from splits_checks import plan, scanned

from sord.catalog import Catalog
from sord.fuzzing.simulation import Simulation
from sord.planner.context import Options
from sord.planner.physical import plan_query

ROWS = pa.table(
    {
        "a": list(range(60)),
        "year": [2019 + i % 3 for i in range(60)],
        "kind": [(None, "x y", "ä")[i // 3 % 3] for i in range(60)],
        "b": pa.array([None if i % 7 == 0 else i / 4 for i in range(60)], pa.float32()),
        "t": pa.array([i * 10**9 + i for i in range(60)], pa.timestamp("ns")),
    }
)


def hive(place: Path) -> ds.Dataset:
    flavor = {"partitioning": ["year", "kind"], "partitioning_flavor": "hive"}
    ds.write_dataset(ROWS, place / "ds", format="parquet", **flavor)
    return ds.dataset(place / "ds", partitioning="hive")


def evolved(place: Path) -> ds.Dataset:
    pq.write_table(ROWS.drop_columns(["b"]), place / "1.parquet")
    pq.write_table(ROWS.set_column(0, "a", ROWS["a"].cast(pa.int16())), place / "2.parquet")
    return ds.dataset(place, schema=ROWS.schema)


def check(dataset: Any, shared: bool) -> None:
    """The rows, names and types are the dataset's, at any number of workers."""
    catalog = Catalog(duckdb.connect())
    catalog.register("t", dataset)
    table = catalog.table("t")
    assert table is not None
    assert (table.files is not None) == shared
    frame = duckdb.connect()
    frame.register("t", dataset.to_table())
    for sql in (
        "SELECT * FROM t",
        "SELECT year, max(a) AS m, count(*) AS n FROM t WHERE a > 10 GROUP BY year",
    ):
        plain = frame.sql(sql)
        expected = (plain.columns, list(map(str, plain.types)), sorted(map(repr, plain.fetchall())))
        for workers in (1, 2, 3, 8):
            simulation = Simulation(catalog, workers)
            rows = simulation.run(plan_query(sql, catalog, Options(workers=workers)))
            assert (plain.columns, simulation.types, sorted(map(repr, rows))) == expected


@pytest.mark.parametrize("make", [hive, evolved])
def test_parquet_files_are_shared(tmp_path: Path, make: Callable[[Path], ds.Dataset]) -> None:
    check(make(tmp_path), shared=True)


def test_partitions_are_pruned(tmp_path: Path) -> None:
    catalog = Catalog(duckdb.connect())
    catalog.register("t", hive(tmp_path))
    assert len(scanned("SELECT a FROM t WHERE year = 2020", catalog)) == 3
    assert plan("SELECT a FROM t WHERE year = 1999", catalog).fragments[0].sql[0].find("read_parquet") < 0


@pytest.mark.parametrize(
    "make",
    [
        lambda place: hive(place).filter(pc.field("a") > 20),
        lambda place: ds.dataset(
            hive(place).files, partitioning=["year", "kind"], partition_base_dir=str(place / "ds")
        ),
        lambda place: ds.dataset(
            hive(place).files, partitioning=ds.partitioning(pa.schema([("year", pa.string())]), flavor="hive")
        ),
    ],
)
def test_what_duckdb_would_read_otherwise_is_a_frame(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    check(make(tmp_path), shared=False)


def test_text_files_and_other_letters(tmp_path: Path) -> None:
    ds.write_dataset(ROWS.select(["a", "year"]), tmp_path / "csv", format="csv")
    check(ds.dataset(tmp_path / "csv", format="csv"), shared=False)
    pq.write_table(ROWS.rename_columns(["A", "year", "kind", "b", "t"]), tmp_path / "1.parquet")
    schema = pa.schema([("a", pa.int64()), ("year", pa.int64())])
    check(ds.dataset(tmp_path / "1.parquet", schema=schema), shared=False)
