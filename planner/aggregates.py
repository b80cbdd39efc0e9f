"""DuckDB's aggregate functions, and what a call of one consists of.

The list is data: a function that is not on it falls back. Those whose answer depends on the order of rows and that
are called without ORDER BY (list, string_agg, first, last, any_value), and those that choose among equals (mode,
arg_max, approx_quantile, ...) may give any of the answers that DuckDB may give: over a table of several row groups
and with several threads, DuckDB's own answer differs from run to run (measured with 2.0.1: ``first``, ``list``,
``string_agg``, ``any_value``, ``mode`` and ``arg_max``, ungrouped and grouped, gave another answer in nearly every
run, ``preserve_insertion_order`` notwithstanding). So they are distributed. A subquery's ORDER BY is kept, because
what is sorted lies in one place.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

_NODES: dict[type[exp.Expr], str] = {
    exp.AnyValue: "any_value",
    exp.ApproxDistinct: "approx_count_distinct",
    exp.ApproxQuantile: "approx_quantile",
    exp.ArgMax: "arg_max",
    exp.ArgMin: "arg_min",
    exp.ArrayAgg: "list",
    exp.Avg: "avg",
    exp.BitwiseAndAgg: "bit_and",
    exp.BitwiseOrAgg: "bit_or",
    exp.BitwiseXorAgg: "bit_xor",
    exp.Corr: "corr",
    exp.Count: "count",
    exp.CountIf: "count_if",
    exp.CovarPop: "covar_pop",
    exp.CovarSamp: "covar_samp",
    exp.First: "first",
    exp.GroupConcat: "string_agg",
    exp.Kurtosis: "kurtosis",
    exp.Last: "last",
    exp.LogicalAnd: "bool_and",
    exp.LogicalOr: "bool_or",
    exp.Max: "max",
    exp.Median: "median",
    exp.Min: "min",
    exp.Mode: "mode",
    exp.PercentileCont: "quantile_cont",
    exp.PercentileDisc: "quantile_disc",
    exp.Quantile: "quantile",
    exp.RegrAvgx: "regr_avgx",
    exp.RegrAvgy: "regr_avgy",
    exp.RegrCount: "regr_count",
    exp.RegrIntercept: "regr_intercept",
    exp.RegrR2: "regr_r2",
    exp.RegrSlope: "regr_slope",
    exp.RegrSxx: "regr_sxx",
    exp.RegrSxy: "regr_sxy",
    exp.RegrSyy: "regr_syy",
    exp.Skewness: "skewness",
    exp.Stddev: "stddev_samp",
    exp.StddevPop: "stddev_pop",
    exp.StddevSamp: "stddev_samp",
    exp.Sum: "sum",
    exp.Variance: "var_samp",
    exp.VariancePop: "var_pop",
}
"""Nodes that sqlglot has for a function, by DuckDB's name of it."""

_NAMES: dict[str, str] = {
    "approx_top_k": "approx_top_k",
    "arbitrary": "first",
    "arg_max_null": "arg_max_null",
    "arg_max_nulls_last": "arg_max_nulls_last",
    "arg_min_null": "arg_min_null",
    "arg_min_nulls_last": "arg_min_nulls_last",
    "bitstring_agg": "bitstring_agg",
    "entropy": "entropy",
    "favg": "favg",
    "fsum": "fsum",
    "histogram": "histogram",
    "histogram_exact": "histogram_exact",
    "kahan_sum": "fsum",
    "kurtosis_pop": "kurtosis_pop",
    "lttb": "lttb",
    "mad": "mad",
    "mean": "avg",
    "product": "product",
    "reservoir_quantile": "reservoir_quantile",
    "sem": "sem",
    "sum_no_overflow": "sum_no_overflow",
    "sumkahan": "fsum",
}
"""Functions that sqlglot leaves as they are written, and the name that they are an alias of."""

ZERO_OF_NOTHING = ("approx_count_distinct", "count", "entropy", "regr_count")
"""Functions that are 0 for no rows at all; all others are NULL."""

_WRAPPERS = (exp.Filter, exp.IgnoreNulls, exp.WithinGroup)
"""What may stand around an aggregate and belongs to the call; sqlglot reads any_value as one that ignores NULLs."""


@dataclass(frozen=True, slots=True)
class Call:
    """The parts of a call. ``plain`` is false with ORDER BY, WITHIN GROUP or DISTINCT in it."""

    name: str
    function: exp.Expr
    arguments: tuple[exp.Expr, ...]
    condition: exp.Expr | None
    """That of FILTER, a Where node."""
    distinct: bool
    plain: bool


def aggregate_name(node: exp.Expr) -> str | None:
    """DuckDB's name of the function, if the node is a call of a known aggregate without what may stand around it."""
    if isinstance(node, exp.Anonymous):
        return _NAMES.get(str(node.this).lower())
    return _NODES.get(type(node))


def is_aggregate(node: exp.Expr) -> bool:
    """Whether the node is a whole aggregate call: its FILTER clause included, no window's function."""
    function = node
    while isinstance(function, _WRAPPERS):
        function = function.this
    if aggregate_name(function) is None:
        return False
    parent = node.parent
    return not (isinstance(parent, (*_WRAPPERS, exp.Window)) and parent.this is node)


def take_apart(call: exp.Expr) -> Call:
    """The parts of a call; of an expression over calls, as a second phase is, it says that it has no name."""
    condition: exp.Expr | None = None
    plain = True
    function = call
    while isinstance(function, _WRAPPERS):
        if isinstance(function, exp.Filter):
            condition = function.expression
        plain = plain and not isinstance(function, exp.WithinGroup)
        function = function.this
    name = aggregate_name(function)
    if name is None:
        return Call("", call, (), None, False, False)
    arguments = tuple(
        part for part in function.iter_expressions() if not isinstance(part, (exp.DataType, exp.Identifier))
    )
    plain = plain and not any(isinstance(part, exp.Order) for part in arguments)
    distinct = bool(arguments) and isinstance(arguments[0], exp.Distinct)
    if distinct:
        arguments = (*arguments[0].expressions, *arguments[1:])
    return Call(name, function, arguments, condition, distinct, plain and not distinct)
