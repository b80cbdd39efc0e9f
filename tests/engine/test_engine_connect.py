"""connect(), its URLs and options, and how connections end."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

import pytest
from engine_checks import FLEET, alive, children, rows, wait_for

import sord


@pytest.mark.parametrize(
    ("url", "options", "words"),
    [
        ("local://0", {}, "'local://0': the number of workers: expected a whole number from 1 on, got '0'"),
        ("local://four", {}, "got 'four'"),
        ("locl://2", {}, "'locl://2' is no fleet: it has to begin with one of local://"),
        ("local://2?thread=1", {}, "unknown option 'thread'; local:// takes threads, memory and bandwidth"),
        ("local://2", {"thread": 1}, "unknown option 'thread'; local:// takes threads, memory and bandwidth"),
        ("local://2?threads=0", {}, "threads: expected a whole number from 1 on, got '0'"),
        ("local://2?memory=much", {}, "memory=much is no size: write it like 2GB or 512MiB"),
        ("local://2?adapt=maybe", {}, "adapt=maybe: expected on or off"),
        ("local://2/x", {}, "what is the path '/x' for?"),
        (None, {"thread": 1}, "unknown option 'thread'; the embedded engine takes threads and memory"),
        (None, {"threads": "x"}, "threads='x': Invalid Input Error: .* 'x'"),
        (None, {"memory": "much"}, "memory='much': "),
        (5, {}, "named by a URL such as local://4, not by a int"),
    ],
)
def test_a_wrong_url_or_option(url: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(sord.Error, match=words):
        sord.connect(url, **options)


def test_switches_of_the_planner() -> None:
    with sord.connect("local://2?adapt=off&threads=1", split_skew=False) as db:
        options = db.options
    assert (options.workers, options.adapt, options.runtime_filters, options.split_skew) == (
        2,
        False,
        True,
        False,
    )


def test_plans_depend_on_the_bandwidth() -> None:
    with sord.connect("local://2?threads=1&bandwidth=75MB") as db:
        assert db.options.bytes_per_second == 75e6


def test_options_of_the_embedded_engine() -> None:
    with sord.connect(threads=1, memory="500MB") as db:
        settings = "SELECT current_setting('threads'), current_setting('memory_limit')"
        assert rows(db, settings) == [(1, "476.8 MiB")]
        assert repr(db) == "<sord.Connection embedded>"
        with pytest.raises(sord.Error, match="the embedded engine has no fleet"):
            _ = db.coordinator


def test_keywords_win_over_the_url() -> None:
    with sord.connect("local://5?threads=1", threads=2, memory="256MB") as db:
        assert db.coordinator.size == 5
        assert db.coordinator.pids == ()


def test_nothing_is_left_after_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tpch_sf001: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before, threads = children(), set(threading.enumerate())
    with sord.connect(FLEET) as db:
        db.register_dir(tpch_sf001)
        rows(db, "SELECT count(*) FROM lineitem")
        assert len(children() - before) == 2
        assert list(tmp_path.iterdir())
    assert children() == before
    assert not list(tmp_path.iterdir())

    def gone() -> bool:
        # The process has one thread that listens for Ctrl-C, whatever is open.
        return all(thread.name == "ctrl-c" for thread in set(threading.enumerate()) - threads)

    wait_for(gone, "threads are left")


def test_nothing_is_left_of_a_forgotten_connection(tpch_sf001: Path) -> None:
    db = sord.connect(FLEET)
    db.register_dir(tpch_sf001)
    relation = db.sql("SELECT count(*) FROM lineitem")
    assert relation is not None
    assert relation.fetchall() == [(60175,)]
    pids = db.coordinator.pids
    del db, relation
    gc.collect()
    wait_for(lambda: not any(map(alive, pids)), "workers are left")


@pytest.mark.parametrize("url", [None, FLEET])
def test_use_after_close(url: str | None, tpch_sf001: Path) -> None:
    db = sord.connect(url)
    db.register_dir(tpch_sf001)
    relation = db.sql("SELECT * FROM lineitem")
    assert relation is not None
    reader = relation.reader(100)
    reader.read_next_batch()
    db.close()
    db.close()
    db.interrupt()
    assert "(closed)" in repr(db)
    with pytest.raises(sord.QueryCancelled):
        list(reader)
    closed = "this connection has been closed"
    with pytest.raises(sord.Error, match=closed):
        db.sql("SELECT 1")
    with pytest.raises(sord.Error, match=closed):
        db.register("x", tpch_sf001 / "orders.parquet")
    with pytest.raises(sord.Error, match=closed):
        db.register_dir(tpch_sf001)
    with pytest.raises(sord.Error, match=closed):
        db.start()
    with pytest.raises(Exception, match="closed"):
        relation.fetchall()


def test_two_connections_know_nothing_of_each_other(pair: sord.Connection, trio: sord.Connection) -> None:
    pair.sql("CREATE OR REPLACE TABLE mine AS SELECT 2 AS workers")
    trio.sql("CREATE OR REPLACE TABLE mine AS SELECT 3 AS workers")
    sql = "SELECT workers, count(*) FROM mine, orders GROUP BY 1"
    assert (rows(pair, sql), rows(trio, sql)) == ([(2, 15000)], [(3, 15000)])


def test_threads_share_a_connection(db: sord.Connection) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(6):
                sql = f"SELECT count(*) + {number} FROM orders WHERE o_orderkey % ? < 1"
                assert rows(db, sql.replace("?", "1")) == [(15000 + number,)]
                if turn % 2:
                    assert rows(db, f"SELECT {number}, count(*) FROM orders WHERE random() < 2") == [
                        (number, 15000)
                    ]
                    db.sql(f"CREATE OR REPLACE TABLE thread{number} AS SELECT {turn} AS turn")
                    assert rows(db, f"FROM thread{number}") == [(turn,)]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
