"""Files that change while a query reads them, and files that can't be read."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
import pytest
from engine_checks import copy, fallback, rows, same

import sord


def test_a_file_that_changes_under_a_query(pair: sord.Connection, tmp_path: Path) -> None:
    place = tmp_path / "moving.parquet"
    copy("SELECT range AS a FROM range(300000)", place)
    pair.register("moving", place)
    relation = pair.sql("SELECT a FROM moving")
    assert relation is not None
    reader = relation.reader()
    reader.read_next_batch()
    replacement = tmp_path / "new"
    copy("SELECT 1 AS a", replacement)
    os.replace(replacement, place)
    with pytest.raises(
        sord.Error, match=r"moving.parquet' was changed while the query read it: run the query again"
    ):
        reader.read_all()
    assert rows(pair, "SELECT a FROM moving") == [(1,)]


@pytest.mark.parametrize("name", ["2.csv", "2.parquet", "2.json"])
def test_one_broken_file_among_others_is_named(pair: sord.Connection, tmp_path: Path, name: str) -> None:
    kind = name.partition(".")[2]
    texts = {
        "csv": ("a,b\n1,x\n", "a,b\nnope,x\n"),
        "json": ('{"a": 1}\n', '{"a": 1}\n{"a": \n'),
        "parquet": ("", "PAR1nothingPAR1"),
    }
    if kind == "parquet":
        copy("SELECT 1 AS a", tmp_path / "1.parquet")
    else:
        (tmp_path / f"1.{kind}").write_text(texts[kind][0])
    (tmp_path / name).write_text(texts[kind][1])
    source = f"'{tmp_path}/*.{kind}'"
    if kind == "csv":
        columns = "columns = {'a': 'INTEGER', 'b': 'VARCHAR'}, header = true, auto_detect = false"
        source = f"read_csv({source}, {columns})"
    with pytest.raises((duckdb.Error, sord.Error), match=f"{tmp_path.name}/{name}"):
        rows(pair, f"SELECT * FROM {source}")


def test_text_on_workers(pair: sord.Connection, trio: sord.Connection, tmp_path: Path) -> None:
    for number in range(5):
        lines = "".join(f"{row},{'x' * (row % 3)}\n" for row in range(number, 200))
        (tmp_path / f"{number}.csv").write_text(f"k,v\n{lines}")
        (tmp_path / f"{number}.json").write_text(f'{{"k": {number}, "w": [1, {number}]}}\n')
    sql = (
        f"SELECT v, count(*) AS n, sum(c.k) AS s FROM '{tmp_path}/*.csv' c JOIN '{tmp_path}/*.json' j ON c.k = j.k "
        "GROUP BY v ORDER BY v"
    )
    for db in (pair, trio):
        same(db, duckdb.connect(), sql)
        assert fallback(db, sql) is None
