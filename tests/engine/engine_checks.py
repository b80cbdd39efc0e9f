"""What the tests of the Python API compare and count."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

import sord

FLEET = "local://2?threads=1&memory=512MB"

LONG = "SELECT sum(a.l_partkey * b.l_partkey % 7) FROM lineitem a, lineitem b, nation WHERE a.l_suppkey <> b.l_suppkey"
"""A query that takes longer than any test."""

Answer = tuple[list[str], list[str], list[tuple[object, ...]]]


def answer(relation: sord.Relation | duckdb.DuckDBPyRelation | None) -> Answer:
    """Names, types and rows."""
    assert relation is not None
    return list(relation.columns), [str(type_) for type_ in relation.types], relation.fetchall()


def rows(db: sord.Connection, sql: str, params: object = None) -> list[tuple[object, ...]]:
    relation = db.sql(sql, params=params)  # type: ignore[arg-type]
    assert relation is not None
    return relation.fetchall()


def fallback(db: sord.Connection, sql: str) -> str | None:
    """Why one DuckDB answers a query."""
    relation = db.sql(sql)
    assert relation is not None
    relation.fetchall()
    assert relation.report is not None
    return relation.report.fallback


def same(db: sord.Connection, plain: duckdb.DuckDBPyConnection, sql: str) -> None:
    """A query has DuckDB's names, types and rows (``repr``, so that NaN is itself and 1 isn't 1.0)."""
    assert repr(answer(db.sql(sql))) == repr(answer(plain.sql(sql)))


def copy(sql: str, path: Path) -> None:
    """Write a query's rows to a Parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.sql(sql).write_parquet(str(path))


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children() -> set[int]:
    """This process's living children."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and alive(int(entry.name)):
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == os.getpid():
                found.add(int(entry.name))
    return found


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Fail if it takes longer than anything here should."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def script(text: str, *arguments: object) -> subprocess.Popen[str]:
    """A Python process of its own that runs ``text``; its stdout and stderr are pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", text, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
