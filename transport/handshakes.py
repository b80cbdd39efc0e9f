"""Handshakes with whoever connects, kept away from the receiving thread and few at a time."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable

from sord.transport import sockets
from sord.transport.base import TransportError

MAX_PENDING = 64

_log = logging.getLogger(__name__)


class Handshakes:
    """Runs ``greet(socket)`` for each incoming socket in a short-lived thread of its own.

    When :data:`MAX_PENDING` are under way, the oldest is cut off for a new one: a peer of the fleet needs
    milliseconds and tries again, a silent stranger would stay until its deadline.
    """

    def __init__(self, name: str, greet: Callable[[socket.socket], None]) -> None:
        self._name = name
        self._greet = greet
        self._lock = threading.Lock()
        self._pending: dict[socket.socket, threading.Thread] = {}
        self._threads: set[threading.Thread] = set()
        self._closed = False

    def take(self, sock: socket.socket) -> None:
        """Begin a handshake; never blocks."""
        thread = threading.Thread(target=self._run, args=(sock,), name=self._name, daemon=True)
        with self._lock:
            if self._closed:
                sock.close()
                return
            if len(self._pending) >= MAX_PENDING:
                oldest = next(iter(self._pending))
                del self._pending[oldest]
                sockets.shut_down(oldest)
            self._pending[sock] = thread
            self._threads.add(thread)
            try:
                thread.start()
            except RuntimeError:
                # Out of threads: as if the stranger had not been let in.
                del self._pending[sock]
                self._threads.discard(thread)
                sock.close()

    def claim(self, sock: socket.socket) -> bool:
        """Take a socket out of here for good, after its handshake; False if it was cut off."""
        with self._lock:
            return self._pending.pop(sock, None) is not None

    def close(self) -> None:
        """Cut off what is under way and wait for the threads to end."""
        with self._lock:
            self._closed = True
            for sock in self._pending:
                sockets.shut_down(sock)
            threads = list(self._threads)
        for thread in threads:
            thread.join()

    def _run(self, sock: socket.socket) -> None:
        try:
            self._greet(sock)
        except (TransportError, OSError) as error:
            # Strangers are normal on an open port, and their errors are nobody's business here.
            _log.debug("refused a connection: %s", error)
            with self._lock:
                self._pending.pop(sock, None)
                sock.close()
        finally:
            with self._lock:
                self._pending.pop(sock, None)
                self._threads.discard(threading.current_thread())
