"""Blocking socket IO in which every wait is bounded.

Sockets are non-blocking throughout; waiting is done with ``poll``, so a thread that waits is woken at once
when another thread shuts the socket down. A deadline is an instant of ``time.monotonic``, in seconds.
Failures are the built-in ``OSError`` family (``TimeoutError`` when a wait runs out, ``ConnectionError`` when
the other side is gone): only the caller knows which rank to name.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Sequence

_GATHERED_AT_ONCE = 512  # Linux refuses more than 1,024 buffers (IOV_MAX) in one sendmsg
_KEEPALIVE_IDLE_SECONDS = 10
_KEEPALIVE_INTERVAL_SECONDS = 5
_KEEPALIVE_PROBES = 3


def prepare(sock: socket.socket) -> None:
    """Make a connected TCP socket non-blocking, unbuffered (Nagle off) and quick to notice a silent link.

    The buffer sizes stay the kernel's: setting them would switch off its autotuning.
    """
    sock.setblocking(False)
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)


def shut_down(sock: socket.socket) -> None:
    """Break the connection and wake every thread that waits on it; the descriptor stays open."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _wait_until_ready(sock: socket.socket, event: int, deadline: float) -> None:
    poller = select.poll()
    poller.register(sock, event)
    remaining = max(0.0, deadline - time.monotonic())
    if not poller.poll(remaining * 1000):
        raise TimeoutError("timed out")


def receive_some(sock: socket.socket, target: memoryview, deadline: float) -> int:
    """Receive at least one byte into ``target`` and return how many.

    Raises ``TimeoutError``, or ``ConnectionError`` if the other side has closed.
    """
    while True:
        try:
            count = sock.recv_into(target)
        except BlockingIOError:
            _wait_until_ready(sock, select.POLLIN, deadline)
            continue
        if count == 0:
            raise ConnectionResetError("closed the connection")
        return count


def read_exactly(sock: socket.socket, target: memoryview, deadline: float) -> None:
    """Fill ``target``. Raises like :func:`receive_some`."""
    filled = 0
    while filled < len(target):
        filled += receive_some(sock, target[filled:], deadline)


def write_all(sock: socket.socket, parts: Sequence[memoryview], stall_seconds: float) -> int:
    """Send all ``parts`` (one-dimensional views of bytes) and return their total length.

    Raises ``TimeoutError`` when no byte is taken for ``stall_seconds``: a large message on a slow link may
    take long as long as it moves. After any exception an unknown part has been sent and the stream is
    unusable.
    """
    total = 0
    pending = list(parts)
    first = 0
    while first < len(pending):
        try:
            count = sock.sendmsg(pending[first : first + _GATHERED_AT_ONCE])
        except BlockingIOError:
            _wait_until_ready(sock, select.POLLOUT, time.monotonic() + stall_seconds)
            continue
        total += count
        while first < len(pending) and count >= len(pending[first]):
            count -= len(pending[first])
            first += 1
        if count:
            pending[first] = pending[first][count:]
    return total
