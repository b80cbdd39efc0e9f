"""How an aggregate is computed in two phases: what each worker makes of its rows, and how that is put together.

Only functions whose two phases have exactly the answer of one are here; sums of floating point numbers differ in
their last digits, as they do in DuckDB itself with several threads. Variances and covariances are merged pairwise
from counts, means and sums of squared deviations (Chan, Golub and LeVeque, 1979), never from sums of squares.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import sqlglot
from sqlglot import exp

from sord.planner.aggregates import Call, aggregate_name, take_apart
from sord.planner.context import Context
from sord.planner.expressions import column, replace, substitute
from sord.planner.logical import Output

Halves = tuple[list[Output], exp.Expr]
"""The calls of the first phase, by id, and the expression of the second over them."""

Fresh = Callable[[], str]
"""Gives the ids of the first phase's columns."""


def splits(call: exp.Expr, context: Context) -> bool:
    """Whether ``halves`` knows the two phases of a call."""
    return halves(call, context, lambda: "") is not None


def halves(call: exp.Expr, context: Context, fresh: Fresh) -> Halves | None:
    """The two phases of a call; None if it has but one."""
    parts = take_apart(call)
    if not parts.plain:
        return None
    name, arguments = parts.name, len(parts.arguments)
    if name == "count" or (name in _ITSELF and arguments == 1):
        return _itself(parts, fresh)
    if name == "avg":
        return _average(parts, fresh, exp.Sum) if context.is_numeric(parts.arguments[0]) else None
    recipe = _RECIPES.get(name)
    if recipe is None or arguments != recipe[0]:
        return None
    return _by_recipe(parts, fresh, *recipe[1:])


_ITSELF = {
    "any_value", "bit_and", "bit_or", "bit_xor", "bool_and", "bool_or", "count_if", "fsum", "max", "min", "product",
    "sum",
}  # fmt: skip
"""Aggregates of their own partial results; a count and a count_if are summed."""


def _itself(parts: Call, fresh: Fresh) -> Halves:
    id_ = fresh()
    below = [(id_, _below(parts, parts.function.copy()))]
    if parts.name == "count":
        counted = exp.Coalesce(this=exp.Sum(this=column(id_)), expressions=[exp.Literal.number(0)])
        return below, exp.cast(counted, "BIGINT", dialect="duckdb")
    if parts.name == "count_if":
        return below, exp.Sum(this=column(id_))
    again = parts.function.copy()
    if isinstance(again, exp.Anonymous):
        again.set("expressions", [column(id_)])
    else:
        again.set("this", column(id_))
    return below, again


def _average(parts: Call, fresh: Fresh, sum_: type[exp.Expr]) -> Halves:
    (argument,) = parts.arguments
    total, count = fresh(), fresh()
    below = [
        (total, _below(parts, sum_(this=argument.copy()))),
        (count, _below(parts, exp.Count(this=argument.copy()))),
    ]
    rows = exp.Nullif(this=exp.Sum(this=column(count)), expression=exp.Literal.number(0))
    double = exp.cast(sum_(this=column(total)), "DOUBLE", dialect="duckdb")
    return below, exp.Div(this=double, expression=rows)


_BOTH = "FILTER (WHERE x IS NOT NULL AND y IS NOT NULL)"


def _mean(argument: str, condition: str = "") -> str:
    """An average inside the range of its values, so that equal values have no variance after merging either."""
    x = f"CAST({argument} AS DOUBLE)"
    return f"greatest(least(avg({x}) {condition}, max({x}) {condition}), min({x}) {condition})"


_ONE = ("count(x)", _mean("x"), "var_pop(x) * count(x)")
_TWO = (
    "regr_count(y, x)", _mean("x", _BOTH), _mean("y", _BOTH), "regr_sxx(y, x)", "regr_syy(y, x)", "regr_sxy(y, x)",
)  # fmt: skip

_SHIFT = "(b[{0}] - a[{0}])"
_NEW_MEAN = f"a[{{0}}] + {_SHIFT} * (b[1] / (a[1] + b[1]))"
_NEW_MOMENT = "a[{2}] + b[{2}] + " + _SHIFT + " * (b[{1}] - a[{1}]) * (a[1] * b[1] / (a[1] + b[1]))"


def _merged(first: tuple[str, ...], means: tuple[int, ...], moments: tuple[tuple[int, int, int], ...]) -> str:
    """SQL for the merged [count, means, moments]; NULL if nothing was counted. Partial ones are p0, p1, …"""
    state = ", ".join(f"CAST(p{i} AS DOUBLE)" for i in range(len(first)))
    new = ["a[1] + b[1]", *(_NEW_MEAN.format(i) for i in means), *(_NEW_MOMENT.format(*m) for m in moments)]
    return f"list_reduce(list([{state}]) FILTER (WHERE p0 > 0), lambda a, b: [{', '.join(new)}])"


_MERGED_ONE = _merged(_ONE, (2,), ((2, 2, 3),))
_MERGED_TWO = _merged(_TWO, (2, 3), ((2, 2, 4), (3, 3, 5), (2, 3, 6)))


def _with(merged: str, result: str) -> str:
    """SQL for an expression over the merged state ``m``."""
    return f"list_transform([{merged}], lambda m: {result})[1]"


def _of_one(result: str) -> tuple[int, tuple[str, ...], str]:
    return 1, _ONE, _with(_MERGED_ONE, result)


def _of_two(result: str) -> tuple[int, tuple[str, ...], str]:
    return 2, _TWO, _with(_MERGED_TWO, result)


_RECIPES: dict[str, tuple[int, tuple[str, ...], str]] = {
    "arg_max": (2, ("arg_max(x, y)", "max(y) FILTER (WHERE x IS NOT NULL)"), "arg_max(p0, p1)"),
    "arg_min": (2, ("arg_min(x, y)", "min(y) FILTER (WHERE x IS NOT NULL)"), "arg_min(p0, p1)"),
    "arg_max_null": (2, ("arg_max_null(x, y)", "max(y)"), "arg_max_null(p0, p1)"),
    "arg_min_null": (2, ("arg_min_null(x, y)", "min(y)"), "arg_min_null(p0, p1)"),
    # A NULL may be a first value, or there may have been no row.
    "first": (1, ("first(x)", "count(*)"), "first(p0) FILTER (WHERE p1 > 0)"),
    "last": (1, ("last(x)", "count(*)"), "last(p0) FILTER (WHERE p1 > 0)"),
    "favg": (1, ("fsum(x)", "count(x)"), "fsum(p0) / nullif(sum(p1), 0)"),
    "regr_count": (2, ("regr_count(y, x)",), "CAST(coalesce(sum(p0), 0) AS UINTEGER)"),
    "var_pop": _of_one("m[3] / m[1]"),
    "var_samp": _of_one("CASE WHEN m[1] > 1 THEN m[3] / (m[1] - 1) END"),
    "stddev_pop": _of_one("sqrt(m[3] / m[1])"),
    "stddev_samp": _of_one("CASE WHEN m[1] > 1 THEN sqrt(m[3] / (m[1] - 1)) END"),
    "sem": _of_one("sqrt(m[3] / m[1]) / sqrt(m[1])"),
    "covar_pop": _of_two("m[6] / m[1]"),
    "covar_samp": _of_two("CASE WHEN m[1] > 1 THEN m[6] / (m[1] - 1) END"),
    "corr": _of_two(
        "CASE WHEN m[4] = 0 OR m[5] = 0 THEN 'nan'::DOUBLE ELSE m[6] / (sqrt(m[4]) * sqrt(m[5])) END"
    ),
    "regr_avgx": _of_two("m[3]"),
    "regr_avgy": _of_two("m[2]"),
    "regr_sxx": _of_two("m[5]"),
    "regr_sxy": _of_two("m[6]"),
    "regr_syy": _of_two("m[4]"),
    "regr_slope": _of_two("CASE WHEN m[5] = 0 THEN 'nan'::DOUBLE ELSE m[6] / m[5] END"),
    "regr_intercept": _of_two("CASE WHEN m[5] <> 0 THEN m[2] - m[6] / m[5] * m[3] END"),
    "regr_r2": _of_two(
        "CASE WHEN m[5] = 0 THEN NULL WHEN m[4] = 0 THEN 1 ELSE m[6] * m[6] / (m[4] * m[5]) END"
    ),
}
"""Arguments (x, y; of regr_*: dependent, independent); first phase over them; second over its results p0, p1, …"""


def _by_recipe(parts: Call, fresh: Fresh, first: tuple[str, ...], second: str) -> Halves:
    names = ("x", "y") if len(parts.arguments) == 2 else ("x",)
    arguments = dict(zip(names, parts.arguments, strict=True))
    ids = [fresh() for _ in first]
    below = [
        (id_, _below(parts, substitute(_parsed(sql), arguments))) for id_, sql in zip(ids, first, strict=True)
    ]
    return below, substitute(_parsed(second), {f"p{i}": column(id_) for i, id_ in enumerate(ids)})


@cache
def _parsed(sql: str) -> exp.Expr:
    return sqlglot.parse_one(sql, read="duckdb")


def _below(parts: Call, expression: exp.Expr) -> exp.Expr:
    """The first phase of a call with FILTER has that FILTER at every aggregate."""
    return expression if parts.condition is None else only_where(expression, parts.condition.this)


def only_where(expression: exp.Expr, condition: exp.Expr) -> exp.Expr:
    """The expression with all aggregates in it over rows for which the condition holds."""

    def change(node: exp.Expr) -> exp.Expr | None:
        if isinstance(node, exp.Filter):
            both = exp.and_(condition.copy(), node.expression.this.copy())
            return exp.Filter(this=node.this.copy(), expression=exp.Where(this=both))
        if aggregate_name(node) is None:
            return None
        return exp.Filter(this=node.copy(), expression=exp.Where(this=condition.copy()))

    return replace(expression, change)
