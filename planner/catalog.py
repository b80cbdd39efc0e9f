"""What the planner knows of tables: names, types, files and statistics. Data only; somebody else reads footers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple, Protocol


class Unsupported(Exception):
    """The planner does not distribute this construct; the statement runs on one DuckDB. The text says why."""


@dataclass(frozen=True, slots=True)
class ColumnStatistics:
    """Of one column. Values are numbers (dates and times as days or seconds since 1970) or None if unknown."""

    distinct: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    null_fraction: float | None = None
    """0 means proven free of NULLs."""
    width: float = 8.0
    """Bytes of an average value in memory."""
    common: tuple[tuple[str, float], ...] = ()
    """Values that are much more frequent than the average one, as DuckDB writes them, and their shares of all rows."""
    elements: float | None = None
    """Elements of an average list, where an empty list and NULL count as one."""
    lots: float | None = None
    """In how many lots the rows lie that have one value of this column each, as the rows of one order have."""


@dataclass(frozen=True, slots=True)
class Clustering:
    """The table's row groups, ordered, hold (nearly) disjoint ranges of an integer column.

    ``row_groups`` are (lowest key, highest key, rows), ascending. Found in footers, as zone maps are.
    """

    column: str
    row_groups: tuple[tuple[int, int, int], ...]

    def boundaries(self, parts: int) -> tuple[int, ...]:
        """``parts - 1`` ascending keys: part ``i`` holds keys in ``[boundaries[i-1], boundaries[i])``.

        Parts have about the same number of rows; keys are taken to be uniform inside a row group.
        """
        total = sum(rows for _, _, rows in self.row_groups)
        result: list[int] = []
        seen = 0
        groups = iter(self.row_groups)
        low, high, rows = next(groups)
        for part in range(1, parts):
            target = total * part // parts
            while seen + rows <= target:
                seen += rows
                low, high, rows = next(groups)
            result.append(low + (high - low) * (target - seen) // max(rows, 1))
        return tuple(result)


Bound = int | float | Decimal | bytes
"""A number, dates and times as nanoseconds since 1970, or a text in UTF-8: in Python's order as in DuckDB's."""


class Zone(NamedTuple):
    """What is known of a column's values in a row group."""

    rows: int
    low: Bound | None = None
    """No value is less; texts may be cut off. None: that isn't known."""
    high: Bound | None = None
    """No value is greater, NaN aside."""
    nulls: int | None = None


class Footers(Protocol):
    """What the files of a table say of its row groups."""

    def zones(self, column: str) -> Mapping[str, Sequence[Zone]] | None:
        """By path, for each row group of a file; None if nothing is known of the column."""

    def clustering(self, column: str, files: Sequence[File]) -> Clustering | None:
        """How an integer column clusters the row groups of some files that they do not skip; None if it doesn't."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of rows."""

    path: str
    rows: int
    """Exact for Parquet, a guess for other formats."""
    bytes: int
    row_groups: tuple[int, ...]
    """Rows of each row group; only between them can a file be cut."""
    partition: tuple[str | None, ...] | None = None
    """Values of the table's partition columns as DuckDB writes them; None where there are no rows."""
    key_ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Lowest and highest value of each clustering column in which the file has no NULL."""
    modified: int | None = None
    """When it was last changed: nanoseconds since 1970."""
    skipped: frozenset[int] = frozenset()
    """Numbers of the row groups in which a query has no row."""

    @property
    def kept_rows(self) -> int:
        """Rows of the row groups that are not skipped."""
        return self.rows - sum(self.row_groups[number] for number in self.skipped)


@dataclass(frozen=True, slots=True)
class Matches:
    """What of a sample a conjunction leaves."""

    rows: int
    distinct: Mapping[str, int]
    """Distinct values of columns, NULL aside, among the rows for which all hold."""
    ranges: Mapping[str, tuple[float | None, float | None]]
    """Lowest and highest value there of columns that are numbers or times, as in :class:`ColumnStatistics`."""


class Sample(Protocol):
    """Some rows of a table, all equally likely to be among them. Answers are remembered."""

    rows: int
    complete: bool
    """Whether these are all of the table's rows."""

    def matches(self, predicates: tuple[str, ...], columns: tuple[str, ...]) -> Matches | None:
        """How many rows satisfy SQL conditions, and their distinct values in ``columns``. None: it can't tell."""

    def each(self, predicates: tuple[str, ...]) -> tuple[int, ...] | None:
        """How many rows satisfy each one of SQL conditions. None: it can't tell."""

    def combinations(self, expressions: tuple[str, ...], where: tuple[str, ...]) -> int | None:
        """Distinct combinations of SQL expressions in rows that satisfy conditions. None: it can't tell."""

    def pairs(
        self, keys: tuple[str, ...], where: tuple[str, ...],
        other: Sample, other_keys: tuple[str, ...], other_where: tuple[str, ...],
    ) -> int | None:  # fmt: skip
        """Pairs of rows of two samples with equal keys among those that satisfy conditions. None: it can't tell."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table that a query can scan."""

    name: str
    columns: tuple[tuple[str, str], ...]
    """(name, DuckDB type), in order."""
    rows: float
    statistics: Mapping[str, ColumnStatistics]
    files: tuple[File, ...] | None
    """None: the table lives in the client's DuckDB (a frame, or one of DuckDB's own tables)."""
    clusterings: tuple[Clustering, ...] = ()
    options: str = ""
    """Further arguments of the function, rendered: ``, binary_as_string=true``."""
    function: str = "read_parquet"
    """DuckDB's function that reads the files."""
    partitions: tuple[str, ...] = ()
    """Columns with one value per file."""
    binding: tuple[str, ...] = ()
    """Files that DuckDB looks into for names and types: whoever reads other files has to show it these first."""
    file_column: str = "filename"
    """The (virtual) column with the path of a row's file."""
    reference: str = ""
    """What the client's DuckDB calls the table, as SQL; its name if empty. Without files only."""
    private: bool = False
    """Whether only the user's own connection to the client's DuckDB sees the rows: it is temporary, for instance."""
    sample: Sample | None = field(default=None, compare=False)
    """There is one once the table has been analysed."""
    footers: Footers | None = field(default=None, compare=False)
    whole: Table | None = field(default=None, compare=False)
    """The table before files and row groups were left out that have no row for a filter: statistics are of this."""
    hidden: tuple[str, ...] = ()
    """Columns that no star stands for."""
    of_all: tuple[int, int] | None = None
    """If not all files are read: how many there are, and how many row groups they have."""

    def type_of(self, column: str) -> str:
        """The DuckDB type of a column."""
        return next(type_ for name, type_ in self.columns if name == column)


@dataclass(frozen=True, slots=True)
class Function:
    """One of DuckDB's functions."""

    name: str
    """What it is called where it has several names."""
    kinds: frozenset[str]
    """Of its overloads: scalar, aggregate, window, macro, table, …"""
    stabilities: frozenset[str]
    """Of its scalar overloads: CONSISTENT, CONSISTENT_WITHIN_QUERY, VOLATILE."""
    internal: bool
    """Whether every DuckDB has it; a user's own macros and functions are in the client's alone."""


@dataclass(frozen=True, slots=True)
class View:
    """The query behind a view."""

    sql: str
    home: Any = None
    """The catalog's own: where names in the query are looked up."""


class Catalog(Protocol):
    """How the planner asks for what it doesn't know."""

    def table(self, *name: str, view: View | None = None) -> Table | None:
        """The table of this name (case-insensitive; [[database,] schema,] table), if it is one.

        ``view`` is the one whose query has the name.
        """

    def view(self, *name: str, view: View | None = None) -> View | None:
        """The view of this name, if it is one."""

    def scan(self, function: str, arguments: Sequence[str]) -> Table:
        """The table behind a table function such as ``read_parquet('a/*.parquet')``, arguments rendered."""

    def describe(self, sql: str) -> list[tuple[str, str]]:
        """Names and DuckDB types of a query's columns, by DuckDB itself. About a millisecond."""

    def function(self, name: str) -> Function | None:
        """DuckDB's function of this name (in lower case), if it has one."""

    def syntax(self, *texts: str) -> list[str]:
        """DuckDB's syntax trees of queries, as JSON without NULLs, empty parts and defaults.

        Raises Unsupported for a text that can't be shown so.
        """

    def evaluate(self, expressions: Sequence[str]) -> list[tuple[str | None, str]]:
        """Values (as text; None: NULL) and DuckDB types of expressions without columns, all at one time."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query over constants, by DuckDB itself. Raises DuckDB's errors."""
