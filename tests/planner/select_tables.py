"""Small tables with what queries stumble over, and a check of one query at several numbers of workers."""

from __future__ import annotations

import datetime
import zlib
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from sord.catalog import Catalog
from sord.fuzzing.checking import Report, check
from sord.fuzzing.databases import Database

SHUFFLE = {"scan": 1e3, "stage": 0.0, "build": 1.0, "few_rows": -1, "small": -1.0, "split": -1.0, "push": 0.0}
"""Costs with which rows move to other workers wherever they can."""


_WORKERS = ((1, 3), (2, 8), (3, 2), (8, 3))
"""With the usual costs, and with rows moved; each query gets one pair."""


def make_tables(folder: Path) -> Database:
    """``t``, ``u``: NULLs, duplicates, NaN; ``e``: empty; ``n``: nested; ``f``: the client's; ``v``: a view."""
    connection = duckdb.connect()
    connection.execute("SET arrow_lossless_conversion = true")
    connection.execute("SET threads = 1")
    # As in the fuzzer: DuckDB takes minima and maxima of files to hold for NaN too.
    connection.execute("SET disabled_optimizers = 'statistics_propagation'")
    database = Database(connection, Catalog(connection))
    nan = float("nan")
    day = datetime.date(2024, 1, 31)
    t = [
        (
            i,
            None if i % 7 == 3 else i % 4,
            (None, nan, 1.5, -0.0, 0.0, float(i))[i % 6],
            (None, "a", "B", "ab", "Ab c", "")[i % 6],
            None if i % 9 == 5 else day + datetime.timedelta(37 * i),
            datetime.datetime(2024, 2, 29, 23, 59, 1) + datetime.timedelta(hours=11 * i),
        )
        for i in range(40)
    ]
    u = [(i * 3 % 50, None if i % 5 == 0 else i % 6, "abc"[i % 3], i % 2 == 0) for i in range(30)]
    u += u[:4]
    n = [
        (
            i,
            (None, [], [3, 1, None], [i, i + 1, i])[i % 4],
            None if i % 5 == 4 else {"a": i % 3, "b": None if i % 2 else "x"},
            None if i % 6 == 5 else [("k", i), ("j", 2 * i)],
        )
        for i in range(12)
    ]
    nested = [
        ("id", pa.int32()), ("l", pa.list_(pa.int32())),
        ("st", pa.struct([("a", pa.int32()), ("b", pa.string())])), ("m", pa.map_(pa.string(), pa.int32())),
    ]  # fmt: skip
    plain = [
        ("a", pa.int32()), ("b", pa.int32()), ("x", pa.float64()), ("s", pa.string()), ("d", pa.date32()),
        ("ts", pa.timestamp("us")),
    ]  # fmt: skip
    few = [("a", pa.int64()), ("c", pa.int32()), ("s", pa.string()), ("flag", pa.bool_())]
    _write(folder / "t", t, plain)
    _write(folder / "u", u, few)
    _write(folder / "e", [], few)
    _write(folder / "n", n, nested)
    database.catalog.register_dir(folder)
    database.catalog.register(
        "f", pa.table({"a": pa.array([0, 3, None, 9], pa.int32()), "y": ["p", "q", "r", "r"]})
    )
    connection.execute("CREATE VIEW v AS SELECT b, count(*) AS n, max(a) AS a FROM t GROUP BY b")
    return database


def _write(folder: Path, rows: list[tuple[object, ...]], columns: list[tuple[str, pa.DataType]]) -> None:
    folder.mkdir()
    arrays = [pa.array([row[i] for row in rows], type_) for i, (_, type_) in enumerate(columns)]
    table = pa.table(arrays, [name for name, _ in columns])
    half = table.num_rows // 2
    pq.write_table(table.slice(0, half), folder / "0.parquet", row_group_size=8)
    pq.write_table(table.slice(half), folder / "1.parquet", row_group_size=8)


def assert_distributed(database: Database, sql: str) -> None:
    """The query is planned, and has DuckDB's rows, names and types at two of 1, 2, 3 and 8 workers."""
    report = Report()
    one, other = _WORKERS[zlib.crc32(sql.encode()) % len(_WORKERS)]
    check(database, sql, 0, (one,), report, {})
    check(database, sql, 0, (other,), report, SHUFFLE)
    assert not report.invalid, "DuckDB doesn't take it"
    assert not report.refused, dict(report.refused)
    assert not report.findings, "\n".join(map(str, report.findings))
