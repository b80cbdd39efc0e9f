"""The whitelist: which expressions may run inside fragments."""

from __future__ import annotations

import re

from sqlglot import exp

from sord.planner.aggregates import aggregate_name
from sord.planner.catalog import Catalog, Unsupported
from sord.planner.fix_context import CONTEXT

_STRUCTURE = (
    exp.Column, exp.Identifier, exp.Literal, exp.Boolean, exp.Null, exp.Paren, exp.And, exp.Or, exp.Not, exp.EQ,
    exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Is, exp.Between, exp.In,
    exp.Like, exp.ILike, exp.Escape, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.IntDiv, exp.Neg, exp.DPipe,
    exp.Case, exp.If, exp.Cast, exp.TryCast, exp.DataType, exp.DataTypeParam, exp.Interval, exp.Var, exp.Tuple,
    exp.Star, exp.Distinct, exp.Filter, exp.Where, exp.Extract, exp.Substring, exp.Coalesce, exp.Nullif, exp.Order,
    exp.Ordered, exp.Window, exp.WindowSpec, exp.Array, exp.Bracket, exp.Trim, exp.BitwiseAnd, exp.BitwiseOr,
    exp.BitwiseLeftShift, exp.BitwiseRightShift, exp.BitwiseNot, exp.Slice, exp.Struct, exp.PropertyEQ, exp.ToMap,
    exp.Lambda, exp.Comprehension, exp.AtTimeZone, exp.SimilarTo, exp.Glob, exp.ByteString, exp.RawString,
    exp.ColumnDef, exp.JSONPath, exp.JSONPathPart, exp.Dot, exp.Distance, exp.WithinGroup, exp.Grouping,
    exp.GroupingId, exp.IgnoreNulls, exp.RespectNulls, exp.BitwiseXor, exp.Try,
)  # fmt: skip

_OF_SETTINGS = frozenset((
    "+", "-", "age", "century", "date_diff", "date_part", "date_sub", "date_trunc", "datediff", "datepart", "datesub",
    "datetrunc", "day", "dayname", "dayofmonth", "dayofweek", "dayofyear", "decade", "era", "generate_series", "hour",
    "isodow", "isoyear", "julian", "last_day", "make_timestamptz", "microsecond", "millennium", "millisecond", "minute",
    "month", "monthname", "quarter", "range", "second", "strftime", "time_bucket", "timezone", "timezone_hour",
    "timezone_minute", "week", "weekday", "weekofyear", "year", "yearweek",
))  # fmt: skip
"""Functions that ask for nothing but the session's time zone and calendar, which all workers share."""

_MACROS = frozenset((
    "array_append", "array_pop_back", "array_pop_front", "array_prepend", "array_push_back", "array_push_front",
    "array_reverse", "array_to_string", "array_to_string_comma_default", "date_add", "days_in_month", "fdiv",
    "generate_subscripts", "geomean", "geometric_mean", "if", "wavg", "weighted_avg",
    "list_any_value", "list_append", "list_approx_count_distinct", "list_avg", "list_bit_and", "list_bit_or",
    "list_bit_xor", "list_bool_and", "list_bool_or", "list_count", "list_entropy", "list_first", "list_histogram",
    "list_kurtosis", "list_kurtosis_pop", "list_last", "list_mad", "list_max", "list_median", "list_min", "list_mode",
    "list_prepend", "list_product", "list_reverse", "list_sem", "list_skewness", "list_stddev_pop", "list_stddev_samp",
    "list_string_agg", "list_sum", "list_var_pop", "list_var_samp", "map_contains_entry", "map_contains_value",
    "md5_number_lower", "md5_number_upper", "nullif", "regexp_split_to_table", "split_part",
))  # fmt: skip
"""DuckDB's own macros that stand for an expression of their arguments."""


def check_functions(names: set[str], catalog: Catalog) -> None:
    """Raise Unsupported for functions that don't give the same everywhere. Those in FROM are known to the binder."""
    for name in sorted(names):
        function = catalog.function(name)
        if function is None or function.kinds <= {"pragma"}:
            raise Unsupported(f"the function {name}")
        if not function.internal:
            raise Unsupported(f"{name} is a function of the client's DuckDB alone")
        if "VOLATILE" in function.stabilities:
            raise Unsupported(f"{name}() is another value each time")
        if "macro" in function.kinds and name not in _MACROS | CONTEXT:
            raise Unsupported(f"the macro {name}")
        if "CONSISTENT_WITHIN_QUERY" in function.stabilities and name not in _OF_SETTINGS | CONTEXT:
            raise Unsupported(f"the function {name}")


def check_expression(expression: exp.Expr, catalog: Catalog) -> None:
    """Raise Unsupported if any part isn't known to be an expression of its row alone.

    What functions there are has been checked on DuckDB's reading of the text: see ``check_functions``.
    """
    for node in expression.walk():
        if isinstance(node, exp.Collate):
            # Neither Arrow nor a hash knows of it.
            raise Unsupported("COLLATE")
        if isinstance(node, _STRUCTURE) or aggregate_name(node) is not None:
            continue
        if isinstance(node, exp.IgnoreNulls) and isinstance(node.this, exp.AnyValue):
            continue
        if isinstance(node, exp.Func) and not isinstance(node, _OTHERS):
            if isinstance(node, exp.Binary) and not isinstance(node, exp.AggFunc):
                continue
            name = _duckdb_name(node)
            function = catalog.function(name) if name is not None else None
            if name is None and not isinstance(node, exp.AggFunc):
                continue  # an operator, or a form of its own such as EXTRACT
            if (
                function is not None
                and function.kinds & {"scalar", "macro"}
                and not function.kinds & _COLLECTING
            ):
                continue
            if _is_windowed(node) and function is not None and function.kinds & _COLLECTING:
                continue
            raise Unsupported(f"the function {name or node.key}")
        raise Unsupported(f"{type(node).__name__} in an expression")


_OTHERS = (exp.Unnest, exp.Explode, exp.Posexplode, exp.Columns)
"""What sqlglot calls functions and what is more than an expression of a row."""
_COLLECTING = frozenset(("aggregate", "window"))


def _is_windowed(node: exp.Expr) -> bool:
    """Whether the call is what an OVER is for."""
    parent = node.parent
    while isinstance(parent, exp.Filter | exp.IgnoreNulls | exp.RespectNulls | exp.WithinGroup):
        parent = parent.parent
    return isinstance(parent, exp.Window)


def _duckdb_name(node: exp.Func) -> str | None:
    if isinstance(node, exp.Anonymous):
        return str(node.name).lower()
    match = re.match(r"\s*([A-Za-z_][A-Za-z_0-9]*)\(", node.sql("duckdb"))
    return match.group(1).lower() if match else None
