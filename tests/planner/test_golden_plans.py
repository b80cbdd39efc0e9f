"""Golden plans: for each TPC-H query at scale factor 100 the passes that changed its plan, then the fragments.

After a change of the planner, look at what it does: ``python tests/planner/test_golden_plans.py`` writes the files
anew, and their diff is the change.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tpch_sf100 import StatisticsCatalog

from sord.planner.bind import bind
from sord.planner.context import Context, Options
from sord.planner.format import format_logical, format_plan
from sord.planner.optimizer import LOGICAL_PASSES
from sord.planner.parse import parse
from sord.planner.physical import plan_query
from sord.tpch.spec import query_text

GOLDEN = Path(__file__).parent / "golden"
WORKERS = 8


@pytest.fixture(scope="module")
def catalog() -> StatisticsCatalog:
    return StatisticsCatalog()


@pytest.mark.parametrize("number", range(1, 23))
def test_plan_is_as_recorded(number: int, catalog: StatisticsCatalog) -> None:
    assert describe(number, catalog) == _file(number).read_text(encoding="utf-8")


def describe(number: int, catalog: StatisticsCatalog) -> str:
    """What happens to a query from its text to its fragments."""
    sql = query_text(number, 100).strip().rstrip(";")
    context = Context(catalog, Options(WORKERS))
    plan, _ = bind(parse(sql, catalog), context)
    before = format_logical(plan)
    sections = [sql, f"-- bind\n{before}"]
    for logical_pass in LOGICAL_PASSES:
        plan = logical_pass(plan, context)
        after = format_logical(plan)
        if after != before:
            sections.append(f"-- {logical_pass.__name__}\n{after}")
        before = after
    fragments = format_plan(plan_query(sql, catalog, Options(WORKERS)))
    sections.append("-- " + fragments[fragments.index("Fragments") :])
    return "\n\n".join(sections) + "\n"


def _file(number: int) -> Path:
    return GOLDEN / f"q{number:02d}.txt"


if __name__ == "__main__":
    statistics = StatisticsCatalog()
    for query in range(1, 23):
        _file(query).write_text(describe(query, statistics), encoding="utf-8")
