"""Parquet footers, read once per state of a file, and what they say of a column in each row group."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

import duckdb

from sord.errors import Error
from sord.planner.catalog import Unsupported
from sord.sql_text import listed

if TYPE_CHECKING:
    from pyarrow.parquet import FileMetaData

    from sord.planner.catalog import Bound

State = tuple[str, int, int]
"""A file's path, modification time (ns) and size (bytes)."""

_READERS = 8
"""Threads that read footers: on a file system far away each one waits."""
_KEPT = 100_000
"""Footers that are kept at most."""
_NANOSECONDS = {"milliseconds": 10**6, "microseconds": 10**3, "nanoseconds": 1}
_DAY = 86_400 * 10**9


class Kind(NamedTuple):
    """How the values of a column are stored."""

    family: str
    """integer, decimal, float, date, timestamp or string; other: its bounds aren't understood."""
    physical: str
    detail: int = 0
    """A decimal's scale, a timestamp's unit in nanoseconds, the bits of an unsigned integer."""
    utc: bool = False

    def bound(self, raw: object) -> Bound | None:
        """A minimum or maximum as a number (times: nanoseconds since 1970) or bytes; None for what is no bound."""
        if isinstance(raw, bytes):
            if self.family == "decimal":
                return Decimal(f"{int.from_bytes(raw, 'big', signed=True)}E-{self.detail}")
            return raw if self.family == "string" else None
        if isinstance(raw, int):
            if self.family == "integer":
                return raw + (1 << self.detail) if raw < 0 and self.detail else raw
            if self.family == "decimal":
                return Decimal(f"{raw}E-{self.detail}")
            if self.family == "date":
                return None if abs(raw) >= 2**31 - 1 else raw * _DAY
            if self.family == "timestamp":
                return None if abs(raw) >= 2**63 - 1 else raw * self.detail
            return None
        return raw if isinstance(raw, float) and self.family == "float" and not math.isnan(raw) else None


class Footer(NamedTuple):
    """Of one file in one state."""

    modified: int
    size: int
    metadata: FileMetaData
    schema: str
    """Two files have the same text if they have the same schema."""
    row_groups: tuple[int, ...]
    """Rows of each."""
    chunks: dict[int, tuple[Chunk, ...]]
    """By position of the column, as far as somebody has asked: see :func:`chunks`."""


class Chunk(NamedTuple):
    """A column in one row group."""

    rows: int
    values: int
    """Rows that the column has, NULLs among them."""
    nulls: int | None
    low: object
    """Bounds as they are stored, for :meth:`Kind.bound`; None if unknown."""
    high: object
    size: int
    """Bytes before compression."""
    dictionary: int
    """Bytes of the dictionary as it is stored, 0 if there is none."""
    distinct: int | None


def read_footers(
    cursor: duckdb.DuckDBPyConnection, known: dict[str, Footer], states: Sequence[State]
) -> list[Footer]:
    """The footers of files, those from ``known`` that are of the same state; the others are added to it.

    Raises DuckDB's error for what isn't Parquet or is damaged, or :class:`sord.Error` if that doesn't name the file,
    and the planner's Unsupported for a footer that only DuckDB understands.
    """
    missing = [path for path, *state in states if path not in known or list(known[path][:2]) != state]
    if len(known) + len(missing) > _KEPT:
        known.clear()
        missing = [path for path, _, _ in states]
    found = _read_all(missing)
    result = []
    for path, modified, size in states:
        if path in found:
            metadata = found[path]
            if metadata is None:
                raise _damaged(cursor, path)
            groups = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
            schema = str(metadata.schema).partition("\n")[2]
            known[path] = Footer(modified, size, metadata, schema, tuple(groups), {})
        result.append(known[path])
    return result


def chunks(footer: Footer, column: int) -> tuple[Chunk, ...]:
    """What a footer says of a column, by row group."""
    found = footer.chunks.get(column)
    if found is None:
        found = footer.chunks[column] = tuple(_chunks(footer.metadata, column))
    return found


def _chunks(metadata: FileMetaData, column: int) -> Iterator[Chunk]:
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        chunk = group.column(column)
        statistics = chunk.statistics
        nulls = low = high = distinct = None
        if statistics is not None:
            nulls = statistics.null_count if statistics.has_null_count else None
            distinct = statistics.distinct_count if statistics.has_distinct_count else None
            if statistics.has_min_max:
                # Not ``min`` and ``max``: those import pandas for some types, and fail for infinite dates.
                low, high = statistics.min_raw, statistics.max_raw
        dictionary = 0
        if chunk.has_dictionary_page:
            dictionary = max(chunk.data_page_offset - chunk.dictionary_page_offset, 0)
        yield Chunk(
            group.num_rows, chunk.num_values, nulls, low, high, chunk.total_uncompressed_size, dictionary, distinct
        )  # fmt: skip


def _read_all(paths: Sequence[str]) -> dict[str, FileMetaData | None]:
    """None for a file that can't be read."""
    if not paths:
        return {}
    import pyarrow
    from pyarrow import parquet

    def read(share: Sequence[str]) -> list[tuple[str, FileMetaData | None]]:
        result: list[tuple[str, FileMetaData | None]] = []
        for path in share:
            try:
                result.append((path, parquet.read_metadata(path)))
            except (OSError, pyarrow.ArrowException):
                result.append((path, None))
        return result

    if len(paths) < 2 * _READERS:
        return dict(read(paths))
    with ThreadPoolExecutor(_READERS) as pool:
        shares = pool.map(read, [paths[start::_READERS] for start in range(_READERS)])
        return dict(one for share in shares for one in share)


def _damaged(cursor: duckdb.DuckDBPyConnection, path: str) -> Exception:
    try:
        cursor.execute(f"SELECT count(*) FROM parquet_metadata({listed([path])})").fetchall()
    except duckdb.Error as error:
        return error if path in str(error) else Error(f"cannot read {path!r}: {error}")
    return Unsupported(f"a Parquet file of which only DuckDB can read the footer: {path}")


def layout(metadata: FileMetaData) -> dict[str, tuple[int, Kind]]:
    """Position and kind of the columns that aren't nested, by lower-case names that are there once."""
    columns: dict[str, tuple[int, Kind]] = {}
    twice = set()
    for position in range(metadata.num_columns):
        column = metadata.schema.column(position)
        name = column.name.lower()
        if column.path != column.name or column.max_repetition_level > 0:
            continue
        if name in columns:
            twice.add(name)
        columns[name] = position, _kind(column.physical_type, json.loads(column.logical_type.to_json()))
    return {name: found for name, found in columns.items() if name not in twice}


def list_positions(metadata: FileMetaData) -> dict[str, int]:
    """Positions of what is in the lists (not lists in lists) of columns, by lower-case names."""
    found: dict[str, int] = {}
    for position in range(metadata.num_columns):
        column = metadata.schema.column(position)
        if column.max_repetition_level == 1 and column.path.count(".") > 1:
            found.setdefault(column.path.partition(".")[0].lower(), position)
    return found


def _kind(physical: str, logical: dict[str, object]) -> Kind:
    type_ = logical["Type"]
    integer = physical in ("INT32", "INT64")
    if type_ == "None" and integer:
        return Kind("integer", physical)
    if type_ == "Int" and integer:
        bits = 32 if physical == "INT32" else 64
        return Kind("integer", physical, 0 if logical["isSigned"] else bits)
    if type_ == "Decimal":
        return Kind("decimal", physical, int(str(logical["scale"])))
    if type_ == "Date" and physical == "INT32":
        return Kind("date", physical)
    if type_ == "Timestamp" and physical == "INT64":
        unit = _NANOSECONDS.get(str(logical["timeUnit"]))
        if unit is not None:
            return Kind("timestamp", physical, unit, bool(logical["isAdjustedToUTC"]))
    if type_ == "None" and physical in ("FLOAT", "DOUBLE"):
        return Kind("float", physical)
    if type_ == "String":
        return Kind("string", physical)
    return Kind("other", physical)
