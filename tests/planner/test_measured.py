"""What EXPLAIN ANALYZE tells of a run whose plan changed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tpch_sf100 import StatisticsCatalog

from sord.exec.control import TaskReport
from sord.exec.report import FragmentReport, Planned
from sord.measured import measured_json, measured_text
from sord.planner.context import Options
from sord.planner.fragment import Actual, Fragment, Route, RuntimeFilter
from sord.planner.physical import DistributedPlan, plan_query
from sord.report import Report

WORKERS = 8
SHUFFLED = """
    SELECT o_orderpriority, count(*) AS n FROM lineitem JOIN orders ON l_partkey = o_custkey
    WHERE o_comment LIKE '%rare%' GROUP BY o_orderpriority
"""


def ran(fragment: Fragment, rows: int) -> FragmentReport:
    """As if one worker had made half of the rows."""
    made = [rows // 2, *[rows // 2 // (WORKERS - 1)] * (WORKERS - 1)]
    tasks = tuple(
        TaskReport(rank, rows=count, bytes=count * 10, wire_bytes=count * 5, compute_seconds=0.1 * (rank + 1))
        for rank, count in enumerate(made)
    )
    return FragmentReport(fragment.id, fragment.title, fragment.place, fragment.route, 0.5, 1.25, tasks)


@pytest.fixture
def run() -> tuple[Report, list[Planned]]:
    first = plan_query(SHUFFLED, StatisticsCatalog(), Options(workers=WORKERS, split_skew=False))
    build = first.fragments[0]
    second = first.adapt({build.id: Actual(1400, 20_000)}, set())
    assert second is not None
    parts = [ran(build, 1400), *(ran(f, 700) for f in second.fragments if f.route is not Route.RESULT)]
    report = Report(2.0, 0.012, len(parts) + 1, 12_345, 10**8, 3.5, None, tuple(parts), 1)
    return report, [Planned(first, None), Planned(second, build.id)]


def test_text(run: tuple[Report, list[Planned]]) -> None:
    report, plans = run
    text = measured_text(report, plans, 5)
    first, second = plans[0].plan.fragments, plans[1].plan.fragments
    assert text.startswith("2.000 s, of these 12.0 ms planning; 3.500 CPU s; 12.3 kB on the wire; ")
    assert f"Planned anew after fragment {first[0].id}: 1,400 rows, not ~" in text
    assert (
        f"      moving fragment {first[0].id}: to every worker\n      moving lineitem: not any more\n" in text
    )
    assert text.count("given up: ") == len(first) - 2
    assert "1,400 rows (~" in text
    assert (
        "0.500 to 1.250 s; slowest: 0.800 s computing, 0.000 s waiting; skew 4.00 made (700 by worker 0)"
        in text
    )
    for fragment in [first[0], *second]:
        assert f"\n  {fragment.id} on " in text
    assert not any(f"\n  {fragment.id} on " in text for fragment in first[1:])
    assert text.index("Planned anew") > text.index(f"\n  {first[0].id} on ")


def test_runtime_filters(run: tuple[Report, list[Planned]]) -> None:
    report, plans = run
    plan = plans[0].plan
    assert isinstance(plan, DistributedPlan)
    filtered = replace(plan.fragments[0], filters=(RuntimeFilter(("o_custkey",), 7),), unfiltered_rows=5400.0)
    cut = replace(plan.cut, fragments=(filtered, *plan.fragments[1:]))
    changed = [Planned(replace(plan, cut=cut), None), plans[1]]
    line = "runtime filter on o_custkey by keys of fragment 7: ~4k of ~5.4k rows removed"
    assert line in measured_text(report, changed, 5)
    measured = measured_json(report, changed, 5)["fragments"][0]["measured"]
    assert measured["estimated_rows_removed"] == 4000
    assert measured["runtime_filters"] == [{"columns": ["o_custkey"], "keys_of_fragment": 7}]


def test_json(run: tuple[Report, list[Planned]]) -> None:
    report, plans = run
    found = measured_json(report, plans, 5)
    first, second = plans[0].plan.fragments, plans[1].plan.fragments
    assert [fragment["id"] for fragment in found["fragments"]] == [first[0].id, *(f.id for f in second[:-1])]
    measured = found["fragments"][0]["measured"]
    assert measured["q_error"] == pytest.approx(first[0].estimated_rows / 1400)
    assert measured["skew"] == pytest.approx(4.0)
    (replan,) = found["replans"]
    assert (replan["after"], replan["given_up"]) == (first[0].id, [f.id for f in first[1:]])
    assert f"moving fragment {first[0].id}: to every worker" in replan["changes"]
    assert (found["rows"], found["workers"], found["fallback"]) == (5, WORKERS, None)
