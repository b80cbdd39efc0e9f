"""Tables: registered places, paths in FROM, frames, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from engine_checks import answer, copy, fallback, rows, same

import sord


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of different columns, and hive/p=0..2/q=k0|k1."""
    root = tmp_path_factory.mktemp("it's [data]")
    copy("SELECT range AS a, range * 2 AS b FROM range(1000)", root / "u1.parquet")
    copy("SELECT range AS b, range || 'x' AS c FROM range(1000)", root / "u2.parquet")
    copy("SELECT 7 AS a", root / "deep" / "er" / "x.parquet")
    for p in range(3):
        for q in ("k0", "k1"):
            copy(
                f"SELECT range * {p + 1} AS a FROM range(100)",
                root / "hive" / f"p={p}" / f"q={q}" / "data.parquet",
            )
    return root


def test_register_a_file_a_glob_a_folder_a_list(db: sord.Connection, folder: Path) -> None:
    db.register("file", folder / "u1.parquet")
    db.register("globbed", f"{str(folder).replace('[', '[[]')}/u*.parquet")
    db.register("dir", str(folder / "deep"))
    db.register("listed", [folder / "u1.parquet", str(folder / "u1.parquet")])
    assert rows(db, "SELECT count(*), sum(a) FROM file") == [(1000, 499500)]
    assert rows(db, "SELECT sum(b) FROM globbed") == [(999000 + 499500,)]
    assert rows(db, "SELECT a FROM dir") == [(7,)]
    assert rows(db, "SELECT count(*), sum(a) FROM listed") == [(2000, 999000)]


def test_register_dir(tmp_path: Path, db: sord.Connection) -> None:
    copy("SELECT 1 AS a", tmp_path / "rd_file.parquet")
    copy("SELECT 2 AS a", tmp_path / "rd_folder" / "part-0.parquet")
    copy("SELECT 3 AS a", tmp_path / "rd_folder" / "year=1" / "part-0.parquet")
    (tmp_path / "notes.txt").write_text("no table")
    (tmp_path / "empty").mkdir()
    assert db.register_dir(tmp_path) == ["rd_file", "rd_folder"]
    assert rows(db, "SELECT sum(a) FROM rd_folder") == [(5,)]
    copy("SELECT 4 AS a", tmp_path / "rd_folder.parquet")
    with pytest.raises(sord.Error, match="more than one 'rd_folder'"):
        db.register_dir(tmp_path)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (
            "nothing.parquet",
            "'.*nothing.parquet' does not exist: give a Parquet, CSV or JSON file, a folder or a glob",
        ),
        ("none*.parquet", "'.*none.*' matches no files"),
        ("empty", "matches no files"),
        ("s3://bucket/x.parquet", "remote tables are not supported yet"),
    ],
)
def test_places_without_files(db: sord.Connection, tmp_path: Path, place: str, words: str) -> None:
    (tmp_path / "empty").mkdir()
    where = place if "://" in place else str(tmp_path / place)
    with pytest.raises(sord.Error, match=words):
        db.register("nowhere", where)
    with pytest.raises(sord.Error, match="the list is empty"):
        db.register("nowhere", [])
    with pytest.raises(sord.Error, match="has no Parquet files"):
        db.register_dir(tmp_path / "empty")
    with pytest.raises(sord.Error, match="is not a folder"):
        db.register_dir(tmp_path / "nowhere")


def test_what_is_no_table(db: sord.Connection, tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("This is text, and more than twelve bytes.")
    with pytest.raises(duckdb.Error, match=r"No magic bytes found at end of file '.*text.parquet'"):
        db.register("text", tmp_path / "text.parquet")
    for thing in (5, None, {"a": 1}, object()):
        with pytest.raises(sord.Error, match=r"cannot register 'thing': \w+ is neither a path nor a frame"):
            db.register("thing", thing)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*), sum(a) FROM '{}/u1.parquet'",
        'SELECT sum(b) FROM "{}/u1.parquet"',
        "SELECT sum(x.b) AS s FROM '{}/u1.parquet' x JOIN '{}/u2.parquet' y USING (b)",
        "SELECT p, q, count(*) AS n, sum(a) AS s FROM '{}/hive/**/*.parquet' GROUP BY 1, 2 ORDER BY 1, 2",
        "SELECT sum(a) FROM read_parquet('{}/hive/*/*/*.parquet') WHERE p = 1 AND q = 'k1'",
        "SELECT * FROM read_parquet('{}/hive/**/*.parquet', hive_partitioning = false) ORDER BY 1 LIMIT 3",
        "SELECT p, max(a) FROM read_parquet('{}/hive/*/*/*.parquet', hive_types_autocast = 0) GROUP BY 1 ORDER BY p",
        "SELECT * FROM read_parquet('{}/u*.parquet', union_by_name = true) ORDER BY a, b, c LIMIT 5",
        "SELECT count(a), count(c) FROM read_parquet(['{}/u1.parquet', '{}/u2.parquet'], union_by_name = true)",
        "SELECT count(*) FROM parquet_scan('{}/u2.parquet')",
    ],
)
def test_paths_in_from(pair: sord.Connection, trio: sord.Connection, folder: Path, sql: str) -> None:
    text = sql.replace("{}", str(folder).replace("[", "[[]").replace("'", "''" if "'{}" in sql else "'"))
    for db in (pair, trio):
        same(db, duckdb.connect(), text)
        assert fallback(db, text) is None


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        (
            "SELECT count(*) FROM read_parquet('{}/u1.parquet', compression = 'zstd')",
            "read_parquet with compression",
        ),
        ("SELECT count(*) FROM glob('{}/u*.parquet')", r"glob\(\) in FROM"),
    ],
)
def test_paths_that_one_duckdb_reads(pair: sord.Connection, folder: Path, sql: str, reason: str) -> None:
    text = sql.replace("{}", str(folder).replace("[", "[[]").replace("'", "''"))
    same(pair, duckdb.connect(), text)
    assert reason.replace("\\", "") in str(fallback(pair, text))


def test_csv_in_from(pair: sord.Connection, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    same(pair, duckdb.connect(), f"SELECT * FROM '{tmp_path}/*.csv'")


FRAME = pa.table({"k": [1, 2, 3, None], "v": ["a", "b", "c", None]})


@pytest.mark.parametrize(
    "frame",
    [
        FRAME,
        FRAME.to_batches()[0],
        FRAME.to_reader(),
        FRAME.to_pandas(),
        pl.from_arrow(FRAME),
        pl.from_arrow(FRAME).lazy(),
        pd.DataFrame({"k": [1, 2, 3, 5], "v": ["a", "b", "c", "d"]}),
    ],
    ids=["table", "batch", "reader", "from arrow", "polars", "lazy", "pandas"],
)
def test_frames(pair: sord.Connection, frame: Any) -> None:
    pair.register("frame", frame)
    assert rows(pair, "SELECT count(*) FROM frame") == [(4,)]
    sql = "SELECT v, count(*) AS n FROM frame JOIN orders ON k = o_orderkey GROUP BY v ORDER BY v"
    assert rows(pair, sql)[:3] == [("a", 1), ("b", 1), ("c", 1)]
    assert fallback(pair, sql) is None
    assert rows(pair, "SELECT count(*) FROM frame WHERE random() < 2") == [(4,)]


def test_a_name_is_what_it_was_made_last(db: sord.Connection, tpch_sf001: Path) -> None:
    db.register("last", pa.table({"a": [1]}))
    assert rows(db, "SELECT a FROM last") == [(1,)]
    db.register("LAST", pa.table({"b": [2, 3]}))
    assert rows(db, "SELECT b FROM last ORDER BY 1") == [(2,), (3,)]
    db.register("last", tpch_sf001 / "region.parquet")
    assert rows(db, "SELECT count(*), max(r_name) FROM last") == [(5, "MIDDLE EAST")]
    db.register("last", tpch_sf001 / "nation.parquet")
    assert rows(db, "SELECT count(*), max(n_name) FROM Last") == [(25, "VIETNAM")]
    db.sql("CREATE OR REPLACE VIEW last AS SELECT * FROM nation WHERE n_nationkey < 3")
    assert rows(db, "SELECT count(*) FROM last") == [(3,)]
    db.sql("DROP VIEW last")
    with pytest.raises(duckdb.CatalogException, match="Table with name last does not exist"):
        db.sql("FROM last")
    db.sql("CREATE TABLE last AS SELECT 5 AS c")
    assert rows(db, "SELECT c FROM last") == [(5,)]
    with pytest.raises(duckdb.CatalogException, match="of type Table"):
        db.register("last", tpch_sf001 / "region.parquet")
    assert rows(db, "SELECT c FROM last") == [(5,)]
    db.sql("DROP TABLE last")


@pytest.mark.parametrize("name", ["a b", 'q"x', "Ünï", "Select", "it's", "x.y"])
def test_names_of_tables(pair: sord.Connection, tpch_sf001: Path, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    pair.register(name, pa.table({"a": [1, 2]}))
    assert rows(pair, f"SELECT count(*) FROM {quoted}, nation") == [(50,)]
    pair.register(name, tpch_sf001 / "region.parquet")
    assert rows(pair, f"SELECT count(*) FROM {quoted}, nation") == [(125,)]


def test_files_that_change(db: sord.Connection, tmp_path: Path) -> None:
    place = tmp_path / "changing.parquet"
    copy("SELECT range AS a FROM range(1000)", place)
    db.register("changing", place)
    assert rows(db, "SELECT count(*), max(a) FROM changing") == [(1000, 999)]
    copy("SELECT range AS a, 'x' AS b FROM range(50)", place)
    assert rows(db, "SELECT count(*), max(a), max(b) FROM changing") == [(50, 49, "x")]
    copy("SELECT range::VARCHAR AS a FROM range(11)", place)
    assert answer(db.sql("SELECT max(a) AS m FROM changing")) == (["m"], ["VARCHAR"], [("9",)])


def test_a_folder_that_grows_and_shrinks(db: sord.Connection, tmp_path: Path) -> None:
    copy("SELECT 1 AS a", tmp_path / "one.parquet")
    db.register("growing", tmp_path)
    for extra in ("", ", random() < 2 AS volatile"):
        sql = f"SELECT sum(a){extra} FROM growing{' GROUP BY ALL' if extra else ''}"
        assert rows(db, sql)[0][0] == 1
        copy("SELECT 2 AS a", tmp_path / "two.parquet")
        assert rows(db, sql)[0][0] == 3
        (tmp_path / "two.parquet").unlink()
        assert rows(db, sql)[0][0] == 1
    (tmp_path / "one.parquet").unlink()
    with pytest.raises(duckdb.IOException, match="No files found that match the pattern"):
        rows(db, "SELECT count(*) FROM growing")


def test_python_variables_are_no_tables(db: sord.Connection) -> None:
    for name in ("text", "params", "self", "relation", "db"):
        with pytest.raises(duckdb.CatalogException, match=f"Table with name {name} does not exist"):
            db.sql(f"FROM {name}")
