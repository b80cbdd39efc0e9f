"""Every aggregate function over small tables full of NULLs, NaN and duplicates, in one phase and in two."""

from __future__ import annotations

import datetime
from decimal import Decimal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sord.catalog import Catalog
from sord.fuzzing.checking import Report, check
from sord.fuzzing.databases import Database
from sord.planner.aggregates import _NAMES, _NODES
from sord.planner.catalog import Unsupported
from sord.planner.context import Options
from sord.planner.physical import plan_query

SHUFFLE = {"few_rows": -1, "split": -1.0}
"""Groups go to other workers as they are."""
SPLIT = {"few_rows": -1, "split": 1e9, "push": 1e9}
"""And are aggregated before that."""
COSTS: dict[str, dict[str, float]] = {
    "default": {},
    "shuffle": SHUFFLE,
    "split": SPLIT,
    "adapt": {**SPLIT, "surprise": 1.0},
}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """``t`` has a key ``k``, keys ``a`` and ``b`` with NULLs, and values of many types; ``e`` is it without rows."""
    folder = tmp_path_factory.mktemp("aggregates")
    connection = duckdb.connect()
    connection.execute("SET arrow_lossless_conversion = true")
    connection.execute("SET threads = 1")
    catalog = Catalog(connection)
    nan = float("nan")
    rows = [
        (
            i,
            None if i % 11 == 0 else i % 5,
            None if i % 13 == 0 else "xyz"[i % 3],
            None if i % 7 == 0 else i * 37 % 17 - 5,
            None if i % 6 == 0 else [0.1, 0.25, -3.5, 1e6, 0.1, 7.0, -0.0][i % 7],
            nan if i == 41 else float(i % 9) / 3,
            None if i % 8 == 0 else Decimal(i * 31 % 1000) / 100,
            None if i % 5 == 0 else i % 4 > 1,
            None if i % 9 == 0 else "pqrst"[i % 5] * (i % 3),
            datetime.date(2001, 1, 1) + datetime.timedelta(days=i % 12),
        )
        for i in range(90)
    ]
    types = [
        ("k", pa.int32()), ("a", pa.int32()), ("b", pa.string()), ("x", pa.int32()), ("y", pa.float64()),
        ("z", pa.float64()), ("d", pa.decimal128(9, 2)), ("c", pa.bool_()), ("s", pa.string()), ("day", pa.date32()),
    ]  # fmt: skip
    arrays = [pa.array([row[i] for row in rows], type_) for i, (_, type_) in enumerate(types)]
    table = pa.table(arrays, [name for name, _ in types])
    for name, data in (("t", table), ("e", table.slice(0, 0))):
        (folder / name).mkdir()
        for part in range(3):
            pq.write_table(data.slice(part * 30, 30), folder / name / f"{part}.parquet", row_group_size=8)
    catalog.register_dir(folder)
    return Database(connection, catalog)


def agrees(sql: str, name: str, database: Database) -> None:
    """DuckDB and simulated fleets have the same answer, and it isn't DuckDB alone that answers."""
    workers = {"default": (1, 2, 3, 8), "shuffle": (3,), "split": (3,), "adapt": (2,)}[name]
    report = Report()
    check(database, sql, 0, workers, report, COSTS[name])
    assert not report.findings, "\n".join(map(str, report.findings))
    assert report.ran.total() == len(workers), (sql, report.refused, report.invalid)


BY_NAME: dict[str, tuple[str, ...]] = {
    "any_value": ("any_value(a)", "any_value(a) FILTER (WHERE x > 2)", "any_value(a ORDER BY k)"),
    "approx_count_distinct": ("approx_count_distinct(x)", "approx_count_distinct(b) FILTER (WHERE c)"),
    "approx_quantile": ("approx_quantile(a, 0.5)", "approx_quantile(a, [0.1, 0.9])"),
    "approx_top_k": ("approx_top_k(a, 1)",),
    "arbitrary": ("arbitrary(a)",),
    "arg_max": (
        "arg_max(x, k)", "arg_max(s, d + k)", "argmax(a, z)", "max_by(d, k)", "arg_max(x, k, 3)",
        "arg_max(k, z * 100 + k) FILTER (WHERE c)", "arg_max(x, k ORDER BY k)",
    ),
    "arg_max_null": ("arg_max_null(x, k)", "arg_max_null(s, d + k)"),
    "arg_max_nulls_last": ("arg_max_nulls_last(x, k)", "arg_max_nulls_last(a, x, 1)"),
    "arg_min": ("arg_min(x, k)", "argmin(s, k)", "min_by(d, k)", "arg_min(x, k, 3)", "arg_min(a, z)"),
    "arg_min_null": ("arg_min_null(x, k)", "arg_min_null(d, x * 100 + k)"),
    "arg_min_nulls_last": ("arg_min_nulls_last(x, k)",),
    "avg": ("avg(x)", "avg(d)", "avg(z)", "avg(y)", "avg(day)", "avg(DISTINCT x)", "avg(x) FILTER (WHERE c)",
            "avg(to_days(x))"),
    "bit_and": ("bit_and(x)",),
    "bit_or": ("bit_or(x) FILTER (WHERE c)",),
    "bit_xor": ("bit_xor(x)", "bit_xor(DISTINCT x)", "bit_xor(k::UTINYINT) FILTER (WHERE x >= 0)"),
    "bitstring_agg": ("bitstring_agg(x, -5, 12)",),
    "bool_and": ("bool_and(c)", "bool_and(x > -4)"),
    "bool_or": ("bool_or(c)", "bool_or(x > 9) FILTER (WHERE d > 2)"),
    "corr": ("corr(x, k)", "corr(y, 1)", "corr(y, z)", "corr(d, x) FILTER (WHERE c)"),
    "count": ("count(*)", "count()", "count(x)", "count(DISTINCT x)", "count(DISTINCT (x, c))",
              "count(*) FILTER (WHERE c)", "count(DISTINCT b) FILTER (WHERE x > 1)"),
    "count_if": ("count_if(c)", "countif(x > 3)", "count_if(DISTINCT c)", "count_if(c) FILTER (WHERE x > 0)"),
    "covar_pop": ("covar_pop(x, k)", "covar_pop(y, z)", "covar_pop(x, 4)"),
    "covar_samp": ("covar_samp(x, k)", "covar_samp(d, y) FILTER (WHERE c)"),
    "entropy": ("entropy(x)", "entropy(b)"),
    "favg": ("favg(y)", "favg(z)"),
    "first": ("first(a)", "first(b ORDER BY k)", "first(x ORDER BY d DESC NULLS LAST, k)", "first(a) FILTER (WHERE c)"),
    "fsum": ("fsum(y)", "kahan_sum(x)", "sumkahan(y) FILTER (WHERE c)"),
    "histogram": ("histogram(x)", "histogram(b)", "histogram(x, [0, 5])"),
    "histogram_exact": ("histogram_exact(x, [0, 5])",),
    "kurtosis": ("kurtosis(x)",),
    "kurtosis_pop": ("kurtosis_pop(x)",),
    "last": ("last(a)", "last(b ORDER BY k)", "last(a) FILTER (WHERE x > 1)"),
    "list": ("list(x ORDER BY k)", "array_agg(DISTINCT x ORDER BY x DESC)", "list_sort(list(x))", "list(a)[1]",
             "list(x + k ORDER BY k)", "list(x ORDER BY k) FILTER (WHERE c)"),
    "lttb": ("lttb(k::DOUBLE, x::DOUBLE, 3)",),
    "mad": ("mad(x)", "mad(d)"),
    "max": ("max(x)", "max(s)", "max(z)", "max(day)", "max(x, 3)", "max(DISTINCT x)", "max(x ORDER BY k)"),
    "mean": ("mean(x)", "mean(d) FILTER (WHERE c)"),
    "median": ("median(x)", "median(d)", "median(day)"),
    "min": ("min(x)", "min(s)", "min(z)", "min(day)", "min(x, 2)", "min(x) FILTER (WHERE c)"),
    "mode": ("mode(a)", "mode() WITHIN GROUP (ORDER BY a)"),
    "product": ("product(z + 1)", "product(DISTINCT x)"),
    "quantile": ("quantile(x, 0.3)",),
    "quantile_cont": ("quantile_cont(x, 0.3)", "quantile_cont(d, [0.1, 0.7])",
                      "percentile_cont(0.3) WITHIN GROUP (ORDER BY x DESC)"),
    "quantile_disc": ("quantile_disc(x, 0.3)", "quantile_disc(s, [0.1, 0.7])", "quantile_disc(x, 0.4 ORDER BY x DESC)",
                      "percentile_disc(0.3) WITHIN GROUP (ORDER BY x) FILTER (WHERE c)"),
    "regr_avgx": ("regr_avgx(x, k)",),
    "regr_avgy": ("regr_avgy(x, k)", "regr_avgy(x, d)"),
    "regr_count": ("regr_count(x, y)", "regr_count(x, d) FILTER (WHERE c)"),
    "regr_intercept": ("regr_intercept(x, k)", "regr_intercept(x, 0.1)", "regr_intercept(0.1, k)"),
    "regr_r2": ("regr_r2(x, k)", "regr_r2(x, 0.1)", "regr_r2(0.1, k)"),
    "regr_slope": ("regr_slope(x, k)", "regr_slope(x, 0.1)", "regr_slope(d, y)"),
    "regr_sxx": ("regr_sxx(x, k)", "regr_sxx(k, y)"),
    "regr_sxy": ("regr_sxy(x, k)", "regr_sxy(d, y)"),
    "regr_syy": ("regr_syy(x, k)", "regr_syy(y, k)"),
    "reservoir_quantile": ("reservoir_quantile(a, 0.5, 100)",),
    "sem": ("sem(x)", "sem(y)"),
    "skewness": ("skewness(x)",),
    "stddev_pop": ("stddev_pop(x)", "stddev_pop(0.1)", "stddev_pop(y) FILTER (WHERE c)", "stddev_pop(z)"),
    "stddev_samp": ("stddev(x)", "stddev_samp(d)", "stddev(DISTINCT x)", "stddev(CASE WHEN k = 5 THEN k END)"),
    "string_agg": ("string_agg(s, ';' ORDER BY k)", "group_concat(s, '|' ORDER BY k DESC)", "length(string_agg(s))",
                   "listagg(DISTINCT s, ',' ORDER BY s) FILTER (WHERE c)", "length(string_agg(x, ''))"),
    "sum": ("sum(x)", "sum(y)", "sum(z)", "sum(d)", "sum(c)", "sum(DISTINCT d)", "sum(x::HUGEINT)",
            "sum(x) FILTER (WHERE c)", "sum(d * x)", "sum(x::FLOAT)"),
    "sum_no_overflow": ("sum_no_overflow(x)",),
    "var_pop": ("var_pop(x)", "var_pop(1e4 + x)", "var_pop(0.1 + a * 0)"),
    "var_samp": ("var_samp(x)", "variance(y)", "variance(d) FILTER (WHERE c)", "var_samp(z)"),
    "geomean": ("geomean(k + 1)", "geometric_mean(k + 1)"),
    "weighted_avg": ("weighted_avg(x, k)", "wavg(d, x)"),
}  # fmt: skip
"""Calls of each function. Where DuckDB's answer isn't determined, it is in groups of ``a``."""

BY_A_ONLY = ("any_value", "arbitrary", "first", "last", "mode", "approx_", "reservoir", "list(a)",
             "arg_max_nulls_last(a", "argmax(a", "arg_min(a, z)", "lttb")  # fmt: skip
CALLS = [call for calls in BY_NAME.values() for call in calls]


def test_every_known_function_is_tried() -> None:
    tried = " ".join(CALLS)
    assert not [
        name for name in {*_NODES.values(), *_NAMES} if f"{name}(" not in tried and name not in BY_NAME
    ]


@pytest.mark.parametrize("call", CALLS)
def test_call_by_groups(call: str, database: Database) -> None:
    agrees(f"SELECT a, {call} AS v FROM t GROUP BY a", "split", database)


@pytest.mark.parametrize("function", BY_NAME)
def test_function(function: str, database: Database) -> None:
    calls = BY_NAME[function]
    agrees(f"SELECT a, {', '.join(calls)} FROM t GROUP BY a", "shuffle", database)
    agrees(f"SELECT {', '.join(calls)} FROM e", "split", database)
    agrees(f"SELECT a, {', '.join(calls)} FROM t WHERE k % 30 > 27 GROUP BY a", "split", database)
    if determined := ", ".join(call for call in calls if not call.startswith(BY_A_ONLY)):
        agrees(f"SELECT {determined} FROM t WHERE k > 3", "default", database)


QUERIES = [
    "SELECT a, count(DISTINCT x), sum(DISTINCT d), count(DISTINCT b) FILTER (WHERE c), sum(x) FROM t GROUP BY a",
    "SELECT count(DISTINCT x), sum(DISTINCT d), avg(DISTINCT y), min(s), count(*), stddev(x) FROM t",
    "SELECT count(DISTINCT x), count(DISTINCT s) FROM e",
    "SELECT count(DISTINCT x), count(DISTINCT s), count(*), sum(x) FROM t WHERE k < 0",
    "SELECT b, list(DISTINCT x ORDER BY x), count(DISTINCT x), max(DISTINCT x), first(s ORDER BY k) FROM t GROUP BY b",
    "SELECT a, b, count(DISTINCT x + 1), count(DISTINCT a), sum(x) FROM t GROUP BY a, b",
    "SELECT a, sum(sum(x)) OVER (ORDER BY a NULLS FIRST), rank() OVER (ORDER BY count(*) DESC, a) FROM t GROUP BY a",
    "SELECT b, sum(r) FROM (SELECT b, row_number() OVER (PARTITION BY a ORDER BY k) AS r FROM t) GROUP BY b",
    "SELECT a, sum(x) FILTER (WHERE c) / count(*), max(x) - min(x) FROM t GROUP BY a HAVING bit_or(x) > 1 OR a IS NULL",
    "SELECT list(k), first(k), string_agg(k, ',') FROM (SELECT k FROM t ORDER BY x, k)",
    "SELECT list(k) FROM (SELECT k FROM t ORDER BY x DESC, k LIMIT 5)",
]


@pytest.mark.parametrize("name", COSTS)
@pytest.mark.parametrize("sql", QUERIES)
def test_query(sql: str, name: str, database: Database) -> None:
    agrees(sql, name, database)


def test_states_are_refused(database: Database) -> None:
    with pytest.raises(Unsupported):
        plan_query("SELECT combine_aggr(x) FROM t", database.catalog, Options(3))
