"""The whitelist: which expressions may run inside fragments, and which functions are aggregates."""

from __future__ import annotations

import re

from sqlglot import exp

from sord.planner.catalog import Catalog, Unsupported

_STRUCTURE = (
    exp.Column, exp.Identifier, exp.Literal, exp.Boolean, exp.Null, exp.Paren, exp.And, exp.Or, exp.Not, exp.EQ,
    exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Is, exp.Between, exp.In,
    exp.Like, exp.ILike, exp.Escape, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.IntDiv, exp.Neg, exp.DPipe,
    exp.Case, exp.If, exp.Cast, exp.TryCast, exp.DataType, exp.DataTypeParam, exp.Interval, exp.Var, exp.Tuple,
    exp.Star, exp.Distinct, exp.Filter, exp.Where, exp.Extract, exp.Substring, exp.Coalesce, exp.Nullif, exp.Order,
    exp.Ordered, exp.Window, exp.WindowSpec, exp.Array, exp.Bracket, exp.Trim,
)  # fmt: skip

_FUNCTIONS: dict[str, bool] = {}
"""Answers of catalogs to is_pure_function: DuckDB's functions are the same in every catalog."""


def check_expression(expression: exp.Expr, catalog: Catalog) -> None:
    """Raise Unsupported if any part is not known to be deterministic and to survive rendering."""
    for node in expression.walk():
        if isinstance(node, (*_STRUCTURE, *_AGGREGATES)):
            continue
        if isinstance(node, exp.IgnoreNulls | exp.RespectNulls):
            raise Unsupported("IGNORE NULLS")
        if isinstance(node, exp.Func):
            name = _duckdb_name(node)
            if name and _is_pure(name, catalog):
                continue
            if node.find_ancestor(exp.Window) is not None and name in _WINDOW_FUNCTIONS:
                continue
            raise Unsupported(f"the function {name or node.key}")
        raise Unsupported(f"{type(node).__name__} in an expression")


_WINDOW_FUNCTIONS = {
    "row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile", "lag", "lead", "first_value",
    "last_value", "nth_value",
}  # fmt: skip

_AGGREGATES = (
    exp.Sum, exp.Count, exp.Avg, exp.Min, exp.Max, exp.Stddev, exp.StddevSamp, exp.StddevPop, exp.Variance,
    exp.VariancePop, exp.Median, exp.LogicalAnd, exp.LogicalOr, exp.Corr, exp.CovarSamp, exp.CovarPop,
)  # fmt: skip


def is_aggregate(node: exp.Expr) -> bool:
    """Whether the node is an aggregate call, its FILTER clause included."""
    if not isinstance(node, (exp.Filter, *_AGGREGATES)):
        return False
    parent = node.parent
    # Under a FILTER the whole filter is the call; under OVER it is a window, not an aggregate.
    return not (isinstance(parent, (exp.Filter, exp.Window)) and parent.this is node)


def _duckdb_name(node: exp.Func) -> str | None:
    if isinstance(node, exp.Anonymous):
        return str(node.name).lower()
    match = re.match(r"\s*([A-Za-z_][A-Za-z_0-9]*)\(", node.sql("duckdb"))
    return match.group(1).lower() if match else None


def _is_pure(name: str, catalog: Catalog) -> bool:
    if name not in _FUNCTIONS:
        _FUNCTIONS[name] = catalog.is_pure_function(name)
    return _FUNCTIONS[name]
