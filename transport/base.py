"""What every transport offers: Arrow batches from one rank of a fleet to others.

A fleet of ``n`` workers is a mesh of ``n + 1`` ranks: the workers are ``0 .. n-1``, the client is ``n``.
An *exchange* is one shuffle, broadcast or gather of one query, named by two integers. Sending is explicit
(open a :class:`Channel`, send, finish); what arrives is handed to a :class:`Receiver` as it comes, because a
batch can arrive before this rank has heard of the exchange.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa


class TransportError(Exception):
    """Bytes could not be moved. The message names the ranks and what to look at."""


class PeerLost(TransportError):
    """The connection to a rank broke, or the rank did not answer before the deadline."""

    def __init__(self, rank: int, reason: str) -> None:
        super().__init__(f"rank {rank}: {reason}")
        self.rank = rank


@dataclass(frozen=True, slots=True)
class ExchangeId:
    """One exchange of one query; both are unsigned 64-bit integers chosen by the coordinator."""

    query: int
    exchange: int


@dataclass(frozen=True, slots=True)
class Peer:
    """Where a rank listens, and the epoch (how often this rank was started) it must prove.

    Port 0: it listens nowhere (a client); others wait for it to dial.
    """

    host: str
    port: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes exchanged with one rank since the start, everything counted."""

    sent: int
    received: int


class Receiver(Protocol):
    """Who takes what arrives. Called from the transport's receiving thread, in the order sent by each sender;
    what a rank sends to itself comes from the sending thread.

    Implementations must not block for long and must not raise.
    """

    def batch(self, exchange: ExchangeId, sender: int, batch: pa.RecordBatch) -> None:
        """A batch from ``sender``."""

    def finished(self, exchange: ExchangeId, sender: int) -> None:
        """``sender`` has sent everything (the transport has checked that no batch is missing)."""

    def lost(self, sender: int, reason: str) -> None:
        """The connection with ``sender`` broke: nothing more will come from it until it is connected anew."""


class Channel(Protocol):
    """This rank's sending end of one exchange. Not shared between threads."""

    def send(self, peers: Iterable[int], batch: pa.RecordBatch) -> int:
        """Send a batch to each of ``peers`` (encoded once) and return the bytes put on the wire.

        A rank's own number is allowed: the batch goes to its own receiver without being encoded or counted.
        Blocks while a peer's socket is full; raises :class:`PeerLost` when the deadline passes.
        """

    def finish(self, peers: Iterable[int]) -> None:
        """Tell ``peers`` that nothing more comes from this rank in this exchange."""


class Transport(Protocol):
    """Moves batches between the ranks of one fleet."""

    @property
    def rank(self) -> int: ...

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port where this rank listens, or None if it only dials out (a client)."""

    def roster(self, peers: Mapping[int, Peer]) -> None:
        """Replace the known peers; connections to ranks whose entry changed or vanished are closed."""

    def open(self, exchange: ExchangeId) -> Channel:
        """Open the sending end of an exchange. Connections are made when the first batch needs them."""

    def connect(self, peers: Iterable[int]) -> None:
        """Connect to ``peers`` now: for a rank that cannot be dialled itself and wants to receive."""

    def forget(self, query: int) -> None:
        """Drop all state of a query, which is over. Its late frames are dropped without a word."""

    def traffic(self) -> Mapping[int, Traffic]:
        """What went to and came from each rank so far."""

    def close(self) -> None:
        """Close every socket and join every thread. Idempotent."""
