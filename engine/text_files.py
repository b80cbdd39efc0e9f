"""Tables of CSV and JSON files: divided by file, each read as DuckDB reads it among all of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import duckdb

from sord.planner.catalog import File, Table, Unsupported
from sord.planner.partitions import partition_statistics
from sord.readers import Source, file_column, rendered
from sord.schemas import described, hive_options, partition_columns, plain_values

_SAMPLE = 1 << 16
"""Bytes in which lines are counted."""
_COMPRESSED = 4
"""How much smaller compressed text is, about."""


def read_text_table(
    cursor: duckdb.DuckDBPyConnection, name: str, source: Source, paths: Sequence[str]
) -> Table:
    """Build a :class:`Table`. Rows are guessed from sizes. Raises DuckDB's errors for what it can't read."""
    columns = described(cursor, source.call(paths))
    asked = file_column(source.options)
    if asked is None and any(column.lower() == "filename" for column, _ in columns):
        raise Unsupported("text files with a column called filename")
    try:
        partitions = partition_columns(paths, source, columns)
        binding = tuple(source.binding(paths))
    except ValueError as error:
        raise Unsupported(f"{source.function} with the argument {error}") from None
    options = {key: value for key, value in source.options if not key.startswith("hive_")}
    options |= hive_options(paths, partitions)
    names = [column for column, _ in partitions]
    values = {path: plain_values(path, names) for path in paths}
    if None in values.values():
        names = []
    states = {path: os.stat(path) for path in paths}
    sizes = {path: state.st_size for path, state in states.items()}
    per_row = _bytes_per_row(max(paths, key=sizes.__getitem__), len(columns))
    files = []
    for path, size in sizes.items():
        rows = max(int(size / per_row), 1)
        partition = values[path] if names else None
        files.append(File(path, rows, size, (rows,), partition, {}, states[path].st_mtime_ns))
    table = Table(
        name, columns, float(sum(file.rows for file in files)), {}, tuple(files), (), rendered(options),
        source.function, tuple(names), binding, asked or "filename",
    )  # fmt: skip
    return replace(table, statistics=dict(partition_statistics(table, files)))


def _bytes_per_row(path: str, columns: int) -> float:
    """Of a typical file."""
    if path.lower().endswith((".gz", ".zst")):
        return max(8.0 * columns / _COMPRESSED, 1.0)
    with open(path, "rb") as file:
        sample = file.read(_SAMPLE)
    return max(len(sample) / max(sample.count(b"\n"), 1), 1.0)
