"""What a connection knows by name: Parquet tables, frames, and DuckDB's own views and tables."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb

from sord.errors import Error
from sord.lakes import delta, is_delta_folder, is_iceberg_folder, snapshot
from sord.language import Language, evaluate
from sord.places import files, source
from sord.readers import Source, file_column, function_of, is_reader, parsed, stem, unknown_option
from sord.session import Session
from sord.sql_text import quoted
from sord.statements import view_body

if TYPE_CHECKING:
    from sord.analyses import Analyses
    from sord.planner.catalog import Function, Table


_DEFINING = re.compile(r"\b(macro|function|type)\b", re.IGNORECASE)
"""In statements that may define or drop what workers don't know."""
_ORDERED = re.compile(r"\border\s+by\b", re.IGNORECASE)
_TAKEN = re.compile(r"(exchange|reduced)_\d+", re.IGNORECASE)
"""Names that the planner gives to what fragments read."""


class _Entry(NamedTuple):
    """A table or view of DuckDB's."""

    schema: str
    temporary: bool
    sql: str | None
    """CREATE VIEW as DuckDB writes it; None for a table."""


class Catalog:
    """Implements the planner's catalog over a DuckDB database private to one connection."""

    def __init__(self, database: duckdb.DuckDBPyConnection) -> None:
        self.lock = threading.RLock()
        """Held while ``database`` works for a fleet: DuckDB refuses a second call rather than waiting."""
        self.session = Session(database)
        self.database = database
        self._own = self.session.cursor()
        """For what needs nothing of the user's session, so that it works while that is busy."""
        self._files: dict[str, tuple[str, Source]] = {}
        """By name: the view's SQL and its files."""
        self._frames: dict[str, tuple[str, Any]] = {}
        self._tables: dict[Source, tuple[object, Table]] = {}
        """Beside the identity of the files at the time of reading."""
        self._named: dict[str, Source] = {}
        """By the names that were made up for them."""
        self._entries: dict[str, list[_Entry]] | None = None
        """DuckDB's tables and views by name; None until somebody asks."""
        self._bodies: dict[str, tuple[str, tuple[str, ...]]] = {}
        """What users wrote as a view's query, and its names for columns, by DuckDB's SQL for the view."""
        self._own_names: list[tuple[str, str]] | None = []
        """Macros and types that users have defined; None if that has to be asked."""
        self._analyses: Analyses | None = None
        self._language = Language(self._own, self.lock)

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A new connection to the same database, with the same frames and settings."""
        cursor = self.session.cursor()
        for name, frame in list(self._frames.values()):
            cursor.register(name, frame)
        return cursor

    def register(self, name: str, thing: Any) -> None:
        """Make a Parquet path, glob, folder or list of them, or a frame (pyarrow, pandas, polars), a table.

        Raises :class:`sord.Error` for a place without files and DuckDB's own error for a file that it can't read.
        """
        with self.lock:
            if isinstance(thing, (str, os.PathLike)) and is_delta_folder(thing):
                self._register_snapshot(name, delta(thing))
            elif isinstance(thing, (str, os.PathLike)) and is_iceberg_folder(thing):
                raise Error(
                    f"{os.fspath(thing)!r} is an Iceberg table: register what pyiceberg's catalog loads, "
                    "or sord.iceberg(metadata file)"
                )
            elif isinstance(thing, (str, os.PathLike)):
                self._register_places(name, [thing])
            elif isinstance(thing, (list, tuple)) and all(
                isinstance(one, (str, os.PathLike)) for one in thing
            ):
                self._register_places(name, thing)
            else:
                self._register_snapshot(name, thing)
            self._entries = None

    def register_dir(self, directory: str | os.PathLike[str]) -> list[str]:
        """Register every Parquet, CSV or JSON file and every sub-folder with such files under its own name."""
        root = Path(directory)
        if not root.is_dir():
            raise Error(
                f"{os.fspath(root)!r} is not a folder: give a folder of Parquet, CSV or JSON files or folders"
            )
        names: dict[str, Path] = {}
        for entry in sorted(root.iterdir()):
            is_file = entry.is_file() and function_of(entry.name) is not None
            if is_file or (entry.is_dir() and any(function_of(path.name) for path in entry.rglob("*"))):
                name = stem(entry.name) if is_file else entry.name
                if name.lower() in map(str.lower, names):
                    raise Error(
                        f"{os.fspath(root)!r} has more than one {name!r}: register them under other names"
                    )
                names[name] = entry
        if not names:
            raise Error(
                f"{os.fspath(root)!r} has no Parquet files, nor CSV or JSON ones, neither directly nor in sub-folders"
            )
        for name, entry in names.items():
            self.register(name, entry)
        return list(names)

    def executed(self, text: str) -> None:
        """Take note of a statement other than a query that ``database`` has executed."""
        with self.lock:
            self._entries = None
            self._language.executed(text)
            self.session.executed(text)
            if _DEFINING.search(text):
                self._own_names = None
            if "view" in text.lower():
                self._remember_view(text)

    def analyze(self, name: str, columns: Sequence[str] = ()) -> bool:
        """Keep statistics and a sample of a table; False if there is no such table.

        ``columns`` only have to exist. Raises DuckDB's errors.
        """
        with self.lock:
            entry = self._entry(name)
            registered = self._registered(name)
            is_view = entry is not None and entry.sql is not None and registered is None
            table = None if is_view and name.lower() not in self._frames else self.table(name)
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
            self._entry("")
            own = [
                name for name, entries in (self._entries or {}).items()
                if any(entry.schema == "main" and entry.sql is None for entry in entries)
            ]  # fmt: skip
            frames = [name for name, _ in self._frames.values()]
            return list(dict.fromkeys([*(n for n in self._files if self._registered(n)), *frames, *own]))

    # The planner's catalog

    def table(self, name: str) -> Table | None:
        """A registered Parquet table, a path, a frame or a table of DuckDB's own.

        Raises the planner's Unsupported for what only one session of DuckDB's sees.
        """
        from sord.planner.catalog import Table, Unsupported

        with self.lock:
            if _TAKEN.fullmatch(name):
                raise Unsupported(f"a table called {name}")
            registered = self._registered(name)
            if registered is not None:
                return self._read(name.lower(), registered)
            entry = self._entry(name)
            function = function_of(name)
            if entry is None and function is not None:
                path = Source((name,), function)
                return self._read(self._name_of(path), path)
            if entry is None or (entry.temporary and name.lower() not in self._frames):
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
            if self._own_names is None:
                self._own_names = self.database.execute(
                    "SELECT function_name, 'macro' FROM duckdb_functions() WHERE NOT internal AND function_type LIKE "
                    "'%macro%' UNION SELECT type_name, 'type' FROM duckdb_types() WHERE NOT internal"
                ).fetchall()
            for name, kind in self._own_names:
                if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE):
                    raise Unsupported(f"{name} is a {kind} of the client's DuckDB")

    def view(self, name: str) -> str | None:
        """The query of a view that a user created."""
        from sord.planner.catalog import Unsupported

        with self.lock:
            reason = self.session.private
            if reason is not None:
                raise Unsupported(reason)
            entry = self._entry(name)
            if entry is None or entry.sql is None or name.lower() in self._frames or self._registered(name):
                return None
            body, columns = self._bodies.get(entry.sql) or view_body(entry.sql) or ("", ())
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

    def _register_places(self, name: str, places: Sequence[str | os.PathLike[str]]) -> None:
        if not places:
            raise Error(f"cannot register {name!r}: the list is empty")
        self._register_source(name, source(places))

    def _register_snapshot(self, name: str, thing: Any) -> None:
        """A table of deltalake's or pyiceberg's, or a frame."""
        found = snapshot(thing)
        if isinstance(found, Source):
            self._register_source(name, found)
        else:
            self._register_frame(name, thing if found is None else found)

    def _register_source(self, name: str, found: Source) -> None:
        files(self._own, found.places)
        # A view over patterns rather than files: files that come later are rows of the table too.
        self._own.execute(
            f"CREATE OR REPLACE VIEW main.{quoted(name)} AS SELECT * FROM {found.call(found.places)}"
        )
        if self._frames.pop(name.lower(), None) is not None:
            self.database.unregister(name)
        shown = self._own.execute(
            "SELECT sql FROM duckdb_views() WHERE database_name = current_database() AND schema_name = 'main' "
            "AND lower(view_name) = lower(?)",
            [name],
        ).fetchall()
        self._files[name.lower()] = (shown[0][0] if shown else "", found)

    def _register_frame(self, name: str, source: Any) -> None:
        if type(source).__name__ == "RecordBatchReader":
            # A reader gives its rows once, and planning asks for their number.
            source = source.read_all()
        try:
            self.database.register(name, source)
        except (duckdb.InvalidInputException, TypeError) as error:
            raise Error(
                f"cannot register {name!r}: {type(source).__name__} is neither a path nor a frame that DuckDB reads"
            ) from error
        self._frames[name.lower()] = (name, source)
        self._files.pop(name.lower(), None)

    def _entry(self, name: str) -> _Entry | None:
        """What DuckDB takes the unqualified ``name`` for."""
        if self._entries is None:
            rows = self.database.execute(
                "SELECT view_name, schema_name, temporary, sql FROM duckdb_views() WHERE NOT internal "
                "AND database_name IN ('memory', 'temp') UNION ALL "
                "SELECT table_name, schema_name, temporary, NULL FROM duckdb_tables() "
                "WHERE database_name IN ('memory', 'temp')"
            ).fetchall()
            self._entries = {}
            for found, *rest in rows:
                self._entries.setdefault(found.lower(), []).append(_Entry(*rest))
        entries = [e for e in self._entries.get(name.lower(), ()) if e.schema == "main"]
        return max(entries, key=lambda entry: entry.temporary, default=None)

    def _registered(self, name: str) -> Source | None:
        """The files of a table that is still what it was registered as: SQL may have replaced the view."""
        known = self._files.get(name.lower())
        if known is None:
            return None
        entry = self._entry(name)
        return known[1] if entry is not None and entry.sql == known[0] else None

    def _remember_view(self, text: str) -> None:
        """Keep a view's query as the user wrote it: DuckDB writes it with operators that nobody else knows."""
        from sqlglot import exp, parse_one
        from sqlglot.errors import SqlglotError

        try:
            tree = parse_one(text, read="duckdb")
            table = tree.find(exp.Table) if isinstance(tree, exp.Create) and tree.kind == "VIEW" else None
        except SqlglotError:
            return
        entry = self._entry(table.name) if table is not None else None
        body = view_body(text)
        if entry is not None and entry.sql is not None and body is not None:
            self._bodies[entry.sql] = body

    def _read(self, name: str, source: Source) -> Table:
        from dataclasses import replace

        from sord.planner.catalog import Unsupported
        from sord.statistics import identity, read_table
        from sord.text_files import read_text_table

        paths = files(self._own, source.places)
        if len(set(paths)) < len(paths):
            raise Unsupported("a file is listed twice")
        same = identity(paths)
        known = self._tables.get(source)
        if known is not None and known[0] == same:
            table = known[1]
        else:
            read = read_table if source.is_parquet else read_text_table
            table = read(self._own, name, source, paths)
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
        while self._entry(name) is not None or self._named.setdefault(name, source) != source:
            number += 1
            name = f"{base}_{number}"
        return name
