"""The frame: what goes over a connection once both ends have proved who they are.

A frame is a header of 48 bytes and a payload. Integers are little-endian.

=======  ====  ==========================================================
offset   size  field
=======  ====  ==========================================================
0        4     magic ``SORD``
4        1     version
5        1     kind
6        2     zero
8        4     sender's rank
12       8     query
20       8     exchange
28       8     sequence: of a batch its number from 0, of FINISH the number of batches sent
36       8     length of the payload in bytes
44       4     CRC-32 of the 44 bytes before
=======  ====  ==========================================================

A batch's payload is one self-contained Arrow IPC stream: schema, dictionaries, batch. A schema costs some
hundred bytes a batch and buys that nothing has to be remembered between frames. Extension types need no
registration: Arrow carries an unknown one as its storage with the name in the field's metadata.
"""

from __future__ import annotations

import enum
import struct
import zlib
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from sord.transport.base import ExchangeId, TransportError

VERSION = 1
DEFAULT_MAX_PAYLOAD = 4 << 30
Compression = Literal["lz4", "zstd"]

_MAGIC = b"SORD"
_FIELDS = struct.Struct("<4sBBHIQQQQ")
_CHECKSUM = struct.Struct("<I")
HEADER_BYTES = _FIELDS.size + _CHECKSUM.size
_STAGING_BYTES = 64 << 10
_GATHER_BYTES = 4 << 10  # below this, copying a piece is cheaper than one more entry for sendmsg


class ProtocolError(TransportError):
    """What arrived is not what this version of the protocol allows: the connection can't be used any more."""


class Kind(enum.IntEnum):
    """What a frame says."""

    BATCH = 1
    FINISH = 2
    # The three that settle which connection of a pair lives; see sord.transport.tcp.
    OFFER = 3
    ACCEPT = 4
    REFUSE = 5
    RETRY = 6


_KINDS = {kind.value: kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class Header:
    """A frame's header; ``length`` is the payload's in bytes."""

    kind: Kind
    sender: int
    exchange: ExchangeId
    sequence: int
    length: int

    def pack(self) -> bytes:
        fields = _FIELDS.pack(
            _MAGIC,
            VERSION,
            self.kind,
            0,
            self.sender,
            self.exchange.query,
            self.exchange.exchange,
            self.sequence,
            self.length,
        )
        return fields + _CHECKSUM.pack(zlib.crc32(fields))

    @classmethod
    def unpack(cls, data: memoryview, max_payload: int) -> Header:
        """Read a header from the first 48 bytes of ``data``. Raises :class:`ProtocolError` if unsound."""
        magic, version, kind, zero, sender, query, exchange, sequence, length = _FIELDS.unpack_from(data)
        if magic != _MAGIC:
            raise ProtocolError("sent something that is not a frame")
        if version != VERSION:
            raise ProtocolError(f"sent a frame of version {version}, this is version {VERSION}")
        (checksum,) = _CHECKSUM.unpack_from(data, _FIELDS.size)
        if checksum != zlib.crc32(data[: _FIELDS.size]) or zero or kind not in _KINDS:
            raise ProtocolError("sent a damaged frame header")
        if length > max_payload:
            raise ProtocolError(f"sent a frame of {length:,} bytes, the limit is {max_payload:,}")
        return cls(_KINDS[kind], sender, ExchangeId(query, exchange), sequence, length)


class _Gather:
    """A file that Arrow writes to, which keeps the buffers of a batch instead of copying them."""

    closed = False

    def __init__(self) -> None:
        self.parts: list[memoryview] = []
        self._small = bytearray()

    def write(self, data: bytes | pa.Buffer) -> int:
        view = memoryview(data).cast("B")
        if len(view) < _GATHER_BYTES:
            self._small += view
        else:
            self.flush()
            self.parts.append(view)
        return len(view)

    def flush(self) -> None:
        if self._small:
            self.parts.append(memoryview(self._small))
            self._small = bytearray()


def encode_batch(batch: pa.RecordBatch, compression: Compression | None = None) -> list[memoryview]:
    """The payload for a batch, in pieces. Large pieces are the batch's own memory: leave it unchanged."""
    gather = _Gather()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(gather, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    gather.flush()
    return gather.parts


def decode_batch(payload: pa.Buffer) -> pa.RecordBatch:
    """The batch in a payload; its columns are views of ``payload``. Raises :class:`ProtocolError`."""
    try:
        batch = pa.ipc.open_stream(payload).read_next_batch()
        batch.validate()
    except (pa.ArrowException, OSError, StopIteration, ValueError, MemoryError) as error:
        raise ProtocolError(f"sent a batch that cannot be read: {error}") from error
    return batch


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole frame."""

    header: Header
    payload: pa.Buffer


class FrameReader:
    """Cuts a stream of bytes into frames, without IO: put bytes at :meth:`target`, then say how many.

    A payload is received straight into memory of its own size, allocated when its header has been checked.
    Only what arrives together with a header passes through a small staging area.
    """

    def __init__(self, max_payload: int = DEFAULT_MAX_PAYLOAD) -> None:
        self._max_payload = max_payload
        self._staging = memoryview(bytearray(_STAGING_BYTES))
        self._staged = 0
        self._partial: Frame | None = None
        self._missing = memoryview(b"")

    @property
    def in_frame(self) -> bool:
        """Whether the stream would be cut in the middle of a frame if it ended here."""
        return self._staged > 0 or self._partial is not None

    def target(self) -> memoryview:
        """Where the next bytes of the stream belong; never empty."""
        return self._missing if self._partial is not None else self._staging[self._staged :]

    def advance(self, count: int) -> list[Frame]:
        """Take note that ``count`` bytes were put at the target; the frames this completed, in order.

        Raises :class:`ProtocolError`; the reader is of no use after that.
        """
        if self._partial is not None:
            self._missing = self._missing[count:]
            if len(self._missing):
                return []
            frame, self._partial = self._partial, None
            return [frame]
        frames = []
        end = self._staged + count
        start = 0
        while end - start >= HEADER_BYTES:
            header = Header.unpack(self._staging[start:], self._max_payload)
            start += HEADER_BYTES
            try:
                payload = pa.allocate_buffer(header.length)
            except MemoryError as error:
                raise ProtocolError(f"sent a frame of {header.length:,} bytes: out of memory") from error
            view = memoryview(payload).cast("B")
            present = min(header.length, end - start)
            view[:present] = self._staging[start : start + present]
            start += present
            frame = Frame(header, payload)
            if present < header.length:
                self._partial, self._missing = frame, view[present:]
                break
            frames.append(frame)
        self._staged = end - start
        self._staging[: self._staged] = self._staging[start:end]
        return frames
