"""Relations: queries that haven't run yet. Every call that asks for rows runs the query."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, TypeVar

import duckdb

from sord.errors import Error, QueryCancelled, QueryError

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

    from sord.catalog import Catalog
    from sord.report import Report
    from sord.session import Session

T = TypeVar("T")
_AGAIN_SECONDS = 0.05
"""Between two attempts to interrupt a call."""
Rows = list[tuple[object, ...]]

BATCH_ROWS = 122_880


class Relation(ABC):
    """A query and its columns. Made by :meth:`sord.Connection.sql`; each method that gives rows runs it anew.

    Wrong SQL raises DuckDB's own errors when the relation is made. Rows that can't be computed (a text that is
    no number, say) raise DuckDB's own error where one DuckDB computes them and :class:`sord.QueryError` with
    DuckDB's words where a worker does. Trouble with a fleet raises the other kinds of :class:`sord.Error`;
    Ctrl-C stops the query everywhere and raises KeyboardInterrupt.
    """

    report: Report | None = None
    """What the last complete run on a fleet cost; None before it, and always for the embedded engine."""

    @property
    @abstractmethod
    def columns(self) -> list[str]:
        """Names of the columns, in order. Several may have the same name."""

    @property
    @abstractmethod
    def types(self) -> list[str]:
        """Their DuckDB types, as text."""

    def arrow(self) -> pyarrow.Table:
        """Run the query: all rows as a pyarrow Table."""
        return self._read(lambda relation: relation.to_arrow_table())

    @abstractmethod
    def reader(self, batch_rows: int = BATCH_ROWS) -> pyarrow.RecordBatchReader:
        """Run the query: rows as they come, in batches of about ``batch_rows``.

        Any number of readers may be open. Each holds its query until it is exhausted or gone. Reading on raises
        :class:`sord.QueryError` for rows that can't be computed, whoever computes them.
        """

    def df(self) -> pandas.DataFrame:
        """Run the query: all rows as a pandas DataFrame."""
        return self._read(lambda relation: relation.df())

    def pl(self) -> polars.DataFrame:
        """Run the query: all rows as a polars DataFrame."""
        frame: polars.DataFrame = self._read(lambda relation: relation.pl())
        return frame

    def fetchall(self) -> Rows:
        """Run the query: all rows as Python tuples."""
        return self._read(lambda relation: relation.fetchall())

    def show(self, max_rows: int = 40) -> None:
        """Run the query and print its first rows as a table."""
        self._read(lambda relation: relation.show(max_rows=max_rows))

    def write_parquet(self, path: str | os.PathLike[str]) -> None:
        """Run the query into one Parquet file, which appears, or replaces another, when it is complete."""
        target = os.fspath(path)
        if not os.path.isdir(os.path.dirname(target) or "."):
            raise Error(f"cannot write {target!r}: its folder does not exist")
        unfinished = f"{target}.{uuid.uuid4().hex}.tmp"
        try:
            self._read(lambda relation: relation.write_parquet(unfinished))
            os.replace(unfinished, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(unfinished)
            raise

    @abstractmethod
    def explain(self) -> str:
        """How the query will be executed, as text. It doesn't run."""

    @abstractmethod
    def _read(self, call: Callable[[duckdb.DuckDBPyRelation], T]) -> T:
        """Run the query and ``call`` with its rows, which may be read once."""

    def __repr__(self) -> str:
        columns = ", ".join(f"{name} {type_}" for name, type_ in zip(self.columns, self.types, strict=True))
        return f"<sord.Relation ({columns})>"


class LocalRelation(Relation):
    """DuckDB's own relation: a query of the embedded engine, or what another statement has given."""

    def __init__(
        self,
        relation: duckdb.DuckDBPyRelation,
        catalog: Catalog,
        text: str | None = None,
        lock: AbstractContextManager[object] | None = None,
    ) -> None:
        """``text`` is what may be run once more, on another connection, while this one is busy."""
        self._relation = relation
        self._catalog = catalog
        self._text = text
        self._lock = nullcontext() if lock is None else lock

    @property
    def columns(self) -> list[str]:
        return [name for name, _ in self._described()]

    @property
    def types(self) -> list[str]:
        return [type_ for _, type_ in self._described()]

    def _described(self) -> list[tuple[str, str]]:
        relation = self._relation
        try:
            return list(zip(relation.columns, map(str, relation.types), strict=True))
        except duckdb.ResourceInUseException:
            # Another thread is inside.
            if not self._can_move():
                raise
        with self._catalog.cursor() as cursor:
            assert self._text is not None
            moved = cursor.sql(self._text)
            return list(zip(moved.columns, map(str, moved.types), strict=True))

    def reader(self, batch_rows: int = BATCH_ROWS) -> pyarrow.RecordBatchReader:
        import pyarrow

        if not self._can_move():
            return self.arrow().to_reader(max_chunksize=batch_rows)
        assert self._text is not None
        # On a connection of its own: DuckDB accepts no other statement where a result is open.
        cursor = self._catalog.cursor()
        with interruptible(cursor):
            source = cursor.sql(self._text).to_arrow_reader(batch_rows)
        return pyarrow.RecordBatchReader.from_batches(
            source.schema, batches(source, cursor, self._catalog.session)
        )

    def explain(self) -> str:
        return self._read(lambda relation: relation.explain())

    def _read(self, call: Callable[[duckdb.DuckDBPyRelation], T]) -> T:
        try:
            with self._lock, interruptible(self._catalog.database):
                return call(self._relation)
        except duckdb.ResourceInUseException:
            # Another thread is inside.
            if not self._can_move():
                raise
        assert self._text is not None
        with self._catalog.cursor() as cursor, interruptible(cursor):
            return call(cursor.sql(self._text))

    def _can_move(self) -> bool:
        """Whether another connection would give the same rows, and nothing be done twice."""
        if self._text is None or self._catalog.session.needs_own:
            return False
        statements = duckdb.extract_statements(self._text)
        return len(statements) == 1 and statements[0].type == duckdb.StatementType.SELECT


def batches(
    source: pyarrow.RecordBatchReader, cursor: duckdb.DuckDBPyConnection, session: Session
) -> Iterator[pyarrow.RecordBatch]:
    """The batches of ``source``; ``cursor`` lives as long, and with it the way to interrupt it."""
    with cursor:
        while True:
            # DuckDB would go on: a connection lives as long as its results.
            if session.closed:
                raise QueryCancelled("the connection was closed before all rows were read")
            with interruptible(cursor), streaming():
                batch = next(source, None)
            if batch is None:
                return
            yield batch


@contextmanager
def streaming() -> Iterator[None]:
    """Errors of DuckDB's that come through a stream of pyarrow's, where they lose their class."""
    import pyarrow

    try:
        yield
    except (OSError, pyarrow.ArrowException) as error:
        if "INTERRUPT Error" in str(error):
            raise QueryCancelled("the query was cancelled") from None
        raise QueryError(str(error)) from error


@contextmanager
def interruptible(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Ctrl-C while the main thread is inside ``connection`` ends the call and raises KeyboardInterrupt.

    DuckDB by itself doesn't look for signals while several of its threads work for a call. Costs 10 microseconds.
    """
    from sord.exec.interrupts import on_ctrl_c

    left = threading.Event()
    pressed = threading.Event()

    def repeat() -> None:
        # Again and again: DuckDB forgets an interruption that comes before its query has begun.
        while not left.is_set():
            connection.interrupt()
            left.wait(_AGAIN_SECONDS)

    def interrupt() -> None:
        pressed.set()
        threading.Thread(target=repeat, name="interrupt", daemon=True).start()

    try:
        with on_ctrl_c(interrupt):
            yield
    except RuntimeError as error:
        # What DuckDB makes of the KeyboardInterrupt that Python had raised inside.
        ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if ours and str(error) == "Query interrupted":
            raise KeyboardInterrupt from None
        raise
    except duckdb.InterruptException:
        # DuckDB may hear of the interruption first and then take Python's signal for dealt with.
        if pressed.is_set():
            raise KeyboardInterrupt from None
        raise
    finally:
        left.set()
