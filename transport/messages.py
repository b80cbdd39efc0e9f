"""Small JSON messages over an authenticated socket: the shape of the control channel."""

from __future__ import annotations

import json
import socket
import struct
import threading
from typing import Any

from sord.transport import sockets
from sord.transport.base import PeerLost, TransportError

MAX_MESSAGE_BYTES = 64 << 20

_LENGTH = struct.Struct("!I")


class DeadlineExceeded(TransportError):
    """No whole message arrived before the deadline. The next receive goes on where this one stopped."""


class MessageSocket:
    """Messages (JSON objects) to and from one rank.

    ``send`` may be called from any thread, ``receive`` from one at a time, ``close`` from any. A message is
    never read beyond its end, so ``fileno`` may be given to a selector.
    """

    def __init__(self, sock: socket.socket, rank: int) -> None:
        """Own ``sock``, whose other end proved to be ``rank`` (used in errors only)."""
        sockets.prepare(sock)
        self._socket = sock
        self._rank = rank
        self._sending = threading.Lock()
        self._receiving = threading.Lock()
        self._closed = False
        self._partial = bytearray(_LENGTH.size)
        self._filled = 0
        self._in_body = False

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: dict[str, Any], stall_seconds: float = 30.0) -> None:
        """Send a message. Raises :class:`PeerLost` if the peer takes nothing for ``stall_seconds``."""
        body = json.dumps(message, separators=(",", ":")).encode()
        if len(body) > MAX_MESSAGE_BYTES:
            raise TransportError(
                f"rank {self._rank}: a message of {len(body):,} bytes, the limit is {MAX_MESSAGE_BYTES:,}"
            )
        with self._sending:
            self._check_open()
            try:
                sockets.write_all(
                    self._socket, [memoryview(_LENGTH.pack(len(body))), memoryview(body)], stall_seconds
                )
            except TimeoutError as error:
                sockets.shut_down(self._socket)
                raise PeerLost(self._rank, f"took no byte of a message for {stall_seconds:g} s") from error
            except OSError as error:
                raise PeerLost(self._rank, f"connection lost: {error}") from error
            except BaseException:
                # Interrupted inside a message: the stream can't be continued.
                sockets.shut_down(self._socket)
                raise

    def receive(self, deadline: float) -> dict[str, Any]:
        """The next message.

        ``deadline`` is in seconds of ``time.monotonic``. Raises :class:`DeadlineExceeded` (call again to go
        on), or :class:`PeerLost` if the peer is gone or sent something that is no message.
        """
        with self._receiving:
            self._check_open()
            self._fill(deadline)
            if not self._in_body:
                (length,) = _LENGTH.unpack(self._partial)
                if length > MAX_MESSAGE_BYTES:
                    raise self._broken(
                        f"announced a message of {length:,} bytes, the limit is {MAX_MESSAGE_BYTES:,}"
                    )
                self._expect(length, in_body=True)
                self._fill(deadline)
            body = bytes(self._partial)
            self._expect(_LENGTH.size, in_body=False)
            try:
                message = json.loads(body)
            except (ValueError, RecursionError) as error:
                raise self._broken(f"sent a message that is not JSON: {error}") from error
            if not isinstance(message, dict):
                raise self._broken("sent a message that is not a JSON object")
            return message

    def close(self) -> None:
        """Close the socket; threads that wait on it get :class:`PeerLost`. Idempotent."""
        self._closed = True
        sockets.shut_down(self._socket)
        # The descriptor's number may be reused once it is closed, so nobody may still be polling it.
        with self._sending, self._receiving:
            self._socket.close()

    def _expect(self, count: int, *, in_body: bool) -> None:
        self._partial = bytearray(count)
        self._filled = 0
        self._in_body = in_body

    def _fill(self, deadline: float) -> None:
        view = memoryview(self._partial)
        while self._filled < len(view):
            try:
                self._filled += sockets.receive_some(self._socket, view[self._filled :], deadline)
            except TimeoutError as error:
                raise DeadlineExceeded(f"rank {self._rank}: no message before the deadline") from error
            except OSError as error:
                raise PeerLost(self._rank, f"connection lost: {error}") from error

    def _broken(self, reason: str) -> PeerLost:
        sockets.shut_down(self._socket)
        return PeerLost(self._rank, reason)

    def _check_open(self) -> None:
        if self._closed:
            raise PeerLost(self._rank, "this end of the connection is closed")
