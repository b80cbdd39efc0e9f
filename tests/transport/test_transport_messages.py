"""Control messages: whole, bounded, and never out of step."""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from transport_fleet import PATIENCE_SECONDS, run_together

from sord.transport.base import PeerLost, TransportError
from sord.transport.messages import MAX_MESSAGE_BYTES, DeadlineExceeded, MessageSocket


def soon() -> float:
    return time.monotonic() + PATIENCE_SECONDS


@pytest.fixture
def pair() -> Iterator[tuple[MessageSocket, MessageSocket]]:
    left, right = (MessageSocket(sock, rank) for rank, sock in enumerate(socket.socketpair()))
    yield left, right
    left.close()
    right.close()


@pytest.fixture
def raw() -> Iterator[tuple[socket.socket, MessageSocket]]:
    mine, theirs = socket.socketpair()
    messages = MessageSocket(theirs, 5)
    yield mine, messages
    mine.close()
    messages.close()


def test_messages_arrive_in_order(pair: tuple[MessageSocket, MessageSocket]) -> None:
    left, right = pair
    sent = [{"n": n, "text": "ü\n", "nested": [{"a": None}]} for n in range(10)]
    for message in sent:
        left.send(message)
    assert [right.receive(soon()) for _ in sent] == sent


def test_threads_may_send_at_once(pair: tuple[MessageSocket, MessageSocket]) -> None:
    left, right = pair
    got = []

    def send(who: int) -> None:
        for n in range(20):
            left.send({"who": who, "n": n, "padding": "x" * 50_000})

    run_together(
        [lambda who=who: send(who) for who in range(4)]
        + [lambda: got.extend(right.receive(soon()) for _ in range(80))]
    )
    assert sorted((message["who"], message["n"]) for message in got) == [
        (w, n) for w in range(4) for n in range(20)
    ]


def test_deadline_inside_a_message_loses_nothing(raw: tuple[socket.socket, MessageSocket]) -> None:
    mine, messages = raw
    body = json.dumps({"a": 1}).encode()
    data = len(body).to_bytes(4, "big") + body
    for part in (data[:2], data[2:6]):
        mine.sendall(part)
        with pytest.raises(DeadlineExceeded, match="rank 5"):
            messages.receive(time.monotonic())
    mine.sendall(data[6:])
    assert messages.receive(soon()) == {"a": 1}


def test_nothing_is_read_beyond_a_message(pair: tuple[MessageSocket, MessageSocket]) -> None:
    left, right = pair
    left.send({"n": 1})
    left.send({"n": 2})
    right.receive(soon())
    assert select.select([right], [], [], PATIENCE_SECONDS)[0] == [right]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ((MAX_MESSAGE_BYTES + 1).to_bytes(4, "big"), "announced"),
        (b"\0\0\0\2{]", "not JSON"),
        (b"\0\0\0\0", "not JSON"),
        (b"\0\0\0\2[]", "not a JSON object"),
        (b"\0\0\xc3\x50" + b"[" * 50_000, "not JSON"),
        (b"\0\0", "closed the connection"),
    ],
)
def test_unsound_message_loses_the_peer(
    raw: tuple[socket.socket, MessageSocket], data: bytes, reason: str
) -> None:
    mine, messages = raw
    mine.sendall(data)
    mine.shutdown(socket.SHUT_WR)
    with pytest.raises(PeerLost, match=f"rank 5: .*{reason}"):
        messages.receive(soon())


def test_peer_that_reads_nothing_is_lost(raw: tuple[socket.socket, MessageSocket]) -> None:
    with pytest.raises(PeerLost, match="rank 5: took no byte"):
        raw[1].send({"a": "x" * 10_000_000}, stall_seconds=0.05)
    with pytest.raises(PeerLost):
        raw[1].send({"a": 1})


def test_message_over_the_limit_is_not_begun(raw: tuple[socket.socket, MessageSocket]) -> None:
    with pytest.raises(TransportError, match="the limit is 67,108,864"):
        raw[1].send({"a": "x" * MAX_MESSAGE_BYTES})
    raw[1].send({})
    assert raw[0].recv(100) == b"\0\0\0\2{}"


def test_close_wakes_a_waiting_receiver(raw: tuple[socket.socket, MessageSocket]) -> None:
    failures = []

    def wait() -> None:
        with pytest.raises(PeerLost, match="rank 5") as failure:
            raw[1].receive(soon())
        failures.append(failure)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    raw[1].close()
    thread.join(PATIENCE_SECONDS)
    assert len(failures) == 1
    raw[1].close()
