"""TPC-DS: its 24 tables, its 99 queries as DuckDB's generator writes them, and how their answers are judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import sqlglot
from sqlglot import exp

from sord.tpch.benchmark import Benchmark
from sord.tpch.compare import Answer, differences, order_differences, rows_missing_from

QUERIES: Final = range(1, 100)

TABLES: Final = (
    "call_center",
    "catalog_page",
    "catalog_returns",
    "catalog_sales",
    "customer",
    "customer_address",
    "customer_demographics",
    "date_dim",
    "household_demographics",
    "income_band",
    "inventory",
    "item",
    "promotion",
    "reason",
    "ship_mode",
    "store",
    "store_returns",
    "store_sales",
    "time_dim",
    "warehouse",
    "web_page",
    "web_returns",
    "web_sales",
    "web_site",
)


def tpcds(texts: Path) -> Benchmark:
    """The benchmark with the query texts in a folder (`q01.sql` to `q99.sql`); they are the TPC's and not ours."""

    def query_text(number: int, scale_factor: float) -> str:
        return (texts / f"q{number:02d}.sql").read_text(encoding="utf-8").strip().rstrip(";")

    def judge(
        query: int,
        scale_factor: float,
        answer: Answer,
        duckdb_answer: Answer,
        ask_duckdb: Callable[[str], Answer],
    ) -> list[str]:
        return faults(query_text(query, scale_factor), answer, duckdb_answer, ask_duckdb)

    return Benchmark(TABLES, QUERIES, query_text, judge)


def faults(sql: str, answer: Answer, duckdb_answer: Answer, ask_duckdb: Callable[[str], Answer]) -> list[str]:
    """What is wrong with an answer to `sql`, given DuckDB's.

    The sequence is compared in the sort keys that are columns of the answer. Where a LIMIT cuts a run of rows with
    equal keys, which of them come is left to the engine: they must then be among the rows without the LIMIT.
    """
    query = sqlglot.parse_one(sql, read="duckdb")
    order_by, complete = sort_columns(query, duckdb_answer.columns)
    found = differences(answer, duckdb_answer, order_by)
    if not found or not complete or query.args.get("limit") is None:
        return found
    if order_differences(answer, duckdb_answer, order_by):
        return found
    unlimited = query.copy()
    unlimited.set("limit", None)
    missing = rows_missing_from(ask_duckdb(unlimited.sql("duckdb")), answer)
    return [f"the row {missing[0]!r} is not in DuckDB's answer without the LIMIT"] if missing else []


def sort_columns(query: exp.Expr, columns: tuple[str, ...]) -> tuple[list[str], bool]:
    """The answer's columns that the outermost ORDER BY sorts by first, and whether that is all that it sorts by."""
    order = query.args.get("order")
    if order is None:
        return [], True
    names = {column.lower(): column for column in columns}
    assert isinstance(query, exp.Query)
    once = Counter(map(str.lower, columns))
    values = {item.unalias(): column for item, column in zip(query.selects, columns, strict=False)}
    if any(item.is_star for item in query.selects):
        values = {}
    found: list[str] = []
    for key in order.expressions:
        value = key.this
        if isinstance(value, exp.Column) and not value.table and once[value.name.lower()] == 1:
            found.append(names[value.name.lower()])
        elif isinstance(value, exp.Literal) and not value.is_string:
            found.append(columns[int(value.name) - 1])
        elif value in values:
            found.append(values[value])
        else:
            return found, False
    return found, True
