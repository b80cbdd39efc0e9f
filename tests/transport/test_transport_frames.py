"""Frames: every batch comes out as it went in, and nothing unsound does harm."""

from __future__ import annotations

import contextlib
import random
import zlib

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_batches import batches, one_of_each

from sord.transport.base import ExchangeId
from sord.transport.frames import (
    HEADER_BYTES,
    Frame,
    FrameReader,
    Header,
    Kind,
    ProtocolError,
    decode_batch,
    encode_batch,
)


def frame_of(batch: pa.RecordBatch, sequence: int = 0) -> bytes:
    payload = b"".join(encode_batch(batch))
    return Header(Kind.BATCH, 3, ExchangeId(2**64 - 1, 5), sequence, len(payload)).pack() + payload


def feed(reader: FrameReader, data: bytes, chunk: int = 1 << 20) -> list[Frame]:
    frames = []
    view = memoryview(data)
    while view:
        target = reader.target()
        count = min(len(target), len(view), chunk)
        target[:count] = view[:count]
        frames += reader.advance(count)
        view = view[count:]
    return frames


@settings(deadline=None)
@given(batches(), st.sampled_from([None, "lz4", "zstd"]))
def test_batch_survives_encoding(batch: pa.RecordBatch, compression: str | None) -> None:
    payload = pa.py_buffer(b"".join(encode_batch(batch, compression)))
    decoded = decode_batch(payload)
    decoded.validate(full=True)
    assert decoded.schema.equals(batch.schema, check_metadata=True)
    assert decoded.num_rows == batch.num_rows
    # Compared as text: a NaN is not equal to itself.
    assert repr(decoded.to_pylist()) == repr(batch.to_pylist())


def test_unregistered_extension_type_keeps_its_name() -> None:
    metadata = {"ARROW:extension:name": "nobody.knows", "ARROW:extension:metadata": "x"}
    schema = pa.schema([pa.field("a", pa.binary(4), metadata=metadata)])
    batch = pa.RecordBatch.from_arrays([pa.array([b"1234", None], pa.binary(4))], schema=schema)
    decoded = decode_batch(pa.py_buffer(b"".join(encode_batch(batch))))
    assert decoded.equals(batch)
    assert decoded.schema.equals(schema, check_metadata=True)


def test_encoding_copies_no_large_column_and_decoding_none() -> None:
    batch = pa.record_batch({"a": pa.array(range(100_000), pa.int64())})
    (column,) = (part for part in encode_batch(batch) if len(part) == 800_000)
    assert pa.py_buffer(column).address == batch["a"].buffers()[1].address
    payload = pa.py_buffer(b"".join(encode_batch(batch)))
    data = decode_batch(payload)["a"].buffers()[1]
    assert payload.address < data.address < payload.address + payload.size


def test_slice_sends_only_its_rows() -> None:
    batch = pa.record_batch({"a": pa.array(range(100_000), pa.int64())})
    assert sum(map(len, encode_batch(batch.slice(50_000, 10)))) < 1_000


@pytest.mark.parametrize("chunk", [1, 7, 48, 1000, 1 << 20])
def test_frames_are_found_however_the_stream_is_cut(chunk: int) -> None:
    sent = [one_of_each(), pa.record_batch({"a": pa.array(range(20_000), pa.int64())}), one_of_each()]
    reader = FrameReader()
    frames = feed(reader, b"".join(frame_of(batch, i) for i, batch in enumerate(sent)), chunk)
    assert [frame.header.sequence for frame in frames] == [0, 1, 2]
    assert frames[0].header.exchange == ExchangeId(2**64 - 1, 5)
    assert [decode_batch(frame.payload).num_rows for frame in frames] == [2, 20_000, 2]
    assert not reader.in_frame


def with_length(length: int) -> bytes:
    return Header(Kind.BATCH, 0, ExchangeId(0, 0), 0, length).pack()


@pytest.mark.parametrize("length", [(1 << 20) + 1, 1 << 40, 2**64 - 1])
def test_length_over_the_limit_allocates_nothing(length: int) -> None:
    before = pa.total_allocated_bytes()
    with pytest.raises(ProtocolError, match="the limit is 1,048,576"):
        feed(FrameReader(max_payload=1 << 20), with_length(length))
    assert pa.total_allocated_bytes() == before


def test_version_of_another_release_is_named() -> None:
    header = bytearray(with_length(0))
    header[4] = 9
    header[-4:] = zlib.crc32(header[:-4]).to_bytes(4, "little")
    with pytest.raises(ProtocolError, match="version 9, this is version 1"):
        feed(FrameReader(), bytes(header))


def test_every_flipped_bit_of_a_header_is_noticed() -> None:
    for bit in range(HEADER_BYTES * 8):
        header = bytearray(with_length(100))
        header[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ProtocolError):
            feed(FrameReader(), bytes(header))


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused_or_wait_for_more(data: bytes) -> None:
    try:
        assert feed(FrameReader(), data) == []
    except ProtocolError:
        assert len(data) >= HEADER_BYTES


def test_damaged_payloads_are_refused_or_decoded() -> None:
    payload = b"".join(encode_batch(one_of_each()))
    chance = random.Random(1)
    for _ in range(2_000):
        damaged = bytearray(payload[: chance.choice([len(payload), chance.randrange(len(payload))])])
        for _ in range(chance.choice([0, 1, 1, 8])):
            if damaged:
                damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        with contextlib.suppress(ProtocolError):
            decode_batch(pa.py_buffer(bytes(damaged)))
