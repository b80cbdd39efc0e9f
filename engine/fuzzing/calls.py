"""Templates of functions and aggregates: the text with places for arguments, the kinds of these, and of the result."""

from __future__ import annotations

from typing import Final, NamedTuple


class Call(NamedTuple):
    """``{0}`` stands for the first argument. A kind of several words is any of them."""

    text: str
    arguments: tuple[str, ...]


# By kind of the result.
FUNCTIONS: Final[dict[str, tuple[Call, ...]]] = {
    "int": (
        Call("{0}.a", ("struct",)),
        Call("{0}['a']", ("struct",)),
        Call("{0}[1]", ("list",)),
        Call("{0}[-1]", ("list",)),
        Call("list_sum({0})::INTEGER", ("list",)),
        Call("list_max({0})", ("list",)),
        Call("{0}['a']", ("map",)),
        Call("TRY_CAST({0} AS INTEGER)", ("str",)),
        Call("abs({0})", ("int",)),
        Call("({0} // 2)", ("int",)),
        Call("({0} % 3)", ("int",)),
        Call("({0} & 3)", ("int",)),
        Call("sign({0})::INTEGER", ("int dec dbl",)),
        Call("greatest({0}, {1})", ("int", "int")),
        Call("least({0}, {1}, 2)", ("int", "int")),
        Call("if({0}, {1}, 1)", ("bool", "int")),
    ),
    "big": (
        Call("length({0})", ("str",)),
        Call("strpos({0}, 'b')", ("str",)),
        Call("year({0})", ("date ts tz",)),
        Call("extract(month FROM {0})", ("date ts",)),
        Call("date_part('dow', {0})", ("date ts",)),
        Call("date_diff('day', {0}, {1})", ("date", "date")),
        Call("datediff('month', {0}, {1})", ("ts", "ts")),
        Call("len({0})", ("list strlist",)),
        Call("cardinality({0})::BIGINT", ("map",)),
        Call("octet_length({0})", ("blob",)),
        Call("epoch_us({0})", ("interval",)),
        Call("epoch_ns({0})", ("ns",)),
        Call("hour({0})", ("time",)),
        Call("({0} + {1})", ("int", "big")),
        Call("xor({0}, 5)", ("big",)),
        Call("bit_count({0})::BIGINT", ("big",)),
    ),
    "tiny": (Call("TRY_CAST({0} AS TINYINT)", ("int big utiny",)), Call("({0} % 5::TINYINT)", ("tiny",))),
    "huge": (Call("{0}::HUGEINT", ("int big uint",)), Call("({0} + 1::HUGEINT)", ("int big",))),
    "dec": (
        Call("round({0}, 1)::DECIMAL(9,2)", ("dec",)),
        Call("TRY_CAST({0} AS DECIMAL(9,2))", ("int dbl",)),
    ),
    "dec18": (Call("({0} * {1})", ("dec", "dec")), Call("TRY_CAST({0} AS DECIMAL(18,4))", ("dec int",))),
    "dec38": (
        Call("TRY_CAST({0} AS DECIMAL(38,10))", ("dec big",)),
        Call("({0} * 1.0000000001::DECIMAL(11,10))", ("dec",)),
    ),
    "flt": (Call("{0}::FLOAT", ("int dec",)),),
    "dbl": (
        Call("({0} / 2)", ("int dec dbl flt",)),
        Call("({0} / {1})", ("int", "int")),
        Call("({0} * 0.5::DOUBLE)", ("dec int",)),
        Call("sqrt(abs({0}))", ("int",)),
        Call("floor({0})", ("dbl",)),
        Call("round({0}::DOUBLE, 1)", ("dbl dec",)),
        Call("power({0}, 2)", ("int",)),
    ),
    "str": (
        Call("upper({0})", ("str",)),
        Call("({0} || 'x')", ("str",)),
        Call("({0} || {1})", ("str", "str")),
        Call("substring({0}, 1, 1)", ("str",)),
        Call("nullif({0}, 'a')", ("str",)),
        Call("concat_ws('-', {0}, {1})", ("str", "int")),
        Call("replace({0}, 'a', 'z')", ("str",)),
        Call("trim({0})", ("str",)),
        Call("left({0}, 2)", ("str",)),
        Call("lpad({0}, 4, '*')", ("str",)),
        Call("reverse({0})", ("str",)),
        Call("md5({0})", ("str",)),
        Call("regexp_replace({0}, '[ab]', 'q', 'g')", ("str",)),
        Call("regexp_extract({0}, '(a)(b)?', 1)", ("str",)),
        Call("split_part({0}, 'b', 1)", ("str",)),
        Call("{0}::VARCHAR", ("int big dec date bool uuid enum time list struct map",)),
        Call("strftime({0}, '%Y-%m')", ("date ts",)),
        Call("{0}.b", ("struct",)),
        Call("{0}[1]", ("strlist",)),
        Call("array_to_string({0}, ',')", ("strlist",)),
        Call("chr(97 + abs({0}) % 4)", ("int",)),
        Call("coalesce({0}, {1}, 'none')", ("str", "str")),
    ),
    "blob": (Call("encode({0})", ("str",)), Call("({0} || {1})", ("blob", "blob"))),
    "date": (
        Call("({0} + INTERVAL 1 DAY)::DATE", ("date",)),
        Call("({0} - 3)", ("date",)),
        Call("date_trunc('month', {0})::DATE", ("date ts",)),
        Call("{0}::DATE", ("ts",)),
        Call("last_day({0})", ("date",)),
    ),
    "ts": (
        Call("({0} + INTERVAL '1 month')", ("date ts",)),
        Call("{0}::TIMESTAMP", ("date",)),
        Call("date_trunc('hour', {0})", ("ts",)),
        Call("({0} + {1})", ("ts", "interval")),
    ),
    "tz": (Call("({0} + INTERVAL 2 HOUR)", ("tz",)),),
    "interval": (Call("({0} - {1})", ("ts", "ts")), Call("to_days({0})", ("int",))),
    "list": (
        Call("[{0}, {1}]", ("int", "int")),
        Call("list_transform({0}, lambda e: e + 1)", ("list",)),
        Call("list_filter({0}, lambda e: e > 1)", ("list",)),
        Call("[e * 2 FOR e IN {0} IF e <> 97]", ("list",)),
        Call("list_concat({0}, {1})", ("list", "list")),
        Call("list_sort({0})", ("list",)),
        Call("{0}[1:2]", ("list",)),
        Call("list_append({0}, {1})", ("list", "int")),
        Call("map_values({0})", ("map",)),
        Call("range({0} % 4)::INTEGER[]", ("int",)),
    ),
    "strlist": (
        Call("[{0}, 'z']", ("str",)),
        Call("string_split({0}, 'b')", ("str",)),
        Call("map_keys({0})", ("map",)),
        Call("list_reverse({0})", ("strlist",)),
    ),
    "struct": (
        Call("{{'a': {0}, 'b': {1}}}", ("int", "str")),
        Call("struct_pack(a := {0}, b := {1})", ("int", "str")),
    ),
    "map": (Call("MAP {{'a': {0}}}", ("int",)), Call("MAP(['x'], [{0}])", ("int",))),
    "bool": (
        Call("list_contains({0}, 1)", ("list",)),
        Call("contains({0}, 'a')", ("str",)),
        Call("starts_with({0}, 'a')", ("str",)),
        Call("regexp_matches({0}, 'a.?b')", ("str",)),
        Call("isnan({0})", ("dbl flt",)),
        Call("map_contains({0}, 'a')", ("map",)),
        Call("list_has_any({0}, [1, 2])", ("list",)),
    ),
}

ANY: Final = "any"
"""An argument of whichever kind."""
KEY: Final = "key"
"""An argument of a kind with few values."""
_NUMBER: Final = "int int big dec dbl tiny small utiny usmall uint ubig huge dec18 dec38 flt"
_EXACT: Final = "int int big dec tiny small utiny uint"
_WORDS: Final = "int big tiny small utiny usmall uint ubig"

# Aggregates whose value doesn't depend on the order of rows, by kind of the result ("same": that of the argument).
COMMON_AGGREGATES: Final[tuple[tuple[str, Call], ...]] = (
    *(("big", Call("count(*)", ())),) * 6,
    *(("big", Call("count({0})", (ANY,))),) * 4,
    *(("big", Call("count(DISTINCT {0})", (KEY,))),) * 4,
    *(("huge", Call("sum({0})", ("int int big tiny small utiny usmall uint ubig huge",))),) * 5,
    *(("dec38", Call("sum({0})", ("dec dec dec18 dec38",))),) * 3,
    *(("dbl", Call("sum({0})", ("dbl flt",))),) * 2,
    *(("dbl", Call("avg({0})", (_NUMBER,))),) * 4,
    *(("same", Call("min({0})", (ANY,))),) * 4,
    *(("same", Call("max({0})", (ANY,))),) * 4,
    ("huge", Call("sum(DISTINCT {0})", ("int int big tiny",))),
    ("dbl", Call("avg(DISTINCT {0})", ("int dec dbl",))),
    ("same", Call("min(DISTINCT {0})", (KEY,))),
    ("dbl", Call("median({0})", ("int big",))),
    ("bool", Call("bool_or({0})", ("bool",))),
    ("bool", Call("bool_and({0})", ("bool",))),
    ("dbl", Call("stddev({0})", ("int dec",))),
    ("dbl", Call("var_pop({0})", ("int dec",))),
    ("dbl", Call("stddev_pop({0})", ("int",))),
    ("dbl", Call("var_samp({0})", ("int small",))),
)
AGGREGATES: Final[tuple[tuple[str, Call], ...]] = (
    *COMMON_AGGREGATES,
    ("dbl", Call("corr({0}, {1})", ("int", "int"))),
    ("dbl", Call("covar_pop({0}, {1})", ("int", "dec"))),
    ("dbl", Call("covar_samp({0}, {1})", ("int", "int"))),
    ("dbl", Call("regr_slope({0}, {1})", ("int", "int"))),
    ("big", Call("regr_count({0}, {1})", ("int", "int"))),
    ("dbl", Call("regr_avgx({0}, {1})", ("int", "int"))),
    ("dbl", Call("skewness({0})", ("int",))),
    ("dbl", Call("kurtosis({0})", ("int",))),
    ("dbl", Call("entropy({0})", (KEY,))),
    ("same", Call("quantile_disc({0}, 0.3)", ("int dec str date dbl",))),
    ("dbl", Call("quantile_cont({0}, 0.7)", ("int dbl",))),
    ("other", Call("quantile_cont({0}, [0.2, 0.8])", ("int",))),
    ("other", Call("percentile_cont(0.5) WITHIN GROUP (ORDER BY {0})", ("int dbl",))),
    ("other", Call("mad({0})", ("int",))),
    ("same", Call("bit_and({0})", (_WORDS,))),
    ("same", Call("bit_or({0})", (_WORDS,))),
    ("same", Call("bit_xor({0})", (_WORDS,))),
    ("huge", Call("count_if({0})", ("bool",))),
    ("dbl", Call("fsum({0})", ("dbl int",))),
    ("dbl", Call("product({0} % 2)", ("int",))),
    ("str", Call("string_agg({0}, ',' ORDER BY {0})", ("str",))),
    ("str", Call("string_agg(DISTINCT {0}, '+' ORDER BY {0})", ("str",))),
    ("list", Call("list({0} ORDER BY {0})", ("int",))),
    ("other", Call("array_agg({0} ORDER BY {0} DESC NULLS LAST)", (_EXACT,))),
    ("other", Call("list_sort(list(DISTINCT {0}))", ("int str date",))),
    ("same", Call("first({0} ORDER BY {0} DESC)", ("int str date dec",))),
    ("same", Call("last({0} ORDER BY {0} NULLS FIRST)", ("int str date",))),
    ("same", Call("any_value({0} ORDER BY {0})", ("int str",))),
    ("same", Call("arg_min({0}, {0})", ("int str date",))),
    ("same", Call("arg_max({0}, {0})", ("int str dec",))),
    ("other", Call("min({0}, 2)", ("int str",))),
    ("other", Call("max({0}, 3)", ("int dec",))),
    ("other", Call("histogram({0})", ("int str",))),
    ("big", Call("approx_count_distinct({0})", ("int str date",))),
    ("big", Call("count(DISTINCT ({0}, {1}))", ("int", "str"))),
)
