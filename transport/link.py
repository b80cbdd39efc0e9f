"""One authenticated connection with one rank."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence

from sord.transport import sockets
from sord.transport.base import PeerLost
from sord.transport.frames import Frame, FrameReader, ProtocolError

_LOCK_POLL_SECONDS = 0.5
_READS_AT_ONCE = 16  # then the next connection has its turn


class Link:
    """A connection that any thread may write to and one thread, the receiving one, reads and closes."""

    def __init__(
        self, sock: socket.socket, rank: int, number: int, stall_seconds: float, max_payload: int
    ) -> None:
        """Own ``sock``. ``number`` counts the connections that this pair of ranks has had."""
        sockets.prepare(sock)
        self.rank = rank
        self.number = number
        self.sent_bytes = 0
        self.received_bytes = 0
        self.failure: str | None = None
        self._socket = sock
        self._stall_seconds = stall_seconds
        self._reader = FrameReader(max_payload)
        self._writing = threading.Lock()
        self._delivering = threading.Lock()
        self._ending = threading.Lock()
        self._retired = False

    def fileno(self) -> int:
        return self._socket.fileno()

    def write(self, parts: Sequence[memoryview]) -> int:
        """Send a frame whole and return its bytes. Raises :class:`PeerLost`."""
        # Whoever holds the lock makes progress or fails the link, so this wait ends.
        while not self._writing.acquire(timeout=_LOCK_POLL_SECONDS):
            self._check()
        try:
            self._check()
            count = sockets.write_all(self._socket, parts, self._stall_seconds)
            self.sent_bytes += count
            return count
        except TimeoutError as error:
            self.fail(f"took no byte for {self._stall_seconds:g} s")
            raise self._lost() from error
        except OSError as error:
            self.fail(f"the connection broke ({error})")
            raise self._lost() from error
        except BaseException:
            self.fail("interrupted while sending")
            raise
        finally:
            self._writing.release()

    def read(self, deliver: Callable[[Frame], None]) -> str | None:
        """Read what has come and deliver whole frames, unless retired; why the connection ended, or None."""
        try:
            for _ in range(_READS_AT_ONCE):
                count = self._socket.recv_into(self._reader.target())
                if count == 0:
                    where = " in the middle of a frame" if self._reader.in_frame else ""
                    return self.failure or f"closed the connection{where}"
                self.received_bytes += count
                for frame in self._reader.advance(count):
                    with self._delivering:
                        if self._retired:
                            return self.failure
                        deliver(frame)
        except BlockingIOError:
            return None
        except OSError as error:
            return self.failure or f"the connection broke ({error})"
        except ProtocolError as error:
            return str(error)
        return None

    def fail(self, reason: str) -> None:
        """Break the connection from any thread; the receiving thread notices and closes it."""
        with self._ending:
            if self.failure is None:
                self.failure = reason
            sockets.shut_down(self._socket)

    def retire(self, reason: str) -> None:
        """Break the connection, and once this returns nothing from it is delivered any more."""
        with self._delivering:
            self._retired = True
        self.fail(reason)

    @property
    def retired(self) -> bool:
        return self._retired

    def close(self) -> None:
        """Close the descriptor, when no sender is using it any more."""
        self.fail("the connection is closed")
        # Under both locks: the descriptor's number may belong to someone else as soon as it is closed.
        with self._writing, self._ending:
            self._socket.close()

    def _check(self) -> None:
        if self.failure is not None:
            raise self._lost()

    def _lost(self) -> PeerLost:
        return PeerLost(self.rank, self.failure or "the connection is closed")
