"""Statistics out of footers: what they say of each type, what is read again, and what damage looks like."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from splits_checks import same, write

import sord
from sord.catalog import Catalog
from sord.planner.catalog import Table

VALUES = """
SELECT i - 2 AS "integer", (i - 2)::TINYINT AS "tiny", (i * 60)::UTINYINT AS "utiny",
  (i * 1000000000)::UINTEGER AS "unsigned",
  (i * 4000000000000000000::UBIGINT) AS "ubig", ((i - 2) * 1.25)::DECIMAL(4, 2) AS "small decimal",
  ((i - 2) * 1.25)::DECIMAL(15, 3) AS "decimal", ((i - 2) * 1.25)::DECIMAL(38, 3) AS "large decimal",
  (i - 2.5)::FLOAT AS "float", (i - 2.5)::DOUBLE AS "double", DATE '1969-12-30' + i::INTEGER AS "date",
  TIMESTAMP '1969-12-30 12:00:00.5' + to_days(i::INTEGER) AS "timestamp",
  TIMESTAMPTZ '1969-12-30 12:00:00+00' + to_days(i::INTEGER) AS "timestamptz",
  ('1969-12-30 12:00:00'::TIMESTAMP + to_days(i::INTEGER))::TIMESTAMP_NS AS "nanoseconds",
  ('1969-12-30 12:00:00'::TIMESTAMP + to_days(i::INTEGER))::TIMESTAMP_MS AS "milliseconds",
  'text' || i AS "text", ('text' || i)::BLOB AS "blob", i % 2 = 0 AS "boolean", [i] AS "list",
  {'a': i, 'b': 'x'} AS "struct", TIME '12:00:00' AS "time", NULL::INTEGER AS "nothing",
  CASE WHEN i = 3 THEN 'nan'::DOUBLE ELSE i END AS "nan", if(i > 2, NULL, i) AS "nulls"
FROM range(5) _(i)
"""
NUMBERS = (
    "SELECT min(coalesce(try_cast(stats_min_value AS DOUBLE), epoch(try_cast(stats_min_value AS TIMESTAMP)) / 86400)), "
    "max(coalesce(try_cast(stats_max_value AS DOUBLE), epoch(try_cast(stats_max_value AS TIMESTAMP)) / 86400)), "
    "sum(stats_null_count) FROM parquet_metadata(?) WHERE path_in_schema = ?"
)


def table(place: Path, catalog: Catalog | None = None) -> Table:
    catalog = catalog or Catalog(duckdb.connect())
    catalog.register("t", place)
    found = catalog.table("t")
    assert found is not None
    return found


@pytest.mark.parametrize("writer", ["duckdb", "pyarrow"])
def test_bounds_of_every_type_are_those_that_duckdb_reads(tmp_path: Path, writer: str) -> None:
    path = write(tmp_path / "t.parquet", VALUES)
    if writer == "pyarrow":
        pq.write_table(pq.read_table(path), path)
    found = table(path)
    for name, type_ in found.columns:
        low, high, nulls = duckdb.execute(NUMBERS, [str(path), name]).fetchall()[0]
        known = found.statistics.get(name)
        if known is None:
            assert type_.endswith(("]", ")")), name
        elif type_ not in ("VARCHAR", "BLOB"):
            assert (known.minimum, known.maximum) == pytest.approx((low, high), nan_ok=True), name
        if known is not None and nulls is not None:
            assert known.null_fraction == nulls / 5, name


def test_a_column_that_some_files_lack_has_nulls(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", "SELECT range AS a, range AS b FROM range(10)")
    write(tmp_path / "b.parquet", "SELECT range AS a FROM range(30)")
    catalog = Catalog(duckdb.connect())
    found = catalog.scan("read_parquet", [f"'{tmp_path}/*.parquet'", "union_by_name = TRUE"])
    assert found.statistics["b"].null_fraction == 0.75
    assert found.statistics["a"].null_fraction == 0


def test_only_changed_footers_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        write(tmp_path / f"{number}.parquet", f"SELECT range AS a FROM range({number + 1})")
    catalog = Catalog(duckdb.connect())
    assert table(tmp_path, catalog).rows == 210
    read: list[str] = []
    metadata = pq.read_metadata
    monkeypatch.setattr(pq, "read_metadata", lambda path: read.append(path) or metadata(path))
    assert table(tmp_path, catalog).rows == 210
    assert read == []
    write(tmp_path / "3.parquet", "SELECT range AS a FROM range(1000)")
    write(tmp_path / "new.parquet", "SELECT range AS a FROM range(500)")
    os.remove(tmp_path / "7.parquet")
    found = table(tmp_path, catalog)
    assert found.rows == 210 - 4 - 8 + 1500
    assert found.statistics["a"].maximum == 999
    assert sorted(map(os.path.basename, read)) == ["3.parquet", "new.parquet"]


@pytest.mark.parametrize("damage", ["no magic", "broken footer", "cut"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.parquet", "SELECT range AS a FROM range(100)")
    path = tmp_path / "1.parquet"
    data = path.read_bytes()
    if damage == "no magic":
        path.write_bytes(b"something else")
    elif damage == "broken footer":
        length = int.from_bytes(data[-8:-4], "little")
        path.write_bytes(data[: -8 - length] + b"\xff" * length + data[-8:])
    else:
        path.write_bytes(data[:-20])
    with pytest.raises((sord.Error, duckdb.Error), match=r"1\.parquet"):
        table(tmp_path)


def test_many_files_with_evolving_schemas(tmp_path: Path) -> None:
    for number in range(12):
        items = ("range AS a", f"range + {number}.5 AS b", f"'x{number}' AS c")
        kinds = (items, items[:2], items[::-1], ("range::INTEGER AS a", "range::INTEGER AS b", items[2]))
        sql = f"SELECT {', '.join(kinds[number % 4])} FROM range({number % 5 * 10})"
        write(tmp_path / f"day={number % 3}" / f"{number}.parquet", sql)
    source = f"read_parquet('{tmp_path}/**/*.parquet', union_by_name=true)"
    same(f"SELECT * FROM {source}")
    same(f"SELECT day, c, sum(a), sum(b), count(*) FROM {source} WHERE a > 3 GROUP BY ALL")
    same(f"SELECT count(*) FROM {source} WHERE c IS NULL")


def test_files_without_rows_and_without_row_groups(tmp_path: Path) -> None:
    schema = pa.schema([("a", pa.int64())])
    pq.ParquetWriter(tmp_path / "none.parquet", schema).close()
    with pq.ParquetWriter(tmp_path / "empty.parquet", schema) as writer:
        writer.write_table(schema.empty_table())
    write(tmp_path / "some.parquet", "SELECT range AS a FROM range(10)")
    same(f"SELECT a, count(*) FROM '{tmp_path}/*.parquet' WHERE a > 3 GROUP BY a")
    same(f"SELECT a FROM '{tmp_path}/[en]*.parquet' WHERE a > 3")
