"""`sord -c` and `sord shell` as a script sees them: stdout, stderr, exit status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def sord(*arguments: str, stdin: str = "", folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sord.cli", *arguments],
        input=stdin,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_results_go_to_stdout() -> None:
    done = sord("-c", "select 'a;b' as x; select 42 as answer")
    assert (done.returncode, done.stderr) == (0, "")
    assert "a;b" in done.stdout
    assert "answer" in done.stdout
    assert "42" in done.stdout


def test_tables_of_a_folder(tpch_sf001: Path) -> None:
    done = sord("-c", "select count(*) as n from nation", str(tpch_sf001))
    assert done.returncode == 0
    assert "25" in done.stdout


@pytest.mark.parametrize(
    "fleet", [[], ["--fleet", "local://2?threads=1&memory=512MB"]], ids=["embedded", "fleet"]
)
def test_statements_that_keep_rows(tpch_sf001: Path, tmp_path: Path, fleet: list[str]) -> None:
    statements = (
        "create temp table few as select n_name from nation where n_nationkey < 3; "
        f"insert into few select r_name from region; copy few to '{tmp_path}/few.csv'; "
        f"copy (select * from nation) to '{tmp_path}/hive' (format csv, partition_by (n_regionkey))"
    )
    done = sord("-c", statements, *fleet, str(tpch_sf001))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("Count") == 3
    assert len((tmp_path / "few.csv").read_text().split("\n")) == 1 + 3 + 5 + 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few.csv", "hive"]
    assert len(list(tmp_path.glob("hive/n_regionkey=*/data_0.csv"))) == 5


def test_the_first_error_ends_a_command() -> None:
    done = sord("-c", "select 1 as one; select nothing; select 3 as three")
    assert done.returncode == 1
    assert "one" in done.stdout
    assert "three" not in done.stdout
    assert "nothing" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [[], ["--nonsense"], ["-c"], ["-c", "select 1", "no/such/folder"], ["shell", "no/such/folder"]],
)
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    done = sord(*arguments)
    assert done.returncode == 2
    assert "usage: sord" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["shell", "--help"]])
def test_help_has_an_example(arguments: list[str]) -> None:
    done = sord(*arguments)
    assert done.returncode == 0
    assert "example: sord" in done.stdout


def test_version() -> None:
    done = sord("--version")
    assert done.stdout.startswith("sord ")


def test_a_pipe_runs_every_statement_and_says_if_one_failed() -> None:
    done = sord(
        "shell",
        stdin="create table t as\n  select ';' as s;\nselect nothing;\nselect s from t;\nselect 7 as x",
    )
    assert done.returncode == 1
    assert "nothing" in done.stderr
    assert "│ ;" in done.stdout
    assert "7" in done.stdout
    assert "sord>" not in done.stdout


def test_a_pipe_without_failures_is_status_0() -> None:
    done = sord("shell", stdin="-- a comment\nselect 1 as x;\n\n")
    assert (done.returncode, done.stderr) == (0, "")


def test_commands_about_tables(tpch_sf001: Path) -> None:
    done = sord("shell", str(tpch_sf001), stdin="\\d\n\\d nation;\n\\?\n\\x\n\\q\nselect nothing;\n")
    assert "lineitem" in done.stdout
    assert "n_regionkey" in done.stdout
    assert "Ctrl-C" in done.stdout
    assert done.stderr.startswith(r"unknown command \x")
    assert "nothing" not in done.stderr


def test_a_reader_that_leaves_is_no_error() -> None:
    command = f"{sys.executable} -m sord.cli -c 'from range(1000)' | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""


def test_the_embedded_command_imports_only_what_it_needs() -> None:
    probe = (
        "import sys; from sord.cli import main; main(['-c', 'select 1']);"
        "heavy = ['pyarrow', 'sqlglot', 'numpy', 'prompt_toolkit', 'rich'];"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]"
