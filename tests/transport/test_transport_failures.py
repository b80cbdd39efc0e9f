"""What happens when a peer dies, lies, comes back, or the transport is closed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pyarrow as pa
import pytest
from transport_batches import one_of_each
from transport_fleet import EXCHANGE, FLEET, KEY, PATIENCE_SECONDS, Inbox, fleet, peer_of, run_together

from sord.transport import sockets
from sord.transport.base import ExchangeId, Peer, PeerLost
from sord.transport.frames import HEADER_BYTES, Header, Kind, encode_batch
from sord.transport.handshakes import MAX_PENDING
from sord.transport.link import Link
from sord.transport.security import Identity, authenticate
from sord.transport.tcp import TcpTransport

CHILD = """
import sys, pyarrow as pa
from sord.transport.base import ExchangeId, Peer
from sord.transport.tcp import TcpTransport
class Ignore:
    def batch(self, *_): pass
    finished = lost = batch
transport = TcpTransport(1, fleet=sys.argv[1], key=sys.argv[2].encode(), epoch=1, receiver=Ignore())
transport.roster({0: Peer("127.0.0.1", int(sys.argv[3]), 1)})
transport.open(ExchangeId(7, 1)).send([0], pa.record_batch({"a": [1]}))
print(transport.address[1], flush=True)
sys.stdin.readline()
"""


def test_killed_peer_is_reported_once_and_named() -> None:
    inbox = Inbox()
    transport = TcpTransport(0, fleet=FLEET, key=KEY, epoch=1, receiver=inbox)
    assert transport.address is not None
    transport.roster({1: Peer("127.0.0.1", 1, 1)})
    command = [sys.executable, "-c", CHILD, FLEET, KEY.decode(), str(transport.address[1])]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        inbox.wait(lambda inbox: len(inbox.batches) == 1)
        channel = transport.open(EXCHANGE)
        channel.send([1], one_of_each())
        child.send_signal(signal.SIGKILL)
        inbox.wait(lambda inbox: bool(inbox.losses))
        with pytest.raises(PeerLost, match="rank 1"):
            channel.send([1], one_of_each())
        with pytest.raises(PeerLost, match=r"rank 1: rank 0 cannot connect to 127\.0\.0\.1:1"):
            transport.connect([1])
        assert [rank for rank, _ in inbox.losses] == [1]
    finally:
        child.kill()
        child.communicate(timeout=PATIENCE_SECONDS)
        transport.close()


class Impostor:
    """Rank 1 with the fleet's key, which then says what it likes to rank 0."""

    def __init__(self, target: TcpTransport, number: int = 1) -> None:
        assert target.address is not None
        deadline = time.monotonic() + PATIENCE_SECONDS
        self.sock = socket.create_connection(target.address, timeout=PATIENCE_SECONDS)
        authenticate(self.sock, KEY, Identity(FLEET, 1, 1), "data", initiator=True, deadline=deadline)
        self.say(Kind.OFFER, sequence=number)
        answer = memoryview(bytearray(HEADER_BYTES))
        sockets.read_exactly(self.sock, answer, deadline)
        self.answer = Header.unpack(answer, 1000).kind

    def say(self, kind: Kind, *, sequence: int, payload: bytes = b"", sender: int = 1) -> None:
        self.sock.sendall(Header(kind, sender, EXCHANGE, sequence, len(payload)).pack() + payload)


BATCH = b"".join(encode_batch(one_of_each()))


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([{"sequence": 0}, {"sequence": 2}], "frame 2 came, expected was 1"),
        ([{"sequence": 0}, {"sequence": 0}], "frame 0 came, expected was 1"),
        (
            [{"sequence": 0}, {"kind": Kind.FINISH, "sequence": 2, "payload": b""}],
            "frame 2 came, expected was 1",
        ),
        ([{"kind": Kind.FINISH, "sequence": 0, "payload": b""}, {"sequence": 0}], "it had finished"),
        ([{"sequence": 0, "sender": 2}], "in the name of rank 2"),
        ([{"sequence": 0, "payload": b"nonsense"}], "a batch that cannot be read"),
        ([{"sequence": 0, "kind": Kind.ACCEPT}], "ACCEPT in the middle"),
    ],
)
def test_broken_order_loses_the_peer(frames: list[dict[str, Any]], reason: str) -> None:
    with fleet(2) as two:
        impostor = Impostor(two.transports[0])
        with impostor.sock:
            for frame in frames:
                impostor.say(**{"kind": Kind.BATCH, "payload": BATCH, **frame})
            two.inboxes[0].wait(lambda inbox: bool(inbox.losses))
    assert [(rank, reason in text) for rank, text in two.inboxes[0].losses] == [(1, True)], two.inboxes[
        0
    ].losses


def test_only_a_newer_connection_replaces_a_living_one() -> None:
    with fleet(2) as two:
        inbox = two.inboxes[0]
        first = Impostor(two.transports[0])
        same, newer = Impostor(two.transports[0], 1), Impostor(two.transports[0], 2)
        with first.sock, same.sock, newer.sock:
            assert [each.answer for each in (first, same, newer)] == [Kind.ACCEPT, Kind.RETRY, Kind.ACCEPT]
            newer.say(Kind.BATCH, sequence=0, payload=BATCH)
            inbox.wait(lambda inbox: len(inbox.batches) == 1)
            assert inbox.losses == [(1, "connected anew")]


def test_retired_link_delivers_nothing_more() -> None:
    ours, theirs = socket.socketpair()
    link = Link(ours, 1, 1, PATIENCE_SECONDS, 1 << 20)
    with theirs:
        theirs.sendall(Header(Kind.FINISH, 1, EXCHANGE, 0, 0).pack())
        link.retire("its place in the roster changed")
        delivered: list[object] = []
        assert link.read(delivered.append) == "its place in the roster changed"
        assert delivered == []
        link.close()


def test_cut_in_a_frame_is_reported() -> None:
    with fleet(2) as two:
        impostor = Impostor(two.transports[0])
        with impostor.sock:
            impostor.sock.sendall(Header(Kind.BATCH, 1, EXCHANGE, 0, 100).pack() + b"short")
        two.inboxes[0].wait(lambda inbox: bool(inbox.losses))
    assert two.inboxes[0].losses == [(1, "closed the connection in the middle of a frame")]


def test_peer_that_stops_reading_is_lost() -> None:
    with fleet(2, stall_seconds=0.2) as two:
        impostor = Impostor(two.transports[0])
        batch = pa.record_batch({"a": pa.array(range(4_000_000), pa.int64())})
        with impostor.sock:
            with pytest.raises(PeerLost, match=r"rank 1: took no byte for 0\.2 s"):
                two.transports[0].open(EXCHANGE).send([1], batch)
            two.inboxes[0].wait(lambda inbox: bool(inbox.losses))
    assert two.inboxes[0].losses == [(1, "took no byte for 0.2 s")]


def test_late_frames_of_a_forgotten_query_are_dropped() -> None:
    with fleet(2) as two:
        channel = two.transports[0].open(EXCHANGE)
        channel.send([1], one_of_each())
        two.inboxes[1].wait(lambda inbox: len(inbox.batches) == 1)
        two.transports[1].forget(EXCHANGE.query)
        channel.send([1], one_of_each())
        channel.finish([1])
        other = ExchangeId(EXCHANGE.query + 1, 1)
        two.transports[0].open(other).finish([1])
        two.inboxes[1].wait_finished({0}, other)
        assert len(two.inboxes[1].batches) == 1
        assert two.inboxes[1].losses == []


def test_mended_rank_starts_anew() -> None:
    with fleet(2) as two:
        survivor, inbox = two.transports[0], two.inboxes[0]
        old = two.transports[1].open(EXCHANGE)
        old.send([0], one_of_each())
        inbox.wait(lambda inbox: len(inbox.batches) == 1)
        mended = TcpTransport(1, fleet=FLEET, key=KEY, epoch=2, receiver=Inbox())
        try:
            peers = {0: two.peers[0], 1: peer_of(mended, epoch=2)}
            survivor.roster(peers)
            mended.roster(peers)
            channel = mended.open(EXCHANGE)
            channel.send([0], one_of_each())
            channel.finish([0])
            inbox.wait_finished({1})
            assert len(inbox.batches) == 2
            # The one it replaces is still running somewhere, and is not let in again.
            two.inboxes[1].wait(lambda inbox: bool(inbox.losses))
            with pytest.raises(PeerLost, match="rank 0: rank 1 presents epoch 1, rank 0 expects 2"):
                two.transports[1].connect([0])
            with pytest.raises(PeerLost, match="rank 0"):
                old.send([0], one_of_each())
            assert inbox.losses == []
        finally:
            mended.close()


def test_wrong_key_is_an_error_at_the_dialler_and_nothing_elsewhere() -> None:
    with fleet(2) as two:
        stranger = TcpTransport(
            1, fleet=FLEET, key=b"some other key of some length", epoch=1, receiver=Inbox()
        )
        try:
            stranger.roster(two.peers)
            with pytest.raises(PeerLost, match=r"rank 0: .*it has another key or fleet id"):
                stranger.connect([0])
        finally:
            stranger.close()
        assert two.inboxes[0].losses == []


def test_strangers_change_nothing_in_a_running_exchange() -> None:
    batch = pa.record_batch({"a": pa.array(range(100_000), pa.int64())})
    with fleet(3) as three:
        strangers: list[socket.socket] = []

        def pester() -> None:
            for number in range(200):
                sock = socket.create_connection(
                    three.transports[number % 3].address, timeout=PATIENCE_SECONDS
                )
                strangers.append(sock)
                if number % 4:  # every fourth stays silent
                    sock.sendall(os.urandom(1 + number))

        def work(rank: int) -> None:
            channel = three.transports[rank].open(EXCHANGE)
            for _ in range(20):
                channel.send(range(3), batch)
            channel.finish(range(3))

        run_together([pester, *(lambda rank=rank: work(rank) for rank in range(3))])
        for inbox in three.inboxes:
            inbox.wait_finished({0, 1, 2})
            assert len(inbox.batches) == 60
            assert inbox.losses == []
        for sock in strangers:
            sock.close()


def test_silent_strangers_do_not_keep_a_member_out() -> None:
    with fleet(2) as two:
        threads = threading.active_count()
        silent = [
            socket.create_connection(two.transports[0].address, timeout=PATIENCE_SECONDS) for _ in range(150)
        ]
        two.transports[1].open(EXCHANGE).finish([0])
        two.inboxes[0].wait_finished({1})
        assert threading.active_count() < threads + MAX_PENDING + 10  # some may be on their way out
        for sock in silent:
            sock.close()


def test_receiver_that_raises_loses_the_peer_not_the_transport() -> None:
    class Clumsy(Inbox):
        def batch(self, exchange: ExchangeId, sender: int, batch: pa.RecordBatch) -> None:
            raise RuntimeError("oops")

    with fleet(2) as two:
        clumsy = Clumsy()
        transport = TcpTransport(2, fleet=FLEET, key=KEY, epoch=1, receiver=clumsy)
        try:
            peers = {**two.peers, 2: peer_of(transport)}
            for each in (*two.transports, transport):
                each.roster(peers)
            two.transports[0].open(EXCHANGE).send([2], one_of_each())
            clumsy.wait(lambda inbox: bool(inbox.losses))
            two.transports[1].open(EXCHANGE).finish([2])
            clumsy.wait_finished({1})
        finally:
            transport.close()
    assert "rank 2 could not take its frame: RuntimeError('oops')" in clumsy.losses[0][1]


def test_close_leaves_no_thread_and_no_descriptor() -> None:
    with fleet(2):
        pass  # so that whatever the interpreter opens once is open
    threads, descriptors = set(threading.enumerate()), set(os.listdir("/proc/self/fd"))
    with fleet(3) as three:
        stranger = socket.create_connection(three.transports[0].address)
        three.run(lambda rank: three.transports[rank].open(EXCHANGE).finish(range(3)))
        for inbox in three.inboxes:
            inbox.wait_finished({0, 1, 2})
        three.close()
        with pytest.raises(Exception, match="rank 0: the transport is closed"):
            three.transports[0].connect([1])
        stranger.close()
    assert set(threading.enumerate()) == threads
    assert set(os.listdir("/proc/self/fd")) == descriptors


def test_close_ends_a_blocked_send() -> None:
    with fleet(2) as two:
        impostor = Impostor(two.transports[0])
        channel = two.transports[0].open(EXCHANGE)
        batch = pa.record_batch({"a": pa.array(range(4_000_000), pa.int64())})

        def send() -> None:
            with pytest.raises(PeerLost, match="rank 1"):
                channel.send([1], batch)

        with impostor.sock:
            impostor.sock.setblocking(True)
            closing = threading.Timer(0.1, two.transports[0].close)
            closing.start()
            run_together([send])
            closing.join(PATIENCE_SECONDS)
            assert not closing.is_alive()
