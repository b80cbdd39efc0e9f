"""GROUPING SETS, several DISTINCT aggregates and subqueries in aggregates, wherever groups are put together."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sord.catalog import Catalog
from sord.fuzzing.checking import Report, check
from sord.fuzzing.databases import Database
from sord.planner.bind import bind
from sord.planner.context import Context, Options
from sord.planner.distribution import Hashed
from sord.planner.logical import Exchange, Plan
from sord.planner.optimizer import LOGICAL_PASSES
from sord.planner.parse import parse
from sord.planner.physical import plan_query
from sord.planner.render import quote, render

COSTS: dict[str, dict[str, float]] = {
    "default": {},
    "shuffle": {"few_rows": -1, "split": -1.0},
    "split": {"few_rows": -1, "split": 1e9, "push": 1e9},
    "adapt": {"few_rows": -1, "split": 1e9, "surprise": 1.0},
}
WORKERS = {"default": (1, 2, 3, 8), "shuffle": (3,), "split": (3, 8), "adapt": (2,)}
QUERIES = [
    "SELECT a, b, count(*), sum(x), grouping(a), grouping(b, a) FROM t GROUP BY ROLLUP(a, b)",
    "SELECT a, b, c, count(*), avg(x), stddev(y) FROM t GROUP BY CUBE(a, b, c)",
    "SELECT a, b, count(*) FROM t GROUP BY a, ROLLUP(b)",
    "SELECT a, b, c, count(*), grouping_id(a, b, c) FROM t GROUP BY a, ROLLUP(b), CUBE(c)",
    "SELECT a, b, c, count(*) FROM t GROUP BY ROLLUP((a, b), c)",
    "SELECT a, b, count(*) FROM t GROUP BY GROUPING SETS (ROLLUP(a), CUBE(b), (a, b))",
    # A set may be listed several times, and one without keys has a row for no rows.
    "SELECT a, b, count(*) FROM t GROUP BY GROUPING SETS ((a), (a), (b), ())",
    "SELECT a, count(*) FROM t GROUP BY GROUPING SETS ((a), (a))",
    "SELECT count(*), sum(x) FROM e GROUP BY GROUPING SETS ((), ())",
    "SELECT a, b, count(*), sum(x), min(s) FROM e GROUP BY ROLLUP(a, b)",
    "SELECT a, b, count(DISTINCT x), count(DISTINCT s), sum(x) FROM e GROUP BY ROLLUP(a, b)",
    "SELECT a, count(*) FROM e GROUP BY GROUPING SETS ((a), (b))",
    # Aggregates that have but one phase.
    "SELECT a, b, median(x), list(x ORDER BY k), grouping(a) FROM t GROUP BY ROLLUP(a, b)",
    "SELECT a, b, median(x), grouping(b) FROM t GROUP BY a, CUBE(b)",
    "SELECT b, a, quantile_disc(x, 0.3), count(DISTINCT (x, y)) FROM t GROUP BY GROUPING SETS ((a), (b))",
    # DISTINCT in them.
    "SELECT a, b, count(DISTINCT x), sum(DISTINCT y), sum(x), grouping(a) FROM t GROUP BY CUBE(a, b)",
    "SELECT a, count(DISTINCT a), sum(DISTINCT x) FILTER (WHERE c), count(a) FROM t GROUP BY ROLLUP(a)",
    "SELECT a, b, count(DISTINCT x), count(DISTINCT x) FILTER (WHERE y > 0) FROM t GROUP BY a, ROLLUP(b)",
    # Keys that are expressions, aliases or positions, and that are aggregated too.
    "SELECT a + 1 AS v, upper(b), count(*), grouping(a + 1) FROM t GROUP BY ROLLUP(v, 2)"
    " HAVING grouping(a + 1) = 0 OR count(*) > 3",
    "SELECT a, b, sum(a), count(a), max(b) FROM t GROUP BY CUBE(a, b)",
    "SELECT a, a, a + 1, count(*) FROM t GROUP BY ROLLUP(a, a)",
    # What stands above them.
    "SELECT a, b, sum(x), rank() OVER (PARTITION BY grouping(a) + grouping(b),"
    " CASE WHEN grouping(b) = 0 THEN a END ORDER BY sum(x) DESC) FROM t GROUP BY ROLLUP(a, b)",
    "SELECT v, n FROM (SELECT a AS v, b, count(*) AS n FROM t GROUP BY ROLLUP(a, b)) WHERE v > 2"
    " AND b IS NULL",
    "SELECT v, b, n FROM (SELECT a AS v, b, count(*) AS n FROM t GROUP BY b, ROLLUP(a)) WHERE b = 'x'",
    "SELECT v, n FROM (SELECT a AS v, count(*) AS n FROM t GROUP BY ROLLUP(a)) WHERE v IS NULL",
    "SELECT x.a, y.b, sum(y.n) FROM t x JOIN (SELECT a, b, count(*) AS n FROM t GROUP BY ROLLUP(a, b)) y ON x.a = y.a"
    " GROUP BY ROLLUP(x.a, y.b)",
    "SELECT u.a, n FROM u JOIN (SELECT a, b, count(*) AS n FROM t GROUP BY a, ROLLUP(b)) v ON u.a ="
    " v.a WHERE u.k < 3",
    "SELECT count(*) FROM (SELECT a, b FROM t GROUP BY CUBE(a, b))",
    "SELECT DISTINCT grouping(a) FROM t GROUP BY CUBE(a, b) ORDER BY 1",
    "SELECT grouping(a), a, count(*) FROM t GROUP BY a",
    "SELECT a, b, max(s), grouping(a) + grouping(b) AS g FROM t GROUP BY ROLLUP(a, b) ORDER BY g,"
    " grouping(a), 1, 2",
    "SELECT k, (SELECT max(n) FROM (SELECT b, c, count(*) AS n FROM t w WHERE w.a = u.a"
    " GROUP BY GROUPING SETS ((b), (c)))) FROM u",
    "WITH r AS (SELECT a, b, sum(x) AS s FROM t GROUP BY ROLLUP(a, b)) SELECT p.a, q.s FROM r p, r q WHERE p.s = q.s",
    # Several DISTINCT arguments without sets.
    "SELECT count(DISTINCT a), count(DISTINCT b), sum(DISTINCT x), count(*), avg(y) FROM t",
    "SELECT a, count(DISTINCT a), count(DISTINCT x), count(DISTINCT s) FILTER (WHERE c), max(y)"
    " FROM t GROUP BY a",
    "SELECT count(DISTINCT a), count(DISTINCT b), sum(x) FROM e",
    "SELECT u.k, count(DISTINCT x), count(DISTINCT s) FROM u LEFT JOIN t ON u.a = t.a GROUP BY u.k",
    # Subqueries in arguments are computed for each row below the aggregate.
    "SELECT a, sum((SELECT max(u.k) FROM u WHERE u.a = t.a)) FROM t GROUP BY a",
    "SELECT sum((SELECT max(k) FROM u)) FROM t",
    "SELECT sum(x + (SELECT count(*) FROM u WHERE u.a = t.a)), count(*) FILTER (WHERE EXISTS"
    " (SELECT 1 FROM u WHERE u.a = t.x)) FROM t",
    "SELECT a, sum(CASE WHEN x IN (SELECT k FROM u) THEN 1 ELSE 0 END) FROM t GROUP BY ROLLUP(a)",
    "SELECT a, count(*) FROM t GROUP BY a HAVING sum((SELECT max(u.k) FROM u WHERE u.a = t.a)) > 3",
    "SELECT a, max((SELECT min(u.k) FROM u WHERE u.a >= t.a)) AS m FROM t WHERE EXISTS (SELECT 1"
    " FROM u WHERE u.a = t.a) GROUP BY a",
    "SELECT a, (SELECT max(u.k) FROM u WHERE u.a = t.a) FROM t GROUP BY ROLLUP(a)",
    "SELECT a, sum((SELECT max(u.k) FROM u WHERE u.a = t.a)), sum((SELECT max(u.k) FROM u WHERE u.a"
    " = t.a)), (SELECT count(*) FROM u) FROM t GROUP BY a",
    "SELECT k, (SELECT sum(u.k + x) FROM t WHERE t.a = u.a) FROM u",
    "SELECT k FROM u WHERE (SELECT sum((SELECT max(w.k) FROM u w WHERE w.a = t.a)) FROM t WHERE t.a"
    " = u.a) > 10",
    "SELECT a, b, geomean(k + 1) FROM t GROUP BY CUBE(a, b)",
    # Counts of nothing in correlated subqueries.
    "SELECT k, (SELECT count_if(c) FROM t WHERE t.a = u.a), (SELECT entropy(x) FROM t WHERE t.a = u.a),"
    " (SELECT regr_count(x, y) FROM t WHERE t.a = u.a), (SELECT approx_count_distinct(x) FROM t WHERE t.a = u.a),"
    " (SELECT mad(x) FROM t WHERE t.a = u.a) FROM u",
]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """``t`` with NULLs in its keys, ``e`` without rows, ``u`` with keys that ``t`` hasn't."""
    folder = tmp_path_factory.mktemp("sets")
    connection = duckdb.connect()
    connection.execute("SET arrow_lossless_conversion = true")
    connection.execute("SET threads = 1")
    rows = [
        (i, None if i % 11 == 0 else i % 5, None if i % 13 == 0 else "xyz"[i % 3], None if i % 7 == 0 else i % 4 > 1,
         None if i % 9 == 0 else i * 37 % 17 - 5, float("nan") if i == 41 else float(i % 9) / 4, "pq"[i % 2] * (i % 3))
        for i in range(90)
    ]  # fmt: skip
    types = [
        ("k", pa.int32()), ("a", pa.int32()), ("b", pa.string()), ("c", pa.bool_()), ("x", pa.int32()),
        ("y", pa.float64()), ("s", pa.string()),
    ]  # fmt: skip
    t = pa.table(
        [pa.array([r[i] for r in rows], type_) for i, (_, type_) in enumerate(types)], [n for n, _ in types]
    )
    u = pa.table({"k": range(9), "a": pa.array([0, 1, 2, 3, 4, 5, 6, 7, None], pa.int32())})
    for name, table in (("t", t), ("e", t.slice(0, 0)), ("u", u)):
        (folder / name).mkdir()
        for part in range(3):
            pq.write_table(table.slice(part * 30, 30), folder / name / f"{part}.parquet", row_group_size=8)
    catalog = Catalog(connection)
    catalog.register_dir(folder)
    return Database(connection, catalog)


@pytest.mark.parametrize("costs", COSTS)
@pytest.mark.parametrize("sql", QUERIES)
def test_duckdb_agrees(sql: str, costs: str, tables: Database) -> None:
    agrees(sql, costs, tables)


def agrees(sql: str, costs: str, tables: Database) -> None:
    """DuckDB and simulated fleets have the same answer, and it isn't DuckDB alone that answers."""
    report = Report()
    check(tables, sql, 0, WORKERS[costs], report, COSTS[costs])
    assert not report.findings, "\n".join(map(str, report.findings))
    assert report.ran.total() == len(WORKERS[costs]), (sql, report.refused, report.invalid)


@pytest.mark.parametrize("sql", QUERIES)
def test_every_pass_keeps_the_answer(sql: str, tables: Database) -> None:
    expected = _rows(tables, sql)
    context = Context(tables.catalog, Options(workers=3))
    plan, ids = bind(parse(sql, tables.catalog), context)
    assert _rows(tables, _query(plan, ids)) == expected, "bind"
    for logical_pass in LOGICAL_PASSES:
        plan = logical_pass(plan, context)
        assert _rows(tables, _query(plan, ids)) == expected, logical_pass.__name__


def _query(plan: Plan, ids: tuple[str, ...]) -> str:
    return f"SELECT {', '.join(map(quote, ids))} FROM ({render(plan)})"


def _rows(tables: Database, sql: str) -> list[str]:
    rows = tables.connection.sql(sql).fetchall()
    return sorted(repr([f"{v:.10g}" if isinstance(v, float) else v for v in row]) for row in rows)


def test_many_groups_are_shuffled_by_key_and_set(tables: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sord.planner.distribute._FEW_ROWS", -1)
    plan = plan_query("SELECT a, b, sum(x) FROM t GROUP BY ROLLUP(a, b)", tables.catalog, Options(3))
    targets = [node.target for node in _nodes(plan.physical) if isinstance(node, Exchange)]
    assert [len(target.keys) for target in targets if isinstance(target, Hashed)] == [3]


def _nodes(plan: Plan) -> list[Plan]:
    return [plan, *(node for child in plan.children for node in _nodes(child))]


KEYS = ("a", "b", "c", "x % 3")
SETS = st.lists(st.sampled_from(KEYS), max_size=3, unique=True)
ELEMENTS = st.one_of(
    st.sampled_from(KEYS),
    SETS.filter(bool).map(lambda keys: f"ROLLUP({', '.join(keys)})"),
    SETS.filter(bool).map(lambda keys: f"CUBE({', '.join(keys)})"),
    st.lists(SETS, min_size=1, max_size=3).map(
        lambda sets: f"GROUPING SETS ({', '.join('(' + ', '.join(set_) + ')' for set_ in sets)})"
    ),
)
CALLS = (
    "count(*)", "sum(x)", "avg(y)", "count(DISTINCT x)", "count(DISTINCT s)", "sum(DISTINCT x) FILTER (WHERE c)",
    "median(x)", "var_pop(x)", "max(a)", "string_agg(s, '' ORDER BY k)", "arg_max(x, k)", "first(s ORDER BY k)",
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    elements=st.lists(ELEMENTS, min_size=1, max_size=2),
    calls=st.lists(st.sampled_from(CALLS), min_size=1, max_size=4, unique=True),
    costs=st.sampled_from(list(COSTS)),
    where=st.sampled_from(("true", "x > 2", "k < 0", "k % 30 > 25")),
    table=st.sampled_from(("t", "t", "e")),
)
def test_any_grouping_sets(
    elements: list[str], calls: list[str], costs: str, where: str, table: str, tables: Database
) -> None:
    group = ", ".join(elements)
    used = [key for key in KEYS if key in group.replace("CUBE", "").replace("ROLLUP", "")]
    items = used + [f"grouping({', '.join(used)})"] * bool(used) + calls
    agrees(f"SELECT {', '.join(items)} FROM {table} WHERE {where} GROUP BY {group}", costs, tables)
