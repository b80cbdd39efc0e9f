"""Tables of the client's DuckDB as the planner sees them, with the statistics that DuckDB keeps while rows come in."""

from __future__ import annotations

import datetime
import decimal
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import duckdb

from sord.entries import MAIN, TEMPORARY, Entry
from sord.sql_text import quoted

if TYPE_CHECKING:
    from sord.planner.catalog import ColumnStatistics, Table

_WIDTHS = {
    "BOOLEAN": 1.0,
    "TINYINT": 1.0,
    "SMALLINT": 2.0,
    "INTEGER": 4.0,
    "DATE": 4.0,
    "FLOAT": 4.0,
    "HUGEINT": 16.0,
}


class Stored:
    """Asks ``database``. Whoever calls holds the lock of the catalog."""

    def __init__(self, database: duckdb.DuckDBPyConnection, lock: threading.RLock) -> None:
        self._database = database
        self._lock = lock
        self._names: dict[str, str] = {}
        """What the planner's names stand for."""
        self._known: dict[str, tuple[int, tuple[tuple[str, str], ...], Mapping[str, ColumnStatistics]]] = {}

    def forget(self) -> None:
        """Tables may have changed."""
        self._known.clear()
        self._names.clear()

    def table(self, entry: Entry, private: bool) -> Table:
        """A table of DuckDB's own or a frame."""
        from sord.planner.catalog import Table, Unsupported

        if entry.collated:
            # Arrow doesn't know of it, nor does a hash.
            raise Unsupported(f"a collation in the table {entry.name}")
        place = {MAIN: "", TEMPORARY: "" if entry.sql else "temp."}.get(entry.place)
        if place is None:
            place = f"{entry.schema}." if entry.place[0] == MAIN[0] else f"{entry.database}.{entry.schema}."
        # In lower case, as the planner's parser makes all names.
        name = (place + entry.name).lower()
        reference = entry.reference
        if self._names.setdefault(name, reference) != reference:
            raise Unsupported(f"several tables that are called {name}")
        rows = int(self._database.execute(f"SELECT count(*) FROM {reference}").fetchall()[0][0])
        known = self._known.get(reference)
        if known is None or known[0] != rows:
            relation = self._database.sql(f"FROM {reference}")
            columns = tuple(zip(relation.columns, map(str, relation.types), strict=True))
            known = self._known[reference] = rows, columns, self._statistics(entry, columns, rows)
        _, columns, statistics = known
        return Table(name, columns, float(rows), statistics, None, reference=reference, private=private)

    def _statistics(
        self, entry: Entry, columns: tuple[tuple[str, str], ...], rows: int
    ) -> Mapping[str, ColumnStatistics]:
        if entry.sql is not None:
            from sord.frames import frame_statistics

            return frame_statistics(self._database, self._lock, entry.reference, columns, rows)
        if not rows:
            return {}
        items = ", ".join(f"stats({quoted(name)})" for name, _ in columns)
        found = self._database.execute(f"SELECT {items} FROM {entry.reference} LIMIT 1").fetchall()
        constrained = self._database.execute(
            "SELECT column_name FROM duckdb_columns() WHERE NOT is_nullable AND database_name = ? "
            "AND schema_name = ? AND table_name = ?",
            [entry.database, entry.schema, entry.name],
        ).fetchall()
        full = {name for (name,) in constrained}
        return {
            name: _column(type_, known, rows, name in full)
            for (name, type_), known in zip(columns, found[0] if found else (), strict=False)
            if isinstance(known, dict)
        }


def _column(type_: str, known: dict[str, Any], rows: int, full: bool) -> ColumnStatistics:
    from sord.planner.catalog import ColumnStatistics

    distinct = known.get("approx_unique")
    width = _WIDTHS.get(type_, 16.0 if type_.startswith("DECIMAL") else 8.0)
    if type_ in ("VARCHAR", "BLOB"):
        width = 4.0 + float(known.get("total_string_length") or 12.0 * rows) / rows
    return ColumnStatistics(
        float(max(1, min(distinct, rows))) if isinstance(distinct, int) and distinct else None,
        _number(known.get("min")),
        _number(known.get("max")),
        # What rows happen to be like may change before the query runs; a constraint won't.
        0.0 if full else None,
        width,
    )


def _number(value: object) -> float | None:
    """A value as the planner counts: times in days since 1970."""
    if isinstance(value, bool | str):
        return None
    if isinstance(value, int | float | decimal.Decimal):
        return float(value)
    if isinstance(value, datetime.datetime):
        naive = value if value.tzinfo is None else value.astimezone(datetime.UTC).replace(tzinfo=None)
        return (naive - datetime.datetime(1970, 1, 1)) / datetime.timedelta(days=1)
    if isinstance(value, datetime.date):
        return float((value - datetime.date(1970, 1, 1)).days)
    return None
