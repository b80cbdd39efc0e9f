"""One query on its way: which fragment may start, what has finished, what went wrong."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import duckdb

from sord.exec import control
from sord.exec.errors import ExchangeError, QueryCancelled, QueryError, WorkerLost
from sord.exec.inbox import InboxError
from sord.exec.mesh import Mesh
from sord.exec.report import FragmentReport, Planned, Report
from sord.exec.task import TaskRunner, TaskStopped
from sord.planner.fragment import Actual, Fragment, PhysicalPlan, Place, Route
from sord.transport.base import ExchangeId, PeerLost, TransportError

_BLAME_SECONDS = 3.0
"""When a rank can't reach another: how long to wait for the better reason, that the other one died."""


@dataclass(frozen=True, slots=True)
class _Finished:
    """A fragment's task is done at one place."""

    fragment: int
    report: control.TaskReport


@dataclass(frozen=True, slots=True)
class _Flow:
    """A sender of an exchange is to be held back, or to go on."""

    rank: int
    exchange: int
    paused: bool


class _Released(Exception):
    """Nobody holds the query any more."""


Event = _Finished | _Flow | BaseException


class Query:
    """Runs the fragments of a plan, in a thread of its own; the result's fragment is left to the reader."""

    def __init__(
        self,
        number: int,
        plan: PhysicalPlan,
        settings: Mapping[str, str],
        mesh: Mesh,
        new_cursor: Callable[[], duckdb.DuckDBPyConnection],
        own: Callable[[], contextlib.AbstractContextManager[duckdb.DuckDBPyConnection]] | None,
        waiting_bytes: int,
    ) -> None:
        """Workers are held back while ``waiting_bytes`` of a streaming input wait for the reader."""
        self.number = number
        self.mesh = mesh
        self.new_cursor = new_cursor
        self._own = own
        self.error: BaseException | None = None
        """Why the query failed, once it has."""
        self.result: Fragment | None = None
        """The last fragment, once its inputs are there or on their way."""
        self.result_ready = threading.Event()
        """Set when ``result`` or ``error`` is."""
        self.ended = threading.Event()
        """Set when nothing more will happen on the workers."""
        self._plan = plan
        self._plans = [Planned(plan, None)]
        self._settings = dict(settings)
        self._waiting_bytes = waiting_bytes
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._begin = time.perf_counter()
        self._fragments: dict[int, Fragment] = {fragment.id: fragment for fragment in plan.fragments}
        self._started: dict[int, float] = {}
        self._tasks: dict[int, list[control.TaskReport]] = {}
        self._finished: dict[int, Actual] = {}
        self._dropped: set[int] = set()
        self._reports: list[FragmentReport] = []
        self._stopped = threading.Event()
        self._cursors: list[duckdb.DuckDBPyConnection] = []
        self._lock = threading.Lock()
        self._forgotten = False

    @property
    def report(self) -> Report:
        """Of what has finished so far."""
        return Report(tuple(self._reports), tuple(self._plans))

    def start(self) -> None:
        threading.Thread(target=self._schedule, name=f"query-{self.number}", daemon=True).start()

    def done(self, rank: int, message: control.Done) -> None:
        """A worker has finished a task."""
        self._events.put(_Finished(message.fragment, message.report))

    def failed(self, rank: int, message: control.Failed) -> None:
        """A worker can't go on."""
        fragment = self._fragments.get(message.fragment) if message.fragment is not None else None
        kind = QueryError if message.lost_rank is None else ExchangeError
        title = fragment.title if fragment is not None else ""
        self._events.put(kind(message.message, rank=rank, title=title, error_type=message.error_type))

    def fail(self, error: BaseException) -> None:
        """Something outside the workers' DuckDBs ended the query."""
        self._events.put(error)

    def cancel(self, reason: str = "the query was cancelled") -> None:
        """Stop everywhere; returns at once."""
        error = QueryCancelled(reason)
        # Now: DuckDB may tell the reader of an interrupt before the query's thread is at it.
        if self.error is None:
            self.error = error
        self._events.put(error)

    def forget(self) -> None:
        """Stop if it still runs, and free everything that is held for the query anywhere. Idempotent."""
        with self._lock:
            if self._forgotten:
                return
            self._forgotten = True
        self.release()
        self._stop_client()
        self.mesh.inboxes.forget(self.number)
        self.mesh.transport.forget(self.number)
        self.mesh.tell_all(control.Forget(self.number))

    def release(self) -> None:
        """Have the query's thread :meth:`forget` it. Safe in a finalizer, which may run anywhere."""
        self._events.put(_Released("the query was closed"))

    def add_cursor(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Have ``cursor`` interrupted when the query fails."""
        with self._lock:
            self._cursors.append(cursor)

    def remove_cursor(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Undo :meth:`add_cursor`: what runs there now is none of this query's."""
        with self._lock, contextlib.suppress(ValueError):
            self._cursors.remove(cursor)

    def senders(self, exchange: int, rank: int) -> tuple[int, ...]:
        """Who sends an exchange that is read at ``rank``."""
        feeder = self._fragments[exchange]
        if feeder.place is Place.CLIENT:
            return (self.mesh.size,)
        if feeder.route is Route.KEEP:
            return (rank,)
        return tuple(range(self.mesh.size))

    def _schedule(self) -> None:
        try:
            self._dispatch()
            while self.result is None or len(self._finished) < len(self._started):
                self._take(self._next_event())
        except _Released:
            self._abort(QueryCancelled("the query was closed"))
            self._events.put(_Released())
        except BaseException as error:
            self._abort(error)
        finally:
            self.ended.set()
            self.result_ready.set()
        # The workers are through. A loss of one of them means nothing any more; a reader may still be stopped.
        while not isinstance(event := self._events.get(), _Released):
            if isinstance(event, _Flow):
                self._relay(event)
            elif isinstance(event, QueryCancelled):
                self._abort(event)
        self.forget()

    def _next_event(self) -> _Finished:
        while isinstance(event := self._events.get(), _Flow):
            self._relay(event)
        if isinstance(event, _Finished):
            return event
        if isinstance(event, ExchangeError):
            deadline = time.monotonic() + _BLAME_SECONDS
            while (seconds := deadline - time.monotonic()) > 0:
                try:
                    later = self._events.get(timeout=seconds)
                except queue.Empty:
                    break
                if isinstance(later, WorkerLost | QueryCancelled | _Released):
                    raise later
        raise event

    def _take(self, event: _Finished) -> None:
        reports = self._tasks[event.fragment]
        reports.append(event.report)
        fragment = self._fragments[event.fragment]
        if len(reports) < len(self._places(fragment)):
            return
        report = FragmentReport(
            fragment.id,
            fragment.title,
            fragment.place,
            fragment.route,
            self._started[fragment.id],
            time.perf_counter() - self._begin,
            tuple(sorted(reports, key=lambda task: task.rank)),
        )
        self._reports.append(report)
        self._finished[fragment.id] = Actual(report.rows, report.bytes, report.received_rows)
        if self.result is None:
            self._adapt(fragment.id)
            self._drop_what_nobody_reads()
            self._dispatch()

    def _adapt(self, after: int) -> None:
        better = self._plan.adapt(self._finished, self._started.keys() - self._finished.keys())
        if better is not None:
            self._plan = better
            self._plans.append(Planned(better, after))
            self._fragments |= {fragment.id: fragment for fragment in better.fragments}

    def _drop_what_nobody_reads(self) -> None:
        """Free exchanges whose readers have all finished."""
        waiting = [fragment for fragment in self._plan.fragments if fragment.id not in self._finished]
        waiting += [self._fragments[id_] for id_ in self._started if id_ not in self._finished]
        needed = {one.exchange for fragment in waiting for one in fragment.inputs}
        read = {one.exchange for id_ in self._finished for one in self._fragments[id_].inputs}
        done_with = tuple(sorted(read - needed - self._dropped))
        if done_with:
            self._dropped.update(done_with)
            self.mesh.inboxes.drop(self.number, done_with)
            self.mesh.tell_all(control.Drop(self.number, done_with))

    def _dispatch(self) -> None:
        for fragment in self._plan.fragments:
            if fragment.id in self._started or not self._startable(fragment):
                continue
            if fragment.route is Route.RESULT:
                self._hold_back_senders(fragment)
                self.result = fragment
                self.result_ready.set()
                return
            self._started[fragment.id] = time.perf_counter() - self._begin
            self._tasks[fragment.id] = []
            for rank in self._places(fragment):
                task = self._task(fragment, rank)
                if rank == self.mesh.size:
                    arguments = (task, fragment.private)
                    threading.Thread(target=self._run_here, args=arguments, daemon=True).start()
                else:
                    self.mesh.send(rank, task)

    def _hold_back_senders(self, result: Fragment) -> None:
        """Let no worker be far ahead of the reader.

        Not before the result's fragment is settled: a better plan might want the whole exchange first.
        """
        for one in result.inputs:
            if one.streaming and self._fragments[one.exchange].place is Place.WORKERS:
                self._limit(one.exchange)

    def _limit(self, exchange: int) -> None:
        self.mesh.inboxes.limit(
            ExchangeId(self.number, exchange),
            self.senders(exchange, self.mesh.size),
            self._waiting_bytes,
            # The query's thread is to send the message: the transport's must not wait for a control connection.
            lambda rank, paused: self._events.put(_Flow(rank, exchange, paused)),
        )

    def _relay(self, flow: _Flow) -> None:
        kind = control.Pause if flow.paused else control.Resume
        # Who is lost is heard of elsewhere.
        with contextlib.suppress(WorkerLost):
            self.mesh.send(flow.rank, kind(self.number, flow.exchange))

    def _startable(self, fragment: Fragment) -> bool:
        return all(
            one.exchange in (self._started if one.streaming else self._finished) for one in fragment.inputs
        ) and all(id_ in self._finished for id_ in fragment.after)

    def _places(self, fragment: Fragment) -> tuple[int, ...]:
        if fragment.place is Place.CLIENT:
            return (self.mesh.size,)
        return tuple(range(self.mesh.size))

    def _task(self, fragment: Fragment, rank: int) -> control.Run:
        workers = tuple(range(self.mesh.size))
        client = (self.mesh.size,)
        places = {Route.GATHER: client, Route.WRITE: client, Route.KEEP: (rank,)}
        return control.Run(
            query=self.number,
            fragment=fragment.id,
            title=fragment.title,
            sql=fragment.sql[0 if rank == self.mesh.size else rank],
            inputs=tuple(
                control.TaskInput(one.name, one.exchange, self.senders(one.exchange, rank), one.ordered)
                for one in fragment.inputs
            ),
            partition=fragment.route is Route.PARTITION,
            peers=places.get(fragment.route, workers),
            reorder=fragment.reorder,
            settings=self._settings,
            staging=fragment.staging,
        )

    def _run_here(self, task: control.Run, private: bool) -> None:
        """Run a fragment in the client's own DuckDB."""
        try:
            with self._connection(private) as connection:
                self.add_cursor(connection)
                try:
                    if self._stopped.is_set():
                        return
                    runner = TaskRunner(connection, self.mesh.transport, self.mesh.inboxes, keeps_types=False)
                    report = runner.run(task, self._stopped)
                finally:
                    self.remove_cursor(connection)
        except TaskStopped:
            return
        except TransportError as error:
            self._events.put(ExchangeError(str(error), title=task.title))
        except (duckdb.Error, InboxError) as error:
            kind = type(error).__name__
            self._events.put(QueryError(str(error), title=task.title, error_type=kind))
        except BaseException as error:
            self._events.put(error)
        else:
            self._events.put(_Finished(task.fragment, report))

    def _connection(self, private: bool) -> contextlib.AbstractContextManager[duckdb.DuckDBPyConnection]:
        if not private:
            return self.new_cursor()
        assert self._own is not None
        return self._own()

    def _abort(self, error: BaseException) -> None:
        self.error = error
        self.mesh.inboxes.fail(self.number, error if isinstance(error, Exception) else InboxError(str(error)))
        self._stop_client()
        self.mesh.tell_all(control.Forget(self.number))

    def _stop_client(self) -> None:
        self._stopped.set()
        with self._lock:
            cursors = list(self._cursors)
            self._cursors.clear()
        for cursor in cursors:
            # One that is closed, with its connection for instance, has nothing left to interrupt.
            with contextlib.suppress(duckdb.ConnectionException):
                cursor.interrupt()

    def inbox_failed(self, error: Exception) -> None:
        """An exchange that this client receives is broken."""
        if isinstance(error, PeerLost):
            self._events.put(ExchangeError(str(error)))
        else:
            self._events.put(QueryError(str(error)))
