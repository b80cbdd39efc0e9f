"""Exchanges over a mesh of real sockets."""

from __future__ import annotations

import os
import socket
import threading
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_batches import VALUES, batches, one_of_each
from transport_fleet import EXCHANGE, FLEET, KEY, PATIENCE_SECONDS, Fleet, Inbox, fleet, peer_of, run_together

from sord.transport.base import ExchangeId, Peer, PeerLost, TransportError
from sord.transport.tcp import TcpTransport


@pytest.fixture(scope="module")
def three() -> Fleet:
    with fleet(3) as made:
        yield made


_exchanges = iter(range(1, 1 << 30))


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.sampled_from(VALUES), max_size=4).flatmap(
        lambda columns: st.lists(
            st.tuples(st.integers(0, 2), st.sets(st.integers(0, 2)), batches(columns)), max_size=8
        )
    )
)
def test_every_row_arrives_once_at_each_addressee(
    three: Fleet, sends: list[tuple[int, set[int], pa.RecordBatch]]
) -> None:
    exchange = ExchangeId(1, next(_exchanges))
    for inbox in three.inboxes:
        inbox.batches.clear()
        inbox.finishes.clear()

    def work(rank: int) -> None:
        channel = three.transports[rank].open(exchange)
        for sender, peers, batch in sends:
            if sender == rank:
                channel.send(peers, batch)
        channel.finish(range(3))

    three.run(work)
    for rank, inbox in enumerate(three.inboxes):
        inbox.wait_finished({0, 1, 2}, exchange)
        expected = [repr(row) for _, peers, batch in sends if rank in peers for row in batch.to_pylist()]
        assert inbox.rows() == Counter(expected)
        for sender in range(3):
            sizes = [batch.num_rows for who, peers, batch in sends if who == sender and rank in peers]
            assert [batch.num_rows for batch in inbox.of(sender)] == sizes
        assert inbox.losses == []


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_exchange_sends_fewer_bytes(compression: str) -> None:
    batch = pa.record_batch({"a": pa.array([7] * 100_000, pa.int64())})
    with fleet(2, compression=compression) as two:
        channel = two.transports[0].open(EXCHANGE)
        sent = channel.send([1], batch)
        channel.finish([1])
        two.inboxes[1].wait_finished({0})
        assert two.inboxes[1].of(0)[0].equals(batch)
    assert sent < 100_000


def test_own_rank_gets_the_batch_itself() -> None:
    batch = one_of_each()
    with fleet(1) as one:
        channel = one.transports[0].open(EXCHANGE)
        assert channel.send([0], batch) == 0
        channel.finish([0])
        assert one.inboxes[0].batches[0][2] is batch
        assert one.inboxes[0].finishes == [(EXCHANGE, 0)]
        assert one.transports[0].traffic() == {}


def test_all_to_all_of_many_megabytes_does_not_deadlock() -> None:
    # More for each peer than all socket buffers hold, so everyone's sockets are full at once.
    batch = pa.record_batch({"a": pa.array(range(1 << 17), pa.int64())})
    with fleet(5) as five:

        def work(rank: int) -> None:
            channel = five.transports[rank].open(EXCHANGE)
            for _ in range(16):
                channel.send(range(5), batch)
            channel.finish(range(5))

        five.run(work)
        for inbox in five.inboxes:
            inbox.wait_finished(set(range(5)))
            assert Counter(sender for _, sender, _ in inbox.batches) == dict.fromkeys(range(5), 16)
            assert inbox.losses == []
        sent = five.transports[0].traffic()[1].sent
        assert sent > 16 * batch.nbytes
        assert five.transports[1].traffic()[0].received == sent


def test_threads_of_one_rank_may_send_to_one_peer() -> None:
    batch = pa.record_batch({"a": pa.array(range(100_000), pa.int64())})
    with fleet(2) as two:

        def work(number: int) -> None:
            channel = two.transports[0].open(ExchangeId(1, number))
            for _ in range(10):
                channel.send([1], batch)
            channel.finish([1])

        run_together([lambda number=number: work(number) for number in range(4)])
        for number in range(4):
            two.inboxes[1].wait_finished({0}, ExchangeId(1, number))
        assert len(two.inboxes[1].batches) == 40
        assert two.inboxes[1].losses == []


@pytest.mark.parametrize("attempt", range(10))
def test_simultaneous_dials_leave_one_connection(attempt: int) -> None:
    with fleet(2) as two:

        def work(rank: int) -> None:
            channel = two.transports[rank].open(EXCHANGE)
            for _ in range(5):
                channel.send([1 - rank], one_of_each())
            channel.finish([1 - rank])

        two.run(work)
        for rank, inbox in enumerate(two.inboxes):
            inbox.wait_finished({1 - rank})
            assert len(inbox.batches) == 5
            assert inbox.losses == []
        assert connected_sockets(two) == 2  # both ends of one connection


def connected_sockets(some: Fleet) -> int:
    """Descriptors of this process that are connected to or from a listener of ``some``."""
    ports = {transport.address[1] for transport in some.transports if transport.address}
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            copy = os.dup(int(name))
        except OSError:
            continue
        try:
            sock = socket.socket(fileno=copy)
        except OSError:
            os.close(copy)  # not a socket
            continue
        with sock:
            try:
                count += bool({sock.getsockname()[1], sock.getpeername()[1]} & ports)
            except (OSError, IndexError, TypeError):
                continue
    return count


def test_client_that_only_dials_receives_too() -> None:
    inbox = Inbox()
    client = TcpTransport(2, fleet=FLEET, key=KEY, epoch=1, receiver=inbox, listen=None)
    try:
        with fleet(2) as workers:
            assert client.address is None
            peers = {**workers.peers, 2: Peer("", 0, 1)}
            client.roster(peers)
            for transport in workers.transports:
                transport.roster(peers)
            # One worker sends before the client has connected, and waits for it.
            run_together(
                [lambda: workers.transports[0].open(EXCHANGE).finish([2]), lambda: client.connect([0, 1])]
            )
            workers.transports[1].open(EXCHANGE).finish([2])
            inbox.wait_finished({0, 1})
    finally:
        client.close()


def test_peer_that_nobody_can_dial_is_named() -> None:
    with fleet(2, connect_seconds=0.1) as two:
        two.transports[0].roster({1: Peer("", 0, 1)})
        with pytest.raises(
            PeerLost, match=r"rank 1: no connection with rank 0 in 0.1 s, and it can only dial itself"
        ):
            two.transports[0].connect([1])
        with pytest.raises(TransportError, match="rank 0 does not know rank 9"):
            two.transports[0].connect([9])


def test_roster_may_reach_the_dialled_rank_later() -> None:
    inboxes = [Inbox(), Inbox()]
    first, second = (
        TcpTransport(rank, fleet=FLEET, key=KEY, epoch=1, receiver=inbox)
        for rank, inbox in enumerate(inboxes)
    )
    try:
        peers = {0: peer_of(first), 1: peer_of(second)}
        first.roster(peers)
        late = threading.Timer(0.1, second.roster, [peers])
        late.start()
        first.open(EXCHANGE).finish([1])
        inboxes[1].wait_finished({0})
        late.join(PATIENCE_SECONDS)
    finally:
        first.close()
        second.close()
