"""The plain transport: one TCP connection for each pair of ranks, opened when first needed."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from sord.transport.base import ExchangeId, Peer, Receiver, Traffic, TransportError
from sord.transport.connections import Connections
from sord.transport.frames import (
    DEFAULT_MAX_PAYLOAD,
    Compression,
    Frame,
    Header,
    Kind,
    ProtocolError,
    decode_batch,
    encode_batch,
)
from sord.transport.link import Link
from sord.transport.security import Identity
from sord.transport.sequences import Sequences

_BACKLOG = 1024
_DIALS_AT_ONCE = 16
_log = logging.getLogger(__name__)


class TcpTransport:
    """A :class:`~sord.transport.base.Transport` over TCP. Safe to use from several threads.

    It runs one receiving thread, and short-lived ones, limited in number, for handshakes.
    """

    def __init__(
        self,
        rank: int,
        *,
        fleet: str,
        key: bytes,
        epoch: int,
        receiver: Receiver,
        listen: tuple[str, int] | None = ("127.0.0.1", 0),
        compression: Compression | None = None,
        connect_seconds: float = 10.0,
        stall_seconds: float = 60.0,
        max_payload: int = DEFAULT_MAX_PAYLOAD,
    ) -> None:
        """Listen on ``listen`` (port 0: any free one), or only dial out if it is None.

        Connecting to a peer may take ``connect_seconds``; a peer that takes no byte for ``stall_seconds`` is
        lost. A frame of more than ``max_payload`` bytes is an error on both sides. Raises ``OSError`` if the
        address can't be bound.
        """
        self._rank = rank
        self._receiver = receiver
        self._compression = compression
        self._max_payload = max_payload
        self._sequences = Sequences()
        listener = _listen(*listen) if listen is not None else None
        self._address: tuple[str, int] | None = listener.getsockname()[:2] if listener is not None else None
        self._connections = Connections(
            Identity(fleet, rank, epoch),
            key,
            listener,
            self._deliver,
            self._ended,
            connect_seconds=connect_seconds,
            stall_seconds=stall_seconds,
            max_payload=max_payload,
        )

    @property
    def rank(self) -> int:
        return self._rank

    @property
    def address(self) -> tuple[str, int] | None:
        return self._address

    def roster(self, peers: Mapping[int, Peer]) -> None:
        """Replace the known peers. Connections to changed or vanished ones end without a ``lost``.

        When this returns, nothing from such a peer's old connection is delivered any more. So don't hold a
        lock that the receiver takes.
        """
        self._connections.roster(peers)

    def open(self, exchange: ExchangeId) -> TcpChannel:
        return TcpChannel(
            self._rank, exchange, self._connections, self._receiver, self._compression, self._max_payload
        )

    def connect(self, peers: Iterable[int]) -> None:
        others = {peer for peer in peers if peer != self._rank}
        # A handshake is mostly waiting, so a client of many workers dials them at once.
        with ThreadPoolExecutor(_DIALS_AT_ONCE, f"sord-rank-{self._rank}-dial") as pool:
            for _ in pool.map(self._connections.link, others):
                pass

    def forget(self, query: int) -> None:
        self._sequences.forget_query(query)

    def traffic(self) -> Mapping[int, Traffic]:
        return self._connections.traffic()

    def close(self) -> None:
        self._connections.close()

    def _deliver(self, link: Link, frame: Frame) -> None:
        header = frame.header
        if header.sender != link.rank:
            raise ProtocolError(f"sent a frame in the name of rank {header.sender}")
        if header.kind not in (Kind.BATCH, Kind.FINISH):
            raise ProtocolError(f"sent {header.kind.name} in the middle of a connection")
        if not self._sequences.accept(link, header):
            return
        batch = decode_batch(frame.payload) if header.kind is Kind.BATCH else None
        try:
            if batch is not None:
                self._receiver.batch(header.exchange, header.sender, batch)
            else:
                self._receiver.finished(header.exchange, header.sender)
        except Exception as error:
            # A receiver must not raise. If it does, the frame is gone: the exchange can't be whole any more.
            _log.exception("rank %d: the receiver failed on a frame of rank %d", self._rank, link.rank)
            raise ProtocolError(f"rank {self._rank} could not take its frame: {error!r}") from error

    def _ended(self, link: Link, reason: str | None) -> None:
        self._sequences.forget_link(link)
        if reason is None:
            return
        try:
            self._receiver.lost(link.rank, reason)
        except Exception:
            _log.exception(
                "rank %d: the receiver failed on losing rank %d (%s)", self._rank, link.rank, reason
            )


class TcpChannel:
    """This rank's sending end of one exchange.

    Once begun with a peer, an exchange stays on one connection: if that breaks, batches may be missing, and
    the channel raises :class:`PeerLost` for the peer from then on rather than go on over another.
    """

    def __init__(
        self,
        rank: int,
        exchange: ExchangeId,
        connections: Connections,
        receiver: Receiver,
        compression: Compression | None,
        max_payload: int,
    ) -> None:
        self._rank = rank
        self._exchange = exchange
        self._connections = connections
        self._receiver = receiver
        self._compression = compression
        self._max_payload = max_payload
        self._links: dict[int, Link] = {}
        self._sent: dict[int, int] = {}

    def send(self, peers: Iterable[int], batch: pa.RecordBatch) -> int:
        payload: list[memoryview] | None = None
        total = 0
        for peer in peers:
            if peer == self._rank:
                self._receiver.batch(self._exchange, peer, batch)
                continue
            if payload is None:
                payload = encode_batch(batch, self._compression)
            total += self._write(peer, Kind.BATCH, payload)
            self._sent[peer] += 1
        return total

    def finish(self, peers: Iterable[int]) -> None:
        for peer in peers:
            if peer == self._rank:
                self._receiver.finished(self._exchange, peer)
            else:
                self._write(peer, Kind.FINISH, [])

    def _write(self, peer: int, kind: Kind, payload: list[memoryview]) -> int:
        length = sum(map(len, payload))
        if length > self._max_payload:
            raise TransportError(
                f"rank {self._rank}: a batch of {length:,} bytes for rank {peer} is over the limit of "
                f"{self._max_payload:,}"
            )
        link = self._links.get(peer)
        if link is None:
            link = self._links[peer] = self._connections.link(peer)
            self._sent[peer] = 0
        header = Header(kind, self._rank, self._exchange, self._sent[peer], length)
        return link.write([memoryview(header.pack()), *payload])


def _listen(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.create_server(address, family=family, backlog=_BACKLOG)
    listener.setblocking(False)
    return listener
