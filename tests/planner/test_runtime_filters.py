"""Rows that a join would drop are dropped before they are moved, and only such rows."""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock
from unittest.mock import Mock

import duckdb
import pytest

from sord.catalog import Catalog
from sord.fuzzing.simulation import Simulation
from sord.planner.context import Options
from sord.planner.format import format_plan
from sord.planner.fragment import Actual, Fragment, Route
from sord.planner.physical import plan_query

DATA = """
    COPY (SELECT CASE WHEN range % 11 = 0 THEN NULL ELSE (range * 7919) % 500 END AS k, range % 13 AS j,
                 CASE WHEN range % 7 > 0 THEN 'key ' || (range * 31) % 500 END AS s,
                 DATE '1995-01-01' + (range % 400)::INT AS d,
                 ((range * 17) % 500)::DECIMAL(9,2) AS m,
                 CASE range % 5 WHEN 0 THEN 'NaN'::DOUBLE WHEN 1 THEN -0.0 WHEN 2 THEN 0.0 ELSE range END AS f,
                 ((range * 7919) % 500)::INTEGER AS i, range AS v FROM range(3000))
    TO '{folder}/big.parquet' (ROW_GROUP_SIZE 2048);
    COPY (SELECT * FROM '{folder}/big.parquet' WHERE v % 100 < 2) TO '{folder}/few.parquet';
    COPY (SELECT * FROM '{folder}/big.parquet' LIMIT 0) TO '{folder}/nothing.parquet';
"""


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    folder = tmp_path_factory.mktemp("filters")
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET arrow_lossless_conversion = true")
    connection.execute(DATA.format(folder=folder))
    catalog = Catalog(connection)
    catalog.register_dir(folder)
    return catalog


@pytest.fixture
def forced() -> Iterator[None]:
    """Filters wherever they are legal, and joins that move both of their sides."""
    with (
        mock.patch.multiple("sord.planner.runtime_filters", _MARGIN=-1e9, _GUESSED_MARGIN=-1e9),
        mock.patch.multiple("sord.planner.cost", SCAN=1e3, broadcast=Mock(return_value=1e6)),
        mock.patch("sord.planner.distribute._FEW_ROWS", -1),
        mock.patch("sord.planner.physical._moves_much", Mock(return_value=True)),
    ):
        yield


def run(catalog: Catalog, sql: str, workers: int, **switches: bool) -> Simulation:
    """Run a query and check its answer."""
    simulation = Simulation(catalog, workers)
    got = simulation.run(plan_query(sql, catalog, Options(workers, **switches)))
    want = catalog.cursor().sql(sql).fetchall()
    assert sorted(map(repr, got)) == sorted(map(repr, want))
    return simulation


def filtered(simulation: Simulation) -> list[Fragment]:
    return [fragment for fragment in simulation.fragments if fragment.filters]


KEYS = ["k", "s", "d", "m", "i"]
JOINS = {
    "inner": "SELECT big.v, few.v FROM big JOIN few ON {on} WHERE few.j < 6",
    "left": "SELECT few.v, big.v FROM few LEFT JOIN big ON {on}",
    "semi": "SELECT few.v FROM few WHERE EXISTS (SELECT 1 FROM big WHERE {on})",
    "anti": "SELECT few.v FROM few WHERE NOT EXISTS (SELECT 1 FROM big WHERE {on})",
    "empty": "SELECT nothing.v, big.v FROM nothing LEFT JOIN big ON {empty}",
}


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("kind", JOINS)
def test_answers(kind: str, workers: int, catalog: Catalog) -> None:
    used = 0
    conditions = [f"few.{key} = big.{key}" for key in KEYS]
    conditions += [
        "few.k = big.k AND few.j = big.j",
        "few.k = big.i",
        "few.s = big.s AND few.f = big.f",
        "few.f = big.f",
    ]
    for on in conditions:
        if "few.f = big.f" in on and kind in ("inner", "left"):
            on += " AND few.j = big.j AND few.v % 3 = 1"
        sql = JOINS[kind].format(on=on, empty=on.replace("few.", "nothing."))
        used += len(filtered(run(catalog, sql, workers)))
    assert (used > 0) == (workers > 1 and kind != "empty")


@pytest.mark.usefixtures("forced")
def test_the_preserved_side_is_never_filtered(catalog: Catalog) -> None:
    for sql in (
        "SELECT big.v, few.v FROM big LEFT JOIN few ON big.k = few.k",
        "SELECT big.v, few.v FROM big FULL JOIN few ON big.k = few.k",
        "SELECT big.v FROM big WHERE NOT EXISTS (SELECT 1 FROM few WHERE big.k = few.k)",
    ):
        for fragment in filtered(run(catalog, sql, 3)):
            assert "scan big" not in fragment.title


@pytest.mark.usefixtures("forced")
def test_a_filter_spares_moving_rows(catalog: Catalog) -> None:
    sql = "SELECT few.v FROM few WHERE NOT EXISTS (SELECT 1 FROM big WHERE few.k = big.k)"
    on, off = run(catalog, sql, 3), run(catalog, sql, 3, runtime_filters=False)
    assert not filtered(off)

    def moved(simulation: Simulation) -> int:
        return sum(
            simulation.actual[f.id].rows
            for f in simulation.fragments
            if "scan big" in f.title and f.route in (Route.PARTITION, Route.BROADCAST)
        )

    assert 0 < moved(on) < moved(off) / 2


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("workers", [2, 3])
def test_filters_go_below_unions_aggregates_and_windows(workers: int, catalog: Catalog) -> None:
    sql = """
        SELECT few.v, few.k, n FROM few LEFT JOIN (
            SELECT k, count(*) AS n FROM (SELECT k, j FROM big UNION ALL SELECT k, v FROM big WHERE j = 3) GROUP BY k
        ) AS counted ON few.k = counted.k
    """
    scans = [fragment for fragment in filtered(run(catalog, sql, workers)) if "scan big" in fragment.title]
    assert len(scans) == 1
    assert scans[0].sql[0].count("SELECT DISTINCT") + scans[0].sql[0].count("GROUP BY") >= 2
    sql = """
        SELECT few.v, r FROM few LEFT JOIN (
            SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v) AS r FROM big
        ) AS b ON few.k = b.k AND r < 3
    """
    run(catalog, sql, workers)


@pytest.mark.parametrize("margin", [1.1, -1e9])
def test_a_finished_side_filters_one_that_waits(margin: float, catalog: Catalog) -> None:
    sql = "SELECT few.v, big.v FROM few LEFT JOIN big ON few.s = big.s"
    with mock.patch.multiple("sord.planner.cost", SCAN=1e3, broadcast=Mock(return_value=1e6)):
        plan = plan_query(sql, catalog, Options(3))
        few = next(f for f in plan.fragments if "scan few" in f.title)
        big = next(f for f in plan.fragments if "scan big" in f.title)
        assert few.route is big.route is Route.PARTITION
        assert big.after == (few.id,)
        with (
            mock.patch("sord.planner.runtime_filters._MARGIN", margin),
            mock.patch("sord.planner.physical._moves_much", Mock(return_value=True)),
        ):
            better = plan.adapt({few.id: Actual(int(few.estimated_rows), 1000)}, set())
    if margin > 0:
        assert better is None, "so few rows aren't worth it"
        return
    assert better is not None
    keys, probe = better.fragments[:2]
    assert [one.exchange for one in keys.inputs] == [few.id]
    assert keys.route is Route.BROADCAST
    assert [one.columns for one in probe.filters] == [("s_2",)]
    assert probe.unfiltered_rows > probe.estimated_rows
    assert "Runtime filter s_2 = " in format_plan(better)


def test_small_tables_are_not_filtered(catalog: Catalog) -> None:
    for sql in JOINS.values():
        on = "few.k = big.k"
        assert not filtered(run(catalog, sql.format(on=on, empty=on.replace("few", "nothing")), 3))
