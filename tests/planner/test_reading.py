"""What sqlglot makes of a text: either what DuckDB reads in it, or a refusal."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

import duckdb
import pytest

from sord.catalog import Catalog
from sord.planner.catalog import Unsupported
from sord.planner.fix_context import CONTEXT
from sord.planner.functions import check_functions
from sord.planner.parse import parse
from sord.planner.read import read
from sord.planner.render import expression_sql
from sord.planner.syntax import check_reading


@pytest.fixture(scope="module")
def catalog() -> Iterator[Catalog]:
    connection = duckdb.connect()
    connection.execute("SET arrow_lossless_conversion = true")
    connection.execute("CREATE TABLE t AS SELECT 1 AS a, 'x' AS s, 1.5::DOUBLE AS d")
    return Catalog(connection)


REFUSED = {
    "arg_min_null_val(A, B, N)": "the function arg_min_null_val",
    "in_search_path('memory', 'main')": "the function in_search_path",
}
"""Examples that DuckDB gives for its functions, and that aren't taken, though they are the same everywhere."""
_UNREAD = ("st_", "switch(", "variant_", "apply(", "reduce(", "4!", "decode(")
"""How examples begin that sqlglot can't parse, or not wholly, and ones with mistakes."""


def test_duckdbs_own_examples(catalog: Catalog) -> None:
    """Each example of DuckDB's functions is read rightly, has the same value and type, or is refused with a reason."""
    examples = [
        row[0]
        for row in catalog.database.execute(
            "SELECT DISTINCT unnest(examples) AS e FROM duckdb_functions() "
            "WHERE function_type IN ('scalar', 'aggregate', 'macro') ORDER BY e"
        ).fetchall()
    ]
    taken = evaluated = 0
    unexpected: list[str] = []
    for example in examples:
        if example.lower().startswith(_UNREAD):
            continue
        sql = f"SELECT {example}"
        tree = read(sql)
        try:
            names = check_reading(sql, tree, catalog)
            check_functions(names, catalog)
        except Unsupported as reason:
            expected = REFUSED.get(example, "is another value each time")
            if expected not in str(reason):
                unexpected.append(f"{example}: {reason}")
            continue
        taken += 1
        if names & CONTEXT:
            continue
        try:
            right = _value(catalog, sql)
        except duckdb.Error:
            continue  # over columns that nobody has
        evaluated += 1
        if _value(catalog, expression_sql(tree)) != right:
            unexpected.append(f"{example}: {expression_sql(tree)}")
    assert not unexpected
    assert taken > 450
    assert evaluated > 300


def _value(catalog: Catalog, sql: str) -> tuple[str, list[str]]:
    relation = catalog.database.sql(sql)
    return repr(relation.fetchall()), list(map(str, relation.types))


@pytest.mark.parametrize(
    ("expression", "part"),
    [
        ("regexp_replace(s, 'a', 'z', 'l')", "regexp_replace"),
        ("'{}'::JSON -> 'a.b'", "'a.b'"),
        ("upper((s::JSON -> 'a.b')::VARCHAR)", "'a.b'"),
    ],
)
def test_traps(expression: str, part: str, catalog: Catalog) -> None:
    with pytest.raises(Unsupported) as caught:
        parse(f"SELECT a, {expression} FROM t", catalog)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("random()", "random() is another value each time"),
        ("uuid()", "another value"),
        ("nextval('s')", "nextval() is another value each time"),
        ("plus_one(a)", "plus_one is a function of the client's DuckDB alone"),
        ("current_setting(s)", "current_setting() of a column"),
    ],
)
def test_functions_that_are_not_the_same_everywhere(expression: str, reason: str, catalog: Catalog) -> None:
    catalog.database.execute("CREATE OR REPLACE MACRO plus_one(x) AS x + 1")
    catalog.database.execute("CREATE SEQUENCE IF NOT EXISTS s")
    catalog.executed("CREATE MACRO")
    with pytest.raises(Unsupported) as caught:
        parse(f"SELECT {expression} FROM t", catalog)
    assert reason in str(caught.value)


def test_defaults_of_order_by_are_settings(catalog: Catalog) -> None:
    sql = "SELECT a FROM t ORDER BY a DESC NULLS LAST, s ASC NULLS FIRST, d ASC"
    parse(sql, catalog)
    catalog.database.execute("SET default_null_order = 'nulls_first'")
    try:
        with pytest.raises(Unsupported, match="otherwise than DuckDB"):
            parse(sql, catalog)
    finally:
        catalog.database.execute("RESET default_null_order")


def test_the_moment_is_one_for_all(catalog: Catalog) -> None:
    catalog.database.execute("SET VARIABLE v = 42")
    tree = parse(
        "SELECT now() - now() AS zero, now() AS moment, current_timestamp - now() AS nothing, current_date AS today, "
        "getvariable('v') AS v, getvariable('w') AS w, current_schema() AS s, current_setting('TimeZone') AS zone "
        "FROM t WHERE current_date > DATE '2020-01-01'",
        catalog,
    ).tree
    text = expression_sql(tree)
    assert "now()" not in text.lower()
    assert "current_" not in text.lower()
    row = catalog.database.sql(text).fetchall()[0]
    original = catalog.database.sql("SELECT current_date, current_setting('TimeZone')").fetchall()[0]
    assert row[0] == row[2] == datetime.timedelta(0)
    assert isinstance(row[1], datetime.datetime)
    assert row[1].tzinfo is not None
    assert row[3:] == (original[0], 42, None, "main", original[1])
    assert catalog.database.sql(text).fetchall() == [row], "the text is the same at any time"
