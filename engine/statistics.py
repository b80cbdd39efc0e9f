"""Tables from Parquet footers: files, row groups, and what can be known of columns without reading them."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from dataclasses import replace

import duckdb

from sord.planner.cardinality import total_distinct
from sord.planner.catalog import Clustering, ColumnStatistics, File, Table, Unsupported
from sord.planner.partitions import partition_statistics
from sord.readers import Source, file_column, rendered
from sord.schemas import Pinned, partition_values, pin
from sord.sql_text import listed

_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
_WIDTHS = {"BOOLEAN": 1.0, "TINYINT": 1.0, "SMALLINT": 2.0, "INTEGER": 4.0, "DATE": 4.0, "FLOAT": 4.0}
_PHYSICAL = {"INT32": 4, "INT64": 8, "FLOAT": 4, "DOUBLE": 8, "INT96": 12}
"""Bytes of a value in a dictionary, by Parquet's physical type."""
_ROW_GROUPS_LIMIT = 4096
"""Clusterings of tables with more row groups are merged down to about this many."""
_OVERLAP = 0.05
"""The share of row groups that may reach into the next one's range in a clustered table."""


def identity(paths: Sequence[str]) -> tuple[tuple[str, int, int], ...]:
    """What changes when one of the files does: path, modification time (ns), size (bytes)."""
    return tuple((path, (status := os.stat(path)).st_mtime_ns, status.st_size) for path in paths)


def read_table(cursor: duckdb.DuckDBPyConnection, name: str, source: Source, paths: Sequence[str]) -> Table:
    """Build a :class:`Table` from the footers of ``paths``. Raises DuckDB's errors for what isn't Parquet."""
    pinned = pin(cursor, source, paths)
    columns, types = pinned.columns, dict(pinned.columns)
    # The function's own columns are not in the footers.
    if "file_row_number" in types and "file_row_number" not in dict(source.options):
        raise Unsupported("a Parquet file with a column called file_row_number")
    # Read once: the footers of a large table take longer to parse than everything below.
    cursor.execute(
        "CREATE OR REPLACE TEMP TABLE footers AS SELECT file_name, row_group_id, row_group_num_rows, type, "
        "path_in_schema, stats_min_value, stats_max_value, stats_null_count, num_values, total_uncompressed_size, "
        f"data_page_offset, dictionary_page_offset, stats_distinct_count FROM parquet_metadata({listed(paths)})"
    )
    groups = cursor.execute(
        "SELECT file_name, row_group_id, any_value(row_group_num_rows) FROM footers GROUP BY 1, 2 ORDER BY 1, 2"
    ).fetchall()
    rows_of: dict[str, list[int]] = {path: [] for path in paths}
    for file_name, _, rows in groups:
        rows_of.setdefault(file_name, []).append(rows)
    total = float(sum(sum(rows) for rows in rows_of.values()))
    chunks = cursor.execute(
        "SELECT path_in_schema, any_value(type), "
        "min(coalesce(try_cast(stats_min_value AS DOUBLE), epoch(try_cast(stats_min_value AS TIMESTAMP)) / 86400)), "
        "max(coalesce(try_cast(stats_max_value AS DOUBLE), epoch(try_cast(stats_max_value AS TIMESTAMP)) / 86400)), "
        "CASE WHEN count(stats_null_count) = count(*) THEN sum(stats_null_count) END, sum(num_values), "
        "sum(total_uncompressed_size), "
        "sum(greatest(coalesce(data_page_offset - dictionary_page_offset, 0), 0)), avg(row_group_num_rows), "
        # DuckDB writes this, of each chunk that has a dictionary.
        "CASE WHEN count(stats_distinct_count) = count(*) THEN avg(stats_distinct_count) END "
        "FROM footers GROUP BY 1"
    ).fetchall()
    clusterings, ranges = _clusterings(cursor, _alike(types, pinned))
    cursor.execute("DROP TABLE footers")
    clustered = {clustering.column for clustering in clusterings}
    statistics = {
        name: _column(
            types[name],
            physical,
            low,
            high,
            nulls,
            values,
            size,
            dictionary,
            rows,
            counted,
            name in clustered,
            total,
        )
        for name, physical, low, high, nulls, values, size, dictionary, rows, counted in chunks
        if name in types and not source.renamed
    }
    partitions = partition_values(cursor, source.function, pinned.options, pinned.partitions, paths)
    states = {path: os.stat(path) for path in rows_of}
    files = tuple(
        File(
            path,
            sum(rows),
            states[path].st_size,
            tuple(rows),
            partitions.get(path),
            ranges.get(path, {}),
            states[path].st_mtime_ns,
        )
        for path, rows in rows_of.items()
    )
    table = Table(
        name, columns, total, statistics, files, clusterings, rendered(pinned.options), source.function,
        pinned.partitions, file_column=file_column(source.options) or "filename",
    )  # fmt: skip
    return replace(table, statistics={**statistics, **partition_statistics(table, files)})


def _alike(types: dict[str, str], pinned: Pinned) -> dict[str, str]:
    """The columns whose values in footers are those that a query sees, in every file."""
    return {
        name: type_
        for name, type_ in types.items()
        if name not in pinned.partitions and name.lower() not in pinned.differing
    }


def _column(
    type_: str,
    physical: str,
    minimum: float | None,
    maximum: float | None,
    nulls: int | None,
    values: int,
    size: int,
    dictionary: int,
    rows_per_group: float,
    counted: float | None,
    clustered: bool,
    total: float,
) -> ColumnStatistics:
    # A file may lack the column (union_by_name): its rows have NULL there.
    known = nulls is not None and values > 0
    fraction = (nulls + max(total - values, 0)) / max(total, 1.0) if known and nulls is not None else None
    values, rows_per_group = max(values, 1), max(rows_per_group, 1.0)
    groups = max(values / rows_per_group, 1.0)
    in_group = counted
    if in_group is None:
        in_group = _distinct_in_group(
            _PHYSICAL.get(physical), size / groups, dictionary / groups, rows_per_group
        )
    distinct = None
    if in_group is not None:
        distinct = in_group * groups if clustered else total_distinct(in_group, rows_per_group, values)
    if (type_ in _INTEGERS or type_ == "DATE") and minimum is not None and maximum is not None:
        span = min(maximum - minimum + 1, values)
        distinct = span if distinct is None else min(distinct, span)
    if type_ in ("VARCHAR", "BLOB"):
        few = in_group is not None and in_group < rows_per_group / 8
        width = 4.0 + (dictionary / groups / max(in_group or 1.0, 1.0) if few else size / values)
        width = min(max(width, 5.0), size / values + 64.0)
        minimum = maximum = None
    elif type_.startswith("DECIMAL"):
        width = 16.0
    else:
        width = _WIDTHS.get(type_, 8.0)
    return ColumnStatistics(distinct, minimum, maximum, fraction, width)


def _distinct_in_group(width: int | None, size: float, dictionary: float, rows: float) -> float | None:
    """Distinct values of an average row group, from the size of its column chunk before compression.

    A chunk is a dictionary of ``d`` values and one index of ``log2 d`` bits per row: with the width of a value
    known that is one equation for ``d``. Strings have no fixed width, so there the size of the dictionary
    (compressed: footers don't say more) tells only few from many. None if there is no dictionary.
    """
    if dictionary <= 0:
        return None
    if width is not None:
        low, high = 1.0, rows
        for _ in range(30):
            middle = (low + high) / 2
            if middle * width + rows * math.ceil(math.log2(max(middle, 2.0))) / 8 < size:
                low = middle
            else:
                high = middle
        # Runs of one value take no bits for each row; the dictionary, which is compressed, has at least so many.
        return min(max(high, dictionary / width), rows)
    bits = (size - dictionary) * 8 / rows
    if dictionary > size * 0.2 or bits > 15:
        return rows
    return min(max(1.0, 0.75 * math.exp2(bits)), rows)


def _clusterings(
    cursor: duckdb.DuckDBPyConnection, types: dict[str, str]
) -> tuple[tuple[Clustering, ...], dict[str, dict[str, tuple[int, int]]]]:
    """The clusterings, and for each file the lowest and highest value of their columns where none is NULL."""
    integers = [name for name, type_ in types.items() if type_ in _INTEGERS]
    rows = cursor.execute(
        "SELECT path_in_schema, file_name, try_cast(stats_min_value AS BIGINT), "
        "try_cast(stats_max_value AS BIGINT), row_group_num_rows, coalesce(stats_null_count, 1) "
        "FROM footers WHERE list_contains(?, path_in_schema) AND row_group_num_rows > 0",
        [integers],
    ).fetchall()
    found: list[Clustering] = []
    ranges: dict[str, dict[str, tuple[int, int]]] = {}
    for name in integers:
        mine = [row[1:] for row in rows if row[0] == name]
        if not mine or any(low is None or high is None for _, low, high, _, _ in mine):
            continue
        groups = sorted((low, high, count) for _, low, high, count, _ in mine)
        reaching = sum(1 for a, b in itertools.pairwise(groups) if a[1] > b[0])
        values = groups[-1][1] - groups[0][0] + 1
        if reaching > _OVERLAP * len(groups) or values < 1000:
            continue
        found.append(Clustering(name, _merged(groups)))
        # Rows with a NULL key belong to the first range, wherever they are: such a file must not be left out.
        with_nulls = {path for path, _, _, _, nulls in mine if nulls}
        for path, low, high, _, _ in mine:
            if path not in with_nulls:
                known = ranges.setdefault(path, {}).get(name, (low, high))
                ranges[path][name] = (min(low, known[0]), max(high, known[1]))
    return tuple(found), ranges


def _merged(groups: list[tuple[int, int, int]]) -> tuple[tuple[int, int, int], ...]:
    step = -(-len(groups) // _ROW_GROUPS_LIMIT)
    parts = [groups[start : start + step] for start in range(0, len(groups), step)]
    return tuple((part[0][0], max(g[1] for g in part), sum(g[2] for g in part)) for part in parts)
