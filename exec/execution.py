"""A running query in the hands of its reader."""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Iterator
from types import TracebackType
from typing import NoReturn

import duckdb

from sord.exec.errors import ExchangeError, QueryError, SordError
from sord.exec.inbox import InboxError
from sord.exec.interrupts import on_ctrl_c
from sord.exec.query import Query
from sord.exec.report import Report
from sord.exec.sources import StreamSource, register, table_source, unregister
from sord.exec.task import INPUT_SECONDS
from sord.planner.fragment import Fragment, Input
from sord.transport.base import ExchangeId, PeerLost

_SETTLE_SECONDS = 5.0


class Execution:
    """A query that runs. Its rows are read through :attr:`relation`, inside :meth:`guard`.

    Keep it for as long as the rows are read: :meth:`close`, the end of a ``with`` block and the garbage
    collector free them everywhere.
    """

    def __init__(self, query: Query) -> None:
        self._query = query
        self._relation: duckdb.DuckDBPyRelation | None = None
        self._streams: list[StreamSource] = []
        self._interrupted = False
        self._raised: BaseException | None = None
        weakref.finalize(self, query.release).atexit = False

    @property
    def relation(self) -> duckdb.DuckDBPyRelation:
        """The result, as soon as its columns are known: it may be read while fragments still run.

        If the last fragment has streaming inputs it can be read once. Blocks; raises what went wrong, see
        :mod:`sord.exec.errors`. Ctrl-C while it waits cancels the query.
        """
        if self._relation is None:
            with self.guard():
                self._relation = self._open()
        return self._relation

    def ready(self) -> None:
        """Wait until :attr:`relation` or :meth:`execute_on` has something to begin with; raises as they do."""
        with self.guard():
            self._result()

    def execute_on(self, connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyRelation:
        """What the result's statement, one that is executed at once, returns on a ``connection`` of the caller's.

        For statements that need that connection's transaction or temporary tables.
        """
        with self.guard():
            result = self._result()
            registered: list[str] = []
            self._query.add_cursor(connection)
            try:
                for one in result.inputs:
                    registered.append(one.name)
                    self._register(connection, one)
                return connection.sql(result.sql[0])
            finally:
                self._query.remove_cursor(connection)
                # A transaction that an error has ended takes nothing more, and keeps nothing.
                with contextlib.suppress(duckdb.TransactionException):
                    for name in registered:
                        unregister(connection, name)

    @property
    def report(self) -> Report:
        """What the finished fragments cost. Complete once the result is read."""
        if all(stream.exhausted for stream in self._streams):
            # The last rows can be here before the message that says what they cost.
            self._query.ended.wait(_SETTLE_SECONDS)
        return self._query.report

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing runs on the workers any more; False if it takes longer. Raises nothing."""
        return self._query.ended.wait(timeout)

    def cancel(self, reason: str = "the query was cancelled") -> None:
        """Stop the query everywhere. Its reader gets :class:`~sord.exec.errors.QueryCancelled`."""
        self._query.cancel(reason)

    def close(self) -> None:
        """Stop the query if it runs, and free its rows. Idempotent."""
        self._query.forget()

    def __enter__(self) -> Execution:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Around every call that reads the relation: raise the query's own error, not DuckDB's words for it.

        An error in the client's part, and Ctrl-C, cancel the query on all workers. DuckDB's own errors come
        out as they are.
        """
        with on_ctrl_c(self._interrupt):
            try:
                yield
            except (Exception, KeyboardInterrupt) as error:
                self._raise(error)
            except BaseException:
                self.cancel()
                raise

    def _result(self) -> Fragment:
        self._query.result_ready.wait()
        if self._query.error is not None:
            raise self._query.error
        result = self._query.result
        assert result is not None
        return result

    def _open(self) -> duckdb.DuckDBPyRelation:
        result = self._result()
        cursor = self._query.new_cursor()
        self._query.add_cursor(cursor)
        for one in result.inputs:
            self._register(cursor, one)
        return cursor.sql(result.sql[0])

    def _register(self, cursor: duckdb.DuckDBPyConnection, one: Input) -> None:
        inboxes = self._query.mesh.inboxes
        exchange = ExchangeId(self._query.number, one.exchange)
        senders = self._query.senders(one.exchange, self._query.mesh.size)
        if one.streaming:
            schema = inboxes.wait_schema(exchange, senders)
            stream = StreamSource(schema, lambda: inboxes.drain(exchange, senders, one.ordered))
            self._streams.append(stream)
            register(cursor, one.name, stream)
        else:
            inboxes.wait(exchange, senders, time.monotonic() + INPUT_SECONDS)
            register(cursor, one.name, table_source(inboxes.table(exchange, senders)))

    def _raise(self, error: BaseException) -> NoReturn:
        if error is self._raised:
            # By a guard inside this one.
            raise error
        cause = next((stream.error for stream in self._streams if stream.error is not None), error)
        if self._interrupted or isinstance(cause, KeyboardInterrupt):
            self.cancel()
            raise KeyboardInterrupt from None
        if isinstance(cause, PeerLost | InboxError):
            # The query's thread is about to learn why; it knows best.
            self._query.inbox_failed(cause)
            self._query.ended.wait(_SETTLE_SECONDS)
        if self._query.error is not None:
            raise self._query.error.with_traceback(None) from None
        self.cancel()
        if isinstance(cause, PeerLost):
            raise ExchangeError(str(cause)) from None
        if isinstance(cause, InboxError):
            raise QueryError(str(cause)) from None
        if cause is not error and not isinstance(cause, SordError):
            raise cause from None
        self._raised = error
        raise error

    def _interrupt(self) -> None:
        self._interrupted = True
        self.cancel()
