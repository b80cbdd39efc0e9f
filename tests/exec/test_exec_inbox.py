"""Rows that are scattered and kept, in memory and on disk, come out as they went in."""

from __future__ import annotations

import errno
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sord.exec.inbox import InboxError, Inboxes
from sord.exec.scatter import FLUSH_ROWS, Scatter
from sord.exec.sources import table_source
from sord.exec.spill import SpillFile
from sord.transport.base import ExchangeId, PeerLost

EXCHANGE = ExchangeId(1, 2)

SCHEMA = pa.schema(
    {
        "n": pa.int64(),
        "x": pa.float64(),
        "s": pa.string(),
        "nested": pa.list_(pa.struct({"a": pa.int8(), "b": pa.list_(pa.string())})),
        "m": pa.map_(pa.string(), pa.decimal128(30, 2)),
        "flag": pa.bool_(),
    }
)

small_text = st.text(max_size=5)
rows = st.fixed_dictionaries(
    {
        "n": st.none() | st.integers(-(2**63), 2**63 - 1),
        "x": st.none() | st.floats(),
        "s": st.none() | small_text,
        "nested": st.none()
        | st.lists(
            st.none()
            | st.fixed_dictionaries(
                {"a": st.none() | st.integers(-9, 9), "b": st.lists(small_text, max_size=2)}
            ),
            max_size=3,
        ),
        "m": st.none() | st.lists(st.tuples(small_text, st.none() | st.integers(-99, 99)), max_size=2),
        "flag": st.none() | st.booleans(),
    }
)


def counted(table: pa.Table) -> Counter[str]:
    return Counter(map(repr, table.to_pylist()))


def with_ranks(batch: pa.RecordBatch, ranks: list[int]) -> pa.RecordBatch:
    columns = [*batch.columns, pa.array(ranks, pa.uint8())]
    return pa.RecordBatch.from_arrays(columns, names=[*batch.schema.names, "rank"])


@settings(max_examples=40, deadline=None)
@given(data=st.data(), size=st.integers(1, 5), budget=st.sampled_from([0, 300, 1 << 20]))
def test_what_is_scattered_is_what_is_received(data: st.DataObject, size: int, budget: int) -> None:
    batches = [
        pa.RecordBatch.from_pylist(some, SCHEMA)
        for some in data.draw(st.lists(st.lists(rows, max_size=8), max_size=4))
    ]
    places = [
        data.draw(st.lists(st.integers(0, size - 1), min_size=len(b), max_size=len(b))) for b in batches
    ]
    want = [Counter[str]() for _ in range(size)]
    for batch, ranks in zip(batches, places, strict=True):
        for row, rank in zip(batch.to_pylist(), ranks, strict=True):
            want[rank][repr(row)] += 1

    with tempfile.TemporaryDirectory() as folder:
        inboxes = [Inboxes(Path(folder) / str(rank), budget) for rank in range(size)]
        scatter = Scatter(size)
        pieces = [
            piece for b, r in zip(batches, places, strict=True) for piece in scatter.add(with_ranks(b, r))
        ]
        for rank, piece in (*pieces, *scatter.rest()):
            inboxes[rank].batch(EXCHANGE, 0, piece)
        for rank, inbox in enumerate(inboxes):
            inbox.batch(EXCHANGE, 0, pa.RecordBatch.from_pylist([], SCHEMA))
            inbox.finished(EXCHANGE, 0)
            inbox.wait(EXCHANGE, (0,), time.monotonic() + 10)
            assert counted(inbox.table(EXCHANGE, (0,))) == want[rank]
            assert counted(pa.table(table_source(inbox.table(EXCHANGE, (0,))))) == want[rank]
            assert counted(pa.Table.from_batches(inbox.drain(EXCHANGE, (0,)), SCHEMA)) == want[rank]
            assert inbox.held_bytes == 0
            inbox.forget(EXCHANGE.query)
        assert not [path for path in Path(folder).rglob("*") if path.is_file()]


def test_small_pieces_are_joined_and_large_ones_sent_on() -> None:
    scatter = Scatter(2)
    small = with_ranks(pa.record_batch({"n": range(10)}), [0, 1] * 5)
    assert [list(scatter.add(small)) for _ in range(20)] == [[]] * 20
    large = with_ranks(pa.record_batch({"n": range(FLUSH_ROWS)}), [1] * FLUSH_ROWS)
    ((rank, joined),) = scatter.add(large)
    assert (rank, joined.num_rows) == (1, FLUSH_ROWS + 100)
    ((rank, rest),) = scatter.rest()
    assert (rank, rest.column("n").to_pylist()) == (0, [0, 2, 4, 6, 8] * 20)
    assert not list(scatter.rest())


def batch(start: int, count: int = 100) -> pa.RecordBatch:
    return pa.record_batch({"n": range(start, start + count)})


def numbers(table: pa.Table) -> list[int]:
    found: list[int] = table.column("n").to_pylist()
    return found


@pytest.fixture
def inboxes(tmp_path: Path) -> Inboxes:
    return Inboxes(tmp_path, 1000)


def test_past_the_budget_rows_go_to_disk_and_leave_it(inboxes: Inboxes, tmp_path: Path) -> None:
    for start in range(0, 1000, 100):
        inboxes.batch(EXCHANGE, start // 500, batch(start))
    assert inboxes.held_bytes == 800
    assert inboxes.spilled_bytes > 7200
    table = inboxes.table(EXCHANGE, (0, 1))
    assert numbers(table) == numbers(inboxes.table(EXCHANGE, (0, 1))) == list(range(1000))
    assert len(list(tmp_path.iterdir())) == 1
    inboxes.forget(EXCHANGE.query)
    inboxes.forget(EXCHANGE.query)
    assert inboxes.held_bytes == 0
    assert not list(tmp_path.iterdir())
    assert numbers(table) == list(range(1000)), "a table in use outlives its file"
    inboxes.batch(EXCHANGE, 0, batch(0))
    assert inboxes.held_bytes == 0, "what comes too late is dropped"


def test_dropped_exchanges_are_freed_others_stay(inboxes: Inboxes) -> None:
    other = ExchangeId(1, 3)
    inboxes.batch(EXCHANGE, 0, batch(0, 50))
    inboxes.batch(other, 0, batch(0, 50))
    inboxes.drop(1, [EXCHANGE.exchange])
    assert inboxes.held_bytes == 400
    assert numbers(inboxes.table(other, (0,))) == list(range(50))


@pytest.mark.parametrize("ordered", [True, False])
def test_draining_while_rows_arrive(inboxes: Inboxes, ordered: bool) -> None:
    def send() -> None:
        for sender in (1, 0):
            for start in range(sender * 1000, (sender + 1) * 1000, 100):
                inboxes.batch(EXCHANGE, sender, batch(start))
            inboxes.finished(EXCHANGE, sender)

    thread = threading.Thread(target=send)
    thread.start()
    assert inboxes.wait_schema(EXCHANGE, (0, 1)).names == ["n"]
    found = numbers(pa.Table.from_batches(inboxes.drain(EXCHANGE, (0, 1), ordered)))
    thread.join()
    assert (found if ordered else sorted(found)) == list(range(2000))
    assert inboxes.held_bytes == 0


@pytest.mark.parametrize("budget", [0, 10_000])
def test_senders_ahead_of_the_reader_are_told_to_wait(tmp_path: Path, budget: int) -> None:
    inboxes = Inboxes(tmp_path, budget)
    told: list[tuple[int, bool]] = []
    for _ in range(4):
        inboxes.batch(EXCHANGE, 1, batch(0))
    size = 800 if budget else inboxes.spilled_bytes // 4
    inboxes.limit(EXCHANGE, (0, 1), 2 * (2 * size), lambda sender, paused: told.append((sender, paused)))
    assert told == [(1, True)], "what was there before counts"
    inboxes.batch(EXCHANGE, 1, batch(0))
    for _ in range(2):
        inboxes.batch(EXCHANGE, 0, batch(0))
    assert told == [(1, True)]
    inboxes.batch(EXCHANGE, 0, batch(0))
    assert told == [(1, True), (0, True)]
    reader = inboxes.drain(EXCHANGE, (0, 1), ordered=True)
    next(reader)
    assert len(told) == 2
    next(reader)
    assert told[2:] == [(0, False)], "the reader may need these first: others' rows don't count"
    inboxes.finished(EXCHANGE, 0)
    inboxes.finished(EXCHANGE, 1)
    assert len(list(reader)) == 6
    assert told[3:] == [(1, False)]


def test_a_lost_sender_breaks_what_it_has_not_finished(inboxes: Inboxes) -> None:
    whole, begun = ExchangeId(1, 3), EXCHANGE
    for exchange in (whole, begun):
        inboxes.batch(exchange, 0, batch(0))
    inboxes.finished(whole, 0)
    inboxes.lost(0, "gone")
    assert numbers(inboxes.table(whole, (0,))) == list(range(100))
    for read in (
        lambda: inboxes.wait(begun, (0,), time.monotonic() + 10),
        lambda: list(inboxes.drain(begun, (0,))),
        lambda: inboxes.table(begun, (0,)),
    ):
        with pytest.raises(PeerLost, match="rank 0: gone"):
            read()


def test_waiting_ends_at_the_deadline_and_says_for_whom(inboxes: Inboxes) -> None:
    inboxes.finished(EXCHANGE, 1)
    with pytest.raises(InboxError, match="rank 0, 2 in time"):
        inboxes.wait(EXCHANGE, (0, 1, 2), time.monotonic())


def test_failing_and_forgetting_wake_who_waits(inboxes: Inboxes) -> None:
    threading.Timer(0.05, lambda: inboxes.fail(1, InboxError("stop it"))).start()
    with pytest.raises(InboxError, match="stop it"):
        list(inboxes.drain(ExchangeId(1, 2), (0,)))
    threading.Timer(0.05, lambda: inboxes.forget(2)).start()
    with pytest.raises(InboxError, match="the query is over"):
        list(inboxes.drain(ExchangeId(2, 2), (0,)))


def test_senders_must_agree_on_the_columns(inboxes: Inboxes) -> None:
    inboxes.batch(EXCHANGE, 0, batch(0))
    inboxes.batch(EXCHANGE, 1, pa.record_batch({"n": ["a"]}))
    with pytest.raises(InboxError, match="columns differ"):
        inboxes.table(EXCHANGE, (0, 1))


def test_a_full_disk_breaks_one_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[int, Exception]] = []
    inboxes = Inboxes(tmp_path, 0, lambda query, error: heard.append((query, error)))

    def full(file: SpillFile, batch: pa.RecordBatch) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(SpillFile, "append", full)
        inboxes.batch(EXCHANGE, 0, batch(0))
        inboxes.batch(EXCHANGE, 0, batch(0))
    with pytest.raises(InboxError, match=r"800 bytes could not be spilled to .*No space left"):
        inboxes.wait(EXCHANGE, (0,), time.monotonic() + 10)
    assert [query for query, _ in heard] == [1]
    inboxes.batch(ExchangeId(2, 2), 0, batch(0))
    assert numbers(inboxes.table(ExchangeId(2, 2), (0,))) == list(range(100))
