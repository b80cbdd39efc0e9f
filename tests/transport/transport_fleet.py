"""A fleet of transports in this process, on loopback, and a receiver that remembers what it was told."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from sord.transport.base import ExchangeId, Peer
from sord.transport.tcp import TcpTransport

FLEET = "test-fleet"
KEY = b"a key of thirty-two bytes, tests"
PATIENCE_SECONDS = 30.0
EXCHANGE = ExchangeId(7, 1)


class Inbox:
    """Collects what a transport hands over, and lets a test wait for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.batches: list[tuple[ExchangeId, int, pa.RecordBatch]] = []
        self.finishes: list[tuple[ExchangeId, int]] = []
        self.losses: list[tuple[int, str]] = []

    def batch(self, exchange: ExchangeId, sender: int, batch: pa.RecordBatch) -> None:
        with self._changed:
            self.batches.append((exchange, sender, batch))
            self._changed.notify_all()

    def finished(self, exchange: ExchangeId, sender: int) -> None:
        with self._changed:
            self.finishes.append((exchange, sender))
            self._changed.notify_all()

    def lost(self, sender: int, reason: str) -> None:
        with self._changed:
            self.losses.append((sender, reason))
            self._changed.notify_all()

    def wait(self, condition: Callable[[Inbox], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self), PATIENCE_SECONDS), (
                f"{len(self.batches)} batches, finished {self.finishes}, lost {self.losses}"
            )

    def wait_finished(self, senders: set[int], exchange: ExchangeId = EXCHANGE) -> None:
        self.wait(lambda inbox: {sender for name, sender in inbox.finishes if name == exchange} >= senders)

    def of(self, sender: int) -> list[pa.RecordBatch]:
        return [batch for _, who, batch in self.batches if who == sender]

    def rows(self) -> Counter[str]:
        return Counter(repr(row) for _, _, batch in self.batches for row in batch.to_pylist())


class Fleet:
    """Transports of ranks 0 .. n-1 that know each other."""

    def __init__(self, size: int, **options: Any) -> None:
        self.inboxes = [Inbox() for _ in range(size)]
        self.transports = [
            TcpTransport(rank, fleet=FLEET, key=KEY, epoch=1, receiver=inbox, **options)
            for rank, inbox in enumerate(self.inboxes)
        ]
        self.peers = {rank: peer_of(transport) for rank, transport in enumerate(self.transports)}
        for transport in self.transports:
            transport.roster(self.peers)

    def run(self, work: Callable[[int], None]) -> None:
        """Run ``work(rank)`` for every rank at once."""
        run_together([lambda rank=rank: work(rank) for rank in range(len(self.transports))])

    def close(self) -> None:
        for transport in self.transports:
            transport.close()


def peer_of(transport: TcpTransport, epoch: int = 1) -> Peer:
    assert transport.address is not None
    return Peer(*transport.address, epoch)


def run_together(jobs: list[Callable[[], None]]) -> None:
    """Run each job in a thread, started together; raises the first error, or if one doesn't end."""
    errors: list[BaseException] = []
    start = threading.Barrier(len(jobs))

    def run(job: Callable[[], None]) -> None:
        start.wait(PATIENCE_SECONDS)
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive(), "a job hangs"
    if errors:
        raise errors[0]


@contextlib.contextmanager
def fleet(size: int, **options: Any) -> Iterator[Fleet]:
    made = Fleet(size, **options)
    try:
        yield made
    finally:
        made.close()
