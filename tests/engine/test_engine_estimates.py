"""`sord estimates`, and how good the estimates are on a fixed set of data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sord.cli import main


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_queries_of_tpch_are_measured(tpch_sf001: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimates", "--data", str(tpch_sf001), "--analyze", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["queries"], found["refused"], found["unfinished_nodes"]) == (22, {}, 0)
    errors = found["q_errors"]
    assert errors["scan"]["nodes"] > 30
    assert errors["scan"]["median"] < 1.1
    assert errors["scan"]["p90"] < 1.5
    assert errors["join"]["median"] < 2
    assert errors["aggregate"]["median"] < 2
    worst = [entry["q_error"] for entry in found["worst"]]
    assert worst == sorted(worst, reverse=True)


def test_a_folder_of_queries_and_what_the_planner_refuses(
    tpch_sf001: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one.sql").write_text("SELECT * FROM region WHERE r_regionkey = 1;\n")
    (tmp_path / "two.sql").write_text("SELECT random() FROM region")
    command = ["estimates", "--data", str(tpch_sf001), "--queries", str(tmp_path)]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "1 of 2 queries" in text
    assert "two: " in text
    assert "one scan: 1 estimated, 1 counted" in text


def test_wrong_usage(tmp_path: Path, tpch_sf001: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimates", "--data", str(tmp_path)]) == 1
    assert "no Parquet files" in capsys.readouterr().err
    assert main(["estimates", "--data", str(tpch_sf001), "--queries", str(tmp_path)]) == 1
    assert "no files *.sql" in capsys.readouterr().err
    with pytest.raises(SystemExit) as error:
        main(["estimates"])
    assert error.value.code == 2
