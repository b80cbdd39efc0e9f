"""A reader that is slower than the workers holds them back, and nobody waits for it in vain."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from exec_flock import Flock, Plan, eventually, gathered, on_client, on_workers

from sord.exec.errors import QueryCancelled, WorkerLost
from sord.exec.execution import Execution
from sord.exec.inbox import Inboxes
from sord.planner.fragment import Input, Route
from sord.transport.base import ExchangeId

ROWS = 1_500_000
WIDE = f"SELECT {{rank}} * {ROWS} + range AS n, repeat('x', 100) || range AS s FROM range({ROWS})"
"""About 175 MB on each worker, in batches of 15 MB."""

WAITING_BYTES = 8 << 20
INBOX_BYTES = 96 << 20
"""Past this it would go to disk."""


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flock]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    flock = Flock("local://2?threads=1&memory=512MB", waiting_bytes=WAITING_BYTES, inbox_bytes=INBOX_BYTES)
    yield flock
    flock.close()


def wide(ordered: bool = False) -> Plan:
    return Plan(
        (
            on_workers(1, WIDE, Route.GATHER, size=2),
            on_client(2, "FROM rows", Route.RESULT, Input("rows", 1, streaming=True, ordered=ordered)),
        )
    )


def inboxes(flock: Flock) -> Inboxes:
    return flock.coordinator._mesh.inboxes


def wait_until_held_back(flock: Flock, execution: Execution) -> None:
    inbox = inboxes(flock)._inboxes[ExchangeId(execution._query.number, 1)]
    assert eventually(lambda: inbox.limit is not None and inbox.limit.paused == {0, 1})


def assert_works(flock: Flock) -> None:
    assert flock.rows(gathered("SELECT {rank} AS rank", 2, "FROM rows ORDER BY rank")) == [(0,), (1,)]


@pytest.mark.parametrize("ordered", [False, True])
def test_what_waits_for_a_slow_reader_is_bounded(slow: Flock, ordered: bool) -> None:
    slow.connection.execute(f"SET threads = 1; SET preserve_insertion_order = {ordered}")
    with slow.coordinator.run(wide(ordered)) as execution, execution.guard():
        reader = execution.relation.to_arrow_reader(50_000)
        numbers = reader.read_next_batch()["n"].to_pylist()
        wait_until_held_back(slow, execution)
        assert not execution.wait(0.5), "the workers have sent everything"
        for count, batch in enumerate(reader):
            numbers += batch["n"].to_pylist()
            if count in (10, 40):
                time.sleep(0.2)
        report = execution.report
    assert (numbers if ordered else sorted(numbers)) == list(range(2 * ROWS))
    assert inboxes(slow).spilled_bytes == 0
    assert inboxes(slow).held_bytes == 0
    assert report.fragments[0].bytes > 3 * INBOX_BYTES
    assert max(task.wait_seconds for task in report.fragments[0].tasks) > 0.5


def test_an_abandoned_result_frees_the_workers(slow: Flock) -> None:
    pids = None
    for way in ("close", "cancel", "drop"):
        execution = slow.coordinator.run(wide())
        pids = pids or slow.coordinator.pids
        with execution.guard():
            reader = execution.relation.to_arrow_reader(1000)
            reader.read_next_batch()
        wait_until_held_back(slow, execution)
        if way == "cancel":
            execution.cancel()
            with pytest.raises(QueryCancelled), execution.guard():
                for _ in reader:
                    pass
        elif way == "close":
            execution.close()
        del reader, execution
        assert_works(slow)
    assert slow.coordinator.pids == pids


def threads(flock: Flock) -> list[int]:
    return [len(os.listdir(f"/proc/{pid}/task")) for pid in flock.coordinator.pids]


@pytest.mark.parametrize("end", [Execution.close, Execution.cancel])
def test_a_worker_that_is_held_back_hears_of_the_end(slow: Flock, end: Callable[[Execution], None]) -> None:
    assert_works(slow)
    time.sleep(0.5)  # for the threads of the start to end
    idle = threads(slow)
    execution = slow.coordinator.run(wide())
    with execution.guard():
        reader = execution.relation.to_arrow_reader(1000)
        reader.read_next_batch()
    wait_until_held_back(slow, execution)
    time.sleep(0.2)
    assert min(map(int.__sub__, threads(slow), idle)) > 0, "they are sending"
    end(execution)
    assert eventually(lambda: max(map(int.__sub__, threads(slow), idle)) <= 0), "no other task has to come"
    execution.close()


def test_another_query_need_not_wait_for_the_reader(slow: Flock) -> None:
    with slow.coordinator.run(wide()) as first, slow.coordinator.run(wide()) as second:
        with first.guard():
            reader = first.relation.to_arrow_reader(1000)
            rows = reader.read_next_batch().num_rows
        with second.guard():
            assert sum(batch.num_rows for batch in second.relation.to_arrow_reader(100_000)) == 2 * ROWS
        assert_works(slow)
        with first.guard():
            assert rows + sum(batch.num_rows for batch in reader) == 2 * ROWS


def test_inputs_may_be_read_in_any_order(slow: Flock) -> None:
    counts = "SELECT (SELECT count(*) FROM {}) AS one, (SELECT count(*) FROM {}) AS other"
    for names in (("a", "b"), ("b", "a")):
        plan = Plan(
            (
                on_workers(1, WIDE, Route.GATHER, size=2),
                on_workers(2, WIDE, Route.GATHER, size=2),
                on_client(
                    3,
                    counts.format(*names),
                    Route.RESULT,
                    Input("a", 1, streaming=True),
                    Input("b", 2, streaming=True),
                ),
            )
        )
        assert slow.rows(plan) == [(2 * ROWS, 2 * ROWS)]


def test_a_worker_killed_while_it_is_held_back(slow: Flock) -> None:
    with slow.coordinator.run(wide()) as execution:
        with execution.guard():
            reader = execution.relation.to_arrow_reader(1000)
            reader.read_next_batch()
        wait_until_held_back(slow, execution)
        os.kill(slow.coordinator.pids[1], signal.SIGKILL)
        with pytest.raises(WorkerLost, match=r"worker 1 .*SIGKILL"), execution.guard():
            for _ in reader:
                pass
    assert_works(slow)
