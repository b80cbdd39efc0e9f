"""A fleet of processes on this machine."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from sord.exec import control
from sord.exec.cleanup import CLIENT_DIRECTORY
from sord.exec.errors import FleetError
from sord.exec.fleet import Member
from sord.exec.listener import ControlListener
from sord.exec.worker_boot import Boot
from sord.transport.base import TransportError
from sord.transport.security import Identity

_LOOPBACK = "127.0.0.1"
_POLITE_SECONDS = 2.0
_TERMINATE_SECONDS = 2.0
_STDERR_TAIL_BYTES = 2000


@dataclass(slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    stderr: IO[bytes]
    spill: Path
    member: Member | None = None


@dataclass(slots=True)
class _Remains:
    """What must be gone when the fleet is: kept apart from it, so that a finalizer can hold this."""

    owner: int
    children: dict[int, _Child] = field(default_factory=dict)
    directory: Path | None = None


class LocalFleet:
    """``size`` worker processes of ``threads`` threads and ``memory_bytes`` bytes each.

    They live as long as their control connections: they end with :meth:`close`, with this object, with this
    process, and when it is killed.
    """

    def __init__(
        self,
        size: int,
        *,
        threads: int = 1,
        memory_bytes: int = 10**9,
        bandwidth: float = 2e9,
        start_seconds: float = 60.0,
    ) -> None:
        self._size = size
        self._threads = threads
        self._memory_bytes = memory_bytes
        self._bandwidth = bandwidth
        self._start_seconds = start_seconds
        self._name = f"local-{secrets.token_hex(8)}"
        self._key = secrets.token_bytes(32)
        self._epochs = dict.fromkeys(range(size), 0)
        self._remains = _Remains(os.getpid())
        self._finalizer = weakref.finalize(self, _remove, self._remains)

    @property
    def size(self) -> int:
        return self._size

    @property
    def bandwidth(self) -> float:
        return self._bandwidth

    @property
    def name(self) -> str:
        return self._name

    @property
    def key(self) -> bytes:
        return self._key

    @property
    def threads(self) -> int:
        """Threads of each worker."""
        return self._threads

    @property
    def memory_bytes(self) -> int:
        """Memory of each worker."""
        return self._memory_bytes

    @property
    def spill_directory(self) -> Path:
        return self._directory() / CLIENT_DIRECTORY

    def start(self) -> tuple[Member, ...]:
        if not self._finalizer.alive:
            raise FleetError("the fleet is closed")
        return self.mend([rank for rank in range(self._size) if rank not in self._remains.children])

    def mend(self, lost: Collection[int]) -> tuple[Member, ...]:
        if not self._finalizer.alive:
            raise FleetError("the fleet is closed")
        children = self._remains.children
        _end([children.pop(rank) for rank in lost if rank in children], polite_seconds=0.0)
        if lost:
            self._launch(sorted(lost))
        return tuple(child.member for _, child in sorted(children.items()) if child.member is not None)

    def why_lost(self, rank: int) -> str:
        child = self._remains.children.get(rank)
        if child is None:
            return ""
        try:
            # The connection breaks a little before the process can be waited for.
            status = child.process.wait(1.0)
        except subprocess.TimeoutExpired:
            return ""
        # Now, not when the fleet is mended: should this process be killed, nobody else knows that it died.
        shutil.rmtree(child.spill, ignore_errors=True)
        return f"died: {_ending(child, status)}"

    def close(self) -> None:
        self._finalizer()

    def _directory(self) -> Path:
        if self._remains.directory is None:
            self._remains.directory = Path(tempfile.mkdtemp(prefix="sord-"))
        return self._remains.directory

    def _launch(self, ranks: list[int]) -> None:
        listener = ControlListener(self._key, Identity(self._name, self._size, 0), _LOOPBACK)
        started: dict[int, _Child] = {}
        try:
            for rank in ranks:
                self._epochs[rank] += 1
                started[rank] = self._spawn(rank, listener.address)
            deadline = time.monotonic() + self._start_seconds
            epochs = {rank: self._epochs[rank] for rank in ranks}
            try:
                members = listener.gather(epochs, deadline, lambda: _check_alive(started))
            except FleetError as error:
                said = "".join(f"\nworker {rank}: {_tail(child)}" for rank, child in started.items())
                raise FleetError(f"{error}{said}") from None
        except BaseException:
            _end(list(started.values()), polite_seconds=0.0)
            raise
        finally:
            listener.close()
        for rank, child in started.items():
            child.member = members[rank]
        self._remains.children.update(started)

    def _spawn(self, rank: int, address: tuple[str, int]) -> _Child:
        spill = self._directory() / f"worker-{rank}-{self._epochs[rank]}"
        boot = Boot(
            rank=rank,
            size=self._size,
            epoch=self._epochs[rank],
            fleet=self._name,
            key=self._key.hex(),
            control=address,
            listen=(_LOOPBACK, 0),
            threads=self._threads,
            memory_bytes=self._memory_bytes,
            spill_directory=str(spill),
        )
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the child)
        try:
            process = subprocess.Popen(
                # -P: a file called queue.py in the user's folder must not be taken for the library's.
                [sys.executable, "-P", "-m", "sord.exec.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                # A session of its own: the terminal's Ctrl-C and hang-up are the client's business.
                start_new_session=True,
                # Only DuckDB computes in a worker; numpy's threads would sit idle.
                env={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"} | dict(os.environ),
            )
        except OSError as error:
            stderr.close()
            raise FleetError(f"worker {rank} can't be started: {error}") from error
        # By a pipe, because the arguments and the environment of a process can be seen by others.
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(boot.to_line())
        return _Child(process, stderr, spill)


def _check_alive(children: dict[int, _Child]) -> None:
    for rank, child in children.items():
        status = child.process.poll()
        if status is not None:
            raise FleetError(f"worker {rank} ended while it started: {_ending(child, status, tail=False)}")


def _ending(child: _Child, status: int, tail: bool = True) -> str:
    if status < 0:
        try:
            return f"killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"killed by signal {-status}"
    said = _tail(child) if tail else ""
    return f"exit status {status}" + (f"\n{said}" if said else "")


def _tail(child: _Child) -> str:
    """The end of what the child wrote to its standard error."""
    fd = child.stderr.fileno()
    size = os.fstat(fd).st_size
    return (
        os.pread(fd, _STDERR_TAIL_BYTES, max(0, size - _STDERR_TAIL_BYTES)).decode(errors="replace").strip()
    )


def _end(children: Collection[_Child], polite_seconds: float) -> None:
    """Ask, then terminate, then kill; wait for each and remove its files."""
    for child in children:
        if child.member is not None:
            if polite_seconds:
                with contextlib.suppress(TransportError):
                    child.member.control.send(control.encode(control.Shutdown()), stall_seconds=0.5)
            child.member.control.close()
    stages = ((polite_seconds, subprocess.Popen.terminate), (_TERMINATE_SECONDS, subprocess.Popen.kill))
    for seconds, then in stages if polite_seconds else ((0.0, subprocess.Popen.kill),):
        deadline = time.monotonic() + seconds
        for child in children:
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                then(child.process)
    for child in children:
        child.process.wait()
        child.stderr.close()
        shutil.rmtree(child.spill, ignore_errors=True)


def _remove(remains: _Remains) -> None:
    # A fork of the client must not end the workers when it exits.
    if os.getpid() != remains.owner:
        return
    children = list(remains.children.values())
    remains.children.clear()
    _end(children, polite_seconds=_POLITE_SECONDS)
    if remains.directory is not None:
        shutil.rmtree(remains.directory, ignore_errors=True)
