"""What the planner asks a connection: tables, views and texts as DuckDB understands them."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from sord.entries import MAIN, TEMPORARY, Entries
from sord.language import Language, evaluate
from sord.places import Listings, states
from sord.readers import Source, file_column, function_of, is_reader, parsed, unknown_option
from sord.registry import Registry
from sord.session import Session
from sord.sql_text import quoted
from sord.stored import Stored

if TYPE_CHECKING:
    from sord.analyses import Analyses
    from sord.footers import Footer
    from sord.planner.catalog import Function, Table, View


_SEQUENCES = re.compile(r"\b(sequence|attach|import)\b", re.IGNORECASE)
"""In statements after which there may be some."""
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
        self._stored = Stored(database, self.lock)
        self._tables: dict[Source, tuple[object, Table]] = {}
        """Beside the identity of the files at the time of reading."""
        self._listings = Listings()
        self._footers: dict[str, Footer] = {}
        """By path."""
        self._named: dict[str, Source] = {}
        """By the names that were made up for them."""
        self._counts = False
        """Whether there may be sequences."""
        self._analyses: Analyses | None = None
        self._language = Language(self._own, self.lock)

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A new connection to the same database, with the same frames and settings."""
        cursor = self.session.cursor()
        for name, frame in self._registry.frames():
            cursor.register(name, frame)
        return cursor

    @contextmanager
    def own(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The user's own connection, for as long as nobody else uses it."""
        with self.lock:
            yield self.database

    def register(self, name: str, thing: Any) -> None:
        """Make a Parquet path, glob, folder or list of them, or a frame (pyarrow, pandas, polars), a table.

        Raises :class:`sord.Error` for a place without files and DuckDB's own error for a file that it can't read.
        """
        with self.lock:
            self._registry.add(name, thing)
            self._stored.forget()

    def register_dir(self, directory: str | os.PathLike[str]) -> list[str]:
        """Register every Parquet, CSV or JSON file and every sub-folder with such files under its own name."""
        with self.lock:
            return self._registry.add_dir(directory)

    def executed(self, text: str) -> None:
        """Take note of a statement other than a query that ``database`` has executed."""
        with self.lock:
            self._entries.executed(text)
            self._registry.executed()
            self._stored.forget()
            self._language.executed(text)
            self.session.executed(text)
            self._counts = self._counts or _SEQUENCES.search(text) is not None

    def analyze(self, *name: str, columns: Sequence[str] = ()) -> bool:
        """Keep statistics and a sample of a table; False if there is no such table.

        ``columns`` only have to exist. Raises DuckDB's errors.
        """
        with self.lock:
            entry = self._entries.entry(*name)
            registered = self._registry.files_of(entry)
            is_view = entry is not None and entry.sql is not None and registered is None
            table = None if is_view and not self._registry.is_frame(entry) else self.table(*name)
            if table is None:
                return False
            known = {column.lower() for column, _ in table.columns}
            for column in columns:
                if column.lower() not in known:
                    raise duckdb.BinderException(f'Binder Error: Column with name "{column}" does not exist')
            path = ".".join(name)
            found = registered or Source((path,), function_of(path) or "read_parquet")
            key: Hashable = found if table.files is not None else table.reference
            state = self._tables[found][0] if table.files is not None else int(table.rows)
            assert self._analyses is not None
            from sord.analyze import analyze_table
            from sord.relation import interruptible

            connection = self.database if table.private or self.session.needs_own else self.cursor()
            with interruptible(connection):
                analysis = analyze_table(connection, table)
            self._analyses.remember(table, key, state, analysis)
        return True

    def names(self) -> list[str]:
        """All tables: registered ones and DuckDB's own."""
        with self.lock:
            return list(dict.fromkeys([*self._registry.names(), *self._entries.tables()]))

    # The planner's catalog

    def table(self, *name: str, view: View | None = None) -> Table | None:
        """A registered Parquet table, a path, a frame or a table of DuckDB's own."""
        from sord.planner.catalog import Unsupported

        with self.lock:
            if len(name) == 1 and _TAKEN.fullmatch(name[0]):
                raise Unsupported(f"a table called {name[0]}")
            entry = self._entries.entry(*name, view=None if view is None else view.home)
            registered = self._registry.files_of(entry)
            if registered is not None:
                return self._read(name[-1].lower(), registered)
            path = ".".join(name)
            function = function_of(path)
            if entry is None and function is not None:
                found = Source((path,), function)
                return self._read(self._name_of(found), found)
            is_frame = self._registry.is_frame(entry)
            if entry is None or (entry.sql is not None and not is_frame):
                return None
            private = not is_frame and (entry.temporary or self.session.in_transaction)
            if private and not self.session.keeps_order:
                raise Unsupported("preserve_insertion_order is off, and a table is in this session alone")
            table = self._stored.table(entry, private)
            if not is_frame and table.name in self._registry.names():
                raise Unsupported(f"several tables that are called {table.name}")
            return self._analysed(table, table.reference, int(table.rows))

    def check_text(self, text: str) -> None:
        """Raises the planner's Unsupported for SQL that has another meaning in this session than for the planner.

        Workers have no macros and types that users have defined, and a macro may have the name of one of DuckDB's
        functions.
        """
        from sord.planner.catalog import Unsupported

        refusal = self.session.refusal(text)
        if refusal is not None:
            raise Unsupported(refusal)
        with self.lock:
            for name, kind, hides in self._entries.definitions():
                # What the planner itself writes would call a macro that hides one of DuckDB's functions.
                if hides or re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE):
                    raise Unsupported(f"{name} is a {kind} of the client's DuckDB")

    def inlined(self, text: str) -> str:
        """A query with its macros replaced by what they stand for, as far as that is sure."""
        with self.lock:
            return self._entries.inlined(text)

    def view(self, *name: str, view: View | None = None) -> View | None:
        """The query of a view that a user created."""
        from sord.planner.catalog import Unsupported, View

        with self.lock:
            entry = self._entries.entry(*name, view=None if view is None else view.home)
            if entry is None or entry.sql is None:
                return None
            if self._registry.is_frame(entry) or self._registry.files_of(entry):
                return None
            body, columns = self._entries.query(entry) or ("", ())
            if not body:
                raise Unsupported(f"the definition of the view {entry.name} can't be read")
            # DuckDB's text of the view: sqlglot has spelled the functions in the other one.
            self.check_text(entry.sql)
            if not columns:
                return View(body, entry)
            names = self.database.sql(f"FROM {entry.reference}").columns
        if len(set(map(str.lower, names))) < len(names):
            raise Unsupported(f"the view {entry.name} has several columns of one name")
        renamed = f"{quoted(entry.name)}({', '.join(map(quoted, names))})"
        return View(f"SELECT {', '.join(map(quoted, names))} FROM ({body}) AS {renamed}", entry)

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
            if self._counts:
                # DuckDB executes what advances a sequence as soon as it makes a relation.
                return [row[:2] for row in self.database.sql(f"DESCRIBE {sql}").fetchall()]
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

        paths = self._listings.files(self._own, source.places)
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
        # Tables that are not in the default schema have names with dots.
        base = name = Path(source.places[0]).stem.strip("*").replace(".", "_") or "files"
        number = 1
        while (
            any(self._entries.at(place, name) for place in (MAIN, TEMPORARY))
            or self._named.setdefault(name, source) != source
        ):
            number += 1
            name = f"{base}_{number}"
        return name
