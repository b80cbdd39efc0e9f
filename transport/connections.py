"""One connection for each pair of ranks, whoever dials.

After authentication the initiator sends OFFER with the number of the connection it wants: one more than this
pair has had, as far as it knows. The acceptor answers

- ACCEPT with the number it has now: the connection carries frames from here on;
- RETRY if another connection of the pair lives or is being made, or if its roster is the older one;
- REFUSE if the initiator is out of date.

When two ranks offer at once, the lower rank's offer stands: the higher accepts it and has its own turned
down. No batch is sent before ACCEPT, so none can be on a connection that is dropped. An offer of a higher
number than the living connection's says that the initiator has seen that one break, and replaces it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping

from sord.transport import sockets
from sord.transport.base import ExchangeId, Peer, PeerLost, Traffic, TransportError
from sord.transport.frames import HEADER_BYTES, Frame, Header, Kind, ProtocolError
from sord.transport.handshakes import Handshakes
from sord.transport.link import Link
from sord.transport.receiving import ReceivingThread
from sord.transport.security import AuthenticationError, ClosedDuringAuthentication, Identity, authenticate

HANDSHAKE_SECONDS = 5.0

_MAX_REASON_BYTES = 1 << 10
_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.3
_CLOSED_HANDSHAKES = (
    5  # a fleet member under a flood is cut off now and then; a wrong key is refused every time
)
_NO_EXCHANGE = ExchangeId(0, 0)


class Connections:
    """The living links of one rank, made when they are asked for or when a peer dials."""

    def __init__(
        self,
        me: Identity,
        key: bytes,
        listener: socket.socket | None,
        deliver: Callable[[Link, Frame], None],
        ended: Callable[[Link, str | None], None],
        *,
        connect_seconds: float,
        stall_seconds: float,
        max_payload: int,
    ) -> None:
        """Start the receiving thread. ``ended(link, reason)``: no reason if it was closed from this side."""
        self._me = me
        self._key = key
        self._tell_ended = ended
        self._connect_seconds = connect_seconds
        self._stall_seconds = stall_seconds
        self._max_payload = max_payload
        self._changed = threading.Condition()
        self._closed = False
        self._peers: dict[int, Peer] = {}
        self._links: dict[int, Link] = {}
        self._numbers: dict[int, int] = {}
        self._dialing: set[int] = set()
        self._offering: set[int] = set()
        self._sent: Counter[int] = Counter()
        self._received: Counter[int] = Counter()
        name = f"sord-rank-{me.rank}"
        self._handshakes = Handshakes(f"{name}-handshake", self._greet)
        self._receiving = ReceivingThread(
            f"{name}-receive", listener, deliver, self._ended, self._handshakes.take
        )
        self._receiving.start()

    def roster(self, peers: Mapping[int, Peer]) -> None:
        """Replace the peers and break the links to those that changed or vanished."""
        with self._changed:
            gone = {rank for rank, peer in self._peers.items() if peers.get(rank) != peer}
            self._peers = {rank: peer for rank, peer in peers.items() if rank != self._me.rank}
            for rank in gone:
                self._numbers.pop(rank, None)
            retired = [self._links.pop(rank) for rank in gone if rank in self._links]
            self._changed.notify_all()
        # Not under the lock: this waits for a delivery in progress.
        for link in retired:
            link.retire("its place in the roster changed")

    def link(self, peer: int) -> Link:
        """The living link with ``peer``, made now if need be. Raises :class:`TransportError`."""
        deadline = time.monotonic() + self._connect_seconds
        with self._changed:
            while True:
                entry = self._entry(peer)
                link = self._links.get(peer)
                if link is not None and link.failure is None:
                    return link
                if link is None and entry.port and peer not in self._dialing:
                    break
                if not self._changed.wait(deadline - time.monotonic()):
                    wish = "" if entry.port else ", and it can only dial itself"
                    raise PeerLost(
                        peer, f"no connection with rank {self._me.rank} in {self._connect_seconds:g} s{wish}"
                    )
            self._dialing.add(peer)
        try:
            return self._dial(peer, entry, deadline)
        finally:
            with self._changed:
                self._dialing.discard(peer)
                self._changed.notify_all()

    def traffic(self) -> dict[int, Traffic]:
        with self._changed:
            sent, received = self._sent.copy(), self._received.copy()
            for rank, link in self._links.items():
                sent[rank] += link.sent_bytes
                received[rank] += link.received_bytes
        return {rank: Traffic(sent[rank], received[rank]) for rank in sorted(sent | received)}

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._handshakes.close()
        self._receiving.stop()

    def _entry(self, peer: int) -> Peer:
        if self._closed:
            raise TransportError(f"rank {self._me.rank}: the transport is closed")
        entry = self._peers.get(peer)
        if entry is None:
            raise TransportError(f"rank {self._me.rank} does not know rank {peer}: it is not in the roster")
        return entry

    def _dial(self, peer: int, entry: Peer, deadline: float) -> Link:
        pause = _FIRST_PAUSE_SECONDS
        closed = 0
        while True:
            try:
                link, answer = self._try(peer, entry, deadline)
            except ClosedDuringAuthentication as error:
                closed += 1
                if closed >= _CLOSED_HANDSHAKES:
                    raise PeerLost(peer, str(error)) from error
                link, answer = None, str(error)
            except AuthenticationError as error:
                raise PeerLost(peer, str(error)) from error
            if link is not None:
                return link
            with self._changed:
                self._changed.wait(min(pause, deadline - time.monotonic()))
                current = self._links.get(peer)
                if current is not None and current.failure is None:
                    return current
                if self._entry(peer) != entry:
                    raise PeerLost(peer, "its place in the roster changed while connecting")
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            if time.monotonic() >= deadline:
                raise PeerLost(
                    peer, f"no connection with rank {self._me.rank} in {self._connect_seconds:g} s: {answer}"
                )

    def _try(self, peer: int, entry: Peer, deadline: float) -> tuple[Link | None, str]:
        """Dial once: the link, or None and why it may work later. Raises if it never will."""
        remaining = max(0.001, deadline - time.monotonic())
        try:
            sock = socket.create_connection((entry.host, entry.port), timeout=remaining)
        except OSError as error:
            raise PeerLost(
                peer, f"rank {self._me.rank} cannot connect to {entry.host}:{entry.port}: {error}"
            ) from error
        with contextlib.ExitStack() as stack:
            stack.callback(sock.close)
            sockets.prepare(sock)
            handshake_deadline = min(deadline, time.monotonic() + HANDSHAKE_SECONDS)
            authenticate(
                sock,
                self._key,
                self._me,
                "data",
                initiator=True,
                deadline=handshake_deadline,
                expected_rank=peer,
                expected_epoch=entry.epoch,
            )
            with self._changed:
                if self._links.get(peer) is not None:
                    return None, "another connection is being closed"
                self._offering.add(peer)
                number = self._numbers.get(peer, 0) + 1
            try:
                answer, reason = self._offer(sock, number, handshake_deadline)
                if answer.kind is Kind.REFUSE:
                    raise PeerLost(peer, reason)
                if answer.kind is not Kind.ACCEPT:
                    return None, reason
                link = Link(sock, peer, answer.sequence, self._stall_seconds, self._max_payload)
                with self._changed:
                    if self._entry(peer) != entry:
                        raise PeerLost(peer, "its place in the roster changed while connecting")
                    self._install(link)
                stack.pop_all()
                return link, ""
            except OSError as error:
                return None, f"it closed the connection instead of accepting it ({error})"
            except ProtocolError as error:
                raise PeerLost(peer, str(error)) from error
            finally:
                with self._changed:
                    self._offering.discard(peer)

    def _offer(self, sock: socket.socket, number: int, deadline: float) -> tuple[Header, str]:
        self._say(sock, Kind.OFFER, number)
        header = self._hear(sock, deadline)
        reason = bytearray(header.length)
        sockets.read_exactly(sock, memoryview(reason), deadline)
        return header, reason.decode(errors="replace")

    def _greet(self, sock: socket.socket) -> None:
        """Answer whoever connected. Raises if the socket is to be closed."""
        sockets.prepare(sock)
        deadline = time.monotonic() + HANDSHAKE_SECONDS
        peer = authenticate(sock, self._key, self._me, "data", initiator=False, deadline=deadline)
        offer = self._hear(sock, deadline)
        if offer.kind is not Kind.OFFER or offer.sender != peer.rank:
            raise ProtocolError(f"rank {peer.rank} began with a {offer.kind.name} of rank {offer.sender}")
        with self._changed:
            kind, reason = self._judge(peer, offer.sequence)
            if kind is Kind.ACCEPT:
                if not self._handshakes.claim(sock):
                    raise TransportError(f"rank {peer.rank} was cut off for newer connections")
                try:
                    number = max(offer.sequence, self._numbers.get(peer.rank, 0) + 1)
                    # Before anyone can find the link. It doesn't block: the socket's buffer is empty.
                    self._say(sock, Kind.ACCEPT, number)
                    self._install(Link(sock, peer.rank, number, self._stall_seconds, self._max_payload))
                except OSError:
                    sock.close()
                return
        self._say(sock, kind, 0, reason)
        sock.close()

    def _judge(self, peer: Identity, number: int) -> tuple[Kind, str]:
        entry = self._peers.get(peer.rank)
        link = self._links.get(peer.rank)
        if self._closed:
            return Kind.REFUSE, f"rank {self._me.rank} is closing"
        if entry is None or peer.epoch > entry.epoch:
            return (
                Kind.RETRY,
                f"rank {self._me.rank} does not know rank {peer.rank} of epoch {peer.epoch} yet",
            )
        if peer.epoch < entry.epoch:
            return (
                Kind.REFUSE,
                f"rank {peer.rank} presents epoch {peer.epoch}, rank {self._me.rank} expects {entry.epoch}",
            )
        if peer.rank in self._offering and self._me.rank < peer.rank:
            return Kind.RETRY, f"rank {self._me.rank} is connecting to rank {peer.rank} itself"
        if link is not None and link.number >= number:
            return Kind.RETRY, f"rank {self._me.rank} has a connection with rank {peer.rank}"
        return Kind.ACCEPT, ""

    def _install(self, link: Link) -> None:
        replaced = self._links.get(link.rank)
        if replaced is not None:
            replaced.fail("connected anew")
        self._links[link.rank] = link
        self._numbers[link.rank] = link.number
        self._receiving.adopt(link, replaced)
        self._changed.notify_all()

    def _ended(self, link: Link, reason: str) -> None:
        with self._changed:
            self._sent[link.rank] += link.sent_bytes
            self._received[link.rank] += link.received_bytes
            if self._links.get(link.rank) is link:
                del self._links[link.rank]
            self._changed.notify_all()
            intended = self._closed or link.retired
        # The link that replaces this one is adopted by this same thread, later: "lost" is before its frames.
        self._tell_ended(link, None if intended else reason)

    def _say(self, sock: socket.socket, kind: Kind, number: int, reason: str = "") -> None:
        payload = reason.encode()[:_MAX_REASON_BYTES]
        header = Header(kind, self._me.rank, _NO_EXCHANGE, number, len(payload)).pack()
        sockets.write_all(sock, [memoryview(header + payload)], HANDSHAKE_SECONDS)

    @staticmethod
    def _hear(sock: socket.socket, deadline: float) -> Header:
        data = memoryview(bytearray(HEADER_BYTES))
        sockets.read_exactly(sock, data, deadline)
        return Header.unpack(data, _MAX_REASON_BYTES)
