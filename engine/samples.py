"""The samples of analysed tables, in a DuckDB of their own, and what the optimiser asks of them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import duckdb

from sord.places import quoted

if TYPE_CHECKING:
    import pyarrow

    from sord.planner.catalog import Matches

_REMEMBERED = 4096
"""Answers that a sample remembers at most."""


class Samples:
    """One thread: a question takes about a millisecond, and workers need the cores."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._database: duckdb.DuckDBPyConnection | None = None
        self._number = 0

    def add(self, rows: pyarrow.Table, types: tuple[tuple[str, str], ...], complete: bool) -> TableSample:
        """Keep rows. ``types`` are the table's columns, which may have come back from a file as others."""
        with self._lock:
            if self._database is None:
                self._database = duckdb.connect(config={"threads": 1, "python_enable_replacements": False})
            self._number += 1
            name = f"sample_{self._number}"
            items = ", ".join(
                f"CAST({quoted(column)} AS {type_}) AS {quoted(column)}" for column, type_ in types
            )
            self._database.register("rows", rows)
            self._database.execute(f"CREATE TABLE {name} AS SELECT {items} FROM rows")
            self._database.unregister("rows")
        return TableSample(self, name, rows.num_rows, complete)

    def ask(self, sql: str) -> tuple[int, ...] | None:
        """The first row of an answer; None if there is none."""
        with self._lock:
            assert self._database is not None
            try:
                return tuple(self._database.execute(sql).fetchall()[0])
            except duckdb.Error:
                return None

    def drop(self, name: str) -> None:
        """Forget a sample."""
        with self._lock:
            if self._database is not None:
                self._database.execute(f"DROP TABLE IF EXISTS {name}")


class TableSample:
    """Implements the planner's :class:`~sord.planner.catalog.Sample`."""

    def __init__(self, samples: Samples, name: str, rows: int, complete: bool) -> None:
        self._samples = samples
        self.name = name
        self.rows = rows
        self.complete = complete
        self._known: dict[str, tuple[int, ...] | None] = {}

    def matches(self, predicates: tuple[str, ...], columns: tuple[str, ...]) -> Matches | None:
        from sord.planner.catalog import Matches

        both = " AND ".join(f"({predicate})" for predicate in predicates)
        items = [f"count(*) FILTER ({predicate})" for predicate in predicates] if len(predicates) > 1 else []
        items += [f"count(DISTINCT {quoted(column)}) FILTER ({both})" for column in columns]
        found = self._ask(f"SELECT {', '.join([f'count(*) FILTER ({both})', *items])} FROM {self.name}")
        if found is None:
            return None
        several = len(predicates) if len(predicates) > 1 else 0
        each = found[1 : 1 + several] or found[:1]
        return Matches(found[0], each, dict(zip(columns, found[1 + several :], strict=True)))

    def combinations(self, columns: tuple[str, ...]) -> int | None:
        names = ", ".join(map(quoted, columns))
        found = self._ask(f"SELECT count(*) FROM (SELECT DISTINCT {names} FROM {self.name})")
        return None if found is None else found[0]

    def _ask(self, sql: str) -> tuple[int, ...] | None:
        if sql not in self._known:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[sql] = self._samples.ask(sql)
        return self._known[sql]
