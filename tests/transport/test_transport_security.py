"""Authentication: members of one fleet believe each other, and nobody else."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from transport_fleet import FLEET, KEY, PATIENCE_SECONDS

from sord.transport.security import UNASSIGNED, AuthenticationError, Identity, authenticate

Outcome = Identity | AuthenticationError
ANA = Identity(FLEET, 0, 1)
BEN = Identity(FLEET, 1, 4)
GREETING_BYTES = 42


def attempt(sock: socket.socket, me: Identity, *, initiator: bool, **changes: Any) -> Outcome:
    arguments: dict[str, Any] = {
        "key": KEY,
        "purpose": "data",
        "deadline": time.monotonic() + PATIENCE_SECONDS,
    }
    try:
        return authenticate(sock, me=me, initiator=initiator, **(arguments | changes))
    except AuthenticationError as error:
        return error
    finally:
        sock.shutdown(socket.SHUT_WR)


def meet(ana: dict[str, Any] | None = None, ben: dict[str, Any] | None = None) -> tuple[Outcome, Outcome]:
    """Ana initiates, Ben accepts; what each made of it."""
    left, right = socket.socketpair()
    outcomes: list[Outcome] = []
    ben_arguments = {"me": BEN, **(ben or {})}
    with left, right:
        thread = threading.Thread(
            target=lambda: outcomes.append(attempt(right, initiator=False, **ben_arguments)), daemon=True
        )
        thread.start()
        outcome = attempt(left, initiator=True, **{"me": ANA, **(ana or {})})
        thread.join(PATIENCE_SECONDS)
    return outcome, outcomes[0]


def test_members_learn_who_the_other_is() -> None:
    assert meet() == (BEN, ANA)


def test_worker_without_a_rank_may_join() -> None:
    joining = Identity(FLEET, UNASSIGNED, 0)
    assert meet({"me": joining, "purpose": "control"}, {"purpose": "control"}) == (BEN, joining)


@pytest.mark.parametrize(
    "changes",
    [{"key": b"another key of at least 16 bytes"}, {"me": Identity("other", 0, 1)}, {"purpose": "control"}],
    ids=["key", "fleet", "purpose"],
)
def test_stranger_is_refused_and_told_nothing(changes: dict[str, Any]) -> None:
    ana, ben = meet(changes)
    assert "another key or fleet id" in str(ana)
    assert "the peer's proof is wrong" in str(ben)


def test_unexpected_rank_or_epoch_is_named() -> None:
    assert "expected rank 2, the peer is rank 1" in str(meet({"expected_rank": 2})[0])
    assert "rank 1 presents epoch 4, expected 5" in str(meet({"expected_epoch": 5})[0])
    ana, ben = meet(ben={"expected_epoch": 2})
    assert "rank 0 presents epoch 1, expected 2" in str(ben)
    assert isinstance(ana, AuthenticationError)


def test_own_rank_is_refused() -> None:
    assert "claims to be rank 0, which is this rank" in str(meet(ben={"me": ANA})[1])


def test_short_key_is_an_error() -> None:
    left, right = socket.socketpair()
    with left, right, pytest.raises(ValueError, match="at least 16 bytes"):
        attempt(left, ANA, initiator=True, key=b"short")


@contextlib.contextmanager
def against(
    initiator: bool, seconds: float = PATIENCE_SECONDS
) -> Iterator[tuple[socket.socket, list[Outcome]]]:
    """An attacker's socket, with an honest member at the other end."""
    mine, theirs = socket.socketpair()
    mine.settimeout(PATIENCE_SECONDS)
    outcomes: list[Outcome] = []
    deadline = time.monotonic() + seconds
    thread = threading.Thread(
        target=lambda: outcomes.append(attempt(theirs, BEN, initiator=initiator, deadline=deadline)),
        daemon=True,
    )
    with mine, theirs:
        thread.start()
        yield mine, outcomes
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(4096), b""))


def test_recorded_handshake_is_worthless() -> None:
    # Record what Ana says to Ben through a wire tap that passes both directions on.
    ana_end, tap_left = socket.socketpair()
    tap_right, ben_end = socket.socketpair()
    said = bytearray()

    def pump(source: socket.socket, sink: socket.socket, record: bytearray) -> None:
        while data := source.recv(4096):
            record.extend(data)
            sink.sendall(data)

    with ana_end, tap_left, tap_right, ben_end:
        outcomes: list[Outcome] = []
        threads = [
            threading.Thread(target=pump, args=(tap_left, tap_right, said), daemon=True),
            threading.Thread(target=pump, args=(tap_right, tap_left, bytearray()), daemon=True),
            threading.Thread(
                target=lambda: outcomes.append(attempt(ben_end, BEN, initiator=False)), daemon=True
            ),
        ]
        for thread in threads:
            thread.start()
        assert attempt(ana_end, ANA, initiator=True) == BEN
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
        assert outcomes == [ANA]

    with against(initiator=False) as (attacker, outcomes):
        attacker.sendall(said)
        assert len(read_all(attacker)) == GREETING_BYTES
    assert "proof is wrong" in str(outcomes[0])


@pytest.mark.parametrize("initiator", [True, False])
def test_echo_is_no_member(initiator: bool) -> None:
    with against(initiator) as (attacker, outcomes):
        if not initiator:
            attacker.sendall(attacker.recv(4096))
            attacker.sendall(os.urandom(48))
        else:
            while data := attacker.recv(4096):
                attacker.sendall(data)
    assert isinstance(outcomes[0], AuthenticationError)


def test_member_cannot_be_made_to_vouch_against_itself() -> None:
    # The attacker passes Ben's own words, as initiator, to Ben as acceptor.
    with against(initiator=True) as (dialled, first), against(initiator=False) as (accepting, second):
        accepting.sendall(dialled.recv(4096))
        dialled.sendall(accepting.recv(4096))
        accepting.sendall(dialled.recv(4096))
        assert read_all(accepting) == b""
        dialled.shutdown(socket.SHUT_WR)
    assert "claims to be rank 1, which is this rank" in str(second[0])
    assert isinstance(first[0], AuthenticationError)


def test_silent_client_is_dropped() -> None:
    with against(initiator=False, seconds=0.05) as (attacker, outcomes):
        read_all(attacker)
    assert "did not authenticate in time" in str(outcomes[0])


def test_other_protocol_and_other_version_are_told_apart() -> None:
    with against(initiator=False) as (attacker, outcomes):
        attacker.sendall(b"GET / HTTP/1.1\r\nHost: a-web-server.example\r\n\r\n")
    assert "does not speak sord's protocol" in str(outcomes[0])
    with against(initiator=True) as (attacker, outcomes):
        attacker.sendall(b"SORDAUTH" + (2).to_bytes(2, "big") + bytes(32))
    assert "speaks protocol version 2, this is version 1" in str(outcomes[0])
