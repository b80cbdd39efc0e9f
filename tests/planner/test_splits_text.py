"""CSV and JSON tables in parts: whoever reads a file reads it as DuckDB does among all of them."""

from __future__ import annotations

import gzip
from pathlib import Path

import duckdb
import pytest
from splits_checks import plan, same

from sord.catalog import Catalog
from sord.planner.catalog import Unsupported

FILES = {
    "plain/1.csv": "a,b\n1,x\n2,y\n",
    "plain/2.csv": "a,b\n1.5,z\n",  # wider than what the others would be
    "plain/3.csv": "a;b\n9;w\n",  # another dialect
    "plain/4.csv": 'a,b\n7,"q,""r"\n',
    "plain/5.csv": "a,b\n",
    "plain/6.csv": "a,b\r\n8,crlf\r\n",
    "dates/1.csv": "d,t\n01/02/2020,2020-01-01 10:00:00\n25/03/2021,2020-01-01 10:00:00\n",
    "dates/2.csv": "d,t\n01/02/2020,2020-01-01 10:00:00\n",  # the first says which is the month
    "zip/1.csv.gz": "a,b\n1,x\n",
    "zip/2.csv.gz": "a,b\n2.5,y\n",
    "evolved/1.csv": "a,b\n1,x\n",
    "evolved/2.csv": "c,a\n2020-01-01,2\n",
    "hive/year=2020/1.csv": "a\n1\n2\n",
    "hive/year=2021/1.csv": "a\n3\n",
    "hive/year=x/1.csv": "a\n4.5\n",
    "text/1.csv": "n,s\nfoo,bar\nx,y\n",
    "text/2.csv": "n,s\na,b\n",
    "tsv/1.tsv": "a\tb\n1\tx\n",
    "json/1.json": '{"a": 1, "b": "x"}\n{"a": 2}\n',
    "json/2.json": '[{"a": 1.5, "b": "y"}]',
    "json/3.json": '{"b": "2020-01-01", "c": {"u": 1}}\n',
    "json/4.json": '{\n "a": 7,\n "c": {"v": [1, null]}\n}',
    "lines/1.ndjson": '{"a": 1}\n{"a": null}\n',
    "lines/2.ndjson": '{"a": "x", "d": "2020-01-01 10:00:00"}\n',
    "jdates/1.json": '{"d": "25/03/2020"}\n',
    "jdates/2.json": '{"d": "01/02/2020"}\n',
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("text")
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        data = text.encode()
        (root / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    for number in range(24):
        (root / "many").mkdir(exist_ok=True)
        rows = "".join(f"{row},{'x' * (row % 4)}\n" for row in range(number, 60))
        (root / "many" / f"{number:02}.csv").write_text("k,v\n" + rows)
        (root / "manyjson").mkdir(exist_ok=True)
        (root / "manyjson" / f"{number:02}.json").write_text(f'{{"k": {number}}}\n')
    return root


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('{}/plain/*.csv')",
        "SELECT * FROM '{}/plain/*.csv' WHERE a > 1",
        "SELECT b, count(*) AS n FROM read_csv_auto('{}/plain/[1246].csv') GROUP BY b",
        "SELECT * FROM read_csv('{}/plain/[12].csv', columns = {'a': 'DOUBLE', 'b': 'VARCHAR'})",
        "SELECT * FROM read_csv('{}/plain/*.csv', header = false, all_varchar = true)",
        "SELECT * FROM read_csv('{}/plain/[14].csv', delim = ',', quote = '\"', types = {'a': 'VARCHAR'})",
        "SELECT * FROM read_csv('{}/plain/[12].csv', filename = true)",
        "SELECT * FROM '{}/dates/*.csv'",
        "SELECT * FROM '{}/zip/*.csv.gz'",
        "SELECT * FROM read_csv('{}/evolved/*.csv', union_by_name = true)",
        "SELECT year, a FROM '{}/hive/*/*.csv' WHERE year <> '2021'",
        "SELECT year, sum(a) AS s FROM read_csv('{}/hive/year=202*/*.csv') GROUP BY ALL",
        "SELECT * FROM '{}/text/*.csv'",
        "SELECT \"1\".a FROM '{}/tsv/1.tsv'",
        "SELECT * FROM read_csv('{}/tsv/*.tsv', header := true, delim => E'\\t', quote = '''', nullstr = ['1'])",
        "SELECT v, count(*) AS n, sum(k) AS s FROM '{}/many/*.csv' GROUP BY v",
        "SELECT count(*) AS n FROM '{}/many/*.csv' x JOIN '{}/many/0*.csv' y USING (k)",
        "SELECT count(*) AS n FROM '{}/manyjson/*.json' x JOIN '{}/many/0*.csv' y USING (k)",
        "SELECT * FROM '{}/json/*.json'",
        "SELECT * FROM read_json_auto('{}/json/[12].json')",
        "SELECT a FROM read_json('{}/json/*.json', columns = {'a': 'VARCHAR'}) WHERE a IS NOT NULL",
        "SELECT * FROM read_json('{}/json/*.json', maximum_sample_files = 1)",
        "SELECT * FROM read_json('{}/json/*.json', union_by_name = true, filename = true)",
        "SELECT * FROM read_ndjson('{}/lines/*.ndjson')",
        "SELECT count(*) AS n FROM '{}/lines/*.ndjson'",
        "SELECT json FROM read_json_objects('{}/json/*.json')",
        "SELECT d FROM '{}/jdates/*.json'",
    ],
)  # fmt: skip
def test_rows_are_those_of_one_duckdb(folder: Path, sql: str) -> None:
    same(sql.replace("{}", str(folder)))


def test_registered_folders_of_text(folder: Path) -> None:
    catalog = Catalog(duckdb.connect())
    assert catalog.register_dir(folder) == sorted(
        {name.split("/")[0] for name in FILES} | {"many", "manyjson"}
    )
    for name in ("plain", "zip", "hive", "tsv", "json", "lines"):
        same(f"SELECT * FROM {name}", catalog)
    assert not catalog.database.sql(
        "SELECT * FROM zip EXCEPT SELECT * FROM read_csv(['a'])" if 0 else "FROM zip LIMIT 0"
    ).fetchall()


def test_every_file_is_read_by_one_worker(folder: Path) -> None:
    fragments = plan(f"SELECT sum(k) AS s FROM '{folder}/many/*.csv'", workers=3).fragments
    listed = [
        text.partition("NOT IN")[0].count(".csv'") - text.partition("NOT IN")[2].count(".csv'")
        for text in fragments[0].sql
    ]
    assert sum(listed) == 24
    assert min(listed) > 4


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT * FROM read_csv('{}/plain/1.csv', store_rejects = true)", "read_csv with store_rejects"),
        ("SELECT * FROM read_csv('{}/none*.csv', allow_empty = true)", "read_csv with allow_empty"),
        ("SELECT * FROM read_csv('{}/odd.csv')", "a column called filename"),
        ("SELECT * FROM read_text('{}/plain/1.csv')", r"read_text\(\) in FROM"),
    ],
)
def test_what_one_duckdb_reads(folder: Path, sql: str, reason: str) -> None:
    (folder / "odd.csv").write_text("filename,x\na,1\n")
    with pytest.raises(Unsupported, match=reason):
        plan(sql.replace("{}", str(folder)))
    (folder / "odd.csv").unlink()
