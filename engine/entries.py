"""What DuckDB names: tables, views with their queries, and macros and types that users have defined."""

from __future__ import annotations

import re
from typing import NamedTuple

import duckdb

from sord.macros import Macro, inlined, macros
from sord.sql_text import quoted
from sord.statements import NAME, unquoted, view_body

_DEFINING = re.compile(r"\b(macro|function|type)\b", re.IGNORECASE)
"""In statements that may define or drop what workers don't know."""


Place = tuple[str, str]
"""A database and a schema in it, in lower case."""

TEMPORARY: Place = ("temp", "main")
MAIN: Place = ("memory", "main")


class Entry(NamedTuple):
    """A table or view of DuckDB's."""

    database: str
    schema: str
    name: str
    temporary: bool
    sql: str | None
    """CREATE VIEW as DuckDB writes it; None for a table."""
    collated: bool
    """Whether a table has columns with a collation."""

    @property
    def place(self) -> Place:
        return self.database.lower(), self.schema.lower()

    @property
    def reference(self) -> str:
        """SQL that means this entry alone, wherever it stands."""
        return ".".join(map(quoted, (self.database, self.schema, self.name)))


class Entries:
    """Asks ``database`` when it has to. Whoever calls holds the lock of the catalog."""

    def __init__(self, database: duckdb.DuckDBPyConnection) -> None:
        self._database = database
        self._entries: dict[tuple[str, str, str], Entry] | None = None
        """DuckDB's tables and views by place and name, in lower case; None until somebody asks."""
        self._places: set[Place] = set()
        self._path: tuple[Place, ...] = ()
        """Where names without a schema are looked up."""
        self._explicit: set[Place] = set()
        """Of these, the ones that the user has named with their database."""
        self._bodies: dict[str, tuple[str, tuple[str, ...]]] = {}
        """What users wrote as a view's query, and its names for columns, by DuckDB's SQL for the view."""
        self._definitions: list[tuple[str, str, bool]] | None = []
        """Macros and types that users have defined; None if that has to be asked."""
        self._macros: list[Macro] = []

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

    def entry(self, *name: str, view: Entry | None = None) -> Entry | None:
        """What DuckDB takes a name of one to three parts for, in a query of the user's or in that of a ``view``.

        None as well for what can be understood in two ways.
        """
        known = self._known()
        parts = [part.lower() for part in name]
        for database, schema in self._candidates(parts[:-1], view):
            found = known.get((database, schema, parts[-1]))
            if found is not None:
                return found
        return None

    def at(self, place: Place, name: str) -> Entry | None:
        """The table or view of this name in one place."""
        return self._known().get((*place, name.lower()))

    def tables(self) -> list[str]:
        """The names of tables of the client's own database, in lower case."""
        return [
            name for (database, schema, name), entry in self._known().items()
            if schema == "main" and database in ("memory", "temp") and entry.sql is None
        ]  # fmt: skip

    def query(self, view: Entry) -> tuple[str, tuple[str, ...]] | None:
        """The query of a view and its names for columns; None if it can't be read."""
        assert view.sql is not None
        return self._bodies.get(view.sql) or view_body(view.sql)

    def definitions(self) -> list[tuple[str, str, bool]]:
        """The names of users' macros and types, each with what it is and whether DuckDB has a function of this name."""
        if self._definitions is None:
            self._definitions = self._database.execute(
                "SELECT function_name, 'macro', function_name IN (SELECT function_name FROM duckdb_functions() "
                "WHERE internal) FROM duckdb_functions() WHERE NOT internal AND function_type LIKE '%macro%' "
                "UNION SELECT type_name, 'type', false FROM duckdb_types() WHERE NOT internal"
            ).fetchall()
            self._macros = macros(self._database) if self._definitions else []
        return self._definitions

    def inlined(self, text: str) -> str:
        """The text with macros replaced by what they stand for; as it is if that can't be done."""
        if not self.definitions() or not self._macros:
            return text
        found = inlined(text, self._macros)
        if found is None or found == text:
            return text
        try:
            plans = [
                self._database.sql(f"EXPLAIN (FORMAT json) {one}").fetchall()[0][1] for one in (text, found)
            ]
        except duckdb.Error:
            return text
        return found if plans[0] == plans[1] else text

    def _candidates(self, parts: list[str], view: Entry | None) -> list[Place]:
        """Where to look, in this order, for a name after ``parts``. A view's own place comes before the user's path.

        Follows what DuckDB does in Binder::BindCatalog and Catalog::GetCatalogEntries.
        """
        path = list(self._path)
        home = None if view is None else view.place
        if home is not None:
            path.insert(1, home)
        if not parts:
            return path
        if len(parts) == 2:
            return [(parts[0], parts[1])]
        if len(parts) > 2:
            return []
        word = parts[0]
        if home is not None:
            # Whether DuckDB goes on to look elsewhere depends on more than the path.
            own = [TEMPORARY[0]] if word == "main" else []
            databases = [*own, *([home[0]] if (home[0], word) in self._places else [])]
        else:
            databases = [database for database, schema in path if schema == word]
            if not databases and (path[-1][0], word) in self._places:
                databases = [path[-1][0]]
        if not any(database == word for database, _ in self._places):
            return [(database, word) for database in databases]
        if databases:
            return []
        return [place for place in path if place[0] == word and place in self._explicit] or [(word, "main")]

    def _known(self) -> dict[tuple[str, str, str], Entry]:
        if self._entries is None:
            rows = self._database.execute(
                "SELECT database_name, schema_name, view_name, temporary, sql, false FROM duckdb_views() "
                "WHERE NOT internal UNION ALL "
                "SELECT database_name, schema_name, table_name, temporary, NULL, sql ILIKE '% COLLATE %' "
                "FROM duckdb_tables()"
            ).fetchall()
            places = self._database.execute(
                "SELECT lower(database_name), lower(schema_name) FROM duckdb_schemas() WHERE database_name <> 'system'"
            ).fetchall()
            self._places = set(places)
            self._path = self._search_path()
            self._entries = {
                (database.lower(), schema.lower(), name.lower()): Entry(database, schema, name, *rest)
                for database, schema, name, *rest in rows
            }
        return self._entries

    def _search_path(self) -> tuple[Place, ...]:
        setting, current = self._database.execute(
            "SELECT current_setting('search_path'), current_database()"
        ).fetchall()[0]
        found = [TEMPORARY]
        self._explicit.clear()
        for item in re.findall(rf"{NAME}(?:\.{NAME})*", setting):
            parts = [unquoted(part).lower() for part in re.findall(NAME, item)]
            if len(parts) == 1:
                is_schema = (current.lower(), parts[0]) in self._places
                parts = [current.lower(), parts[0]] if is_schema else [parts[0], "main"]
            else:
                self._explicit.add((parts[0], parts[1]))
            found.append((parts[0], parts[1]))
        return (*found, (current.lower(), "main"))

    def _remember_view(self, text: str) -> None:
        """Keep a view's query as the user wrote it: DuckDB writes it with operators that nobody else knows."""
        from sqlglot import exp, parse_one
        from sqlglot.errors import SqlglotError

        try:
            tree = parse_one(text, read="duckdb")
            table = tree.find(exp.Table) if isinstance(tree, exp.Create) and tree.kind == "VIEW" else None
        except SqlglotError:
            return
        entry = self.entry(*(part.name for part in table.parts)) if table is not None else None
        body = view_body(text)
        if entry is not None and entry.sql is not None and body is not None:
            self._bodies[entry.sql] = body
