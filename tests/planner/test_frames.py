"""Frames beside files: what is known of their columns, and that every worker gets its share of their rows."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from splits_checks import plan, same, write

from sord.catalog import Catalog
from sord.planner.catalog import Table

ROWS = 50_000
FRAME = pa.table(
    {
        "k": pa.array(range(ROWS), pa.int64()),
        "few": pa.array([i % 50 for i in range(ROWS)], pa.int32()),
        "half": pa.array([None if i % 2 else i / 4 for i in range(ROWS)], pa.float64()),
        "day": [datetime.date(1970, 1, 1) + datetime.timedelta(days=i % 300) for i in range(ROWS)],
        "price": pa.array([Decimal(i % 1000) / 100 for i in range(ROWS)], pa.decimal128(9, 2)),
        "text": ["abcd" for _ in range(ROWS)],
        "list": [[1]] * ROWS,
    }
)


def table(catalog: Catalog, name: str) -> Table:
    found = catalog.table(name)
    assert found is not None
    return found


@pytest.mark.parametrize("kind", ["pyarrow", "pandas", "polars"])
def test_statistics(kind: str) -> None:
    catalog = Catalog(duckdb.connect())
    frames = {"pyarrow": lambda: FRAME, "pandas": FRAME.to_pandas, "polars": lambda: pl.from_arrow(FRAME)}
    catalog.register("t", frames[kind]())
    found = table(catalog, "t")
    assert found.rows == ROWS
    statistics = found.statistics
    assert (statistics["k"].minimum, statistics["k"].maximum, statistics["k"].distinct) == (0, ROWS - 1, ROWS)
    assert statistics["few"].distinct == pytest.approx(50, rel=0.2)
    assert (statistics["day"].minimum, statistics["day"].maximum) == (0, 299)
    assert statistics["price"].maximum == pytest.approx(9.99)
    assert statistics["text"].width == 8
    if kind != "pandas":
        assert statistics["half"].null_fraction == pytest.approx(0.5)
    # That there are no NULLs now proves nothing of later.
    assert statistics["k"].null_fraction is None
    assert "list" not in statistics


def test_a_large_frame_is_looked_at_in_part() -> None:
    catalog = Catalog(duckdb.connect())
    catalog.register("t", pa.table({"k": pa.array(range(3_000_000)), "few": pa.array([1, 2, 3] * 1_000_000)}))
    statistics = table(catalog, "t").statistics
    assert statistics["k"].distinct == pytest.approx(3_000_000, rel=0.1)
    assert statistics["few"].distinct == pytest.approx(3, rel=0.01)


def test_a_name_that_becomes_another_frame() -> None:
    catalog = Catalog(duckdb.connect())
    catalog.register("t", FRAME)
    assert table(catalog, "t").statistics["k"].maximum == ROWS - 1
    catalog.register("t", pa.table({"k": pa.array(["x"] * ROWS), "other": pa.array(range(ROWS))}))
    assert [name for name, _ in table(catalog, "t").columns] == ["k", "other"]
    assert table(catalog, "t").statistics["k"].maximum is None


def test_a_frame_that_loses_a_column_before_anybody_looks() -> None:
    catalog = Catalog(duckdb.connect())
    frame = pd.DataFrame({"a": range(ROWS), "b": range(ROWS)})
    catalog.register("t", frame)
    found = table(catalog, "t")
    del frame["b"]
    assert found.statistics.get("b") is not None


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT few, count(*), sum(v) FROM t JOIN files USING (k) GROUP BY few",
        "SELECT count(*), sum(half) FROM t LEFT JOIN files ON half = v",
        "SELECT count(*) FROM files WHERE k NOT IN (SELECT few FROM t)",
        "SELECT count(*), sum(k) FROM (SELECT k FROM t UNION ALL SELECT k FROM files)",
        "SELECT day, sum(price) AS s FROM t WHERE text = 'abcd' GROUP BY day ORDER BY s, day LIMIT 5",
    ],
)
def test_rows_are_those_of_one_duckdb(tmp_path: Path, sql: str) -> None:
    write(tmp_path / "files" / "a.parquet", "SELECT range * 3 AS k, range / 2 AS v FROM range(30000)")
    write(tmp_path / "files" / "b.parquet", "SELECT NULL::BIGINT AS k, NULL::DOUBLE AS v FROM range(100)")
    catalog = Catalog(duckdb.connect())
    catalog.register("t", FRAME)
    catalog.register("files", tmp_path / "files")
    same(sql, catalog)


def test_a_frame_goes_to_all_workers(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", "SELECT range AS k, range AS v FROM range(200000)")
    catalog = Catalog(duckdb.connect())
    catalog.register("t", FRAME)
    found = plan(f"SELECT count(*) FROM t JOIN '{tmp_path}/a.parquet' f USING (k)", catalog, workers=4)
    from_client = [fragment for fragment in found.fragments if fragment.place == "client"]
    assert [fragment.route for fragment in from_client] in (["partition", "result"], ["broadcast", "result"])
