"""Sizes of joins and groups: ranges of keys, samples, HAVING, skew; with and without ANALYZE."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from sord.catalog import Catalog
from sord.planner.cardinality import ColumnEstimate, Estimate
from sord.planner.context import Options
from sord.planner.estimate import Estimator
from sord.planner.expressions import column
from sord.planner.join_size import join
from sord.planner.physical import plan_query
from sord.planner.selectivity import within

_TABLES = {
    # A row a day of 200 years; sales of five of them, the more in winter; what is returned, by both keys of a sale.
    "days": "SELECT i AS day, 1900 + i // 365 AS year, i // 30 % 12 AS month FROM range(73000) t(i)",
    "sales": (
        "SELECT 36500 + (i * 7919) % 1825 AS sold, i // 10 AS ticket, hash(i) % 5000 AS item, i % 20000 AS buyer, "
        "(hash(i // 10) % 1000000)::INTEGER AS client, "
        "i // 10 % 4 AS shop, i // 10 % 4 * 10 AS district, i FROM range(400000) t(i)"
    ),
    "returned": "SELECT ticket AS r_ticket, item AS r_item, buyer AS r_buyer FROM sales WHERE hash(i) % 4 = 0",
    "skewed": "SELECT CASE WHEN i % 3 > 0 THEN 1 ELSE i END AS hot FROM range(30000) t(i)",
}


@pytest.fixture(scope="module")
def catalogs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Catalog]]:
    """The same tables, analysed and not."""
    folder = tmp_path_factory.mktemp("estimates")
    with pytest.MonkeyPatch.context() as patch, duckdb.connect() as first, duckdb.connect() as second:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        _write(folder / "data")
        found = {"footers": Catalog(first), "analyzed": Catalog(second)}
        for catalog in found.values():
            catalog.register_dir(folder / "data")
        for name in _TABLES:
            found["footers"].table(name)
        for name in _TABLES:
            found["analyzed"].analyze(name)
        yield found


def _write(folder: Path) -> None:
    folder.mkdir()
    with duckdb.connect() as connection:
        for name, sql in _TABLES.items():
            connection.execute(f"CREATE TABLE {name} AS {sql}")
            connection.sql(f"FROM {name}").write_parquet(str(folder / f"{name}.parquet"))


def _q_error(catalog: Catalog, sql: str) -> float:
    plan = plan_query(sql, catalog, Options(4)).logical
    estimator = Estimator()
    estimated = max(estimator(plan).rows, 1.0)
    ((actual,),) = catalog.cursor().sql(f"SELECT count(*) FROM ({sql})").fetchall()
    return float(max(estimated / max(actual, 1), max(actual, 1) / estimated))


@pytest.mark.parametrize(
    ("sql", "footers", "analyzed"),
    [
        ("SELECT item FROM sales JOIN days ON sold = day", 1.1, 1.1),
        ("SELECT item FROM sales JOIN days ON sold = day WHERE year = 2001", 1.3, 1.3),
        ("SELECT item FROM sales JOIN days ON sold = day WHERE month = 11", 1.3, 1.3),
        ("SELECT item FROM sales JOIN days ON sold = day WHERE year = 1950", 1e6, 50),
        ("SELECT r_item FROM returned JOIN sales ON ticket = r_ticket AND item = r_item", 5, 5),
        ("SELECT r_item FROM returned JOIN sales ON buyer = r_buyer AND item = r_item", 60, 20),
        ("SELECT a.hot FROM skewed a JOIN skewed b ON a.hot = b.hot", 1e5, 1.3),
        ("SELECT * FROM sales WHERE shop = 1 AND district = 10", 3, 1.1),
        ("SELECT * FROM sales WHERE shop = 1 AND district = 20", 1e5, 30),
        ("SELECT shop, district FROM sales GROUP BY shop, district", 3, 1.01),
        ("SELECT item, shop, buyer FROM sales GROUP BY item, shop, buyer", 5, 1.3),
        ("SELECT client FROM sales GROUP BY client", 1.3, 1.3),
        (
            "SELECT item FROM sales JOIN days ON sold = day WHERE year IN (2001, 2002) AND year = 2001",
            1.3,
            1.3,
        ),
        ("SELECT ticket % 100 AS t FROM sales GROUP BY ticket % 100", 1e3, 1.01),
        ("SELECT ticket, count(*) FROM sales GROUP BY ticket HAVING count(*) > 25", 300, 300),
        ("SELECT client, shop FROM sales WHERE shop = 1 GROUP BY client, shop", 10, 1.3),
        ("SELECT ticket FROM sales WHERE shop = 1 GROUP BY ticket HAVING count(*) > 7", 1e5, 1.5),
        ("SELECT item, count(*) FROM sales GROUP BY item HAVING count(*) > 80", 1.5, 1.5),
        ("SELECT year, shop FROM sales JOIN days ON sold = day GROUP BY year, shop", 100, 50),
    ],
)
def test_no_estimate_is_further_off(
    catalogs: dict[str, Catalog], sql: str, footers: float, analyzed: float
) -> None:
    assert _q_error(catalogs["footers"], sql) <= footers
    assert _q_error(catalogs["analyzed"], sql) <= analyzed


def test_a_semi_join_with_a_filtered_side_leaves_its_share(catalogs: dict[str, Catalog]) -> None:
    sql = "SELECT * FROM (SELECT * FROM sales WHERE buyer IN (SELECT r_buyer FROM returned WHERE r_item < 2500)) s"
    assert _q_error(catalogs["analyzed"], sql) < 2


def test_keys_whose_ranges_do_not_meet_have_hardly_a_row_in_common() -> None:
    low = Estimate(1e6, {"a": ColumnEstimate(1e6, 1, 1e6, known=True)})
    high = Estimate(1e6, {"b": ColumnEstimate(1e6, 2e6, 3e6, known=True)})
    assert join("inner", low, high, [(column("a"), column("b"))], ()).rows < 10


def test_rows_without_a_partner_stay_in_an_outer_join() -> None:
    few = Estimate(10, {"a": ColumnEstimate(10, 1, 10, known=True)})
    many = Estimate(1000, {"b": ColumnEstimate(1000, 1, 1000, known=True)})
    left = join("left", many, few, [(column("b"), column("a"))], ())
    assert 1000 <= left.rows < 1020
    assert left.columns["a"].nulls > 0.9
    assert left.columns["b"].nulls == 0


def test_a_range_of_keys_that_meet_nowhere() -> None:
    sides = [
        Estimate(100.0, {id_: ColumnEstimate(10.0, low, low + 9)}) for id_, low in (("a", 0.0), ("b", 10.0))
    ]
    met = join("inner", *sides, [(column("a"), column("b"))], []).columns["a"]
    assert within(met, 5.0, 7.0).distinct >= 1
