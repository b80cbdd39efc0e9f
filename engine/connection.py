"""Connections: where a user begins."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import duckdb

from sord.catalog import Catalog
from sord.errors import Error
from sord.relation import LocalRelation, Relation

if TYPE_CHECKING:
    from sord.exec.coordinator import Coordinator
    from sord.planner.context import Options

Parameters = Sequence[object] | Mapping[str, object]

_TRAVELLING = (
    "TimeZone", "Calendar", "default_null_order", "default_order", "default_collation", "integer_division",
    "ieee_floating_point_ops", "old_implicit_casting", "scalar_subquery_error_on_multiple_rows",
    "order_by_non_integer_literal",
)  # fmt: skip
"""Settings that change answers: what a user sets for the connection holds for all workers."""


def connect(url: str | None = None, **options: Any) -> Connection:
    """Open a connection.

    Without a ``url`` the engine is embedded: one worker in this process with all cores, which is DuckDB itself
    (options: ``threads``, ``memory``). ``local://4`` starts four worker processes on this machine
    (options, in the URL's query or here: ``threads`` and ``memory`` of each). Workers start with the first
    query or :meth:`Connection.start`.

    Raises :class:`sord.Error` for a URL or an option that isn't understood.
    """
    return Connection(url or None, options)


class Connection:
    """Tables and a fleet to query them with. A context manager; ``close()`` leaves nothing behind."""

    def __init__(self, url: str | None, options: Mapping[str, Any]) -> None:
        self._lock = threading.Lock()
        self._interrupts: set[Callable[[], None]] = set()
        self.settings: dict[str, str] = {}
        """Settings that travel with every fragment."""
        self._coordinator: Coordinator | None = None
        self._options: Options | None = None
        self._database = duckdb.connect(config={} if url else _embedded(options))
        self.catalog = Catalog(self._database)
        if url is None:
            return
        from sord.exec.fleet import parse_fleet

        fleet = parse_fleet(url, **options)
        from sord.exec.coordinator import Coordinator
        from sord.planner.context import Options

        self._database.execute("SET enable_progress_bar = false")
        # Each query is described first, which would read the footers of its tables again.
        self._database.execute("SET parquet_metadata_cache = true")
        self._defaults = self._current_settings()
        self._options = Options(workers=fleet.size)
        self._coordinator = Coordinator(fleet, self._exchange_cursor)
        self._finalizer = weakref.finalize(self, self._coordinator.close)

    @property
    def coordinator(self) -> Coordinator:
        """The fleet's coordinator. Raises :class:`sord.Error` for an embedded or closed connection."""
        if self._coordinator is None:
            raise Error("this connection has no fleet, or has been closed")
        return self._coordinator

    @property
    def options(self) -> Options:
        """What plans depend on."""
        assert self._options is not None
        return self._options

    def start(self) -> None:
        """Start the workers now rather than with the first query."""
        if self._coordinator is not None:
            self._coordinator.start()

    def register(self, name: str, source: Any) -> None:
        """Make a Parquet path, glob or folder, or a pyarrow, pandas or polars frame, the table ``name``.

        Raises :class:`sord.Error` for a place without files, DuckDB's own error for a file it can't read.
        """
        self.catalog.register(name, source)

    def register_dir(self, directory: str | os.PathLike[str]) -> list[str]:
        """Make each Parquet file and each sub-folder with Parquet files a table; returns their names."""
        return self.catalog.register_dir(directory)

    def sql(self, text: str, params: Parameters | None = None, read: str | None = None) -> Relation | None:
        """A query as a lazy relation. Other statements are executed at once and give None.

        ``params`` are values for ``?``, ``$1`` or ``$name``. ``read`` is the dialect of the text (``spark``,
        ``trino``, ``postgres``, … as sqlglot names them), DuckDB's by default. Of several statements, all but
        the last are executed.

        Raises DuckDB's own errors for wrong SQL, :class:`sord.Error` for a dialect or parameters that can't be.
        """
        if read is not None and read != "duckdb":
            text = _translated(text, read)
        if self._coordinator is None:
            relation = self._database.sql(text) if params is None else self._database.sql(text, params=params)
            return None if relation is None else LocalRelation(relation)
        statements = duckdb.extract_statements(text)
        if not statements:
            return None
        for statement in statements[:-1]:
            relation_before = self._statement(statement, None)
            if relation_before is not None:
                relation_before.fetchall()
        return self._statement(statements[-1], params)

    def interrupt(self) -> None:
        """Cancel what runs on this connection; its readers get an error. May be called from any thread."""
        self._database.interrupt()
        with self._lock:
            running = list(self._interrupts)
        for cancel in running:
            cancel()

    def close(self) -> None:
        """Cancel what runs, end the workers, remove their files. Idempotent."""
        if self._coordinator is not None:
            self._finalizer()
            self._coordinator = None
        self._database.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def interruptible(self, cancel: Callable[[], None]) -> Iterator[None]:
        """While inside, :meth:`interrupt` calls ``cancel``."""
        with self._lock:
            self._interrupts.add(cancel)
        try:
            yield
        finally:
            with self._lock:
                self._interrupts.discard(cancel)

    def _statement(self, statement: duckdb.Statement, params: Parameters | None) -> Relation | None:
        from sord.distributed import DistributedRelation

        text = statement.query.strip().rstrip(";")
        kind = statement.type
        if kind == duckdb.StatementType.EXPLAIN:
            return self._explain(text, params)
        if kind != duckdb.StatementType.SELECT:
            relation = self._database.sql(text) if params is None else self._database.sql(text, params=params)
            if kind in (duckdb.StatementType.SET, duckdb.StatementType.PRAGMA):
                self._note_settings()
            return None if relation is None else LocalRelation(relation)
        if params is not None:
            from sord.parameters import with_parameters

            text = with_parameters(text, params)
        return DistributedRelation(self, text, self.catalog.describe(text))

    def _explain(self, text: str, params: Parameters | None) -> Relation:
        from sord.explain import explain

        return explain(self, text, params)

    def _exchange_cursor(self) -> duckdb.DuckDBPyConnection:
        """A cursor for the client's part of a query."""
        return self.catalog.cursor()

    def _current_settings(self) -> dict[str, str]:
        names = ", ".join(f"'{name}'" for name in _TRAVELLING)
        rows = self._database.execute(f"SELECT name, value FROM duckdb_settings() WHERE name IN ({names})")
        return {name: value for name, value in rows.fetchall()}

    def _note_settings(self) -> None:
        current = self._current_settings()
        self.settings = {name: v for name, v in current.items() if v != self._defaults.get(name)}


def _embedded(options: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(options.keys() - {"threads", "memory"})
    if unknown:
        raise Error(f"unknown option {unknown[0]!r}; the embedded engine takes threads and memory")
    config = {"threads": options.get("threads"), "memory_limit": options.get("memory")}
    return {name: value for name, value in config.items() if value is not None}


def _translated(text: str, read: str) -> str:
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        return ";\n".join(sqlglot.transpile(text, read=read, write="duckdb"))
    except (SqlglotError, ValueError) as error:
        raise Error(f"cannot read this as {read}: {str(error).splitlines()[0]}") from error
