"""Plain DuckDB as the yardstick, in a process of its own so that time and memory are nobody else's."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb

from sord.tpch.compare import Answer
from sord.tpch.generate import table_files


@dataclass(frozen=True, slots=True)
class Measured:
    """An answer and what it cost: wall-clock seconds, and processor seconds over all threads."""

    answer: Answer
    seconds: float
    cpu_seconds: float


class Baseline:
    """A child process with one DuckDB of `threads` threads over the `tables` in `data`."""

    def __init__(self, data: Path, tables: Sequence[str], threads: int | None = None) -> None:
        # Not forked: the parent has threads, and a fork of those can deadlock.
        context = multiprocessing.get_context("spawn")
        self._pipe, child = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(child, data, tables, threads), name="sord-tpch-duckdb", daemon=True
        )
        self._process.start()
        child.close()

    def run(self, sql: str) -> Measured:
        """Runs a query to its whole answer; raises duckdb.Error as DuckDB does."""
        self._pipe.send(sql)
        reply: Measured | duckdb.Error = self._pipe.recv()
        if isinstance(reply, duckdb.Error):
            raise reply
        return reply

    def close(self) -> None:
        """Ends the process, also in the middle of a query."""
        self._pipe.close()
        self._process.terminate()
        self._process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _serve(pipe: Connection, data: Path, tables: Sequence[str], threads: int | None) -> None:
    # Ctrl-C reaches the whole foreground group; the parent decides what becomes of this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = duckdb.connect(config={} if threads is None else {"threads": threads})
    connection.execute("SET enable_progress_bar = false")  # it would be drawn into what the runner prints
    for table in tables:
        connection.read_parquet([str(file) for file in table_files(data, table)]).create_view(table)
    while True:
        try:
            sql = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(_measure(connection, sql))
        except duckdb.Error as error:
            pipe.send(error)


def _measure(connection: duckdb.DuckDBPyConnection, sql: str) -> Measured:
    started, cpu_started = time.perf_counter(), time.process_time()
    relation = connection.sql(sql)
    table = relation.to_arrow_table()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    return Measured(Answer.from_arrow(table, [str(kind) for kind in relation.types]), seconds, cpu_seconds)
