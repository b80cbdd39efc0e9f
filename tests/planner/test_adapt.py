"""Plans that change once the size of a finished fragment is known."""

from __future__ import annotations

import pytest
from tpch_sf100 import StatisticsCatalog

from sord.planner.context import Options
from sord.planner.fragment import Actual, Place, Route
from sord.planner.physical import DistributedPlan, plan_query

SHUFFLED = """
    SELECT o_orderpriority, count(*) AS n FROM lineitem JOIN orders ON l_partkey = o_custkey
    WHERE o_comment LIKE '%rare%' GROUP BY o_orderpriority
"""
"""Neither table lies by these columns, so both are moved by their hash, the orders first."""


@pytest.fixture(scope="module")
def plan() -> DistributedPlan:
    return plan_query(SHUFFLED, StatisticsCatalog(), Options(workers=8, split_skew=False))


def test_both_sides_are_shuffled_and_the_probe_side_waits(plan: DistributedPlan) -> None:
    build, probe = plan.fragments[:2]
    assert (build.route, probe.route) == (Route.PARTITION, Route.PARTITION)
    assert "orders" in build.title
    assert probe.after == (build.id,)


def test_a_small_build_side_is_broadcast_and_the_probe_side_stays(plan: DistributedPlan) -> None:
    build = plan.fragments[0]
    better = plan.adapt({build.id: Actual(rows=1000, bytes=20_000)}, set())
    assert better is not None
    assert [f.route for f in better.fragments] == [Route.BROADCAST, Route.GATHER, Route.RESULT]
    again, probe = better.fragments[:2]
    assert [i.exchange for i in again.inputs] == [build.id]
    assert "lineitem" in probe.title
    assert not {f.id for f in better.fragments} & {f.id for f in plan.fragments}


def test_an_empty_build_side_ends_the_query(plan: DistributedPlan) -> None:
    build = plan.fragments[0]
    better = plan.adapt({build.id: Actual(rows=0, bytes=0)}, set())
    assert better is not None
    assert [f.place for f in better.fragments] == [Place.CLIENT]
    assert "lineitem" not in better.fragments[0].title


def test_a_size_as_expected_changes_nothing(plan: DistributedPlan) -> None:
    build = plan.fragments[0]
    assert plan.adapt({build.id: Actual(int(build.estimated_rows * 1.5), 10**9)}, set()) is None


def test_what_runs_already_is_not_planned_again(plan: DistributedPlan) -> None:
    build, probe = plan.fragments[:2]
    better = plan.adapt({build.id: Actual(rows=1000, bytes=20_000)}, {probe.id})
    fragments = plan.fragments[2:] if better is None else better.fragments
    assert not any("scan lineitem" in f.title for f in fragments)
    assert any(i.exchange == probe.id for f in fragments for i in f.inputs)


def test_moving_no_rows_once_more_is_no_surprise() -> None:
    sql = SHUFFLED.replace(
        "JOIN orders ON l_partkey = o_custkey\n    WHERE", "LEFT JOIN orders ON l_partkey = o_custkey AND"
    )
    plan = plan_query(sql, StatisticsCatalog(), Options(workers=8, split_skew=False))
    build = plan.fragments[0]
    nothing = {build.id: Actual(rows=0, bytes=0)}
    better = plan.adapt(nothing, set())
    assert better is not None
    again = better.fragments[0]
    assert [i.exchange for i in again.inputs] == [build.id]
    assert better.adapt(nothing | {again.id: Actual(rows=0, bytes=0)}, set()) is None
