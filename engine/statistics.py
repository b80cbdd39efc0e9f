"""Tables from Parquet footers: files, row groups, and what can be known of columns without reading them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import duckdb

from sord.footers import Footer, State, read_footers
from sord.planner.cardinality import total_distinct
from sord.planner.catalog import ColumnStatistics, File, Table, Unsupported
from sord.planner.partitions import partition_statistics
from sord.planner.statistics import LazyStatistics
from sord.readers import Source, file_column, rendered
from sord.schemas import partition_values, pin
from sord.zones import INTEGERS, TableFooters

_DAY = 86_400e9
"""Nanoseconds."""
_WIDTHS = {"BOOLEAN": 1.0, "TINYINT": 1.0, "SMALLINT": 2.0, "INTEGER": 4.0, "DATE": 4.0, "FLOAT": 4.0}
_PHYSICAL = {"INT32": 4, "INT64": 8, "FLOAT": 4, "DOUBLE": 8, "INT96": 12}
"""Bytes of a value in a dictionary, by Parquet's physical type."""


def read_table(
    cursor: duckdb.DuckDBPyConnection,
    name: str,
    source: Source,
    states: Sequence[State],
    known: dict[str, Footer],
) -> Table:
    """Build a :class:`Table` from footers; only those of files that aren't ``known`` in this state are read.

    Raises DuckDB's errors or :class:`sord.Error` for what isn't Parquet, Unsupported for what can't be shared.
    """
    paths = [path for path, _, _ in states]
    footers = dict(zip(paths, read_footers(cursor, known, states), strict=True))
    first = {footer.schema: path for path, footer in reversed(footers.items())}
    pinned = pin(cursor, source, paths, [path for path in paths if first[footers[path].schema] == path])
    types = dict(pinned.columns)
    # The function's own columns are not in the footers.
    if "file_row_number" in types and "file_row_number" not in dict(source.options):
        raise Unsupported("a Parquet file with a column called file_row_number")
    own = (*pinned.partitions, file_column(source.options) or "", "file_row_number")
    found = TableFooters(types, footers, types if source.renamed else own)
    all_of_them = [File(path, 0, 0, ()) for path in paths]
    each = (found.clustering(column, all_of_them) for column in found.names)
    clusterings = tuple(one for one in each if one is not None)
    clustered = [clustering.column for clustering in clusterings]
    filled = [path for path, footer in footers.items() if footer.metadata.num_rows]
    partitions = partition_values(cursor, source.function, pinned.options, pinned.partitions, filled)
    files = []
    for path, footer in footers.items():
        ranges = {column: range_ for column in clustered if (range_ := found.key_range(column, path))}
        files.append(
            File(
                path, footer.metadata.num_rows, footer.size, footer.row_groups, partitions.get(path), ranges,
                footer.modified,
            )
        )  # fmt: skip
    total = float(sum(file.rows for file in files))

    def statistics(column: str) -> ColumnStatistics:
        if column in found.lists:
            elements = found.elements(column)
            return ColumnStatistics(elements=elements, width=8.0 * max(elements or 1.0, 1.0))
        return _statistics(found, column, types[column], column in clustered, total)

    names = (*found.names, *found.lists)
    table = Table(
        name, pinned.columns, total, LazyStatistics(names, statistics), tuple(files), clusterings,
        rendered(pinned.options), source.function, pinned.partitions,
        file_column=file_column(source.options) or "filename", footers=found,
    )  # fmt: skip
    known_ones = partition_statistics(table, files)
    return replace(table, statistics=LazyStatistics(names, statistics, known_ones))


def _statistics(
    footers: TableFooters, column: str, type_: str, clustered: bool, total: float
) -> ColumnStatistics:
    """What the row groups say of a column together."""
    nulls = counted = None
    physical = ""
    groups = values = size = dictionary = rows = with_nulls = with_counts = 0
    lows: list[float] = []
    highs: list[float] = []
    for kind, chunk in footers.chunks(column):
        physical = kind.physical
        groups += 1
        values += chunk.values
        size += chunk.size
        dictionary += chunk.dictionary
        rows += chunk.rows
        if chunk.nulls is not None:
            nulls = (nulls or 0) + chunk.nulls
            with_nulls += 1
        if chunk.distinct is not None:
            counted = (counted or 0) + chunk.distinct
            with_counts += 1
        scale = _DAY if kind.family in ("date", "timestamp") else 1.0
        least, most = kind.bound(chunk.low), kind.bound(chunk.high)
        if isinstance(least, bytes) or isinstance(most, bytes):
            continue
        if least is not None:
            lows.append(float(least) / scale)
        if most is not None:
            highs.append(float(most) / scale)
    low, high = min(lows, default=None), max(highs, default=None)
    return _column(
        type_,
        physical,
        low,
        high,
        nulls if with_nulls == groups else None,
        values,
        size,
        dictionary,
        rows / max(groups, 1),
        counted / groups if counted is not None and with_counts == groups else None,
        sum(1 for bound in lows if bound == low) + sum(1 for bound in highs if bound == high),
        type_ in ("VARCHAR", "BLOB") and not dictionary and _makes_dictionaries(footers),
        clustered,
        total,
    )


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
    extremes: int,
    refused: bool,
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
    if in_group is None and refused:
        in_group = rows_per_group  # a writer that makes dictionaries found too many values for one
    span = _span(type_, minimum, maximum)
    distinct = None
    if in_group is not None and clustered:
        # Neighbours share a value, unless it ends where the row group does.
        distinct = in_group * groups - (groups - 1) * (1 - min(in_group / rows_per_group, 1))
    elif in_group is not None:
        distinct = distinct_in_all(in_group, rows_per_group, values, extremes, span)
    if math.isfinite(span):
        distinct = min(span, values if distinct is None else distinct)
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


def _span(type_: str, minimum: float | None, maximum: float | None) -> float:
    """How many values of the type there are between two, both included; infinite where that says nothing."""
    if minimum is None or maximum is None:
        return math.inf
    if type_ in INTEGERS or type_ == "DATE":
        return maximum - minimum + 1
    if type_.startswith("DECIMAL"):
        return (maximum - minimum) * 10.0 ** int(type_[:-1].split(",")[1]) + 1
    return math.inf


def distinct_in_all(in_group: float, rows_per_group: float, rows: float, extremes: int, span: float) -> float:
    """Distinct values of a column whose row groups have ``in_group`` each on average.

    If rows lie at random each row group is a sample. If they don't, as when the rows of one order lie together,
    row groups have more values of their own than a sample would, and that shows in their minima and maxima: of the
    row groups, that share has the column's lowest value that has any other one. ``extremes`` is in how many the
    minimum is the lowest, and the maximum the highest value of all; ``span`` bounds the values that there can be.
    """
    groups = rows / rows_per_group
    random = total_distinct(in_group, rows_per_group, rows)
    chances = 2 * (groups - 1)
    if chances < 2 or extremes < 2:
        return random
    share = in_group / random
    if extremes - 2 >= share * chances - 2 * math.sqrt(share * max(1 - share, 0.0) * chances):
        return random
    most = in_group * groups
    if math.isfinite(span):
        most = min(most, span * -math.expm1(groups * math.log1p(-min(in_group / span, 0.999999))))
    return max(random, min(in_group * chances / max(extremes - 2, 0.5), most))


def _makes_dictionaries(footers: TableFooters) -> bool:
    return any(chunk.dictionary for column in footers.names for _, chunk in islice(footers.chunks(column), 1))


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
