"""What goes wrong: the words, and that the next query works."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from engine_checks import FLEET, LONG, alive, children, rows, wait_for

import sord

VOLATILE = LONG.replace("SELECT ", "SELECT max(random()) > 2, ")


@pytest.mark.parametrize(
    ("sql", "error", "words"),
    [
        (
            "SELECT nosuch FROM orders",
            duckdb.BinderException,
            'Referenced column "nosuch" not found in FROM clause',
        ),
        ("SELECT * FROM nosuch", duckdb.CatalogException, "Table with name nosuch does not exist"),
        ("SELEC 1", duckdb.ParserException, 'syntax error at or near "SELEC"'),
        ("SELECT nosuch(1) FROM orders", duckdb.CatalogException, "nosuch does not exist"),
        ("SELECT sum(o_comment) FROM orders", duckdb.BinderException, "sum"),
        (
            "SELECT * FROM 'nosuch.parquet'",
            duckdb.IOException,
            'No files found that match the pattern "nosuch.parquet"',
        ),
        (
            "SELECT * FROM 'nosuch*.parquet'",
            duckdb.IOException,
            r'No files found that match the pattern "nosuch\*',
        ),
        ("CREATE TABLE orders AS SELECT 1", duckdb.CatalogException, "orders"),
        ("SET nosuch = 1", duckdb.CatalogException, "nosuch"),
    ],
)
def test_wrong_sql(db: sord.Connection, sql: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        db.sql(sql)
    assert rows(db, "SELECT count(*) FROM nation") == [(25,)]


def test_rows_that_cannot_be_computed(pair: sord.Connection) -> None:
    sql = "SELECT max(CAST(o_comment AS INT)) FROM orders"
    with pytest.raises(
        sord.QueryError, match=r"worker \d, .*scan orders.*: Conversion Error: Could not convert"
    ) as e:
        rows(pair, sql)
    assert e.value.error_type == "ConversionException"
    assert e.value.rank in (0, 1)
    with pytest.raises(duckdb.ConversionException):
        rows(pair, sql.replace("max(", "max(random()), max("))
    relation = pair.sql("SELECT CAST(o_comment AS INT), random() FROM orders")
    assert relation is not None
    with pytest.raises((sord.QueryError, duckdb.Error), match="Could not convert"):
        list(relation.reader())
    assert rows(pair, "SELECT count(*) FROM nation") == [(25,)]


def test_a_file_that_vanishes(db: sord.Connection, tpch_sf001: Path, tmp_path: Path) -> None:
    place = tmp_path / "vanishing.parquet"
    shutil.copy(tpch_sf001 / "orders.parquet", place)
    db.register("vanishing", place)
    relation = db.sql("SELECT max(o_comment) FROM vanishing")
    assert relation is not None
    place.unlink()
    with pytest.raises((duckdb.IOException, sord.Error), match=r"vanishing\.parquet"):
        relation.fetchall()
    with pytest.raises(
        duckdb.IOException, match=r"No files found that match the pattern .*vanishing\.parquet"
    ):
        db.sql("SELECT count(*) FROM vanishing")
    assert rows(db, "SELECT count(*) FROM nation") == [(25,)]


def _truncated(data: bytearray) -> bytearray:
    return data[: len(data) // 2]


def _garbage(data: bytearray) -> bytearray:
    return bytearray(b"PAR1" + bytes(range(256)) * 10)


def _empty(data: bytearray) -> bytearray:
    return bytearray()


@pytest.mark.parametrize("damage", [_truncated, _garbage, _empty])
def test_a_file_that_is_no_parquet(
    db: sord.Connection, tpch_sf001: Path, tmp_path: Path, damage: Callable[[bytearray], bytearray]
) -> None:
    place = tmp_path / "damaged.parquet"
    shutil.copy(tpch_sf001 / "orders.parquet", place)
    db.register("damaged", place)
    assert rows(db, "SELECT count(*) FROM damaged") == [(15000,)]
    place.write_bytes(damage(bytearray(place.read_bytes())))
    with pytest.raises(duckdb.InvalidInputException, match=r"damaged\.parquet'"):
        rows(db, "SELECT max(o_comment) FROM damaged")
    with pytest.raises(duckdb.InvalidInputException, match=r"damaged\.parquet'"):
        db.register("again", place)
    assert rows(db, "SELECT count(*) FROM nation") == [(25,)]


def test_a_file_with_wrong_bytes_in_its_middle(
    pair: sord.Connection, tpch_sf001: Path, tmp_path: Path
) -> None:
    place = tmp_path / "flipped.parquet"
    data = bytearray((tpch_sf001 / "orders.parquet").read_bytes())
    for position in range(len(data) // 8, len(data) - 20_000, 3):
        data[position] ^= 0xFF
    place.write_bytes(data)
    pair.register("flipped", place)
    relation = pair.sql("SELECT * FROM flipped")
    assert relation is not None
    for read in (relation.arrow, lambda: list(relation.reader())):
        with pytest.raises(sord.QueryError, match=r"worker \d, scan flipped: .*flipped\.parquet"):
            read()
    assert rows(pair, "SELECT count(*) FROM nation") == [(25,)]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_worker(frail: sord.Connection, tmp_path: Path, rank: int) -> None:
    pids = frail.coordinator.pids
    timer = threading.Timer(0.3, os.kill, (pids[rank], signal.SIGKILL))
    timer.start()
    with pytest.raises(sord.WorkerLost, match=rf"worker {rank} \(pid {pids[rank]}\) died: killed by SIGKILL"):
        rows(frail, LONG)
    assert rows(frail, "SELECT count(*) FROM lineitem") == [(60175,)]
    now = frail.coordinator.pids
    assert now[1 - rank] == pids[1 - rank]
    assert now[rank] != pids[rank]
    timer.join()
    frail.close()
    wait_for(lambda: not any(map(alive, {*pids, *now})), "workers are left")
    assert not list((tmp_path / "fleet").iterdir())


def test_a_worker_that_dies_while_a_reader_waits(frail: sord.Connection) -> None:
    relation = frail.sql(
        "SELECT a.l_orderkey FROM lineitem a, lineitem b WHERE a.l_orderkey * b.l_partkey % 1009 = 7"
    )
    assert relation is not None
    reader = relation.reader(1000)
    reader.read_next_batch()
    os.kill(frail.coordinator.pids[1], signal.SIGKILL)
    with pytest.raises(sord.WorkerLost, match="worker 1 "):
        list(iter(reader.read_next_batch, None))
    assert rows(frail, "SELECT count(*) FROM lineitem") == [(60175,)]


def test_a_worker_that_is_dead_before_the_query(frail: sord.Connection) -> None:
    pid = frail.coordinator.pids[0]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(pid), "the worker lives")
    # Whether the loss is known yet is a race; the error, if there is one, is about this worker.
    with contextlib.suppress(sord.WorkerLost):
        rows(frail, "SELECT count(*) FROM lineitem")
    assert rows(frail, "SELECT count(*) FROM lineitem") == [(60175,)]
    assert frail.coordinator.pids[0] != pid


@pytest.mark.parametrize("sql", [LONG, VOLATILE], ids=["fleet", "fallback"])
def test_interrupt(pair: sord.Connection, sql: str) -> None:
    pair.start()
    pids = pair.coordinator.pids
    timer = threading.Timer(0.3, pair.interrupt)
    timer.start()
    with pytest.raises(sord.QueryCancelled, match="cancelled"):
        rows(pair, sql)
    timer.join()
    assert rows(pair, "SELECT count(*) FROM nation") == [(25,)]
    assert pair.coordinator.pids == pids


def test_interrupt_the_embedded_engine(embedded: sord.Connection) -> None:
    timer = threading.Timer(0.3, embedded.interrupt)
    timer.start()
    with pytest.raises(duckdb.InterruptException):
        rows(embedded, LONG)
    timer.join()
    assert rows(embedded, "SELECT count(*) FROM nation") == [(25,)]


@pytest.mark.parametrize(
    "sql", [LONG, VOLATILE, f"CREATE TABLE long AS {LONG}"], ids=["query", "fallback", "create"]
)
def test_ctrl_c(db: sord.Connection, sql: str) -> None:
    db.start()
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        rows(db, sql)
    timer.join()
    assert rows(db, "SELECT count(*) FROM nation") == [(25,)]


@pytest.mark.parametrize("sql", [LONG, VOLATILE], ids=["fleet", "fallback"])
def test_close_while_a_query_runs(tpch_sf001: Path, sql: str) -> None:
    before = children()
    with sord.connect(FLEET) as db:
        db.register_dir(tpch_sf001)
        db.start()
        timer = threading.Timer(0.3, db.close)
        timer.start()
        with pytest.raises(sord.Error):
            rows(db, sql)
        timer.join()
    assert children() == before
