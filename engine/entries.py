"""What DuckDB names: tables, views with their queries, and macros and types that users have defined."""

from __future__ import annotations

import re
from typing import NamedTuple

import duckdb

from sord.statements import view_body

_DEFINING = re.compile(r"\b(macro|function|type)\b", re.IGNORECASE)
"""In statements that may define or drop what workers don't know."""


class Entry(NamedTuple):
    """A table or view of DuckDB's."""

    schema: str
    temporary: bool
    sql: str | None
    """CREATE VIEW as DuckDB writes it; None for a table."""


class Entries:
    """Asks ``database`` when it has to. Whoever calls holds the lock of the catalog."""

    def __init__(self, database: duckdb.DuckDBPyConnection) -> None:
        self._database = database
        self._entries: dict[str, list[Entry]] | None = None
        """DuckDB's tables and views by name; None until somebody asks."""
        self._bodies: dict[str, tuple[str, tuple[str, ...]]] = {}
        """What users wrote as a view's query, and its names for columns, by DuckDB's SQL for the view."""
        self._definitions: list[tuple[str, str]] | None = []
        """Macros and types that users have defined; None if that has to be asked."""

    def executed(self, text: str) -> None:
        """Take note of a statement other than a query."""
        self.forget()
        if _DEFINING.search(text):
            self._definitions = None
        if "view" in text.lower():
            self._remember_view(text)

    def forget(self) -> None:
        """Tables or views have changed."""
        self._entries = None

    def entry(self, name: str) -> Entry | None:
        """What DuckDB takes the unqualified ``name`` for."""
        entries = [e for e in self._known().get(name.lower(), ()) if e.schema == "main"]
        return max(entries, key=lambda entry: entry.temporary, default=None)

    def tables(self) -> list[str]:
        """The names of tables that are no views, in lower case."""
        return [
            name for name, entries in self._known().items()
            if any(entry.schema == "main" and entry.sql is None for entry in entries)
        ]  # fmt: skip

    def query(self, view: Entry) -> tuple[str, tuple[str, ...]] | None:
        """The query of a view and its names for columns; None if it can't be read."""
        assert view.sql is not None
        return self._bodies.get(view.sql) or view_body(view.sql)

    def definitions(self) -> list[tuple[str, str]]:
        """The names of users' macros and types, each with what it is."""
        if self._definitions is None:
            self._definitions = self._database.execute(
                "SELECT function_name, 'macro' FROM duckdb_functions() WHERE NOT internal AND function_type LIKE "
                "'%macro%' UNION SELECT type_name, 'type' FROM duckdb_types() WHERE NOT internal"
            ).fetchall()
        return self._definitions

    def _known(self) -> dict[str, list[Entry]]:
        if self._entries is None:
            rows = self._database.execute(
                "SELECT view_name, schema_name, temporary, sql FROM duckdb_views() WHERE NOT internal "
                "AND database_name IN ('memory', 'temp') UNION ALL "
                "SELECT table_name, schema_name, temporary, NULL FROM duckdb_tables() "
                "WHERE database_name IN ('memory', 'temp')"
            ).fetchall()
            self._entries = {}
            for found, *rest in rows:
                self._entries.setdefault(found.lower(), []).append(Entry(*rest))
        return self._entries

    def _remember_view(self, text: str) -> None:
        """Keep a view's query as the user wrote it: DuckDB writes it with operators that nobody else knows."""
        from sqlglot import exp, parse_one
        from sqlglot.errors import SqlglotError

        try:
            tree = parse_one(text, read="duckdb")
            table = tree.find(exp.Table) if isinstance(tree, exp.Create) and tree.kind == "VIEW" else None
        except SqlglotError:
            return
        entry = self.entry(table.name) if table is not None else None
        body = view_body(text)
        if entry is not None and entry.sql is not None and body is not None:
            self._bodies[entry.sql] = body
