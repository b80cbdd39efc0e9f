"""`sord bench`: small benchmarks of one operator each."""

from __future__ import annotations

import json

import pytest

from sord.bench import main


@pytest.mark.parametrize("query", ["join", "groupby"])
def test_a_run_for_each_number_of_workers(query: str, capsys: pytest.CaptureFixture[str]) -> None:
    status = main([query, "--mode", "weak", "--workers", "1,2", "--rows", "2000", "--zipf", "1.5", "--json"])
    assert status == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [(run["workers"], run["rows"]) for run in runs] == [(1, 2000), (2, 4000)]
    assert [len(run["rows_by_worker"]) for run in runs] == [1, 2]
    assert runs[0]["efficiency"] == 1.0
    assert all(run["seconds"] > 0 and run["skew"] >= 1 for run in runs)


def test_wrong_usage() -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["join", "--workers", "0"])
    assert stopped.value.code == 2
