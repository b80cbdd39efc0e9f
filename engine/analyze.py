"""ANALYZE: reads a table and keeps what the optimiser asks for: statistics of columns, and a sample of rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import duckdb

from sord.planner.render import read_files
from sord.sql_text import quoted

if TYPE_CHECKING:
    import pyarrow

    from sord.planner.catalog import ColumnStatistics, File, Table

_SAMPLE_ROWS = 20_000
"""About so many rows are kept of a table that isn't kept whole."""
_WHOLE_ROWS = 100_000
"""Tables up to this size are: most of what filters are on, small tables around a large one."""
_READ_ROWS = 16_000_000
"""Of a larger table only row groups with about so many rows are read, spread over all of it."""
_READ_GROUPS = 256
_EXACT_ROWS = 200_000
"""Distinct values of tables up to this size are counted, those of larger ones estimated by sketches."""
_COMMON = 32
"""Most common values of a column that are kept at most, those that are ``_FREQUENT`` times the average."""
_FREQUENT = 3.0
_SURE = 10
"""Times that a value has to be in the sample to be known as common."""
_LOTS = 0.7
"""Distinct values of a column per row, from which on it isn't taken to say which rows belong together."""
_LOTS_ROWS = 100_000
"""Rows that are looked at for that."""
_IN_LOT = 0.98
"""The share of lots with a single value of a column that is taken for all of them."""
_NUMBERS = (
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
    "FLOAT", "DOUBLE", "DECIMAL",
)  # fmt: skip
_TIMES = ("DATE", "TIMESTAMP")


@dataclass(frozen=True, slots=True)
class Analysis:
    """What ANALYZE found out about one state of a table."""

    columns: Mapping[str, ColumnStatistics]
    sample: pyarrow.Table
    complete: bool
    """Whether the sample is the whole table."""


def analyze_table(connection: duckdb.DuckDBPyConnection, table: Table) -> Analysis:
    """Read a table. Large ones are read in part, and distinct values are scaled up (see :func:`_distinct`).

    Raises DuckDB's errors for files that can't be read.
    """
    groups = _chosen(table.files or ())
    source = _source(table, groups)
    known = dict(table.columns)
    counts = "count(DISTINCT {})" if table.rows <= _EXACT_ROWS else "approx_count_distinct({})"
    items = [item for name, type_ in table.columns for item in _items(quoted(name), type_, counts)]
    rows, *found = connection.execute(f"SELECT count(*), {', '.join(items)} FROM {source}").fetchall()[0]
    sample = _sample(connection, source, rows)
    complete = sample.num_rows == rows == table.rows
    clustered = {clustering.column for clustering in table.clusterings}
    columns = {}
    for number, name in enumerate(known):
        count, distinct, low, high, width = found[5 * number : 5 * number + 5]
        footer = table.statistics.get(name)
        columns[name] = _column(
            footer, table.rows, rows, count, distinct, low, high, width, name in clustered
        )
    for name, values in _common(connection, sample, columns).items():
        columns[name] = _with_common(columns[name], values)
    for name, lots in _lots(connection, table, columns).items():
        columns[name] = replace(columns[name], lots=lots)
    return Analysis(columns, sample, complete)


def _chosen(files: tuple[File, ...]) -> dict[str, list[tuple[int, int]]] | None:
    """First and last row of the row groups to read, by file; None for all."""
    groups = []
    for file in files:
        first = 0
        for rows in file.row_groups:
            groups.append((file.path, first, first + rows - 1))
            first += rows
    total = sum(file.rows for file in files)
    if total <= _READ_ROWS or len(groups) < 2:
        return None
    number = max(1, min(_READ_GROUPS, len(groups) * _READ_ROWS // total))
    result: dict[str, list[tuple[int, int]]] = {}
    for index in range(number):
        path, first, last = groups[index * len(groups) // number]
        result.setdefault(path, []).append((first, last))
    return result


def _source(table: Table, groups: dict[str, list[tuple[int, int]]] | None) -> str:
    """A FROM item with the table's columns and ``file_row_number`` or another number of the row."""
    if table.files is None:
        return f"(SELECT *, row_number() OVER () AS file_row_number FROM {table.reference})"
    if table.binding:
        paths = [file.path for file in table.files if groups is None or file.path in groups]
        return f"(SELECT *, row_number() OVER () AS file_row_number FROM {read_files(table, paths)})"
    numbered = "file_row_number" in (name for name, _ in table.columns)
    option = "" if numbered else ", file_row_number=true"
    if groups is None:
        return read_files(table, [file.path for file in table.files], option)
    parts = (
        f"SELECT * FROM {read_files(table, [path], option)} WHERE "
        + " OR ".join(f"file_row_number BETWEEN {first} AND {last}" for first, last in ranges)
        for path, ranges in groups.items()
    )
    return f"({' UNION ALL '.join(parts)})"


def bounds_sql(name: str, type_: str) -> tuple[str, str]:
    """Aggregates that give the lowest and highest value as a number; empty for types without one."""
    if type_ in ("FLOAT", "DOUBLE"):
        finite = f"CASE WHEN isfinite({name}) THEN {name} END"
        return f"min({finite})", f"max({finite})"
    if type_.startswith(_NUMBERS) and not type_.endswith("]"):
        return f"min({name})", f"max({name})"
    if type_.startswith(_TIMES) and not type_.endswith("]"):
        days = f"CASE WHEN isfinite({name}) THEN epoch({name}) / 86400 END"
        return f"min({days})", f"max({days})"
    return "", ""


def _items(name: str, type_: str, counts: str) -> tuple[str, ...]:
    """What is computed of each column: values, distinct ones, the lowest and highest as numbers, the width."""
    low, high = bounds_sql(name, type_)
    text = type_ in ("VARCHAR", "BLOB")
    width = f"avg({'strlen' if type_ == 'VARCHAR' else 'octet_length'}({name}))" if text else "NULL"
    bounds = (f"{low}::DOUBLE", f"{high}::DOUBLE") if low else ("NULL", "NULL")
    return f"count({name})", counts.format(name), *bounds, width


def _sample(connection: duckdb.DuckDBPyConnection, source: str, rows: int) -> pyarrow.Table:
    """Rows by a hash of their numbers: that decides before the other columns are read, as a reservoir can't."""
    step = 1 if rows <= _WHOLE_ROWS else rows // _SAMPLE_ROWS
    where = f" WHERE hash(file_row_number) % {step} = 0" if step > 1 else ""
    return connection.sql(f"SELECT * EXCLUDE (file_row_number) FROM {source}{where}").to_arrow_table()


def _column(
    footer: ColumnStatistics | None,
    total: float,
    rows: int,
    count: int,
    distinct: int,
    low: float | None,
    high: float | None,
    width: float | None,
    clustered: bool,
) -> ColumnStatistics:
    from sord.planner.catalog import ColumnStatistics

    footer = footer or ColumnStatistics()
    nulls = 1 - count / rows if rows else 0.0
    values = total * (1 - nulls)
    number = _distinct(distinct, count, values, clustered)
    low = low if footer.minimum is None else footer.minimum
    high = high if footer.maximum is None else footer.maximum
    # Only footers prove that there are no NULLs: these are seen again when the query runs.
    fraction = footer.null_fraction if footer.null_fraction is not None or nulls == 0 else nulls
    width = footer.width if width is None else width + 4.0
    return ColumnStatistics(number, low, high, fraction, width, elements=footer.elements)


def _distinct(distinct: int, read: int, values: float, clustered: bool) -> float:
    """Distinct values of the column, from those in the row groups that were read.

    A column that clusters the table has others in every row group; of the rest, row groups are samples.
    """
    from sord.planner.cardinality import total_distinct

    found = float(min(distinct, read))
    # The sketch is off by some hundredths, so what is nearly unique is unique.
    if found > 0.9 * read > _EXACT_ROWS:
        found = float(read)
    if read >= values or read == 0:
        return max(found, 1.0)
    return found * values / read if clustered else total_distinct(found, float(read), values)


def _common(
    connection: duckdb.DuckDBPyConnection, sample: pyarrow.Table, columns: Mapping[str, ColumnStatistics]
) -> dict[str, list[tuple[str, float]]]:
    """The values that are much more frequent than the average of their column, as text, and their share of all rows."""
    found: dict[str, list[tuple[str, float]]] = {}
    cursor = connection.cursor()
    cursor.register("rows of the sample", sample)
    for name, column in columns.items():
        least = max(_SURE, _FREQUENT * sample.num_rows / max(column.distinct or 1.0, 1.0))
        if least > sample.num_rows:
            continue
        values = cursor.execute(
            f'SELECT {quoted(name)}::VARCHAR, count(*) FROM "rows of the sample" WHERE {quoted(name)} IS NOT NULL '
            f"GROUP BY {quoted(name)} HAVING count(*) >= {least} ORDER BY 2 DESC, 1 LIMIT {_COMMON}"
        ).fetchall()
        if values:
            found[name] = [(text, count / sample.num_rows) for text, count in values]
    cursor.unregister("rows of the sample")
    cursor.close()
    return found


def _lots(
    connection: duckdb.DuckDBPyConnection, table: Table, columns: Mapping[str, ColumnStatistics]
) -> dict[str, float]:
    """In how many lots the rows of a table lie that is sorted by a column with several rows per value, as the lines of
    orders are, for this column and those that have one value in each lot, as an order's customer is. Seen in one file.
    """
    sorted_by = [(columns[one.column].distinct or 0.0, one.column) for one in table.clusterings]
    number, key = max(sorted_by, default=(0.0, ""))
    if not table.files or not 1 < number < _LOTS * table.rows:
        return {}
    names = [
        name for name, type_ in table.columns if type_ == "VARCHAR" or type_.startswith(_NUMBERS + _TIMES)
    ]
    first = max(table.files, key=lambda file: file.rows)
    source = _source(table, {first.path: [(0, _LOTS_ROWS - 1)]})
    same = ", ".join(f"avg((low{i} IS NOT DISTINCT FROM high{i})::INTEGER)" for i in range(len(names)))
    bounds = ", ".join(
        f"min({quoted(n)}) AS low{i}, max({quoted(n)}) AS high{i}" for i, n in enumerate(names)
    )
    lots = f"SELECT {bounds} FROM {source} GROUP BY {quoted(key)} HAVING count(*) > 1"
    shares = connection.execute(f"SELECT {same} FROM ({lots})").fetchall()[0]
    return {name: number for name, share in zip(names, shares, strict=True) if share and share > _IN_LOT}


def _with_common(column: ColumnStatistics, values: list[tuple[str, float]]) -> ColumnStatistics:
    return replace(column, common=tuple(values))


def as_json(columns: Mapping[str, ColumnStatistics]) -> dict[str, Any]:
    """Plain values, for :func:`from_json`."""
    from dataclasses import asdict

    return {name: asdict(column) for name, column in columns.items()}


def from_json(columns: Mapping[str, Any]) -> dict[str, ColumnStatistics]:
    """Raises KeyError, TypeError or ValueError for what :func:`as_json` hasn't made."""
    from sord.planner.catalog import ColumnStatistics

    def number(value: Any) -> float | None:
        return None if value is None else float(value)

    return {
        name: ColumnStatistics(
            number(column["distinct"]),
            number(column["minimum"]),
            number(column["maximum"]),
            number(column["null_fraction"]),
            float(column["width"]),
            tuple((str(value), float(share)) for value, share in column["common"]),
            number(column.get("elements")),
            number(column.get("lots")),
        )
        for name, column in columns.items()
    }
