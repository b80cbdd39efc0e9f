"""TPC-H at scale factor 100 as the planner sees it: statistics without data."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import duckdb

from sord.language import Language, evaluate
from sord.planner.catalog import Clustering, ColumnStatistics, File, Function, Table, View

_SF = 100
_GROUP = 114_000
"""Rows of a row group, as tpchgen-cli writes them."""

_Column = tuple[str, str, float, float | None, float | None, float]
"""Name, type, distinct values, minimum, maximum, width in bytes."""

_FIRST_DAY, _LAST_DAY = 8036.0, 10591.0  # 1992-01-02 and 1998-12-31 in days since 1970


def _key(name: str, distinct: float, highest: float | None = None) -> _Column:
    return name, "BIGINT", distinct, 1, distinct if highest is None else highest, 8


def _text(name: str, distinct: float, width: float) -> _Column:
    return name, "VARCHAR", distinct, None, None, width


def _money(name: str, distinct: float, low: float, high: float) -> _Column:
    return name, "DECIMAL(15,2)", distinct, low, high, 16


def _day(name: str, distinct: float) -> _Column:
    return name, "DATE", distinct, _FIRST_DAY, _LAST_DAY, 4


_TABLES: dict[str, tuple[int, str | None, list[_Column]]] = {
    "region": (5, None, [_key("r_regionkey", 5), _text("r_name", 5, 11), _text("r_comment", 5, 60)]),
    "nation": (25, None, [
        _key("n_nationkey", 25), _text("n_name", 25, 11), _key("n_regionkey", 5), _text("n_comment", 25, 80),
    ]),
    "supplier": (10_000 * _SF, "s_suppkey", [
        _key("s_suppkey", 10_000 * _SF), _text("s_name", 10_000 * _SF, 22), _text("s_address", 10_000 * _SF, 29),
        _key("s_nationkey", 25), _text("s_phone", 10_000 * _SF, 19), _money("s_acctbal", 1e6, -999, 9999),
        _text("s_comment", 10_000 * _SF, 67),
    ]),
    "customer": (150_000 * _SF, "c_custkey", [
        _key("c_custkey", 150_000 * _SF), _text("c_name", 150_000 * _SF, 22), _text("c_address", 150_000 * _SF, 29),
        _key("c_nationkey", 25), _text("c_phone", 150_000 * _SF, 19), _money("c_acctbal", 1e6, -999, 9999),
        _text("c_mktsegment", 5, 13), _text("c_comment", 150_000 * _SF, 77),
    ]),
    "part": (200_000 * _SF, "p_partkey", [
        _key("p_partkey", 200_000 * _SF), _text("p_name", 200_000 * _SF, 37), _text("p_mfgr", 5, 18),
        _text("p_brand", 25, 12), _text("p_type", 150, 25), ("p_size", "INTEGER", 50, 1, 50, 4),
        _text("p_container", 40, 12), _money("p_retailprice", 120_000, 900, 2099), _text("p_comment", 1e7, 18),
    ]),
    "partsupp": (800_000 * _SF, "ps_partkey", [
        _key("ps_partkey", 200_000 * _SF), _key("ps_suppkey", 10_000 * _SF),
        ("ps_availqty", "INTEGER", 9999, 1, 9999, 4), _money("ps_supplycost", 99_901, 1, 1000),
        _text("ps_comment", 8e7, 128),
    ]),
    "orders": (1_500_000 * _SF, "o_orderkey", [
        _key("o_orderkey", 1_500_000 * _SF, 6_000_000 * _SF), _key("o_custkey", 100_000 * _SF, 150_000 * _SF),
        _text("o_orderstatus", 3, 5), _money("o_totalprice", 3.5e7, 800, 600_000), _day("o_orderdate", 2406),
        _text("o_orderpriority", 5, 12), _text("o_clerk", 1e5, 19), ("o_shippriority", "INTEGER", 1, 0, 0, 4),
        _text("o_comment", 1.5e8, 53),
    ]),
    "lineitem": (6_000_000 * _SF, "l_orderkey", [
        _key("l_orderkey", 1_500_000 * _SF, 6_000_000 * _SF), _key("l_partkey", 200_000 * _SF),
        _key("l_suppkey", 10_000 * _SF), ("l_linenumber", "INTEGER", 7, 1, 7, 4), _money("l_quantity", 50, 1, 50),
        _money("l_extendedprice", 3.8e6, 900, 105_000), _money("l_discount", 11, 0, 0.1), _money("l_tax", 9, 0, 0.08),
        _text("l_returnflag", 3, 5), _text("l_linestatus", 2, 5), _day("l_shipdate", 2526),
        _day("l_commitdate", 2466), _day("l_receiptdate", 2555), _text("l_shipinstruct", 4, 16),
        _text("l_shipmode", 7, 8), _text("l_comment", 4e8, 31),
    ]),
}  # fmt: skip


class StatisticsCatalog:
    """A planner's catalog of tables that don't exist; DuckDB describes queries over empty ones."""

    def __init__(self) -> None:
        self.database = duckdb.connect()
        self.tables = {name: _table(name, *entry) for name, entry in _TABLES.items()}
        for table in self.tables.values():
            columns = ", ".join(f"{name} {type_}" for name, type_ in table.columns)
            self.database.execute(f"CREATE TABLE {table.name} ({columns})")
        self.language = Language(self.database, threading.RLock())

    def table(self, *name: str, view: View | None = None) -> Table | None:
        return self.tables.get(name[-1].lower())

    def view(self, *name: str, view: View | None = None) -> View | None:
        return None

    def scan(self, function: str, arguments: Sequence[str]) -> Table:
        raise AssertionError("golden plans scan tables by name")

    def describe(self, sql: str) -> list[tuple[str, str]]:
        return [(row[0], row[1]) for row in self.database.execute(f"DESCRIBE {sql}").fetchall()]

    def function(self, name: str) -> Function | None:
        return self.language.function(name)

    def syntax(self, *texts: str) -> list[str]:
        return self.language.syntax(*texts)

    def evaluate(self, expressions: Sequence[str]) -> list[tuple[str | None, str]]:
        return evaluate(self.database, expressions)


def _table(name: str, rows: int, clustered_by: str | None, columns: list[_Column]) -> Table:
    statistics = {c[0]: ColumnStatistics(c[2], c[3], c[4], 0.0, c[5]) for c in columns}
    groups = max(rows // _GROUP, 1)
    row_groups = tuple(rows // groups + (1 if i < rows % groups else 0) for i in range(groups))
    clusterings: tuple[Clustering, ...] = ()
    ranges: dict[str, tuple[int, int]] = {}
    if clustered_by is not None:
        highest = int(statistics[clustered_by].maximum or 0)
        edges = [1 + highest * i // groups for i in range(groups + 1)]
        clusterings = (
            Clustering(
                clustered_by,
                tuple((edges[i], edges[i + 1] - 1, row_groups[i]) for i in range(groups)),
            ),
        )
        ranges[clustered_by] = (1, highest)
    size = int(rows * sum(c[5] for c in columns) / 3)
    file = File(f"/data/sf100/{name}.parquet", rows, size, row_groups, ranges)
    return Table(name, tuple((c[0], c[1]) for c in columns), float(rows), statistics, (file,), clusterings)
