"""What belongs to one session of DuckDB's: settings, temporary tables, variables, transactions."""

from __future__ import annotations

import contextlib
import re
import threading
import time
import weakref
from collections.abc import Mapping
from typing import Any

import duckdb

_HIDDEN = ("old_implicit_casting", "error_on_division_by_zero")
"""Settings that DuckDB has and doesn't list."""

_TRAVELLING = (
    *_HIDDEN, "TimeZone", "Calendar", "default_null_order", "default_order", "default_collation", "integer_division",
    "ieee_floating_point_ops", "scalar_subquery_error_on_multiple_rows",
    "order_by_non_integer_literal", "binary_as_string", "disable_timestamptz_casts", "parquet_can_have_nan",
    "dialect_compatibility_mode", "max_expression_depth", "enable_geoparquet_conversion",
)  # fmt: skip
"""Settings that change answers: what a user sets for the connection holds for all workers."""

_REFUSED = {
    "default_null_order": r"\border\s+by\b",
    "default_order": r"\border\s+by\b",
    "default_collation": "",
    "file_search_path": "",
    "scalar_subquery_error_on_multiple_rows": r"\(\s*(select|from|with|table|values)\b",
}
"""Settings that change what the planner takes for granted, and in which texts: sqlglot leaves out ASC and NULLS LAST,
rows are moved by hashes of texts, the planner finds files by a connection of its own, and a scalar subquery of several
rows is an error."""

_LOCAL = (
    *_TRAVELLING, "search_path", "preserve_insertion_order", "errors_as_json", "file_search_path", "max_execution_time",
)  # fmt: skip
"""Settings of a connection that new cursors are to have too: DuckDB's SET is for one connection, but for some names."""

# Frames are tables by register() only: in FROM they would be looked for among our own variables.
_CONFIG: Mapping[str, Any] = {"python_enable_replacements": False}

_PRIVATE = re.compile(r"\b(temp|temporary|variable|prepare)\b", re.IGNORECASE)
_SETTING = re.compile(r"\b(set|reset|use|pragma)\b", re.IGNORECASE)
_TRANSACTION = re.compile(r"(?:^|;)\s*(begin|start|commit|rollback|abort|end)\b", re.IGNORECASE)
_CLOSING_SECONDS = 5.0


def open_database(**config: Any) -> duckdb.DuckDBPyConnection:
    """A new DuckDB in memory.

    Unlike by default, it reckons with NaN in Parquet files, which no footer tells of. Otherwise it drops some of such
    rows in filters and joins, depending on how the files are divided. Workers do the same.
    """
    database = duckdb.connect(config={**_CONFIG, **config})
    database.execute("SET GLOBAL parquet_can_have_nan = true")
    return database


class Session:
    """The user's own DuckDB connection, and cursors that behave as it does."""

    def __init__(self, database: duckdb.DuckDBPyConnection) -> None:
        self._database = database
        self._guard = threading.Lock()
        self._cursors: weakref.WeakSet[duckdb.DuckDBPyConnection] = weakref.WeakSet()
        self._defaults: dict[str, str] | None = None
        self._local: dict[str, str] = {}
        self._has_private = False
        self.in_transaction = False
        """Whether BEGIN has opened one that no COMMIT or ROLLBACK has ended."""
        self.closed = False
        self._refused: list[str] = []
        """Settings that have been changed and that the planner doesn't know how to obey."""
        self.keeps_order = True
        """Whether DuckDB gives ordered rows on in their order."""
        self.seconds = 0.0
        """The maximum execution time of a query; 0 means none."""
        self.travelling: dict[str, str] = {}
        """Settings that a user has changed and that the workers need, name to value."""

    @property
    def needs_own(self) -> bool:
        """Whether a query that one DuckDB answers might ask for something that a cursor doesn't see."""
        return self._has_private or self.in_transaction

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A new connection to the same database with the same settings."""
        cursor = self._database.cursor()
        for name, value in self._local.items():
            if value:
                cursor.execute(f"SET {name} = '{_escaped(value)}'")
        with self._guard:
            self._cursors.add(cursor)
        return cursor

    def executed(self, text: str) -> None:
        """Take note of statements other than queries."""
        if self.is_private(text):
            self._has_private = True
        transactions = _TRANSACTION.findall(text)
        if transactions:
            self.in_transaction = transactions[-1].lower() in ("begin", "start")
        if _SETTING.search(text):
            self._note_settings()

    @staticmethod
    def is_private(text: str) -> bool:
        """Whether a statement makes something that only this connection sees."""
        return _PRIVATE.search(text) is not None

    def refusal(self, text: str) -> str | None:
        """Why a query may mean something else in this session than it does to the planner."""
        for name in self._refused:
            if re.search(_REFUSED[name], text, re.IGNORECASE):
                return f"the setting {name} has been changed"
        return None

    def interrupt(self) -> None:
        """Cancel what runs on any of the connections."""
        for connection in self._connections():
            # It may have been closed already.
            with contextlib.suppress(duckdb.ConnectionException):
                connection.interrupt()

    def close(self) -> None:
        """Cancel what runs and close the user's connection. Idempotent.

        Cursors belong to who has asked for them; they only hear of it.
        """
        self.closed = True
        deadline = time.monotonic() + _CLOSING_SECONDS
        while True:
            self.interrupt()
            try:
                self._database.close()
            except duckdb.ResourceInUseException:
                # A thread is inside; the interruption gets it out.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.005)
            else:
                return

    def _connections(self) -> list[duckdb.DuckDBPyConnection]:
        with self._guard:
            return [*self._cursors, self._database]

    def _note_settings(self) -> None:
        if self._defaults is None:
            # Too late to ask the database itself: it has been changed.
            with open_database() as fresh:
                self._defaults = _settings(fresh)
        current = _settings(self._database)
        changed = {name: value for name, value in current.items() if value != self._defaults.get(name)}
        self.travelling = {name: value for name, value in changed.items() if name in _TRAVELLING}
        self._refused = [name for name in _REFUSED if name in changed]
        self.seconds = float(current["max_execution_time"]) / 1000
        self.keeps_order = "preserve_insertion_order" not in changed
        self._local = {name: value for name, value in changed.items() if name in _LOCAL}
        if self._local.get("search_path") in ("main", "memory", "memory.main"):
            del self._local["search_path"]


def _settings(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    names = ", ".join(f"'{name}'" for name in _LOCAL)
    hidden = " UNION ALL ".join(f"SELECT '{name}', current_setting('{name}')::VARCHAR" for name in _HIDDEN)
    rows = connection.execute(
        f"SELECT name, value FROM duckdb_settings() WHERE name IN ({names}) UNION ALL {hidden}"
    )
    return dict(rows.fetchall())


def _escaped(value: str) -> str:
    return value.replace("'", "''")
