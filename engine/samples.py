"""The samples of analysed tables, in a DuckDB of their own, and what the optimiser asks of them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import duckdb

from sord.analyze import bounds_sql
from sord.sql_text import quoted

if TYPE_CHECKING:
    import pyarrow

    from sord.planner.catalog import Matches, Sample

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
        return TableSample(self, name, rows.num_rows, complete, types)

    def ask(self, sql: str) -> tuple[float, ...] | None:
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

    def __init__(
        self, samples: Samples, name: str, rows: int, complete: bool, types: tuple[tuple[str, str], ...]
    ) -> None:
        self._samples = samples
        self.name = name
        self.rows = rows
        self.complete = complete
        bounds = ((column, bounds_sql(quoted(column), type_)) for column, type_ in types)
        self._bounds = {column: found for column, found in bounds if all(found)}
        self._known: dict[str, tuple[float, ...] | None] = {}

    def matches(self, predicates: tuple[str, ...], columns: tuple[str, ...]) -> Matches | None:
        from sord.planner.catalog import Matches

        distinct = [f"count(DISTINCT {quoted(column)})" for column in columns]
        ordered = [column for column in columns if column in self._bounds]
        ranges = [f"({bound})::DOUBLE" for column in ordered for bound in self._bounds[column]]
        items = ", ".join(["count(*)", *distinct, *ranges])
        found = self._ask(f"SELECT {items} FROM {self.name}{_where(predicates)}")
        if found is None:
            return None
        rows, *found_distinct = found[: 1 + len(columns)]
        bounds = iter(found[1 + len(columns) :])
        return Matches(
            int(rows),
            {column: int(number) for column, number in zip(columns, found_distinct, strict=True)},
            {column: (next(bounds), next(bounds)) for column in ordered},
        )

    def each(self, predicates: tuple[str, ...]) -> tuple[int, ...] | None:
        items = ", ".join(f"count(*) FILTER ({predicate})" for predicate in predicates)
        found = self._ask(f"SELECT {items} FROM {self.name}")
        return None if found is None else tuple(map(int, found))

    def combinations(self, expressions: tuple[str, ...], where: tuple[str, ...]) -> int | None:
        distinct = f"SELECT DISTINCT {', '.join(expressions)} FROM {self.name}{_where(where)}"
        found = self._ask(f"SELECT count(*) FROM ({distinct})")
        return None if found is None else int(found[0])

    def pairs(
        self, keys: tuple[str, ...], where: tuple[str, ...],
        other: Sample, other_keys: tuple[str, ...], other_where: tuple[str, ...],
    ) -> int | None:  # fmt: skip
        if not isinstance(other, TableSample) or other._samples is not self._samples:
            return None
        if other is self and not self.complete:
            return None  # its rows are not independent of themselves
        # Counted by key first: frequent keys would have very many pairs.
        sides = (self._grouped(keys, where), other._grouped(other_keys, other_where))
        equal = " AND ".join(f"a.k{number} = b.k{number}" for number in range(len(keys)))
        found = self._ask(
            f"SELECT coalesce(sum(a.n * b.n), 0) FROM {sides[0]} a JOIN {sides[1]} b ON {equal}"
        )
        return None if found is None else int(found[0])

    def _grouped(self, keys: tuple[str, ...], where: tuple[str, ...]) -> str:
        items = ", ".join(f"{key} AS k{number}" for number, key in enumerate(keys))
        return f"(SELECT {items}, count(*) AS n FROM {self.name}{_where(where)} GROUP BY ALL)"

    def _ask(self, sql: str) -> tuple[float, ...] | None:
        if sql not in self._known:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[sql] = self._samples.ask(sql)
        return self._known[sql]


def _where(predicates: tuple[str, ...]) -> str:
    return f" WHERE {' AND '.join(f'({predicate})' for predicate in predicates)}" if predicates else ""
