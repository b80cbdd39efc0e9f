"""The client's end of a fleet: takes physical plans, gives results."""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import duckdb

from sord.exec import control
from sord.exec.errors import WorkerLost
from sord.exec.execution import Execution
from sord.exec.fleet import Fleet, Member
from sord.exec.mesh import Mesh
from sord.exec.query import Query
from sord.planner.fragment import PhysicalPlan

DEFAULT_INBOX_BYTES = 1 << 30
DEFAULT_WAITING_BYTES = 256 << 20


class Coordinator:
    """Runs plans on a fleet. Thread-safe; several queries may run at once and then share the workers.

    The fleet is started by the first query (or :meth:`start`), mended by the next query after a loss, and
    closed with the coordinator.
    """

    def __init__(
        self,
        fleet: Fleet,
        new_cursor: Callable[[], duckdb.DuckDBPyConnection],
        own: Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]] | None = None,
        *,
        heartbeat_seconds: float = 10.0,
        inbox_bytes: int = DEFAULT_INBOX_BYTES,
        waiting_bytes: int = DEFAULT_WAITING_BYTES,
    ) -> None:
        """``new_cursor`` gives a cursor of the client's DuckDB for one statement, which then owns it; ``own`` the
        user's connection itself, which private fragments need.

        A worker that is silent for ``heartbeat_seconds`` counts as lost. Up to ``inbox_bytes`` of rows wait
        in memory to be read, more on disk. The workers of a query are held back while about ``waiting_bytes`` of
        a result that is streamed wait for its reader, unless others wait for the workers.
        """
        self._new_cursor = new_cursor
        self._own = own
        self._waiting_bytes = waiting_bytes
        # Not from 1: frames of an earlier client's queries must not be taken for this one's.
        self._numbers = itertools.count(secrets.randbits(40) << 20)
        self._lock = threading.Lock()
        self._queries: dict[int, Query] = {}
        self._mesh = Mesh(
            fleet,
            heartbeat_seconds=heartbeat_seconds,
            inbox_bytes=inbox_bytes,
            on_message=self._hear,
            on_lost=self._lost,
            on_inbox_failure=self._inbox_failed,
        )

    @property
    def size(self) -> int:
        """Workers of the fleet."""
        return self._mesh.size

    @property
    def members(self) -> tuple[Member, ...]:
        """The workers, by rank; none before the start."""
        return self._mesh.members

    @property
    def pids(self) -> tuple[int, ...]:
        """The workers' process ids, by rank; none before the start."""
        return tuple(member.pid for member in self._mesh.members)

    def start(self) -> None:
        """Start or mend the fleet now. Raises :class:`~sord.exec.errors.FleetError`."""
        self._mesh.ready()

    def run(self, plan: PhysicalPlan, settings: Mapping[str, str] | None = None) -> Execution:
        """Start a query and return at once; errors come when its result is read.

        ``settings`` are DuckDB settings for the workers' part, name to value as text. Raises
        :class:`~sord.exec.errors.FleetError` or :class:`~sord.exec.errors.WorkerLost` if the fleet can't be
        started or mended.
        """
        query = Query(
            next(self._numbers),
            plan,
            settings or {},
            self._mesh,
            self._new_cursor,
            self._own,
            self._waiting_bytes,
        )
        self._mesh.ready()
        with self._lock:
            self._queries = {n: one for n, one in self._queries.items() if not one.ended.is_set()}
            self._queries[query.number] = query
        query.start()
        return Execution(query)

    def close(self) -> None:
        """Cancel all queries and end the fleet. Idempotent."""
        for query in self._running():
            query.cancel("the coordinator was closed")
        self._mesh.close()

    def _running(self) -> list[Query]:
        with self._lock:
            return list(self._queries.values())

    def _hear(self, rank: int, message: control.Message) -> None:
        if isinstance(message, control.Done | control.Failed):
            with self._lock:
                query = self._queries.get(message.query)
            if query is not None and isinstance(message, control.Done):
                query.done(rank, message)
            elif query is not None and isinstance(message, control.Failed):
                query.failed(rank, message)

    def _lost(self, error: WorkerLost) -> None:
        for query in self._running():
            query.fail(error)

    def _inbox_failed(self, number: int, error: Exception) -> None:
        with self._lock:
            query = self._queries.get(number)
        if query is not None:
            query.inbox_failed(error)
