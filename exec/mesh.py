"""The client's place among the workers: control connections, who is lost, its own end of the data plane."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from sord.exec import control
from sord.exec.errors import FleetError, WorkerLost
from sord.exec.fleet import Fleet, Member
from sord.exec.inbox import Inboxes
from sord.transport.base import Peer, PeerLost
from sord.transport.messages import DeadlineExceeded
from sord.transport.tcp import TcpTransport

_ROSTER_SECONDS = 30.0
_CLIENT_EPOCH = 0
_log = logging.getLogger(__name__)


class Mesh:
    """Workers ``0 .. size-1`` of a fleet and this client, rank ``size``. Thread-safe."""

    def __init__(
        self,
        fleet: Fleet,
        *,
        heartbeat_seconds: float,
        inbox_bytes: int,
        on_message: Callable[[int, control.Message], None],
        on_lost: Callable[[WorkerLost], None],
        on_inbox_failure: Callable[[int, Exception], None],
    ) -> None:
        """A worker silent for ``heartbeat_seconds`` is lost; the callbacks come from other threads."""
        self.size = fleet.size
        self.inboxes = Inboxes(fleet.spill_directory, inbox_bytes, on_inbox_failure)
        self.transport = TcpTransport(
            fleet.size,
            fleet=fleet.name,
            key=fleet.key,
            epoch=_CLIENT_EPOCH,
            receiver=self.inboxes,
            listen=None,
        )
        self._fleet = fleet
        self._heartbeat_seconds = heartbeat_seconds
        self._on_message = on_message
        self._on_lost = on_lost
        self._mending = threading.Lock()
        self._changed = threading.Condition()
        self._members: dict[int, Member] = {}
        self._lost: dict[int, WorkerLost] = {}
        self._version = 0
        self._rosters: dict[int, int] = {}
        self._closed = False

    @property
    def members(self) -> tuple[Member, ...]:
        """The workers as they are known, lost ones included."""
        return tuple(member for _, member in sorted(self._members.items()))

    def ready(self) -> None:
        """Have all workers running and know each other: start them, or those anew that were lost.

        Raises :class:`FleetError`, or :class:`WorkerLost` if one is lost meanwhile.
        """
        with self._mending:
            if self._closed:
                raise FleetError("the coordinator is closed")
            lost = list(self._lost)
            if self._members and not lost:
                return
            members = self._fleet.mend(lost) if self._members else self._fleet.start()
            self._admit(members)
            self._introduce()

    def send(self, rank: int, message: control.Message) -> None:
        """Send to one worker. Raises :class:`WorkerLost`."""
        with self._changed:
            lost = self._lost.get(rank)
            member = self._members[rank]
        if lost is not None:
            raise lost
        try:
            member.control.send(control.encode(message))
        except PeerLost as error:
            raise self._lose(member, str(error)) from None

    def tell_all(self, message: control.Message) -> None:
        """Send to all workers that are there."""
        for rank in list(self._members):
            try:
                self.send(rank, message)
            except WorkerLost:
                continue

    def close(self) -> None:
        """Close the connections and the fleet. Idempotent."""
        with self._mending:
            self._closed = True
            self._fleet.close()
            self.transport.close()
            self.inboxes.close()

    def _admit(self, members: tuple[Member, ...]) -> None:
        with self._changed:
            new = [member for member in members if self._members.get(member.rank) is not member]
            self._members.update({member.rank: member for member in new})
            for member in new:
                self._lost.pop(member.rank, None)
        for member in new:
            threading.Thread(
                target=self._listen, args=(member,), name=f"control-{member.rank}", daemon=True
            ).start()

    def _introduce(self) -> None:
        """Tell every worker where all are, wait until all know, then connect to all.

        Before that a worker could turn away another, of whose new epoch it has not heard.
        """
        members = self.members
        peers = {member.rank: Peer(member.host, member.port, member.epoch) for member in members}
        peers[self.size] = Peer("", 0, _CLIENT_EPOCH)
        self._version += 1
        entries = tuple((rank, peer.host, peer.port, peer.epoch) for rank, peer in peers.items())
        for member in members:
            self.send(member.rank, control.Roster(entries, self._version))
        deadline = time.monotonic() + _ROSTER_SECONDS
        with self._changed:
            for member in members:
                while self._rosters.get(member.rank, 0) < self._version:
                    if member.rank in self._lost:
                        raise self._lost[member.rank]
                    seconds = deadline - time.monotonic()
                    if seconds <= 0:
                        raise WorkerLost(
                            member.rank, member.pid, "did not take the list of its peers in time"
                        )
                    self._changed.wait(seconds)
        self.transport.roster(peers)
        for member in members:
            try:
                self.transport.connect([member.rank])
            except PeerLost as error:
                raise self._lose(member, f"can't be reached: {error}") from None

    def _listen(self, member: Member) -> None:
        try:
            while True:
                message = control.decode(member.control.receive(time.monotonic() + self._heartbeat_seconds))
                if isinstance(message, control.RosterTaken):
                    with self._changed:
                        self._rosters[member.rank] = message.version
                        self._changed.notify_all()
                elif not isinstance(message, control.Heartbeat):
                    self._on_message(member.rank, message)
        except DeadlineExceeded:
            self._lose(member, f"gave no sign of life for {self._heartbeat_seconds:g} s")
        except PeerLost as error:
            self._lose(member, str(error))
        except Exception as error:
            _log.exception("worker %d: the control connection failed", member.rank)
            self._lose(member, f"sent something wrong: {error}")

    def _lose(self, member: Member, reason: str) -> WorkerLost:
        """Note a loss once and tell of it; the error to raise."""
        with self._changed:
            known = self._lost.get(member.rank)
            if known is not None:
                return known
            current = self._members.get(member.rank) is member and not self._closed
        if current and "connection" in reason:
            reason = self._fleet.why_lost(member.rank) or reason
        error = WorkerLost(member.rank, member.pid, reason)
        if not current:
            return error
        with self._changed:
            error = self._lost.setdefault(member.rank, error)
            self._changed.notify_all()
        member.control.close()
        self._on_lost(error)
        return error
