"""What is known of a frame's columns: looked up when somebody plans with them."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import duckdb

from sord.analyze import bounds_sql
from sord.planner.cardinality import total_distinct
from sord.planner.catalog import ColumnStatistics
from sord.planner.statistics import LazyStatistics
from sord.sql_text import quoted

_FEW_ROWS = 10_000
"""Frames up to this size are moved so quickly that no plan is worth a look at them."""
_READ_ROWS = 1_000_000
"""About so many rows of a larger frame are looked at."""
_WIDTHS = {"BOOLEAN": 1.0, "TINYINT": 1.0, "SMALLINT": 2.0, "INTEGER": 4.0, "DATE": 4.0, "FLOAT": 4.0}


def frame_statistics(
    connection: duckdb.DuckDBPyConnection,
    lock: threading.RLock,
    reference: str,
    columns: Sequence[tuple[str, str]],
    rows: int,
) -> Mapping[str, ColumnStatistics]:
    """Statistics of a frame that ``connection`` has as ``reference``, for numbers, times and texts.

    ``lock`` is held while the connection is at work.

    A frame is read in whole vectors, all of them or some. Nothing is proven by that, and it may change: a fraction of
    NULLs isn't among the statistics where there are none.
    """
    types = {
        name: type_
        for name, type_ in columns
        if all(bounds_sql(quoted(name), type_)) or type_ in ("VARCHAR", "BLOB")
    }
    if rows <= _FEW_ROWS or not types:
        return {}
    percent = 100 * _READ_ROWS / rows
    sample = f" TABLESAMPLE SYSTEM ({percent:.6f} PERCENT) REPEATABLE (1)" if percent < 100 else ""

    def read(name: str) -> ColumnStatistics:
        column, type_ = quoted(name), types[name]
        low, high = bounds_sql(column, type_)
        bounds = f"{low}::DOUBLE, {high}::DOUBLE" if low else "NULL, NULL"
        length = {"VARCHAR": "strlen", "BLOB": "octet_length"}.get(type_)
        width = f"avg({length}({column}))" if length else "NULL"
        sql = (
            f"SELECT count(*), count({column}), approx_count_distinct({column}), {bounds}, {width} "
            f"FROM {reference}{sample}"
        )
        try:
            with lock:
                return _column(type_, rows, *connection.execute(sql).fetchall()[0])
        except duckdb.InterruptException:
            raise
        except duckdb.Error:
            # It isn't what it was; whoever reads it will hear of that.
            return ColumnStatistics()

    return LazyStatistics(types, read)


def _column(
    type_: str, rows: int, read: int, count: int, distinct: int, low: float | None, high: float | None,
    width: float | None,
) -> ColumnStatistics:  # fmt: skip
    nulls = 1 - count / read if read else 0.0
    values = rows * (1 - nulls)
    number = float(min(distinct, count))
    if number > 0.9 * count:
        # The sketch is off by some hundredths: what is nearly unique is unique.
        number = float(count)
    if 0 < read < rows:
        number = total_distinct(number, float(count), values)
    fixed = 16.0 if type_.startswith("DECIMAL") else _WIDTHS.get(type_, 8.0)
    return ColumnStatistics(
        max(number, 1.0), low, high, nulls or None, fixed if width is None else width + 4.0
    )
