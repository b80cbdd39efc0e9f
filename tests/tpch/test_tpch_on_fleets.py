"""The 22 queries through real worker processes and sockets, against DuckDB on the same files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sord.tpch.cli import main


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_all_answers_are_right_and_none_falls_back(
    workers: int, tpch_sf001: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = f"local://{workers}?threads=1&memory=512MB"
    assert main(["run", "--sf", "0.01", "--data", str(tpch_sf001), "--fleet", fleet, "--json"]) == 0
    queries = json.loads(capsys.readouterr().out)["queries"]
    assert len(queries) == 22
    assert all(query["correct"] and query["fallback"] is None for query in queries)
    assert all(query["fragments"] >= 2 and query["bytes_exchanged"] > 0 for query in queries)


def test_answers_are_right_when_everything_is_shuffled(
    tpch_sf001: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # At this scale workers would rather read small tables themselves than exchange them.
    monkeypatch.setattr("sord.planner.cost.SCAN", 1.0)
    monkeypatch.setattr("sord.planner.cost.STAGE", 0.0)
    monkeypatch.setattr("sord.planner.cost.BUILD", 1.0)
    monkeypatch.setattr("sord.planner.distribute._FEW_ROWS", 0)
    monkeypatch.setattr("sord.planner.distribute._SORT_AT_CLIENT", 0)
    monkeypatch.setattr("sord.planner.distribute_joins._SMALL", 0)
    fleet = "local://3?threads=1&memory=512MB"
    assert main(["run", "--sf", "0.01", "--data", str(tpch_sf001), "--fleet", fleet, "--json"]) == 0
    queries = json.loads(capsys.readouterr().out)["queries"]
    assert all(query["correct"] and query["fallback"] is None for query in queries)
    assert sum(query["fragments"] for query in queries) > 100
