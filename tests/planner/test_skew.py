"""A frequent key's rows are spread over all workers, and every answer stays what it is."""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock
from unittest.mock import Mock

import duckdb
import pytest

from sord.catalog import Catalog
from sord.fuzzing.simulation import Simulation
from sord.planner.context import Options
from sord.planner.distribution import Skewed
from sord.planner.format import format_plan
from sord.planner.fragment import Fragment, Route
from sord.planner.physical import plan_query

DATA = """
    -- A key k has about k ** -1.5 / 2.6 of the rows; every thirteenth key is NULL.
    CREATE TEMP TABLE zipf AS
    SELECT range AS v, CASE WHEN range % 13 > 0 THEN least(1000, floor(pow((hash(range) % 1000003 + 1) / 1000004, -2)))
           END::BIGINT AS k FROM range(6000);
    COPY (SELECT v, k, k::INTEGER AS i, 'key ' || k AS s, (k / 4)::DECIMAL(9,2) AS m, v % 3 AS j,
                 CASE k WHEN 1 THEN 'NaN'::DOUBLE WHEN 2 THEN -0.0 WHEN 3 THEN 0.0 ELSE k END AS f FROM zipf)
    TO '{folder}/fact.parquet' (ROW_GROUP_SIZE 2048);
    COPY (SELECT range AS w, CASE WHEN range % 17 > 0 THEN range % 900 END AS k, (range % 900)::INTEGER AS i,
                 'key ' || range % 900 AS s, (range % 900 / 4)::DECIMAL(9,2) AS m, range % 3 AS j,
                 CASE range % 900 WHEN 1 THEN 'NaN'::DOUBLE WHEN 2 THEN 0.0 ELSE range % 900 END AS f FROM range(1200))
    TO '{folder}/side.parquet';
    COPY (SELECT range AS w, CASE WHEN range % 499 > 0 THEN range % 2000 END AS k, range % 3 AS j FROM range(8000))
    TO '{folder}/wide.parquet';
    COPY (SELECT * FROM '{folder}/side.parquet' LIMIT 0) TO '{folder}/nothing.parquet';
"""
KINDS = {
    "inner": "SELECT count(*), sum(v), sum(w) FROM fact JOIN side ON {on}",
    "left": "SELECT count(*), sum(v), sum(w), count(w) FROM fact LEFT JOIN side ON {on}",
    "full": "SELECT count(*), sum(v), sum(w), count(w) FROM fact FULL JOIN side ON {on}",
    "semi": "SELECT count(*), sum(v) FROM fact WHERE EXISTS (SELECT 1 FROM side WHERE {on})",
    "anti": "SELECT count(*), sum(v) FROM fact WHERE NOT EXISTS (SELECT 1 FROM side WHERE {on})",
    "residual": "SELECT count(*), sum(v) FROM fact LEFT JOIN side ON {on} AND v % 7 < w % 7",
}
CONDITIONS = [
    "fact.k = side.k", "fact.s = side.s", "fact.i = side.k", "fact.m = side.m", "fact.f = side.f",
    "fact.k = side.k AND fact.j = side.j",
]  # fmt: skip


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    folder = tmp_path_factory.mktemp("skew")
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET arrow_lossless_conversion = true")
    # As in test_fuzz: footers don't say that a column has NaN.
    connection.execute("SET disabled_optimizers = 'statistics_propagation,join_filter_pushdown'")
    connection.execute(DATA.format(folder=folder))
    catalog = Catalog(connection)
    catalog.register_dir(folder)
    return catalog


@pytest.fixture(autouse=True)
def forced() -> Iterator[None]:
    """Shuffles, and samples before all of them, though tables are small."""
    with (
        mock.patch.multiple("sord.planner.cost", SCAN=1e3, broadcast=Mock(return_value=1e6)),
        mock.patch.multiple("sord.planner.skew", _STAGES=0, _FEWEST=3, _UNIQUE=1e9),
        mock.patch("sord.planner.distribute._FEW_ROWS", -1),
    ):
        yield


def run(catalog: Catalog, sql: str, workers: int, **switches: bool) -> Simulation:
    """Run a query and check its answer."""
    simulation = Simulation(catalog, workers)
    got = simulation.run(plan_query(sql, catalog, Options(workers, **switches)))
    want = catalog.cursor().sql(sql).fetchall()
    assert sorted(map(repr, got)) == sorted(map(repr, want))
    return simulation


def spread(simulation: Simulation) -> list[Fragment]:
    """The fragments that send frequent keys to any worker."""
    return [
        f for f in simulation.fragments if f.route is Route.PARTITION and "THEN (row_number()" in f.sql[0]
    ]


def imbalance(simulation: Simulation, fragment: Fragment) -> float:
    """The most rows that a worker received, in mean ones."""
    received = simulation.actual[fragment.id].received
    return max(received) * len(received) / sum(received)


@pytest.mark.parametrize(
    ("kind", "workers"),
    [*((kind, 3) for kind in KINDS), *(("left", workers) for workers in (1, 2, 8)), ("anti", 8)],
)
def test_joins(kind: str, workers: int, catalog: Catalog) -> None:
    for on in CONDITIONS if kind == "left" and workers == 3 else CONDITIONS[:1]:
        moved = spread(simulation := run(catalog, KINDS[kind].format(on=on), workers))
        assert len(moved) == (workers > 1 and kind != "full"), on
        for fragment in moved:
            assert imbalance(simulation, fragment) < 1.6
    run(catalog, KINDS[kind].format(on=on).replace("JOIN side", "JOIN nothing AS side"), workers)


BUILT = {
    "inner": "SELECT count(*), sum(v), sum(w) FROM wide JOIN fact ON wide.k = fact.k",
    "keys": "SELECT count(*), sum(v), sum(w) FROM wide JOIN fact ON wide.k = fact.k AND wide.j = fact.j",
    "residual": "SELECT count(*), sum(v) FROM wide JOIN fact ON wide.k = fact.k AND w % 7 < v % 7",
    "computed": "SELECT count(*), sum(v), sum(w) FROM wide JOIN fact ON wide.k + 1 = fact.k + 1",
    "positions": "SELECT wide.k AS a, fact.k AS b FROM wide JOIN fact ON wide.k = fact.k UNION ALL SELECT 1, 2",
}


@pytest.mark.parametrize(
    ("name", "workers"), [*((name, 3) for name in BUILT), *(("inner", n) for n in (1, 2, 8))]
)
def test_a_frequent_key_on_the_build_side(name: str, workers: int, catalog: Catalog) -> None:
    simulation = run(catalog, BUILT[name], workers)
    moved = [fragment for fragment in spread(simulation) if "scan fact" in fragment.title]
    assert len(moved) == (workers > 1)
    for fragment in moved:
        assert imbalance(simulation, fragment) < 1.6


@pytest.mark.parametrize("kind", ["LEFT", "FULL", "ANTI"])
def test_a_build_side_that_must_not_be_spread(kind: str, catalog: Catalog) -> None:
    assert not spread(
        run(catalog, f"SELECT count(*), sum(w) FROM wide {kind} JOIN fact ON wide.k = fact.k", 3)
    )


def test_without_splitting_one_worker_has_most_rows(catalog: Catalog) -> None:
    simulation = run(catalog, KINDS["inner"].format(on="fact.k = side.k"), 8, split_skew=False)
    assert not spread(simulation)
    probe = next(f for f in simulation.fragments if "scan fact" in f.title)
    assert imbalance(simulation, probe) > 2


def test_even_keys_are_not_split(catalog: Catalog) -> None:
    simulation = run(catalog, "SELECT count(*), sum(fact.v) FROM fact JOIN side ON fact.v = side.w", 8)
    assert not spread(simulation)
    assert not simulation.adapted


@pytest.mark.parametrize("workers", [2, 8])
def test_what_stands_on_a_split_join_is_moved_again(workers: int, catalog: Catalog) -> None:
    run(
        catalog,
        "SELECT fact.k, count(*), sum(w) FROM fact JOIN side ON fact.k = side.k GROUP BY fact.k",
        workers,
    )
    run(
        catalog,
        "SELECT a.k, count(*), sum(w), sum(b.v) FROM fact AS a JOIN side ON a.k = side.k "
        "LEFT JOIN (SELECT k, max(v) AS v FROM fact GROUP BY k) AS b ON a.k = b.k GROUP BY a.k",
        workers,
    )
    run(
        catalog,
        "SELECT DISTINCT fact.k, row_number() OVER (PARTITION BY fact.k ORDER BY v, side.w) % 3 FROM fact "
        "JOIN side ON fact.k = side.k AND fact.j = side.j JOIN side AS s ON fact.i = s.i WHERE s.w < 100",
        workers,
    )


@pytest.mark.parametrize("workers", [2, 8])
def test_an_aggregate_gets_a_first_phase(workers: int, catalog: Catalog) -> None:
    sql = "SELECT k, count(*) AS n, sum(v), avg(v), count(DISTINCT j) FROM fact GROUP BY k"
    split = sql.replace(", count(DISTINCT j)", "")
    with mock.patch("sord.planner.split_aggregates._SHRINKS", 0.0):
        on, off = run(catalog, split, workers), run(catalog, split, workers, split_skew=False)
        run(catalog, sql, workers)
        run(catalog, "SELECT k, count(DISTINCT j) FROM fact GROUP BY k", workers)
        run(catalog, "SELECT k, median(v) FROM fact GROUP BY k", workers)
    halves = [next(f for f in one.fragments if f.route is Route.PARTITION) for one in (on, off)]
    assert ["partial" in f.title for f in halves] == [True, False]
    assert imbalance(on, halves[0]) < min(1.5, imbalance(off, halves[1]))


def test_the_plan_says_so(catalog: Catalog) -> None:
    plan = plan_query(KINDS["inner"].format(on="fact.k = side.k"), catalog, Options(3))
    probe = next(f for f in plan.fragments if "scan fact" in f.title and f.route is Route.PARTITION)
    texts = [format_plan(plan)]
    simulation = Simulation(catalog, 3)
    adapt = type(plan).adapt

    def noted(self, finished, running):  # type: ignore[no-untyped-def]
        better = adapt(self, finished, running)
        if better is not None:
            texts.append(format_plan(better))
        return better

    with mock.patch.object(type(plan), "adapt", noted):
        simulation.run(plan)
    assert len(probe.after) == 2, "for the build side and the sample"
    assert "frequent keys to any worker" in texts[-1]
    assert not isinstance(plan.cut.targets[probe.id], Skewed)
