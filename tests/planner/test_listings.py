"""Which files a pattern stands for, asked again and again while files come and go."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
import pytest

import sord
from sord.places import Listings


@pytest.mark.parametrize(
    "pattern", ["*.parquet", "**/*.parquet", "*/*.parquet", "a[bc].parquet", "x*/**/?.parquet"]
)
def test_files_are_those_that_duckdb_finds_now(tmp_path: Path, pattern: str) -> None:
    database = duckdb.connect()
    listings = Listings()

    def check() -> None:
        whole = f"{tmp_path}/{pattern}"
        expected = [row[0] for row in database.execute("SELECT file FROM glob(?)", [whole]).fetchall()]
        for _ in range(2):
            if expected:
                assert listings.files(database, [whole]) == expected
            else:
                with pytest.raises(sord.Error):
                    listings.files(database, [whole])

    for name in (
        "ab.parquet",
        "x/b.parquet",
        ".hidden.parquet",
        "x/y/z/c.parquet",
        "ac.csv",
        "x/q.parquet/d.parquet",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        check()
    (tmp_path / "x" / "b.parquet").rename(tmp_path / "ac.parquet")
    check()
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "x" / "link")
    check()
    (tmp_path / "elsewhere" / "e.parquet").touch()
    check()
    (tmp_path / "ab.parquet").unlink()
    check()
