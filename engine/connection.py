"""Connections: where a user begins."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import duckdb

from sord.catalog import Catalog
from sord.errors import Error
from sord.relation import LocalRelation, Relation, T, interruptible
from sord.session import open_database

if TYPE_CHECKING:
    from sord.exec.coordinator import Coordinator
    from sord.exec.execution import Execution
    from sord.planner.context import Options
    from sord.planner.physical import DistributedPlan
    from sord.statements import Statement

Parameters = Sequence[object] | Mapping[str, object]

_READING = ("sele", "from", "with")
"""How texts begin that DuckDB doesn't execute before somebody asks for rows."""


def connect(url: str | None = None, **options: Any) -> Connection:
    """Open a connection.

    Without a ``url`` the engine is embedded: one worker in this process with all cores, which is DuckDB itself
    (options: ``threads``, ``memory``). ``local://4`` starts four worker processes on this machine
    (options, in the URL's query or here: ``threads`` and ``memory`` of each, and ``bandwidth``, the bytes per second
    between two of them that the planner reckons with: 2GB unless told otherwise). Workers start with the first query
    or :meth:`Connection.start`.

    ``adapt``, ``runtime_filters`` and ``split_skew`` (in the URL's query or here, all on) are parts of the planner
    that can be turned off, for measurements and debugging alone: planning anew by actual sizes; dropping rows
    before they are moved that a join drops anyway; spreading the rows of frequent keys over all workers.

    Raises :class:`sord.Error` for a URL or an option that isn't understood.
    """
    if url is not None and not isinstance(url, str):
        raise Error(f"a fleet is named by a URL such as local://4, not by a {type(url).__name__}")
    return Connection(url or None, options)


class Connection:
    """Tables and a fleet to query them with. A context manager; ``close()`` leaves nothing behind.

    Threads may share it. A transaction, temporary tables and variables belong to the connection and so to all
    of its threads.
    """

    def __init__(self, url: str | None, options: Mapping[str, Any]) -> None:
        self._url = url
        self._closed = False
        self._coordinator: Coordinator | None = None
        self._options: Options | None = None
        self._executions: weakref.WeakSet[Execution] = weakref.WeakSet()
        if url is None:
            self._database = _embedded(options)
            self.catalog = Catalog(self._database)
            return
        from sord.exec.fleet import parse_fleet
        from sord.switches import take_switches

        place, options, switches = take_switches(url, options)
        fleet = parse_fleet(place, **options)
        from sord.exec.coordinator import Coordinator
        from sord.planner.context import Options

        self._database = open_database()
        self._database.execute("SET enable_progress_bar = false")
        self.catalog = Catalog(self._database)
        self._options = Options(workers=fleet.size, bytes_per_second=fleet.bandwidth, **switches)
        # The catalog's methods: those of our own would keep us from being collected.
        self._coordinator = Coordinator(fleet, self.catalog.cursor, self.catalog.own)
        self._finalizer = weakref.finalize(self, self._coordinator.close)

    @property
    def coordinator(self) -> Coordinator:
        """The fleet's coordinator. Raises :class:`sord.Error` for an embedded or closed connection."""
        self.check_open()
        if self._coordinator is None:
            raise Error("the embedded engine has no fleet")
        return self._coordinator

    @property
    def options(self) -> Options:
        """What plans depend on. Raises :class:`sord.Error` for an embedded connection."""
        if self._options is None:
            raise Error("the embedded engine has no fleet")
        return self._options

    def start(self) -> None:
        """Start the workers now rather than with the first query. Raises :class:`sord.FleetError`."""
        self.check_open()
        if self._coordinator is not None:
            self._coordinator.start()

    def register(self, name: str, source: Any) -> None:
        """Make ``source`` the table ``name``, or the table of this name another one.

        It is a Parquet, CSV or JSON file, a glob, a folder (with all such files below), a list of these, or a pyarrow,
        pandas or polars frame, a dataset of pyarrow's, or a Delta or Iceberg table. Files that come into a folder later
        belong to the table; a dataset and a Delta or Iceberg table stay what they are now.

        Raises :class:`sord.Error` for a place without files, DuckDB's own error for a file it can't read.
        """
        self.check_open()
        self.catalog.register(name, source)
        self._read_statistics([name])

    def register_dir(self, directory: str | os.PathLike[str]) -> list[str]:
        """Make each Parquet, CSV or JSON file, and each sub-folder with some, a table; returns their names.

        Raises :class:`sord.Error` if there are none or two of one name.
        """
        self.check_open()
        names = self.catalog.register_dir(directory)
        self._read_statistics(names)
        return names

    def analyze(self, *tables: str) -> None:
        """Read ``tables``, all by default, for statistics and a sample, which later plans use: SQL's ANALYZE.

        Of a large table only a part is read. What is found about files is kept in the user's cache folder
        (``$XDG_CACHE_HOME/sord``) as long as they don't change.

        Raises :class:`sord.Error` for a name that isn't a table's, DuckDB's own error for a file it can't read.
        """
        self.check_open()
        for name in tables or self.catalog.names():
            if not self.catalog.analyze(name):
                raise Error(f"cannot analyze {name!r}: there is no such table")

    def sql(self, text: str, params: Parameters | None = None, read: str | None = None) -> Relation | None:
        """A query as a lazy relation. Other statements are executed at once and give what DuckDB gives for them.

        ``params`` are values for ``?``, ``$1`` or ``$name``; with them the embedded engine, too, executes a query
        at once. ``read`` is the dialect of the text (``spark``, ``trino``, ``postgres``, … as sqlglot names them),
        DuckDB's by default. Of several statements, all but the last are executed and ``params`` are the last
        one's. An empty text gives None.

        Raises DuckDB's own errors for wrong SQL and parameters, :class:`sord.Error` for a dialect that isn't known
        or a text that isn't in it.
        """
        if self._closed:
            self.check_open()
        if read is not None and read != "duckdb":
            from sord.statements import translated

            text = translated(text, read)
        if self._coordinator is None and "analyze" not in text.lower():
            return self._embedded_sql(text, params)
        from sord.statements import analyzed, split

        statements = split(text)
        if self._coordinator is None and not any(map(analyzed, statements)):
            return self._embedded_sql(text, params)
        for statement in statements[:-1]:
            relation = self._statement(statement, None)
            # Only the last one's rows are asked for, but errors are everybody's.
            for _ in relation.reader():
                pass
        return self._statement(statements[-1], params) if statements else None

    def interrupt(self) -> None:
        """Cancel what runs on this connection. May be called from any thread.

        Who waits for rows gets :class:`sord.QueryCancelled`; on the embedded engine, unless it is a reader, DuckDB's
        InterruptException.
        """
        self.catalog.session.interrupt()
        for execution in list(self._executions):
            execution.cancel()

    def close(self) -> None:
        """Cancel what runs, end the workers, remove their files. Idempotent."""
        self._closed = True
        for execution in list(self._executions):
            execution.close()
        if self._coordinator is not None:
            self._finalizer()
        self.catalog.session.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<sord.Connection {self._url or 'embedded'}{' (closed)' if self._closed else ''}>"

    def execute(self, plan: DistributedPlan) -> Execution:
        """Start a plan on the fleet. For relations."""
        execution = self.coordinator.run(plan, self.catalog.session.travelling)
        self._executions.add(execution)
        seconds = self.catalog.session.seconds
        if seconds:
            timer = threading.Timer(seconds, _expired, (weakref.ref(execution),))
            timer.daemon = True
            timer.start()
        return execution

    def _read_statistics(self, names: list[str]) -> None:
        """Read the footers of new tables now, so that the first query needn't; it'd also meet what is wrong."""
        if self._coordinator is not None:
            for name in names:
                with contextlib.suppress(Exception):
                    self.catalog.table(name)

    def here(self, call: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """``call`` with the connection that has the user's temporary tables, variables and transaction."""
        self.check_open()
        with self.catalog.lock, interruptible(self._database):
            return call(self._database)

    def _embedded_sql(self, text: str, params: Parameters | None) -> Relation | None:
        database = self._database
        try:
            if params is None and text[:4].lower() in _READING:
                # Only described here. Looking out for Ctrl-C would take a tenth of the time of SELECT 1.
                relation = database.sql(text)
            else:
                with interruptible(database):
                    relation = database.sql(text) if params is None else database.sql(text, params=params)
        except duckdb.ResourceInUseException:
            # Another thread is inside.
            if self.catalog.session.needs_own:
                raise
            database = self.catalog.cursor()
            with interruptible(database):
                relation = database.sql(text) if params is None else database.sql(text, params=params)
        if relation is None:
            return None
        if database is self._database and text[:4].lower() not in _READING:
            kinds = {statement.type for statement in duckdb.extract_statements(text)}
            if kinds != {duckdb.StatementType.SELECT}:
                self.catalog.executed(text)
        return LocalRelation(relation, self.catalog, text if params is None else None)

    def _statement(self, statement: Statement, params: Parameters | None) -> Relation:
        kind, text = statement
        if kind == duckdb.StatementType.VACUUM:
            return self._vacuum(statement)
        if self._coordinator is None:
            relation = self._embedded_sql(text, params)
            assert relation is not None
            return relation
        from sord.distributed import DistributedRelation
        from sord.storing import summarizing
        from sord.writing import writing

        if kind == duckdb.StatementType.EXPLAIN:
            from sord.explain import explain

            return explain(self, text, params)
        if kind == duckdb.StatementType.SELECT:
            described = None
            if params is not None:
                from sord.parameters import bind

                with self.catalog.lock:
                    text, described = bind(self._database, text, params)
            return summarizing(self, text) or DistributedRelation(
                self, text, described or self.catalog.describe(text)
            )
        written = writing(self, statement, params)
        if written is None:
            return self._executed(statement, params)
        result = written.execute()
        self.catalog.executed(text)
        return result

    def _executed(self, statement: Statement, params: Parameters | None = None) -> Relation:
        """A statement that DuckDB executes."""
        from sord.distributed import Clock, local_report

        kind, text = statement
        clock = Clock()
        with self.catalog.lock, interruptible(self._database):
            relation = self._database.sql(text) if params is None else self._database.sql(text, params=params)
            self.catalog.executed(text)
        assert relation is not None
        result = LocalRelation(relation, self.catalog, lock=self.catalog.lock)
        if self._coordinator is not None:
            reason = f"DuckDB executes statements such as {kind.name.replace('_', ' ')}"
            result.report = local_report(clock, reason)
        return result

    def _vacuum(self, statement: Statement) -> Relation:
        """ANALYZE of what we know as tables, although DuckDB calls most of them views; the rest is DuckDB's."""
        from sord.statements import analyzed

        found = analyzed(statement)
        if found is None:
            return self._executed(statement)
        name, columns = found
        if not name:
            self.analyze()
        elif not self.catalog.analyze(*name, columns=columns):
            return self._executed(statement)
        return self._executed(statement._replace(text="ANALYZE"))

    def check_open(self) -> None:
        """Raises :class:`sord.Error` if it has been closed."""
        if self._closed:
            raise Error("this connection has been closed")


def _expired(reference: weakref.ref[Execution]) -> None:
    execution = reference()
    if execution is not None:
        execution.cancel("the query exceeded the maximum execution time")


def _embedded(options: Mapping[str, Any]) -> duckdb.DuckDBPyConnection:
    unknown = sorted(options.keys() - {"threads", "memory"})
    if unknown:
        raise Error(f"unknown option {unknown[0]!r}; the embedded engine takes threads and memory")
    config = {"threads": options.get("threads"), "memory_limit": options.get("memory")}
    try:
        return open_database(**{name: value for name, value in config.items() if value is not None})
    except duckdb.Error as error:
        given = ", ".join(f"{name}={value!r}" for name, value in options.items())
        raise Error(f"{given}: {error}") from error
