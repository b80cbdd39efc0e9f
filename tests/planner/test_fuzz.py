"""Random queries at 1, 2, 3 and 8 workers: some that are always the same, and new ones on demand."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from sord.cli import main
from sord.fuzzing.checking import Report
from sord.fuzzing.command import fuzz
from sord.fuzzing.databases import make_database
from sord.fuzzing.queries import statement
from sord.planner.catalog import Catalog
from sord.planner.context import Options
from sord.planner.physical import DistributedPlan, plan_query

WORKERS = (1, 2, 3, 8)

ASKED = os.environ.get("SORD_FUZZ_SEED", "")
"""A number, or ``new`` for a random one: then hundreds of further queries run."""
SEED = random.SystemRandom().randrange(10**9) if ASKED == "new" else int(ASKED or 80)
SEED -= SEED % 20  # tables are made for twenty queries


def checked(seed: int, count: int) -> Report:
    total = Report()
    for report, differences in fuzz(seed, count, WORKERS):
        assert not differences, "\n".join(f"{finding}\n{data}" for finding, data in differences)
        total.add(report)
    return total


@pytest.mark.parametrize("seed", [0, 20, 40])
def test_duckdb_agrees_on_random_queries(seed: int) -> None:
    report = checked(seed, 14)
    assert report.ran.total() >= 14 * len(WORKERS) / 4, "many queries must be planned, or this proves nothing"


@pytest.mark.parametrize("part", range(6 if ASKED else 1))
def test_duckdb_agrees_on_further_queries(part: int) -> None:
    """SORD_FUZZ_SEED=new runs hundreds that nobody has seen; the printed number repeats what has failed."""
    print(f"SORD_FUZZ_SEED={SEED}")
    checked(SEED + part * 60, 60 if ASKED else 20)


def test_a_number_always_names_the_same_query(tmp_path: Path) -> None:
    texts = [
        [statement(number, make_database(3, tmp_path / f"{again}.{number}")) for number in (60, 67)]
        for again in range(2)
    ]
    assert texts[0] == texts[1]


def test_a_wrong_plan_is_found_and_made_smaller(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without_negative_keys(sql: str, catalog: Catalog, options: Options) -> DistributedPlan:
        return plan_query(sql.replace("WHERE r.k = r.k", "WHERE r.k > 97"), catalog, options)

    monkeypatch.setattr("sord.fuzzing.checking.plan_query", without_negative_keys)
    sql = "SELECT r.k, 1 AS one FROM (SELECT k FROM t0 UNION ALL SELECT 0) AS r WHERE r.k = r.k AND true ORDER BY 1"
    assert main(["fuzz", "--seed", "5", "--count", "1", "--workers", "2", "--query", sql, "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert (printed["seed"], printed["queries"], printed["refused"]) == (5, 1, 0)
    (found,) = printed["differences"]
    assert found["sql"] == "SELECT 1 AS one FROM (SELECT k FROM t0) AS r WHERE r.k = r.k"
    with duckdb.connect() as connection:
        connection.execute(found["data"])
        ((rows,),) = connection.execute("SELECT count(*) FROM t0").fetchall()
    assert rows == 1


def test_right_plans_end_with_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fuzz", "--seed", "5", "--count", "1", "--query", "SELECT k FROM t0"]) == 0
    assert "1 planned and compared" in capsys.readouterr().out


def test_killed_it_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sord.cli", "fuzz", "--seed", "0", "--count", "4000", "--jobs", "2"]
    running = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    with running:
        try:
            wait_until(lambda: len(list(tmp_path.glob("sord-fuzz-*/*"))) == 2)
        finally:
            running.kill()
    wait_until(lambda: not list(tmp_path.iterdir()))


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("arguments", [["--workers", "0"], ["--count", "x"], ["--seed", "-1"]])
def test_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fuzz", *arguments])
    assert ended.value.code == 2
