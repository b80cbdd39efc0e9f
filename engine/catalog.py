"""What the planner asks a connection: tables, views and texts as DuckDB understands them."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from sord.entries import Entries
from sord.language import Language, evaluate
from sord.places import files, states
from sord.readers import Source, file_column, function_of, is_reader, parsed, unknown_option
from sord.registry import Registry
from sord.session import Session
from sord.sql_text import quoted

if TYPE_CHECKING:
    from sord.analyses import Analyses
    from sord.footers import Footer
    from sord.planner.catalog import Function, Table


_ORDERED = re.compile(r"\border\s+by\b", re.IGNORECASE)
_TAKEN = re.compile(r"(exchange|reduced)_\d+", re.IGNORECASE)
"""Names that the planner gives to what fragments read."""


class Catalog:
    """Implements the planner's catalog over a DuckDB database private to one connection."""

    def __init__(self, database: duckdb.DuckDBPyConnection) -> None:
        self.lock = threading.RLock()
        """Held while ``database`` works for a fleet: DuckDB refuses a second call rather than waiting."""
        self.session = Session(database)
        self.database = database
        self._own = self.session.cursor()
        """For what needs nothing of the user's session, so that it works while that is busy."""
        self._entries = Entries(database)
        self._registry = Registry(database, self._own, self._entries)
        self._tables: dict[Source, tuple[object, Table]] = {}
        """Beside the identity of the files at the time of reading."""
        self._footers: dict[str, Footer] = {}
        """By path."""
        self._named: dict[str, Source] = {}
        """By the names that were made up for them."""
        self._analyses: Analyses | None = None
        self._language = Language(self._own, self.lock)

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A new connection to the same database, with the same frames and settings."""
        cursor = self.session.cursor()
        for name, frame in self._registry.frames():
            cursor.register(name, frame)
        return cursor

    def register(self, name: str, thing: Any) -> None:
        """Make a Parquet path, glob, folder or list of them, or a frame (pyarrow, pandas, polars), a table.

        Raises :class:`sord.Error` for a place without files and DuckDB's own error for a file that it can't read.
        """
        with self.lock:
            self._registry.add(name, thing)

    def register_dir(self, directory: str | os.PathLike[str]) -> list[str]:
        """Register every Parquet, CSV or JSON file and every sub-folder with such files under its own name."""
        with self.lock:
            return self._registry.add_dir(directory)

    def executed(self, text: str) -> None:
        """Take note of a statement other than a query that ``database`` has executed."""
        with self.lock:
            self._entries.executed(text)
            self._language.executed(text)
            self.session.executed(text)

    def analyze(self, name: str, columns: Sequence[str] = ()) -> bool:
        """Keep statistics and a sample of a table; False if there is no such table.

        ``columns`` only have to exist. Raises DuckDB's errors.
        """
        with self.lock:
            entry = self._entries.entry(name)
            registered = self._registry.files_of(name)
            is_view = entry is not None and entry.sql is not None and registered is None
            table = None if is_view and not self._registry.is_frame(name) else self.table(name)
            if table is None:
                return False
            known = {column.lower() for column, _ in table.columns}
            for column in columns:
                if column.lower() not in known:
                    raise duckdb.BinderException(f'Binder Error: Column with name "{column}" does not exist')
            found = registered or Source((name,), function_of(name) or "read_parquet")
            key: Hashable = found if table.files is not None else name.lower()
            state = self._tables[found][0] if table.files is not None else int(table.rows)
            assert self._analyses is not None
            from sord.analyze import analyze_table
            from sord.relation import interruptible

            connection = self.database if self.session.needs_own else self.cursor()
            with interruptible(connection):
                analysis = analyze_table(connection, table)
            self._analyses.remember(table, key, state, analysis)
        return True

    def names(self) -> list[str]:
        """All tables: registered ones and DuckDB's own."""
        with self.lock:
            return list(dict.fromkeys([*self._registry.names(), *self._entries.tables()]))

    # The planner's catalog

    def table(self, name: str) -> Table | None:
        """A registered Parquet table, a path, a frame or a table of DuckDB's own.

        Raises the planner's Unsupported for what only one session of DuckDB's sees.
        """
        from sord.planner.catalog import Table, Unsupported

        with self.lock:
            if _TAKEN.fullmatch(name):
                raise Unsupported(f"a table called {name}")
            registered = self._registry.files_of(name)
            if registered is not None:
                return self._read(name.lower(), registered)
            entry = self._entries.entry(name)
            function = function_of(name)
            if entry is None and function is not None:
                path = Source((name,), function)
                return self._read(self._name_of(path), path)
            if entry is None or (entry.temporary and not self._registry.is_frame(name)):
                return None
            relation = self.database.sql(f"FROM {quoted(name)}")
            columns = tuple(zip(relation.columns, map(str, relation.types), strict=True))
            rows = self.database.execute(f"SELECT count(*) FROM {quoted(name)}").fetchall()[0][0]
            return self._analysed(Table(name, columns, float(rows), {}, None), name.lower(), rows)

    def check_text(self, text: str) -> None:
        """Raises the planner's Unsupported for SQL that has another meaning in this session than for the planner.

        Workers have no macros and types that users have defined, and a macro may have the name of one of DuckDB's
        functions.
        """
        from sord.planner.catalog import Unsupported

        if self.session.reorders and _ORDERED.search(text):
            raise Unsupported("default_null_order or default_order has been changed")
        with self.lock:
            for name, kind in self._entries.definitions():
                if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE):
                    raise Unsupported(f"{name} is a {kind} of the client's DuckDB")

    def view(self, name: str) -> str | None:
        """The query of a view that a user created."""
        from sord.planner.catalog import Unsupported

        with self.lock:
            reason = self.session.private
            if reason is not None:
                raise Unsupported(reason)
            entry = self._entries.entry(name)
            if entry is None or entry.sql is None:
                return None
            if self._registry.is_frame(name) or self._registry.files_of(name):
                return None
            body, columns = self._entries.query(entry) or ("", ())
            if not body:
                raise Unsupported(f"the definition of the view {name} can't be read")
            # DuckDB's text of the view: sqlglot has spelled the functions in the other one.
            self.check_text(entry.sql)
            if not columns:
                return body
            found = self.database.sql(body).columns
        if len(set(map(str.lower, found))) < len(found):
            raise Unsupported(f"the view {name} renames columns of one name")
        names = [*columns, *found[len(columns) :]]
        items = ", ".join(f"{quoted(old)} AS {quoted(new)}" for old, new in zip(found, names, strict=True))
        return f"SELECT {items} FROM ({body}) AS {quoted(name)}"

    def scan(self, function: str, arguments: Sequence[str]) -> Table:
        """The files behind read_parquet(…), read_csv(…) or read_json(…)."""
        from sord.planner.catalog import Unsupported

        if not is_reader(function) or not arguments:
            raise Unsupported(f"{function}() in FROM")
        options = parsed(arguments[1:])
        unknown = unknown_option(function, options)
        if unknown is not None:
            raise Unsupported(f"{function} with {unknown}")
        place = arguments[0].strip()
        with self.lock:
            if place.startswith("'"):
                places = [place[1:-1].replace("''", "'")]
            else:
                places = [row[0] for row in self._own.execute(f"SELECT unnest({place})").fetchall()]
            if file_column(options) is not None and not all(map(os.path.isabs, places)):
                raise Unsupported("the column filename for files that are given by relative paths")
            found = Source(tuple(places), function, options)
            return self._read(self._name_of(found), found)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query over constants. Raises DuckDB's errors."""
        with self.lock:
            return self.database.execute(sql).fetchall()

    def describe(self, sql: str) -> list[tuple[str, str]]:
        """Names and DuckDB types of a query's columns. Raises DuckDB's error for a wrong query."""
        with self.lock:
            relation = self.database.sql(sql)
            return list(zip(relation.columns, map(str, relation.types), strict=True))

    def function(self, name: str) -> Function | None:
        """One of DuckDB's functions."""
        return self._language.function(name)

    def syntax(self, *texts: str) -> list[str]:
        """DuckDB's syntax trees of queries."""
        return self._language.syntax(*texts)

    def evaluate(self, expressions: Sequence[str]) -> list[tuple[str | None, str]]:
        """Values as text and types of expressions without columns, in the user's own session."""
        with self.lock:
            return evaluate(self.database, expressions)

    def _read(self, name: str, source: Source) -> Table:
        from dataclasses import replace

        from sord.planner.catalog import Unsupported
        from sord.statistics import read_table
        from sord.text_files import read_text_table

        paths = files(self._own, source.places)
        if len(set(paths)) < len(paths):
            raise Unsupported("a file is listed twice")
        same = states(paths)
        known = self._tables.get(source)
        if known is not None and known[0] == same:
            table = known[1]
        else:
            if source.is_parquet:
                table = read_table(self._own, name, source, same, self._footers)
            else:
                table = read_text_table(self._own, name, source, paths)
            self._tables[source] = (same, table)
        table = self._analysed(table, source, same)
        return table if table.name == name else replace(table, name=name)

    def _analysed(self, table: Table, key: Hashable, state: Hashable) -> Table:
        if self._analyses is None:
            from sord.analyses import Analyses

            self._analyses = Analyses()
        return self._analyses.applied(table, key, state)

    def _name_of(self, source: Source) -> str:
        """A name for what is no table by itself: the planner knows tables by names, so no other may have it."""
        base = name = Path(source.places[0]).stem.strip("*") or "files"
        number = 1
        while self._entries.entry(name) is not None or self._named.setdefault(name, source) != source:
            number += 1
            name = f"{base}_{number}"
        return name
