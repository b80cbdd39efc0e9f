"""The one thread that reads all connections of a transport."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable

from sord.transport.frames import Frame
from sord.transport.link import Link

_ACCEPTS_AT_ONCE = 16
_ACCEPT_PAUSE_SECONDS = 0.1


class ReceivingThread:
    """Reads links and accepts sockets, and never waits for anything but the selector.

    ``deliver(link, frame)`` may raise ``ProtocolError``, which ends the link. ``ended(link, reason)`` is
    called once for each link, after its last frame. ``accepted(socket)`` must take over the socket without
    blocking.
    """

    def __init__(
        self,
        name: str,
        listener: socket.socket | None,
        deliver: Callable[[Link, Frame], None],
        ended: Callable[[Link, str], None],
        accepted: Callable[[socket.socket], None],
    ) -> None:
        self._listener = listener
        self._deliver = deliver
        self._ended = ended
        self._accepted = accepted
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._accepting = False
        self._accept_again_at = 0.0
        self._lock = threading.Lock()
        self._commands: deque[tuple[Link, Link | None]] = deque()
        self._links: set[Link] = set()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def adopt(self, link: Link, replaced: Link | None) -> None:
        """Read ``link`` from now on, after ending the one it replaces."""
        with self._lock:
            if not self._stopping:
                self._commands.append((link, replaced))
                self._wake()
                return
        link.close()

    def stop(self) -> None:
        """Close all links and the listener, and wait for the thread unless this is it."""
        with self._lock:
            self._stopping = True
            self._wake()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _wake(self) -> None:
        # Under the lock, so that the descriptor isn't closed meanwhile; a full pipe wakes as well.
        if self._wake_writer.fileno() >= 0:
            with contextlib.suppress(BlockingIOError):
                self._wake_writer.send(b"\0")

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._schedule_accepting()
                for key, _ in self._selector.select(self._time_limit()):
                    if key.fileobj is self._wake_reader:
                        self._drain_wakeups()
                    elif key.fileobj is self._listener:
                        self._accept()
                    else:
                        self._read(key.data)
                self._adopt_commanded()
        finally:
            self._close_all()

    def _drain_wakeups(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake_reader.recv(4096):
                pass

    def _adopt_commanded(self) -> None:
        while True:
            with self._lock:
                if not self._commands:
                    return
                link, replaced = self._commands.popleft()
            if replaced is not None:
                self._end(replaced, "connected anew")
            self._links.add(link)
            self._selector.register(link, selectors.EVENT_READ, link)

    def _read(self, link: Link) -> None:
        if link not in self._links:
            return
        reason = link.read(lambda frame: self._deliver(link, frame))
        if reason is not None:
            self._end(link, reason)

    def _end(self, link: Link, reason: str) -> None:
        if link not in self._links:
            return
        self._links.remove(link)
        self._selector.unregister(link)
        link.close()
        self._ended(link, reason)

    def _time_limit(self) -> float | None:
        # Everything that can happen wakes the selector, except the end of a pause in accepting.
        return None if self._accepting or self._listener is None else _ACCEPT_PAUSE_SECONDS

    def _schedule_accepting(self) -> None:
        if self._listener is not None and not self._accepting and time.monotonic() >= self._accept_again_at:
            self._selector.register(self._listener, selectors.EVENT_READ)
            self._accepting = True

    def _accept(self) -> None:
        assert self._listener is not None
        for _ in range(_ACCEPTS_AT_ONCE):
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue
            except OSError:
                # Out of descriptors, most likely: reading goes on, accepting later.
                self._selector.unregister(self._listener)
                self._accepting = False
                self._accept_again_at = time.monotonic() + _ACCEPT_PAUSE_SECONDS
                return
            self._accepted(sock)

    def _close_all(self) -> None:
        with self._lock:
            self._stopping = True
            waiting = [link for link, _ in self._commands]
            self._commands.clear()
            self._wake_reader.close()
            self._wake_writer.close()
        for link in (*self._links, *waiting):
            link.close()
            self._ended(link, "the receiving thread has stopped")
        self._links.clear()
        if self._listener is not None:
            self._listener.close()
        self._selector.close()
