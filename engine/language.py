"""What DuckDB says of its own language: its functions, and how it reads a text."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import duckdb

if TYPE_CHECKING:
    from sord.planner.catalog import Function

_TREE = "json_serialize_sql(?, skip_null := true, skip_empty := true, skip_default := true)"


_MAKES_FUNCTIONS = re.compile(r"\b(macro|function|load|drop|use)\b", re.IGNORECASE)


class Language:
    """Asks ``database``, which nobody else uses while ``lock`` is held."""

    def __init__(self, database: duckdb.DuckDBPyConnection, lock: threading.RLock) -> None:
        self._database = database
        self._lock = lock
        self._functions: dict[str, Function] | None = None
        """By name; asking for all of them takes as long as asking for one."""

    def executed(self, text: str) -> None:
        """Take note of a statement that may have made functions."""
        if _MAKES_FUNCTIONS.search(text):
            self._functions = None

    def function(self, name: str) -> Function | None:
        """The function of this name (in lower case)."""
        from sord.planner.catalog import Function

        if self._functions is None:
            with self._lock:
                rows = self._database.execute(
                    "SELECT lower(function_name), max(alias_of), list(DISTINCT function_type), "
                    "list(DISTINCT stability) FILTER (stability IS NOT NULL), bool_and(internal) "
                    "FROM duckdb_functions() GROUP BY ALL"
                ).fetchall()
                everywhere = self._everywhere()
            self._functions = {
                found: Function(
                    alias or found,
                    frozenset(kinds),
                    frozenset(stabilities or ()),
                    internal and (everywhere is None or found in everywhere),
                )
                for found, alias, kinds, stabilities, internal in rows
            }
        return self._functions.get(name)

    def _everywhere(self) -> set[str] | None:
        """The functions of a DuckDB that has loaded nothing; None if that is what this one is."""
        loaded = self._database.execute(
            "SELECT 1 FROM duckdb_extensions() WHERE loaded AND install_mode <> 'STATICALLY_LINKED'"
        ).fetchall()
        if not loaded:
            return None
        with duckdb.connect() as fresh:
            rows = fresh.execute("SELECT DISTINCT lower(function_name) FROM duckdb_functions()").fetchall()
        return {row[0] for row in rows}

    def syntax(self, *texts: str) -> list[str]:
        """The syntax trees of queries, as JSON without NULLs, empty parts and defaults.

        Raises the planner's Unsupported for a text that DuckDB doesn't show so.
        """
        from sord.planner.catalog import Unsupported

        with self._lock:
            try:
                trees = self._database.execute(f"SELECT {', '.join(_TREE for _ in texts)}", texts).fetchall()[
                    0
                ]
            except duckdb.Error as error:
                raise Unsupported(f"DuckDB can't show its syntax: {str(error).splitlines()[0]}") from error
        if any(tree.startswith('{"error":true') for tree in trees):
            raise Unsupported("DuckDB does not show its syntax")
        return list(trees)


def evaluate(database: duckdb.DuckDBPyConnection, expressions: Sequence[str]) -> list[tuple[str | None, str]]:
    """Values, as text, and types of expressions without columns, all of one moment."""
    items = ", ".join(f"CAST(({one}) AS VARCHAR), typeof({one})" for one in expressions)
    row = database.execute(f"SELECT {items}").fetchall()[0]
    return list(zip(row[::2], row[1::2], strict=True))
