"""Where workers report to: a listener that lets in only those who prove that they are of this fleet."""

from __future__ import annotations

import logging
import queue
import socket
import threading
import time
from collections.abc import Callable, Mapping

from sord.exec import control
from sord.exec.errors import FleetError
from sord.exec.fleet import Member
from sord.transport import security
from sord.transport.base import TransportError
from sord.transport.messages import MessageSocket

_POLL_SECONDS = 0.05
_log = logging.getLogger(__name__)


class ControlListener:
    """Accepts the control connections of starting workers."""

    def __init__(self, key: bytes, me: security.Identity, host: str) -> None:
        """Listen on a free port of ``host``. Raises ``OSError``."""
        self._key = key
        self._me = me
        self._socket = socket.create_server((host, 0), backlog=1024)
        self._socket.settimeout(_POLL_SECONDS)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._socket.getsockname()[:2]
        return str(host), int(port)

    def gather(
        self, epochs: Mapping[int, int], deadline: float, check: Callable[[], None]
    ) -> dict[int, Member]:
        """Wait for all ranks in ``epochs``, each with its epoch; ``check`` is called often and may raise.

        ``deadline`` is in seconds of ``time.monotonic``; past it :class:`FleetError` names who is missing.
        """
        arrived: queue.SimpleQueue[Member] = queue.SimpleQueue()
        members: dict[int, Member] = {}
        try:
            while len(members) < len(epochs):
                check()
                if time.monotonic() > deadline:
                    missing = ", ".join(str(rank) for rank in sorted(epochs.keys() - members.keys()))
                    raise FleetError(f"worker {missing} did not report in time")
                try:
                    sock, _ = self._socket.accept()
                except TimeoutError:
                    pass
                else:
                    # In a thread of its own, so that a stranger who says nothing holds up nobody.
                    threading.Thread(
                        target=self._admit, args=(sock, epochs, deadline, arrived), daemon=True
                    ).start()
                while not arrived.empty():
                    member = arrived.get()
                    members[member.rank] = member
        except BaseException:
            for member in members.values():
                member.control.close()
            raise
        return members

    def close(self) -> None:
        self._socket.close()

    def _admit(
        self,
        sock: socket.socket,
        epochs: Mapping[int, int],
        deadline: float,
        arrived: queue.SimpleQueue[Member],
    ) -> None:
        try:
            peer = security.authenticate(
                sock, self._key, self._me, "control", initiator=False, deadline=deadline
            )
            if epochs.get(peer.rank) != peer.epoch:
                raise security.AuthenticationError(f"rank {peer.rank} epoch {peer.epoch} is not expected")
            messages = MessageSocket(sock, peer.rank)
            ready = control.decode(messages.receive(deadline))
            if not isinstance(ready, control.Ready):
                raise ValueError(f"{type(ready).__name__} instead of Ready")
        except (TransportError, ValueError) as error:
            _log.info("turned away a control connection: %s", error)
            sock.close()
            return
        arrived.put(Member(peer.rank, peer.epoch, ready.pid, ready.host, ready.port, messages))
