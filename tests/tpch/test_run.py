"""`sord tpch run`: what it prints, what it notices, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fake_engine import FakeConnection, FakeReport

import sord
from sord.cli import main

KEYS = [
    "query",
    "seconds",
    "duckdb_seconds",
    "ratio",
    "correct",
    "fallback",
    "fragments",
    "bytes_exchanged",
    "peak_memory_bytes",
    "plan_ms",
]
TOTALS = ["total_seconds", "total_ratio", "geomean_ratio", "cpu_seconds", "duckdb_cpu_seconds"]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeConnection:
    fake = FakeConnection()

    def connect(url: str | None = None, **options: Any) -> FakeConnection:
        fake.url, fake.options = url, options
        return fake

    monkeypatch.setattr(sord, "connect", connect)
    return fake


def run(data: Path, *arguments: str) -> int:
    return main(["tpch", "run", "--sf", "0.01", "--data", str(data), *arguments])


def test_all_queries_of_the_engine_itself(tpch_sf001: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tpch_sf001, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert [query["query"] for query in printed["queries"]] == list(range(1, 23))
    assert all(query["correct"] for query in printed["queries"])


def test_json_is_one_object_with_these_keys(
    tpch_sf001: Path, engine: FakeConnection, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tpch_sf001, "--query", "6,3", "--repeat", "2", "--fleet", "local://2?threads=1", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert list(printed) == ["sf", "fleet", "queries", *TOTALS]
    assert (printed["sf"], printed["fleet"]) == (0.01, "local://2?threads=1")
    assert [list(query) for query in printed["queries"]] == [KEYS, KEYS]
    first = printed["queries"][0]
    assert (first["query"], first["correct"], first["fallback"]) == (6, True, None)
    assert (first["fragments"], first["bytes_exchanged"]) == (3, 1_234)
    assert (first["peak_memory_bytes"], first["plan_ms"]) == (5_000_000, 2.0)
    assert first["ratio"] == pytest.approx(first["seconds"] / first["duckdb_seconds"])
    assert printed["cpu_seconds"] == pytest.approx(1.4)
    assert engine.url == "local://2?threads=1"


def test_a_table_and_totals_for_people(
    tpch_sf001: Path, engine: FakeConnection, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tpch_sf001, "--query", "6") == 0
    header, line, total, cpu, verdict = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["query", "sord", "DuckDB"]
    assert line.split()[0] == "6"
    assert line.endswith("right")
    assert "geometric mean" in total
    assert cpu.startswith("CPU")
    assert verdict == "1 of 1 answers right"


def test_without_a_report_the_process_itself_is_measured(
    tpch_sf001: Path, engine: FakeConnection, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.report = None
    assert run(tpch_sf001, "--query", "6", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["queries"][0]["fragments"] == 1
    assert printed["cpu_seconds"] > 0


def test_a_wrong_answer_fails(
    tpch_sf001: Path, engine: FakeConnection, capsys: pytest.CaptureFixture[str]
) -> None:
    def spoil(table: pa.Table) -> pa.Table:
        return table.slice(1)

    engine.spoil = spoil
    assert run(tpch_sf001, "--query", "4") == 1
    captured = capsys.readouterr()
    assert "WRONG" in captured.out
    assert "0 of 1 answers right" in captured.out
    assert "query 4: DuckDB differs: there are 4 rows, expected 5" in captured.err
    assert "query 4: the reference answer differs" in captured.err


def test_a_single_node_standing_in_fails(
    tpch_sf001: Path, engine: FakeConnection, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.report = FakeReport(fallback="a lateral join")
    assert run(tpch_sf001, "--query", "4", "--json") == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["queries"][0]["fallback"] == "a lateral join"
    assert "query 4: answered by a single node, as a lateral join" in captured.err


def test_an_error_fails_and_the_next_query_runs(
    tpch_sf001: Path, engine: FakeConnection, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.error = "worker 1 is gone"
    assert run(tpch_sf001, "--query", "4,6", "--json") == 1
    captured = capsys.readouterr()
    first, second = json.loads(captured.out)["queries"]
    assert (first["seconds"], first["ratio"], first["correct"]) == (None, None, False)
    assert second["query"] == 6
    assert "worker 1 is gone" in captured.err.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--query", "23"], "there is no query 23"),
        (["--query", "a"], "numbers separated by commas"),
        (["--repeat", "0"], "must be at least 1"),
        (["--sf", "0"], "must be greater than 0"),
        (["--sf", "1"], "holds scale factor 0.01, not 1"),
        (["--data", "nowhere"], "nowhere does not hold the eight TPC-H tables"),
        (["--fleet", "local://0"], "a local fleet is local://WORKERS"),
    ],
)
def test_wrong_usage(
    tpch_sf001: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(tpch_sf001, *arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["gen", "run", "answers"])
def test_help_has_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["tpch", verb, "--help"])
    assert ended.value.code == 0
    assert f"example: sord tpch {verb}" in capsys.readouterr().out


def test_missing_data_is_made(
    tmp_path: Path,
    engine: FakeConnection,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["tpch", "run", "--sf", "0.001", "--query", "1"]) == 0
    assert (tmp_path / "data" / "tpch" / "sf0.001" / "lineitem.parquet").is_file()
    assert main(["tpch", "gen", "--sf", "0.001"]) == 0
    assert "already holds" in capsys.readouterr().err
