"""Mutual proof that both ends of a new connection belong to one fleet, before anything else is read from it.

Challenge and response with HMAC-SHA256 under the fleet's key::

    both       -> magic, version, nonce (32 random bytes)
    initiator  -> rank, epoch, MAC("initiator", fleet, purpose, nonces, rank, epoch)
    acceptor   -> rank, epoch, MAC("acceptor",  fleet, purpose, nonces, both ranks and epochs)

The initiator proves itself first, so a stranger who connects learns nothing but the protocol's version. A
recorded proof is worthless under another nonce, and one sent back at its author fails by the role in it (or,
through a second connection, by the rank: nobody talks with itself). The fleet's id and the purpose are never
sent.

This authenticates the connection's start. It doesn't hide or protect what follows from someone on the path.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
import struct
import time
from dataclasses import dataclass
from typing import Literal

from sord.transport import sockets
from sord.transport.base import TransportError

VERSION = 1
UNASSIGNED = -1
MIN_KEY_BYTES = 16

Purpose = Literal["data", "control"]

_MAGIC = b"SORDAUTH"
_GREETING = struct.Struct("!8sH32s")
_PROOF = struct.Struct("!qQ32s")
_IDENTITY = struct.Struct("!qQ")
_NONCE_BYTES = 32


class AuthenticationError(TransportError):
    """The other end of a connection could not be authenticated, or would not authenticate this end."""


class ClosedDuringAuthentication(AuthenticationError):
    """The other end closed without a word: it is gone, overloaded, or didn't believe this end."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a process is. A worker that has no rank yet (it is about to join) is :data:`UNASSIGNED`."""

    fleet: str
    rank: int
    epoch: int


def authenticate(
    sock: socket.socket,
    key: bytes,
    me: Identity,
    purpose: Purpose,
    *,
    initiator: bool,
    deadline: float,
    expected_rank: int | None = None,
    expected_epoch: int | None = None,
) -> Identity:
    """Prove ``me`` to the other end of ``sock``, have it prove itself, and return who it is.

    Makes ``sock`` non-blocking. ``deadline`` is in seconds of ``time.monotonic``. Raises
    :class:`AuthenticationError`; the caller then closes the socket, which tells the other side nothing.
    """
    if len(key) < MIN_KEY_BYTES:
        raise ValueError(f"a fleet's key has at least {MIN_KEY_BYTES} bytes")
    sock.setblocking(False)
    try:
        return _exchange_proofs(sock, key, me, purpose, initiator, deadline, expected_rank, expected_epoch)
    except TimeoutError as error:
        raise AuthenticationError("the peer did not authenticate in time") from error
    except OSError as error:
        raise ClosedDuringAuthentication(
            "the peer closed the connection during authentication: it has another key or fleet id, "
            f"it is no {purpose} port, or it is gone ({error})"
        ) from error


def _exchange_proofs(
    sock: socket.socket,
    key: bytes,
    me: Identity,
    purpose: str,
    initiator: bool,
    deadline: float,
    expected_rank: int | None,
    expected_epoch: int | None,
) -> Identity:
    nonce = os.urandom(_NONCE_BYTES)
    _write(sock, _GREETING.pack(_MAGIC, VERSION, nonce), deadline)
    magic, version, peer_nonce = _GREETING.unpack(_read(sock, _GREETING.size, deadline))
    if magic != _MAGIC:
        raise AuthenticationError("the peer does not speak sord's protocol")
    if version != VERSION:
        raise AuthenticationError(f"the peer speaks protocol version {version}, this is version {VERSION}")

    nonces = nonce + peer_nonce if initiator else peer_nonce + nonce
    mine = _IDENTITY.pack(me.rank, me.epoch)
    context = _with_length(me.fleet.encode()) + _with_length(purpose.encode()) + nonces

    def prove(theirs: bytes) -> None:
        role, said = (b"initiator", mine) if initiator else (b"acceptor", theirs + mine)
        _write(sock, mine + _mac(key, role, context + said), deadline)

    if initiator:
        prove(b"")
    rank, epoch, mac = _PROOF.unpack(_read(sock, _PROOF.size, deadline))
    theirs = _IDENTITY.pack(rank, epoch)
    role, said = (b"acceptor", mine + theirs) if initiator else (b"initiator", theirs)
    if not hmac.compare_digest(mac, _mac(key, role, context + said)):
        raise AuthenticationError("the peer's proof is wrong: it has another key, fleet id or purpose")
    if rank == me.rank:
        raise AuthenticationError(f"the peer claims to be rank {rank}, which is this rank")
    if expected_rank is not None and rank != expected_rank:
        raise AuthenticationError(f"expected rank {expected_rank}, the peer is rank {rank}")
    if expected_epoch is not None and epoch != expected_epoch:
        raise AuthenticationError(f"rank {rank} presents epoch {epoch}, expected {expected_epoch}")
    if not initiator:
        prove(theirs)
    return Identity(me.fleet, rank, epoch)


def _mac(key: bytes, role: bytes, message: bytes) -> bytes:
    return hmac.digest(key, _with_length(role) + message, hashlib.sha256)


def _with_length(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _read(sock: socket.socket, count: int, deadline: float) -> bytes:
    data = bytearray(count)
    sockets.read_exactly(sock, memoryview(data), deadline)
    return bytes(data)


def _write(sock: socket.socket, data: bytes, deadline: float) -> None:
    sockets.write_all(sock, [memoryview(data)], max(0.0, deadline - time.monotonic()))
