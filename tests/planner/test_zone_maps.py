"""Row groups that bounds in footers exclude are not read, and no answer changes by that."""

from __future__ import annotations

import random
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from splits_checks import plan, same, scanned, write

from sord.catalog import Catalog
from sord.planner.context import Options
from sord.planner.logical import Scan, leaves
from sord.planner.physical import plan_query

COLUMNS = {
    "n": ("i - 50", ("-50", "0", "49", "17.5", "1e1", "12::TINYINT", "99999999999999999999", "-1000", "NULL")),
    "b": ("(i - 50) * 1000000000000", ("0", "5e12", "-3000000000000", "4611686018427387904::DOUBLE")),
    "u": ("i::UBIGINT * 180000000000000000", ("0", "9000000000000000000", "17999999999999999999", "-1")),
    "c": ("((i - 50) * 0.25)::DECIMAL(9, 2)", ("0", "1.5", "-12.25", "3.333", "1.1e0", "2.5::FLOAT")),
    "f": ("((i - 50) / 10)::FLOAT", ("0.1", "0.1::DOUBLE", "-5", "'nan'::FLOAT", "'inf'::DOUBLE", "4.9")),
    "x": ("if(i % 9 = 5, 'nan'::DOUBLE, (i - 50) / 10)", ("0.1", "'nan'::DOUBLE", "-5", "4.9::FLOAT", "1")),
    "d": ("DATE '1969-12-01' + i::INTEGER", (
        "DATE '1970-01-01'", "'1970-01-05'", "DATE '1970-01-31' - INTERVAL 1 MONTH", "TIMESTAMP '1970-01-01 00:00:01'",
    )),
    "t": ("TIMESTAMP '1969-12-31 23:00:00' + to_minutes(i)", (
        "DATE '1970-01-01'", "TIMESTAMP '1970-01-01 00:30:00'", "'1970-01-01 00:10:00'", "'1970-01-01'",
    )),
    "z": ("TIMESTAMPTZ '1969-12-31 23:00:00+00' + to_minutes(i)", (
        "DATE '1970-01-01'", "TIMESTAMPTZ '1970-01-01 00:30:00+00'", "TIMESTAMP '1970-01-01 00:10:00'",
    )),
    "ns": ("('1969-12-31 23:00:00'::TIMESTAMP + to_minutes(i))::TIMESTAMP_NS", (
        "TIMESTAMP '1970-01-01 00:30:00'", "DATE '1970-01-01'", "'1970-01-01 00:10:00'::TIMESTAMP_NS",
    )),
    "s": ("chr(65 + (i // 4)::INTEGER) || repeat('ä', (i % 4)::INTEGER)", (
        "'C'", "'Cä'", "''", "'Zz'", "'ä'",
    )),
    "o": ("i % 2 = 0", ("true", "false")),
}  # fmt: skip
"""By name: SQL for a value of row ``i`` of a hundred, and constants to compare it with."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A hundred rows, ascending in every column, in five files with three row groups each; NULLs here and there."""
    folder = tmp_path_factory.mktemp("zones")
    for file in range(5):
        items = ", ".join(
            f"if(i % 11 = {number} OR (i BETWEEN 34 AND 39 AND {number} % 2 = 0), NULL, {sql}) AS {name}"
            for number, (name, (sql, _)) in enumerate(COLUMNS.items())
        )
        table = duckdb.sql(f"SELECT {items} FROM range({file * 20}, {file * 20 + 20}) _(i)").to_arrow_table()
        pq.write_table(table, folder / f"{file}.parquet", row_group_size=7)
    # Without the option DuckDB takes bounds for those of NaN too, which pyarrow leaves out of them.
    return f"read_parquet('{folder}/*.parquet', can_have_nan=true)"


def predicate(rng: random.Random, depth: int = 0) -> str:
    """A random condition."""
    if depth < 2 and rng.random() < 0.4:
        word = rng.choice((" AND ", " OR "))
        return f"({predicate(rng, depth + 1)}{word}{predicate(rng, depth + 1)})"
    name = rng.choice(list(COLUMNS))
    first, second = (rng.choice(COLUMNS[name][1]) for _ in range(2))
    kind = rng.randrange(9)
    if kind == 0:
        return f"{name} BETWEEN {first} AND {second}"
    if kind == 1:
        return f"{name} IN ({first}, {second})"
    if kind == 2:
        return f"{name} IS {rng.choice(('', 'NOT '))}NULL"
    if kind == 3:
        return f"s LIKE '{rng.choice(('C%', 'Cä_', 'Z', '%ä', 'ä%'))}'"
    if kind == 4:
        return f"NOT {name} = {first}"
    sign = rng.choice(("=", "<", "<=", ">", ">=", "<>"))
    return f"{first} {sign} {name}" if kind == 5 else f"{name} {sign} {first}"


@pytest.mark.parametrize("seed", range(40))
def test_no_answer_changes(source: str, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(3):
        sql = f"SELECT n, s, x FROM {source} WHERE {predicate(rng)}"
        try:
            duckdb.sql(sql).fetchall()
        except duckdb.Error:
            continue
        same(sql, workers=(rng.choice((1, 2, 3, 8)),))


def read(source: str, where: str) -> int:
    """Row groups, of fifteen."""
    (scan,) = leaves(plan(f"SELECT * FROM {source} WHERE {where}").logical)
    if not isinstance(scan, Scan):
        return 0
    return sum(len(file.row_groups) - len(file.skipped) for file in scan.table.files or ())


@pytest.mark.parametrize(
    ("where", "groups"),
    [
        ("true", 15),
        ("n < -45", 1),
        ("n <= -1000", 0),
        ("n >= 48", 1),
        ("n > 48", 0),
        ("n = 0", 1),
        ("n IN (-49, 48)", 2),
        ("n IN (-51, 3.5, 50)", 0),
        ("0 < n", 8),
        ("n < -45 OR n > 45", 2),
        ("n < -45 AND n > 45", 0),
        ("n BETWEEN 0 AND 1", 1),
        ("n + 0 < -45", 15),
        ("n < -45 OR n % 2 = 1", 15),
        ("u > 17000000000000000000", 1),
        ("c < -12", 1),
        ("f < -4.4", 1),
        ("f > 100", 14),
        ("d < DATE '1969-12-03'", 1),
        ("d >= '1970-03-01'::DATE + INTERVAL 1 WEEK", 1),
        ("t <= TIMESTAMP '1969-12-31 23:05:00'", 1),
        ("t < DATE '1970-01-01'", 9),
        ("s >= 'Y'", 1),
        ("s LIKE 'A%'", 1),
        ("s LIKE '%A'", 14),
        ("b IS NOT NULL", 15),
        ("n IS NOT NULL", 14),
    ],
)
def test_row_groups_that_are_read(source: str, where: str, groups: int) -> None:
    assert read(source, where) == groups


def test_a_collation_changes_the_order_of_texts(source: str) -> None:
    catalog = Catalog(duckdb.connect())
    catalog.database.execute("SET default_collation = 'nocase'")
    catalog.executed("SET default_collation = 'nocase'")
    same(f"SELECT count(*) AS n FROM {source} WHERE s = 'a' OR s >= 'zz'", catalog)


def test_what_is_left_is_shared_equally(tmp_path: Path) -> None:
    for number in range(16):
        write(
            tmp_path / f"{number:02}.parquet",
            f"SELECT {number} * 1000 + range AS k, 'x' AS v FROM range(1000)",
        )
    sql = f"SELECT v, sum(k) AS s FROM '{tmp_path}/*.parquet' WHERE k >= 4000 AND k < 8000 AND k % 2 = 0 GROUP BY v"
    assert scanned(sql) == ["04.parquet", "05.parquet", "06.parquet", "07.parquet"]
    first = plan(sql, workers=4).fragments[0]
    assert [sum(f"{number:02}.parquet" in text for number in range(16)) for text in first.sql] == [1, 1, 1, 1]
    assert first.estimated_rows < 4000
    same(sql)


def test_files_that_are_left_stay_clustered(tmp_path: Path) -> None:
    for name, rows in (("a", 1), ("b", 3)):
        for number in range(12):
            write(
                tmp_path / name / f"{number:02}.parquet",
                f"SELECT {number} * 1000 + range // {rows} AS k, range AS {name} FROM range({1000 * rows})",
            )
    catalog = Catalog(duckdb.connect())
    for name in "ab":
        catalog.register(name, tmp_path / name)
    sql = "SELECT count(*), sum(a), sum(b) FROM a JOIN b USING (k) WHERE k >= 3000"
    found = plan_query(sql, catalog, Options(workers=3))
    # Both sides are joined where they are: nothing is moved but what has been aggregated.
    assert [fragment.route for fragment in found.fragments] == ["gather", "result"]
    same(sql, catalog)


def test_explain_says_how_much_is_read(source: str, tmp_path: Path) -> None:
    from sord.planner.format import format_plan

    text = format_plan(plan(f"SELECT n FROM {source} WHERE n > 40"))
    assert ", 1 of 5 files, 2 of 15 row groups" in text
    assert " of 5 files" not in format_plan(plan(f"SELECT n FROM {source}"))


def test_files_that_store_another_type(tmp_path: Path) -> None:
    write(tmp_path / "1.parquet", "SELECT range::INTEGER AS a, 'x' AS b FROM range(10)")
    write(tmp_path / "2.parquet", "SELECT 5000000000 + range AS a, NULL AS c FROM range(10)")
    write(tmp_path / "3.parquet", "SELECT 0.5 + range AS a, DATE '2020-01-01' AS d FROM range(10)")
    write(tmp_path / "4.parquet", "SELECT '7' AS b")
    source = f"read_parquet('{tmp_path}/*.parquet', union_by_name=true)"
    for where in (
        "a > 100",
        "a = 7",
        "a IS NULL",
        "b = '7'",
        "b IS NOT NULL AND a < 3",
        "d = DATE '2020-01-01'",
        "a = 3.5",
    ):
        same(f"SELECT * FROM {source} WHERE {where}")
    assert scanned(f"SELECT * FROM {source} WHERE a > 100") == ["2.parquet"]
    assert scanned(f"SELECT * FROM {source} WHERE d IS NOT NULL") == ["3.parquet"]
