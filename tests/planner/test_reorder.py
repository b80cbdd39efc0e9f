"""Estimates that are badly wrong, and the plan that the rest of a query gets once that is known."""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

import duckdb
import pytest
from tpch_sf100 import StatisticsCatalog

from sord.catalog import Catalog
from sord.fuzzing.simulation import Simulation
from sord.planner.context import Options
from sord.planner.fragment import Actual, Route
from sord.planner.physical import DistributedPlan, plan_query
from sord.tpch.spec import query_text

DATA = """
    COPY (SELECT range AS v, CASE WHEN range % 11 > 0 THEN range % 400 END AS a, range * 7 % 300 AS b,
                 range * 13 % 500 AS c, range % 5 AS g FROM range(9000)) TO '{folder}/fact.parquet';
    COPY (SELECT CASE WHEN range % 9 > 0 THEN range % 400 END AS k, 'text ' || range AS s FROM range(500))
    TO '{folder}/one.parquet';
    COPY (SELECT CASE WHEN range % 7 > 0 THEN range % 300 END AS k, 'text ' || range AS s FROM range(400))
    TO '{folder}/two.parquet';
    COPY (SELECT range % 500 AS k, range AS w, 'text ' || range AS s FROM range(600)) TO '{folder}/three.parquet';
"""
FEW = "LIKE '%text 12'"
MANY = "LIKE '%t%e%x%t%'"
"""Predicates that leave much less and much more than is believed."""

QUERIES = {
    "over": f"""
        SELECT fact.g, count(*), sum(fact.v), sum(w) FROM fact JOIN two ON fact.b = two.k JOIN three ON fact.c = three.k
        JOIN one ON fact.a = one.k WHERE one.s {FEW} AND two.s LIKE '%e%3%' AND two.s LIKE '%x%' AND three.w < 200
        GROUP BY fact.g""",
    "under": f"""
        SELECT fact.g, count(*), sum(fact.v), sum(w) FROM fact JOIN one ON fact.a = one.k JOIN two ON fact.b = two.k
        JOIN three ON fact.c = three.k WHERE one.s {MANY} AND two.s {MANY} AND three.w < 50 GROUP BY fact.g""",
    "semi": f"""
        SELECT count(*), sum(fact.v), max(three.s) FROM fact JOIN three ON fact.c = three.k
        WHERE fact.a IN (SELECT k FROM one WHERE s {FEW}) AND fact.b IN (SELECT k FROM two) AND three.w < 300""",
    "anti": f"""
        SELECT count(*), sum(fact.v), sum(w) FROM fact JOIN one ON fact.a = one.k JOIN three ON fact.c = three.k
        WHERE NOT EXISTS (SELECT 1 FROM two WHERE two.k = fact.b AND two.s {MANY}) AND one.s {FEW}""",
    "computed": f"""
        SELECT g, x, count(*) FROM (SELECT g, v + w AS x, a FROM fact JOIN three ON c = k WHERE w < 300) AS t
        JOIN one ON t.a + 1 = one.k JOIN two ON t.x = two.k + 1 WHERE one.s {FEW} GROUP BY ALL""",
    "left": f"""
        SELECT count(*), count(t.w), sum(t.w), sum(fact.v) FROM fact JOIN one ON fact.a = one.k
        JOIN two ON fact.b = two.k LEFT JOIN (SELECT three.k, w FROM three JOIN one AS o ON three.w = o.k) AS t
        ON t.k = fact.c WHERE one.s {FEW} AND two.s {MANY}""",
    "shared": f"""
        WITH t AS (SELECT fact.* FROM fact JOIN two ON fact.b = two.k WHERE two.s {FEW})
        SELECT x.g, count(*), sum(y.v) FROM t AS x JOIN three ON x.c = three.k JOIN t AS y ON x.a = y.a
        JOIN one ON y.a = one.k WHERE one.s {MANY} GROUP BY x.g""",
    "cross": f"""
        SELECT count(*), sum(w) FROM fact JOIN one ON fact.a = one.k JOIN three ON fact.c = three.k
        AND fact.v > three.w, (SELECT max(v) AS most FROM fact) AS t WHERE one.s {FEW} AND fact.v < most - 10""",
}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    folder = tmp_path_factory.mktemp("reorder")
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET arrow_lossless_conversion = true")
    connection.execute(DATA.format(folder=folder))
    catalog = Catalog(connection)
    catalog.register_dir(folder)
    return catalog


@pytest.fixture
def eager() -> Iterator[None]:
    """Tables are small, but planning costs nothing and reading them from files again costs a lot."""
    with (
        mock.patch("sord.planner.cost.SCAN", 1e3),
        mock.patch("sord.planner.cost.STAGE", 0.0),
        mock.patch("sord.planner.physical._WORTH", 0.0),
        mock.patch("sord.planner.order_joins._WORTH", 0.0),
    ):
        yield


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("name", QUERIES)
def test_answers_stay_what_they_are(name: str, catalog: Catalog) -> None:
    want = sorted(map(repr, catalog.cursor().sql(QUERIES[name]).fetchall()))
    reordered = 0
    for workers in (1, 2, 3, 8):
        simulation = Simulation(catalog, workers)
        got = simulation.run(plan_query(QUERIES[name], catalog, Options(workers)))
        assert sorted(map(repr, got)) == want, workers
        reordered += simulation.reordered
    assert reordered


THREE = """
    SELECT o_orderpriority, count(*) AS n FROM lineitem JOIN orders ON l_partkey = o_custkey
    JOIN partsupp ON l_suppkey = ps_availqty
    WHERE o_comment LIKE '%rare%' AND ps_comment LIKE '%x%' AND ps_supplycost < 20 GROUP BY o_orderpriority
"""
"""15 million orders are expected, and 0.3 million rows of partsupp: lineitem is joined with these first."""


def planned(sql: str) -> DistributedPlan:
    return plan_query(sql, StatisticsCatalog(), Options(workers=8, split_skew=False))


def test_the_smaller_input_is_joined_first() -> None:
    plan = planned(THREE)
    orders, partsupp = plan.fragments[:2]
    assert ("orders" in orders.title, "partsupp" in partsupp.title) == (True, True)
    better = plan.adapt({orders.id: Actual(1000, 20_000)}, {partsupp.id})
    assert better is not None
    assert better.changes[0].endswith("instead of ((lineitem ⋈ fragment 1) ⋈ fragment 0)")
    assert "(lineitem ⋈ fragment 0)" in better.changes[0]
    read = {one.exchange for fragment in better.fragments for one in fragment.inputs}
    assert {orders.id, partsupp.id} <= read
    assert not any("scan orders" in f.title or "scan partsupp" in f.title for f in better.fragments)


def test_what_has_not_begun_can_come_last() -> None:
    plan = planned(THREE)
    better = plan.adapt({plan.fragments[0].id: Actual(1000, 20_000)}, set())
    assert better is not None
    assert [f.route for f in better.fragments] == [Route.BROADCAST, Route.GATHER, Route.RESULT]
    assert "scan lineitem" in better.fragments[0].title, "few rows are left of it to be sent to partsupp"
    assert "scan partsupp" in better.fragments[1].title


def test_an_order_that_saves_little_stays() -> None:
    plan = planned(THREE)
    orders, partsupp = plan.fragments[:2]
    as_expected = {f.id: Actual(int(f.estimated_rows * 1.9), 10**8) for f in (orders, partsupp)}
    assert plan.adapt(as_expected, set()) is None
    fewer = {orders.id: Actual(7 * 10**6, 10**8), partsupp.id: Actual(120_000, 10**6)}
    assert plan.adapt(fewer, set()) is None, "the smaller one is joined first already"


def test_little_work_is_not_planned_again() -> None:
    plan = planned(
        "SELECT count(*) FROM supplier JOIN nation ON s_nationkey = n_nationkey WHERE n_name LIKE '%x%'"
    )
    assert plan.adapt({f.id: Actual(1000, 8000) for f in plan.fragments[:1]}, set()) is None


GROUPED = """
    SELECT l_suppkey, o_orderdate, count(*) AS n FROM lineitem JOIN orders ON l_partkey = o_custkey
    WHERE o_comment LIKE '%rare%' AND o_clerk LIKE '%x%' GROUP BY ALL
"""


def test_actual_rows_decide_where_an_aggregate_happens_and_whether_in_two_phases() -> None:
    plan = planned(GROUPED)
    build, groups = plan.fragments[0], plan.fragments[-3]
    assert (groups.route, "partial" in groups.title) == (Route.PARTITION, False)
    few = plan.adapt({build.id: Actual(100, 2000)}, set())
    assert few is not None
    assert [f.route for f in few.fragments] == [Route.GATHER, Route.RESULT], (
        "few rows need no stage of their own"
    )
    assert "aggregate" in few.fragments[-1].title
    many = plan.adapt({build.id: Actual(10**9, 2 * 10**10)}, set())
    assert many is not None
    halves = next(f for f in many.fragments if "partial aggregate" in f.title)
    assert halves.route is Route.PARTITION, "each worker has most groups several times"


def test_a_filter_whose_keys_are_there_stays() -> None:
    plan = planned(query_text(20, 100).strip().rstrip(";"))
    build, keys, filtered, parts = (plan.fragments[number] for number in (0, 1, 2, 3))
    assert [one.exchange for one in filtered.filters] == [keys.id]
    assert "scan part" in parts.title
    done = {f.id: Actual(int(f.estimated_rows), 10**7) for f in (build, keys)} | {
        parts.id: Actual(1000, 10**4)
    }
    better = plan.adapt(done, set())
    assert better is not None
    lines = better.fragments[0]
    assert "scan lineitem" in lines.title
    again = better.adapt(done | {lines.id: Actual(10**8, 10**9)}, set())
    rest = better.fragments if again is None else again.fragments
    assert any(one.exchange == keys.id for fragment in rest for one in fragment.filters)
