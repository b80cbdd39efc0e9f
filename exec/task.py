"""One task: a fragment's statement at one place, its inputs from inboxes, its rows to other ranks."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import duckdb
import pyarrow as pa

from sord.exec import usage
from sord.exec.control import Run, TaskReport
from sord.exec.inbox import Inboxes
from sord.exec.outbox import Outbox
from sord.exec.scatter import Scatter
from sord.exec.sources import as_arrow_keeps, register, table_source, unregister, with_types
from sord.transport.base import ExchangeId, Transport

BATCH_ROWS = 122_880
"""Rows that DuckDB puts into a batch: a row group's worth. Scattering costs the same from 60,000 rows on."""

INPUT_SECONDS = 60.0
"""How long a task waits for the ends of its inputs, which were all sent before it was dispatched."""


class TaskStopped(Exception):
    """The task's query was cancelled."""


class TaskRunner:
    """Runs tasks one after the other on one DuckDB connection."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        transport: Transport,
        inboxes: Inboxes,
        *,
        keeps_types: bool = True,
    ) -> None:
        """``keeps_types``: the connection's DuckDB has ``arrow_lossless_conversion`` on."""
        self._connection = connection
        self._keeps_types = keeps_types
        self._transport = transport
        self._inboxes = inboxes

    def run(
        self, task: Run, stopped: threading.Event, hold_back: Callable[[], None] = lambda: None
    ) -> TaskReport:
        """Run ``task`` and return when everything is sent; ``hold_back`` as in :class:`Outbox`.

        Whoever sets ``stopped`` also interrupts the connection; then this raises :class:`TaskStopped`. Else
        it raises DuckDB's error, :class:`~sord.exec.inbox.InboxError` or a
        :class:`~sord.transport.base.TransportError`.
        """
        usage.reset_peak()
        cpu, start = time.process_time(), time.perf_counter()
        try:
            deadline = time.monotonic() + INPUT_SECONDS
            for one in task.inputs:
                exchange = ExchangeId(task.query, one.exchange)
                self._inboxes.wait(exchange, one.senders, deadline, stopped.is_set)
            waited = time.perf_counter() - start
            with self._inputs(task):
                rows, made, sent, outbox = self._produce(task, stopped, hold_back)
        except Exception:
            if stopped.is_set():
                raise TaskStopped from None
            raise
        waited += outbox.wait_seconds
        return TaskReport(
            rank=self._transport.rank,
            rows=rows,
            bytes=made,
            wire_bytes=outbox.wire_bytes,
            compute_seconds=time.perf_counter() - start - waited,
            wait_seconds=waited,
            cpu_seconds=time.process_time() - cpu,
            peak_bytes=usage.peak_bytes(),
            sent_rows=sent,
        )

    @contextlib.contextmanager
    def _inputs(self, task: Run) -> Iterator[None]:
        registered: list[str] = []
        try:
            for one in task.inputs:
                table = self._inboxes.table(ExchangeId(task.query, one.exchange), one.senders)
                register(self._connection, one.name, table_source(table))
                registered.append(one.name)
            yield
        finally:
            # A transaction that an error has ended takes nothing more, and keeps nothing.
            with contextlib.suppress(duckdb.TransactionException):
                for name in registered:
                    unregister(self._connection, name)

    def _produce(
        self, task: Run, stopped: threading.Event, hold_back: Callable[[], None]
    ) -> tuple[int, int, tuple[int, ...], Outbox]:
        rows = made = 0
        relation = self._connection.sql(task.sql)
        if relation is None:
            raise duckdb.InvalidInputException("a fragment's statement gives no rows")
        types = relation.types
        if not self._keeps_types:
            relation = as_arrow_keeps(relation)
        reader = relation.to_arrow_reader(BATCH_ROWS)
        schema = reader.schema
        scatter = None
        if task.partition:
            types = types[:-1]
            schema = schema.remove(len(schema) - 1)
            scatter = Scatter(len(task.peers))
        sent = [0] * len(task.peers) if scatter is not None else []
        schema = with_types(schema, types, self._keeps_types)
        channel = self._transport.open(ExchangeId(task.query, task.fragment))
        outbox = Outbox(channel, task.peers, hold_back)
        try:
            for batch in reader:
                if stopped.is_set():
                    raise TaskStopped
                rows += sum(batch.column(0).to_pylist()) if task.staging else batch.num_rows
                if scatter is None:
                    made += batch.get_total_buffer_size()
                    outbox.put(task.peers, _as(schema, batch))
                    continue
                for rank, piece in scatter.add(batch):
                    made += piece.get_total_buffer_size()
                    sent[rank] += piece.num_rows
                    outbox.put((rank,), _as(schema, piece))
            if scatter is not None:
                for rank, piece in scatter.rest():
                    made += piece.get_total_buffer_size()
                    sent[rank] += piece.num_rows
                    outbox.put((rank,), _as(schema, piece))
            outbox.finish(schema)
        except BaseException:
            outbox.abandon()
            raise
        finally:
            # An open result owns its connection.
            reader.close()
            del relation
        return rows, made, tuple(sent), outbox


def _as(schema: pa.Schema, batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.replace_schema_metadata(schema.metadata) if schema.metadata else batch
