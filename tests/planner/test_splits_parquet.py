"""Parquet tables in parts: partitions, schemas that differ between files, the columns that files lend to rows."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from splits_checks import plan, same, scanned, write

from sord.catalog import Catalog
from sord.planner.catalog import Unsupported


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("splits")
    for number, year in enumerate((2019, 2020, 2021, "__HIVE_DEFAULT_PARTITION__")):
        for kind in ("a b", "NULL", "7"):
            write(
                root
                / "hive"
                / f"year={year}"
                / f"kind={kind.replace(' ', '%20')}"
                / f"{number}{kind[0]}.parquet",
                f"SELECT range * {number} AS x, range % 3 AS y FROM range(50)",
            )
    for day, names in (("2020-01-01", "ab"), ("2020-01-02", "c"), ("x", "")):
        for name in names:
            write(
                root / "days" / f"day={day}" / f"{name}.parquet", f"SELECT range AS x FROM range({ord(name)})"
            )
    write(root / "days" / "day=2020-01-03" / "empty.parquet", "SELECT range AS x FROM range(0)")
    evolved = root / "evolved"
    write(evolved / "1.parquet", "SELECT range::INTEGER AS a, 'x' || range AS b FROM range(40)")
    write(evolved / "2.parquet", "SELECT 'y' || range AS B, range AS a FROM range(30)")
    write(
        evolved / "3.parquet",
        "SELECT range::SMALLINT AS a, NULL::VARCHAR AS b, 1.5 + range AS c FROM range(20)",
    )
    write(evolved / "4.parquet", "SELECT 'nan'::DOUBLE AS a, 'z' AS b, DATE '2020-01-01' AS d")
    write(evolved / "5.parquet", "SELECT 2.5 AS a, 'z' AS b")
    nested = root / "nested"
    write(nested / "1.parquet", "SELECT {'u': 1, 'v': 2} AS s, [{'p': 1}] AS l, MAP {'k': 1} AS m, 1 AS n")
    write(
        nested / "2.parquet",
        "SELECT {'v': 1.5, 'w': 'x'} AS s, [{'p': 2::BIGINT}] AS l, MAP {'k': 2::BIGINT} AS m",
    )
    write(
        nested / "3.parquet",
        "SELECT NULL::STRUCT(u INTEGER, v INTEGER) AS s, NULL::STRUCT(p INTEGER)[] AS l, "
        "NULL::MAP(VARCHAR, INTEGER) AS m, 3 AS n",
    )
    return root


HIVE = "read_parquet('{}/hive/**/*.parquet')"


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT year, kind, count(*) AS n, sum(x) AS s FROM {HIVE} GROUP BY ALL",
        f"SELECT * FROM {HIVE} WHERE year = 2020 AND x > 10",
        f"SELECT count(*) AS n, sum(x) AS s FROM {HIVE} WHERE year IS NULL",
        f"SELECT count(*) AS n, sum(x) AS s FROM {HIVE} WHERE year + 1 BETWEEN 2020 AND 2021 OR kind LIKE 'a%'",
        f"SELECT count(*) AS n FROM {HIVE} WHERE year = 1999",
        f"SELECT a.year, count(*) AS n FROM {HIVE} a JOIN {HIVE} b ON a.x = b.x AND a.year = b.year "
        "WHERE b.year IN (2020, 2021) GROUP BY ALL",
        "SELECT year, kind, sum(x) AS s FROM read_parquet('{}/hive/**/*.parquet', hive_types = {'year': VARCHAR}) "
        "WHERE year > '2019' GROUP BY ALL",
        "SELECT DISTINCT kind FROM read_parquet('{}/hive/year=2020/*/*.parquet')",
        "SELECT kind, count(*) FROM read_parquet('{}/hive/*/kind=[7N]*/*.parquet', hive_types_autocast=0) GROUP BY ALL",
        "SELECT * FROM read_parquet('{}/hive/**/*.parquet', hive_partitioning = false) WHERE x = 3",
        "SELECT day, count(*) AS n FROM '{}/days/**/*.parquet' WHERE day >= DATE '2020-01-02' GROUP BY ALL",
        "SELECT count(*) AS n FROM '{}/days/day=2020-01-03/*.parquet'",
        "SELECT filename, count(*) AS n FROM read_parquet('{}/days/**/*.parquet', filename=true) GROUP BY ALL",
        "SELECT src, a FROM read_parquet('{}/evolved/[12].parquet', filename='src', union_by_name=true)",
        "SELECT file_row_number, x FROM read_parquet('{}/days/*/b.parquet', file_row_number=true) WHERE x % 7 = 0",
        "SELECT * FROM '{}/evolved/[12].parquet'",
        "SELECT * FROM read_parquet(['{}/evolved/2.parquet', '{}/evolved/1.parquet'])",
        "SELECT a, b FROM '{}/evolved/[13].parquet' WHERE a > 15",
        "SELECT * FROM read_parquet('{}/evolved/*.parquet', union_by_name=true)",
        "SELECT a, c FROM read_parquet('{}/evolved/[123].parquet', union_by_name=true, file_row_number=true)",
        "SELECT * FROM '{}/evolved/[15].parquet'",
        "SELECT * FROM '{}/nested/[13].parquet'",
        "SELECT struct_extract(s, 'u') AS u, l[1] AS l, m['k'] AS k FROM '{}/nested/[13].parquet'",
        "SELECT * FROM read_parquet('{}/nested/*.parquet', union_by_name=true)",
    ],
)  # fmt: skip
def test_rows_are_those_of_one_duckdb(folder: Path, sql: str) -> None:
    same(sql.replace("{}", str(folder)))


def test_files_that_a_predicate_excludes_are_not_read(folder: Path) -> None:
    source = HIVE.replace("{}", str(folder))
    assert scanned(f"SELECT x FROM {source} WHERE year = 2020 AND kind <> '7'") == [
        "1N.parquet",
        "1a.parquet",
    ] or (scanned(f"SELECT x FROM {source} WHERE year = 2020 AND kind <> '7'") == ["1a.parquet"])
    assert scanned(f"SELECT x FROM {source} WHERE year < 2020 AND x < 5") == [
        "07.parquet",
        "0N.parquet",
        "0a.parquet",
    ]
    assert scanned(f"SELECT x FROM {source} WHERE year = 1") == []
    assert len(scanned(f"SELECT x FROM {source} WHERE year = x")) == 12
    # DuckDB can't evaluate it, and says so when it runs.
    assert len(scanned(f"SELECT x FROM {source} WHERE CAST(kind AS INTEGER) = 7")) == 12


def test_what_is_left_is_shared_equally(folder: Path) -> None:
    source = HIVE.replace("{}", str(folder))
    fragments = plan(f"SELECT sum(x) AS s FROM {source} WHERE year = 2021", workers=3).fragments
    assert [text.count(".parquet'") for text in fragments[0].sql] == [1, 1, 1]


def test_a_file_without_a_column_is_duckdbs_to_refuse(folder: Path) -> None:
    with pytest.raises(Unsupported, match=r"of which one has no column c: .*\d.parquet"):
        plan(f"SELECT * FROM read_parquet(['{folder}/evolved/3.parquet', '{folder}/evolved/1.parquet'])")


@pytest.mark.parametrize("workers", [2, 8])
def test_row_groups_of_all_shapes(tmp_path: Path, workers: int) -> None:
    shapes = {
        "one": "ROW_GROUP_SIZE 1000000",
        "many": "ROW_GROUP_SIZE 2048",
        "zstd": "COMPRESSION zstd",
        "v2": "PARQUET_VERSION v2",
    }
    for name, options in shapes.items():
        write(
            tmp_path / f"{name}.parquet",
            "SELECT range AS k, range % 10 AS d, ['x' || range % 5, NULL] AS l, CASE WHEN range % 3 > 0 THEN "
            "{'n': range} END AS s FROM range(20000)",
            f"FORMAT parquet, {options}",
        )
    write(
        tmp_path / "none.parquet",
        "SELECT range AS k, range AS d, ['x'] AS l, {'n': range} AS s FROM range(0)",
    )
    catalog = Catalog(duckdb.connect())
    catalog.register("t", tmp_path)
    catalog.register("none", tmp_path / "none.parquet")
    same(
        "SELECT d, l, count(*) AS n, count(s) AS c, sum(struct_extract(s, 'n')) AS s FROM t GROUP BY ALL",
        catalog,
        (workers,),
    )
    same("SELECT count(*) AS n, max(k) AS k FROM none", catalog, (workers,))
    same("SELECT t.k FROM t LEFT JOIN none USING (k) WHERE t.k < 5", catalog, (workers,))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT filename, count(*) AS n FROM '{}/days/**/*.parquet' GROUP BY 1",
        "SELECT *, filename FROM read_parquet('{}/days/*/[ab].parquet') t WHERE t.filename LIKE '%a.parquet' AND x < 9",
        "SELECT * FROM '{}/days/*/[ab].parquet' WHERE filename LIKE '%b.parquet' AND file_row_number = 7",
        "SELECT max(filename), * EXCLUDE (x) FROM '{}/days/*/[ab].parquet' GROUP BY ALL",
        "SELECT COLUMNS(*), filename FROM '{}/evolved/[12].parquet'",
        "SELECT f, sum(x) FROM (SELECT filename AS f, * FROM '{}/days/*/[ab].parquet') GROUP BY f",
        "SELECT u, filename FROM '{}/days/*/[ab].parquet' AS t(u)",
        "SELECT a.filename, count(*) FROM '{}/days/*/a.parquet' a JOIN '{}/days/*/b.parquet' b USING (x) GROUP BY ALL",
    ],
)
def test_virtual_columns(folder: Path, sql: str) -> None:
    same(sql.format(folder, folder))


def test_virtual_columns_that_might_be_something_else(folder: Path) -> None:
    with pytest.raises(Unsupported):
        plan(f"SELECT x AS filename FROM '{folder}/days/*/a.parquet' WHERE filename LIKE '%a%'")
