"""An answer to TPC-DS is judged by DuckDB's, and a LIMIT may cut a run of equal rows anywhere."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
import sqlglot

from sord.cli import main
from sord.tpch.compare import Answer, rows_missing_from
from sord.tpch.generate import GenerationError
from sord.tpch.tpcds import faults, sort_columns
from sord.tpch.tpcds_generate import generate

VALUES = "(VALUES (1, 'a'), (2, 'b'), (2, 'c'), (2, 'd'), (3, 'e')) AS v(k, name)"


def ask(sql: str) -> Answer:
    relation = duckdb.sql(sql)
    return Answer(tuple(relation.columns), tuple(map(str, relation.types)), relation.fetchall())


def judged(sql: str, rows: list[tuple[int, str]]) -> list[str]:
    right = ask(sql)
    return faults(sql, Answer(right.columns, right.types, rows), right, ask)


TOP = f"SELECT * FROM {VALUES} ORDER BY k LIMIT 2"


@pytest.mark.parametrize("name", ["b", "c", "d"])
def test_any_row_of_a_tie_may_come(name: str) -> None:
    assert judged(TOP, [(1, "a"), (2, name)]) == []


@pytest.mark.parametrize(
    "rows",
    [[(1, "a")], [(2, "b"), (1, "a")], [(1, "a"), (2, "a")], [(1, "a"), (3, "e")], [(1, "a"), (1, "a")]],
    ids=["missing", "order", "mixed", "later", "doubled"],
)
def test_a_wrong_row_may_not(rows: list[tuple[int, str]]) -> None:
    assert len(judged(TOP, rows)) == 1


def test_a_row_may_not_come_twice_for_another_one() -> None:
    sql = f"SELECT * FROM {VALUES} ORDER BY k LIMIT 3"
    assert judged(sql, [(1, "a"), (2, "c"), (2, "b")]) == []
    assert judged(sql, [(1, "a"), (2, "b"), (2, "b")])


def test_a_sort_key_outside_of_the_answer_leaves_no_choice() -> None:
    sql = f"SELECT k, name FROM {VALUES} ORDER BY k, name || 'x' LIMIT 2"
    assert judged(sql, [(1, "a"), (2, "b")]) == []
    assert judged(sql, [(1, "a"), (2, "c")])


def test_floats_are_missed_only_when_they_differ() -> None:
    whole = Answer(("x",), ("DOUBLE",), [(1.0,), (2.0,), (float("nan"),), (None,)])
    part = Answer(("x",), ("DOUBLE",), [(2.0 + 1e-12,), (float("nan"),), (1.1,), (None,)])
    assert rows_missing_from(whole, part) == [(1.1,)]


@pytest.mark.parametrize(
    ("sql", "columns", "expected"),
    [
        ("SELECT a, b FROM t", "a b", ([], True)),
        ("SELECT a, b FROM t ORDER BY 2, A", "a b", (["b", "a"], True)),
        ("SELECT t.a + 1 AS c, b FROM t ORDER BY t.a + 1 DESC, b", "c b", (["c", "b"], True)),
        ("SELECT b, a AS x FROM t ORDER BY x, a, b", "b x", (["x", "x", "b"], True)),
        ("SELECT b, x FROM t ORDER BY b, y, x", "b x", (["b"], False)),
        ("SELECT u.a, b FROM t, u ORDER BY t.a", "a b", ([], False)),
        ("SELECT * FROM t ORDER BY b", "a b", (["b"], True)),
        ("SELECT a FROM t UNION SELECT a FROM u ORDER BY a", "a", (["a"], True)),
    ],
)
def test_sort_keys_that_are_columns(sql: str, columns: str, expected: tuple[list[str], bool]) -> None:
    assert sort_columns(sqlglot.parse_one(sql, read="duckdb"), tuple(columns.split())) == expected


def test_without_its_environment_the_generator_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(GenerationError, match="make tpcds makes it, or python3 -m venv"):
        generate(tmp_path / "sf1", 1, tmp_path / "venv" / "bin" / "python", log=print)
    assert list(tmp_path.iterdir()) == []


def test_a_generator_that_fails_leaves_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'Out of memory' >&2\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(GenerationError, match="Out of memory"):
        generate(tmp_path / "sf1", 1, broken, log=print)
    assert list(tmp_path.iterdir()) == [broken]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--query", "100"], "there is no query 100: they are 1 to 99"),
        (["--data", "nowhere"], "nowhere does not hold the 24 TPC-DS tables"),
        (["--fleet", "local://0"], "a local fleet is local://WORKERS"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["tpcds", "run", *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
