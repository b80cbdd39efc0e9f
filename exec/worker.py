"""A worker process: one DuckDB, a place in the mesh, and a control connection on which its life depends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections import deque
from pathlib import Path

import duckdb

from sord.exec import control, usage
from sord.exec.cleanup import remove_spill, remove_staging
from sord.exec.inbox import Inboxes
from sord.exec.task import TaskRunner, TaskStopped
from sord.exec.worker_boot import Boot
from sord.transport import security
from sord.transport.base import Peer, PeerLost
from sord.transport.messages import DeadlineExceeded, MessageSocket
from sord.transport.tcp import TcpTransport

HEARTBEAT_SECONDS = 1.0
START_SECONDS = 60.0

_DUCKDB_SHARE = 0.65
_INBOX_SHARE = 0.25
"""Shares of a worker's memory; the rest is for what is being scattered, sent and received."""

_IDLE_SECONDS = 3600.0

_PINNED = {
    "arrow_lossless_conversion": "true",
    "enable_progress_bar": "false",
    "parquet_can_have_nan": "true",
    "parquet_metadata_cache": "true",
    "preserve_insertion_order": "false",
    "disabled_optimizers": "",
}

_KEEP_WRITTEN_ORDER = "join_order,build_side_probe_side,partial_aggregate_pushdown"
"""What DuckDB decides by estimates: one row for an Arrow input, a fifth for a part of a table."""


class _Running:
    """The task at work and what the client says of it. Guarded by the worker's lock, but for ``stopped``."""

    def __init__(self, task: control.Run) -> None:
        self.task = task
        self.stopped = threading.Event()
        self.paused = False


class Worker:
    """Executes tasks in the main thread, obeys the control connection in another."""

    def __init__(self, boot: Boot) -> None:
        self._boot = boot
        self._spill = Path(boot.spill_directory)
        self._spill.mkdir(parents=True, exist_ok=True)
        self._changed = threading.Condition()
        self._tasks: deque[control.Run] = deque()
        self._current: _Running | None = None
        self._settings: dict[str, str] = {}
        """What DuckDB has been told, so that it isn't told again."""
        self._staging: dict[int, str] = {}
        """Where unfinished queries write files, by query. Guarded by ``_changed``."""
        self._travelled: set[str] = set()
        """Settings that came with the last task."""

        key = bytes.fromhex(boot.key)
        me = security.Identity(boot.fleet, boot.rank, boot.epoch)
        self._control = _dial(boot, key, me)
        self._inboxes = Inboxes(self._spill, int(boot.memory_bytes * _INBOX_SHARE), self._inbox_failed)
        self._transport = TcpTransport(
            boot.rank, fleet=boot.fleet, key=key, epoch=boot.epoch, receiver=self._inboxes, listen=boot.listen
        )
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "threads": boot.threads,
                "memory_limit": f"{int(boot.memory_bytes * _DUCKDB_SHARE)}B",
                "temp_directory": str(self._spill / "duckdb"),
            },
        )
        for name, value in _PINNED.items():
            self._set(name, value)
        self._runner = TaskRunner(self._connection, self._transport, self._inboxes)

    def serve(self) -> None:
        """Work until the control connection closes or says so; does not return."""
        address = self._transport.address
        assert address is not None
        self._control.send(control.encode(control.Ready(os.getpid(), *address)))
        threading.Thread(target=self._obey, name="control", daemon=True).start()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        while True:
            with self._changed:
                while not self._tasks:
                    self._changed.wait()
                running = self._current = _Running(self._tasks.popleft())
            try:
                reply = self._execute(running)
            finally:
                with self._changed:
                    self._current = None
            if reply is not None:
                self._send(reply)
            if running.task.staging and not isinstance(reply, control.Done):
                # The client can't, as long as it is being written. Not before the client knows the reason: the
                # others are about to miss the folder.
                remove_staging(Path(running.task.staging))

    def _execute(self, running: _Running) -> control.Message | None:
        task = running.task
        try:
            self._prepare(task)
            report = self._runner.run(task, running.stopped, lambda: self._hold_back(running))
            return control.Done(task.query, task.fragment, report)
        except TaskStopped:
            return None
        except Exception as error:
            return _failure(task.query, task.fragment, error)

    def _hold_back(self, running: _Running) -> None:
        """Wait while the reader is behind, but never at the cost of another task.

        The reader may be waiting for just that one: another input of its query, or another query, which it
        runs for each row of this one.
        """
        with self._changed:
            while running.paused and not self._tasks and not running.stopped.is_set():
                self._changed.wait()

    def _prepare(self, task: control.Run) -> None:
        """Set what the coordinator has set, and what goes with a task that reads exchanges."""
        for name in self._travelled - task.settings.keys():
            self._connection.execute(f"RESET {_identifier(name)}")
            del self._settings[name]
        self._travelled = set(task.settings)
        for name, value in task.settings.items():
            self._set(name, value)
        ordered = any(one.ordered for one in task.inputs)
        self._set("disabled_optimizers", "" if task.reorder else _KEEP_WRITTEN_ORDER)
        self._set("preserve_insertion_order", "true" if ordered else "false")

    def _set(self, name: str, value: str) -> None:
        if self._settings.get(name) != value:
            self._connection.execute(f"SET {_identifier(name)} = {_literal(value)}")
            self._settings[name] = value

    def _obey(self) -> None:
        # Whatever ends this thread ends the process: nobody could reach it any more.
        try:
            while True:
                with contextlib.suppress(DeadlineExceeded):
                    message = control.decode(self._control.receive(time.monotonic() + _IDLE_SECONDS))
                    if isinstance(message, control.Shutdown):
                        break
                    self._handle(message)
        except PeerLost:
            pass
        except Exception:
            traceback.print_exc()
        finally:
            self._die()

    def _handle(self, message: control.Message) -> None:
        match message:
            case control.Run():
                with self._changed:
                    self._tasks.append(message)
                    if message.staging:
                        self._staging[message.query] = message.staging
                    self._changed.notify_all()
            case control.Cancel(query):
                self._stop(query)
            case control.Forget(query):
                self._stop(query)
                with self._changed:
                    self._staging.pop(query, None)
                self._inboxes.forget(query)
                self._transport.forget(query)
            case control.Drop(query, exchanges):
                self._inboxes.drop(query, exchanges)
            case control.Pause(query, exchange):
                self._pause(query, exchange, True)
            case control.Resume(query, exchange):
                self._pause(query, exchange, False)
            case control.Roster(peers, version):
                self._transport.roster({rank: Peer(host, port, epoch) for rank, host, port, epoch in peers})
                self._send(control.RosterTaken(version))
            case _:
                raise ValueError(f"unexpected message {type(message).__name__}")

    def _stop(self, query: int) -> None:
        with self._changed:
            self._tasks = deque(task for task in self._tasks if task.query != query)
            if self._current is not None and self._current.task.query == query:
                self._current.stopped.set()
                self._changed.notify_all()
                self._connection.interrupt()

    def _pause(self, query: int, exchange: int, paused: bool) -> None:
        with self._changed:
            current = self._current
            if current is not None and (current.task.query, current.task.fragment) == (query, exchange):
                current.paused = paused
                self._changed.notify_all()

    def _beat(self) -> None:
        while True:
            self._send(control.Heartbeat(usage.resident_bytes()))
            time.sleep(HEARTBEAT_SECONDS)
            with self._changed:
                # An interrupt that comes between two statements is lost: say it again.
                if self._current is not None and self._current.stopped.is_set():
                    self._connection.interrupt()

    def _inbox_failed(self, query: int, error: Exception) -> None:
        self._send(_failure(query, None, error))

    def _send(self, message: control.Message) -> None:
        # Without a client there is nobody to tell; the control thread ends this process.
        with contextlib.suppress(PeerLost):
            self._control.send(control.encode(message))

    def _die(self) -> None:
        with self._changed:
            self._connection.interrupt()
            abandoned = list(self._staging.values())
        for folder in abandoned:
            remove_staging(Path(folder))
        self._inboxes.close()
        remove_spill(self._spill)
        os._exit(0)


def _failure(query: int, fragment: int | None, error: Exception) -> control.Failed:
    lost = error.rank if isinstance(error, PeerLost) else None
    return control.Failed(query, fragment, str(error) or repr(error), type(error).__name__, lost)


def _dial(boot: Boot, key: bytes, me: security.Identity) -> MessageSocket:
    deadline = time.monotonic() + START_SECONDS
    sock = socket.create_connection(boot.control, timeout=START_SECONDS)
    try:
        security.authenticate(
            sock, key, me, "control", initiator=True, deadline=deadline, expected_rank=boot.size
        )
    except BaseException:
        sock.close()
        raise
    return MessageSocket(sock, boot.size)


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def main() -> None:
    """``python -m sord.exec.worker``, started by a fleet, which writes a :class:`Boot` to standard input."""
    # Ctrl-C in a terminal goes to the whole group; only the client decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line = sys.stdin.buffer.readline()
    if not line:
        raise SystemExit("sord.exec.worker is started by a fleet, not by hand")
    Worker(Boot.from_line(line)).serve()


if __name__ == "__main__":
    main()
