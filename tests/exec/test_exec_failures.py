"""Whatever breaks, the reader gets one clear error at once and the next query works."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import duckdb
import pytest
from exec_flock import LONG, PATIENCE_SECONDS, Flock, Plan, eventually, gathered, on_client, on_workers

from sord.exec.errors import QueryCancelled, QueryError, WorkerLost
from sord.exec.interrupts import on_ctrl_c
from sord.planner.fragment import Input, Route


def assert_works(flock: Flock) -> None:
    assert flock.rows(gathered("SELECT {rank} AS rank", 2, "FROM rows ORDER BY rank")) == [(0,), (1,)]


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_an_error_names_the_worker_and_keeps_the_words_of_duckdb(pair: Flock) -> None:
    with pytest.raises(QueryError, match=r"worker 1, fragment 1: Conversion Error: .*'duck'") as caught:
        pair.rows(gathered(["SELECT 1 AS n", "SELECT s::INT AS n FROM (VALUES ('1'), ('duck')) t(s)"], 2))
    assert caught.value.rank == 1
    assert caught.value.error_type == "ConversionException"
    assert_works(pair)


def test_an_error_reaches_a_reader_that_has_begun(pair: Flock) -> None:
    bad = "SELECT CASE WHEN range < 2000000 THEN range ELSE error('late') END AS n FROM range(2000001)"

    def read() -> None:
        with pair.coordinator.run(gathered(bad, 2)) as execution, execution.guard():
            for _ in execution.relation.to_arrow_reader(10_000):
                pass

    # Around it all: on a busy machine the error may be there before the reader is.
    with pytest.raises(QueryError, match=r"late"):
        read()
    assert_works(pair)


def test_an_error_in_the_middle_of_a_plan(pair: Flock) -> None:
    plan = Plan(
        (
            on_workers(1, "SELECT range AS n, (n % 2)::UTINYINT FROM range(100)", Route.PARTITION, size=2),
            on_workers(2, "SELECT error('no ' || n) FROM r WHERE n = 3", Route.GATHER, Input("r", 1), size=2),
            on_client(3, "FROM rows", Route.RESULT, Input("rows", 2)),
        )
    )
    with pytest.raises(QueryError, match=r"worker 1, fragment 2: .*no 3"):
        pair.rows(plan)
    assert_works(pair)


@pytest.mark.parametrize("rank", ["NULL::UTINYINT", "7::UTINYINT"])
def test_a_row_for_nobody_is_an_error(pair: Flock, rank: str) -> None:
    plan = Plan(
        (
            on_workers(1, f"SELECT 1 AS n, {rank}", Route.PARTITION, size=2),
            on_workers(2, "FROM r", Route.GATHER, Input("r", 1), size=2),
            on_client(3, "FROM rows", Route.RESULT, Input("rows", 2)),
        )
    )
    with pytest.raises(QueryError, match=r"the rank of a row is [N7]"):
        pair.rows(plan)
    assert_works(pair)


def test_an_error_in_the_clients_part_is_duckdbs_own(pair: Flock) -> None:
    with pytest.raises(duckdb.InvalidInputException, match=r"mine"):
        pair.rows(gathered("SELECT 1 AS n", 2, "SELECT error('mine') FROM rows"))
    failing = on_client(1, "SELECT error('feed') AS n", Route.BROADCAST)
    reader = on_workers(2, "FROM r", Route.GATHER, Input("r", 1), size=2)
    result = on_client(3, "FROM rows", Route.RESULT, Input("rows", 2, streaming=True))
    with pytest.raises(QueryError, match=r"fragment 1: .*feed"):
        pair.rows(Plan((failing, reader, result)))
    assert_works(pair)


def test_a_streamed_result_can_be_read_once(pair: Flock) -> None:
    with pair.coordinator.run(gathered("SELECT 1 AS n", 2)) as execution:
        with execution.guard():
            execution.relation.fetchall()
        with pytest.raises(RuntimeError, match=r"only once"), execution.guard():
            execution.relation.fetchall()


def test_cancel_stops_a_long_query(pair: Flock) -> None:
    pids = pair.coordinator.pids
    execution = pair.coordinator.run(gathered(LONG, 2))
    execution.cancel()
    with pytest.raises(QueryCancelled):
        _ = execution.relation
    execution.close()
    execution.close()
    assert_works(pair)
    assert pair.coordinator.pids == pids


def test_cancel_stops_the_reader_of_a_finished_query(pair: Flock) -> None:
    with pair.coordinator.run(gathered("SELECT range AS n FROM range(1000000)", 2)) as execution:
        with execution.guard():
            reader = execution.relation.to_arrow_reader(1000)
            reader.read_next_batch()
        assert execution.wait(PATIENCE_SECONDS)
        execution.cancel()
        with pytest.raises(QueryCancelled), execution.guard():
            raise OSError("INTERRUPT Error: Interrupted!")
        with pytest.raises(QueryCancelled), execution.guard():
            for _ in reader:
                pass
    assert_works(pair)


def test_cancel_finds_a_closed_cursor(pair: Flock) -> None:
    execution = pair.coordinator.run(gathered(LONG, 2))
    with pair.connection.cursor() as cursor:
        execution._query.add_cursor(cursor)
    execution.cancel()
    with pytest.raises(QueryCancelled):
        _ = execution.relation
    assert_works(pair)
    execution.close()


def test_ctrl_c_keeps_no_action() -> None:
    class Action:
        def __init__(self) -> None:
            self.called = threading.Event()

        def __call__(self) -> None:
            self.called.set()

    def interrupt(action: Action) -> None:
        with on_ctrl_c(action):
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                assert action.called.wait(PATIENCE_SECONDS)

    action = Action()
    held = weakref.ref(action)
    interrupt(action)
    del action
    assert eventually(lambda: held() is None)


def test_a_query_that_nobody_holds_is_stopped(pair: Flock) -> None:
    pair.coordinator.run(gathered(LONG, 2))
    assert_works(pair)


def test_a_killed_worker_is_named_and_replaced(frail: Flock, tmp_path: Path) -> None:
    assert_works(frail)
    before = frail.coordinator.pids
    execution = frail.coordinator.run(gathered(LONG, 2))
    os.kill(before[1], signal.SIGKILL)
    with pytest.raises(WorkerLost, match=rf"worker 1 \(pid {before[1]}\) died: killed by SIGKILL"):
        _ = execution.relation
    assert not list(tmp_path.glob("*/worker-1-*"))
    assert_works(frail)
    after = frail.coordinator.pids
    assert after[0] == before[0]
    assert after[1] != before[1]
    execution.close()
    frail.close()
    assert not any(map(runs, (*before, *after)))
    assert not list(tmp_path.iterdir())


def test_a_worker_killed_while_its_rows_are_read(frail: Flock) -> None:
    endless = "SELECT range AS n, repeat('x', 1000) AS s FROM range(2000000000)"
    execution = frail.coordinator.run(gathered(["SELECT 1 AS n, '' AS s", endless], 2))
    reader = execution.relation.to_arrow_reader(1000)
    with execution.guard():
        reader.read_next_batch()
    os.kill(frail.coordinator.pids[1], signal.SIGKILL)
    with pytest.raises(WorkerLost, match=r"worker 1 .*SIGKILL"), execution.guard():
        for _ in reader:
            pass
    execution.close()
    assert_works(frail)


def test_a_worker_that_stands_still_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    flock = Flock("local://2?threads=1&memory=512MB", heartbeat_seconds=2.5)
    try:
        flock.coordinator.start()
        pid = flock.coordinator.pids[0]
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(WorkerLost, match=r"worker 0 .* gave no sign of life for 2.5 s"):
            flock.rows(gathered("SELECT 1 AS n", 2))
        assert_works(flock)
        assert not runs(pid)
    finally:
        flock.close()


def test_a_full_disk_fails_the_query_only(frail: Flock, tmp_path: Path) -> None:
    frail.coordinator.start()
    pids = frail.coordinator.pids
    for pid in pids:
        # The kernel refuses to let a file grow beyond this, as it would on a full disk.
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
    wide = "SELECT range AS n, repeat('x', 1000) || range AS s FROM range(200000)"
    plan = Plan(
        (
            on_workers(1, wide, Route.BROADCAST, size=2),
            on_workers(2, "SELECT count(*) AS c FROM r", Route.GATHER, Input("r", 1), size=2),
            on_client(3, "FROM rows", Route.RESULT, Input("rows", 2)),
        )
    )
    with pytest.raises(QueryError, match=r"worker \d: .* could not be spilled to .*too large"):
        frail.rows(plan)
    assert_works(frail)
    assert frail.coordinator.pids == pids
    assert not list(tmp_path.rglob("inbox-*"))


SCRIPT = """
import os, signal, sys, threading
sys.path.insert(0, {folder!r})
from exec_flock import LONG, Flock, gathered
flock = Flock("local://2?threads=1&memory=512MB", waiting_bytes=1 << 20)
flock.connection.execute("SET threads = 2")
flock.coordinator.start()
print(*flock.coordinator.pids, flush=True)
execution = flock.coordinator.run(gathered(["SELECT 1 AS n", {long!r}], 2, {result!r}))
{then}
"""

INTERRUPTED = """
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    with execution.guard():
        print(execution.relation.fetchall())
except KeyboardInterrupt:
    print("interrupted")
execution.close()
print(flock.rows(gathered("SELECT 1 AS n", 2)))
"""


GUARDS_IN_TURN = """
execution.close()
endless = "SELECT range AS n, repeat('x', 100) AS s FROM range(3000000)"
held = [flock.coordinator.run(gathered(endless, 2)) for _ in range(2)]
guards = [one.guard() for one in held]
for guard in guards:
    guard.__enter__()
readers = [one.relation.to_arrow_reader(1000) for one in held]
print([len(reader.read_next_batch().schema) for reader in readers])
for guard, one in zip(guards, held):
    guard.__exit__(None, None, None)
    one.close()
print(signal.set_wakeup_fd(-1))
"""


def script(tmp_path: Path, then: str, result: str = "FROM rows") -> subprocess.Popen[str]:
    folder = str(Path(__file__).parent)
    text = SCRIPT.format(folder=folder, long=LONG, result=result, then=then)
    return subprocess.Popen(
        [sys.executable, "-c", text],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> tuple[subprocess.Popen[str], str, str]:
    """A script's end; one that hangs fails the test and is not left behind."""
    try:
        output, errors = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
        process.wait()
    return process, output, errors


@pytest.mark.parametrize("result", ["FROM rows", "SELECT sum(n) FROM rows"])
def test_ctrl_c_cancels_and_the_next_query_works(tmp_path: Path, result: str) -> None:
    process, output, errors = finished(script(tmp_path, INTERRUPTED, result))
    assert output.splitlines()[1:] == ["interrupted", "[(1,), (1,)]"]
    assert errors == ""
    assert process.returncode == 0
    assert not list(tmp_path.iterdir())


def test_guards_may_end_in_any_order(tmp_path: Path) -> None:
    _, output, errors = finished(script(tmp_path, GUARDS_IN_TURN))
    assert output.splitlines()[1:] == ["[2, 2]", "-1"], "Ctrl-C is as it was before"
    assert errors == ""


HELD_BACK = """
execution.close()
held = flock.coordinator.run(gathered("SELECT range AS n FROM range(100000000)", 2))
reader = held.relation.to_arrow_reader(1000)
reader.read_next_batch()
threading.Event().wait()
"""


@pytest.mark.parametrize("then", ["execution.relation", HELD_BACK], ids=["computing", "held back"])
def test_a_killed_client_leaves_no_process_and_no_file(tmp_path: Path, then: str) -> None:
    process = script(tmp_path, then)
    assert process.stdout is not None
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert all(map(runs, pids))
    time.sleep(0.5)  # let the workers be in the middle of it
    process.kill()
    process.communicate()
    assert eventually(lambda: not any(map(runs, pids)))
    assert not list(tmp_path.iterdir())
