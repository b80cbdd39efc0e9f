"""The query texts give the reference answers on plain DuckDB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sord.tpch.answers import reference_answer, write_answers
from sord.tpch.baseline import Baseline
from sord.tpch.compare import differences
from sord.tpch.spec import ORDER_BY, PRECISION, QUERIES, TABLES, query_text


@pytest.fixture(scope="module")
def baseline(tpch_sf001: Path) -> Iterator[Baseline]:
    with Baseline(tpch_sf001, TABLES) as duckdb:
        yield duckdb


@pytest.mark.parametrize("query", QUERIES)
def test_duckdb_gives_the_reference_answer(baseline: Baseline, query: int) -> None:
    reference = reference_answer(query, 0.01)
    assert reference is not None
    assert differences(baseline.run(query_text(query, 0.01)).answer, reference, ORDER_BY[query]) == []


@pytest.mark.parametrize("query", QUERIES)
def test_the_tables_about_columns_name_columns_of_the_answer(query: int) -> None:
    reference = reference_answer(query, 1)
    assert reference is not None
    assert {*ORDER_BY[query], *PRECISION.get(query, {})} <= set(reference.columns)


def test_there_is_no_reference_answer_at_other_scale_factors() -> None:
    assert reference_answer(1, 10) is None


def test_the_answers_that_ship_can_be_computed_again(tpch_sf001: Path, tmp_path: Path) -> None:
    write_answers(tpch_sf001, 0.01, tmp_path)
    for number in (11, 17, 18):
        made = (tmp_path / f"q{number:02d}.csv").read_text()
        shipped = Path(__file__).parents[2] / "tpch" / "answers" / "sf0.01" / f"q{number:02d}.csv"
        assert made == shipped.read_text()


@pytest.mark.parametrize(
    ("scale_factor", "fraction"), [(0.01, "0.0001"), (1, "0.0001"), (10, "0.00001"), (300, "0.000000333")]
)
def test_query_11_depends_on_the_scale_factor(scale_factor: float, fraction: str) -> None:
    assert f"* {fraction}" in query_text(11, scale_factor)
