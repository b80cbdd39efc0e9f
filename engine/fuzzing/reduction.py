"""Makes a query and its tables smaller while they still show the same difference (greedy delta debugging).

What decides which of several right answers comes (an ORDER BY with its LIMIT, within a window or an aggregate) is not
touched, or else a smaller query would differ for another reason.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import sqlglot
from sqlglot import exp

from sord.fuzzing.checking import BROKEN, Finding, Report, check
from sord.fuzzing.databases import Database, write_parquet

_SECONDS: Final = 20.0
"""For the query, and as many for the rows."""
_OPTIONAL: Final = ("where", "having", "qualify", "group", "with_", "distinct")


def reduced(finding: Finding, database: Database, folder: Path) -> tuple[Finding, str]:
    """The finding of a smaller query over smaller tables, and a script that makes the tables it reads."""

    def again(sql: str) -> Finding | None:
        report = Report()
        try:
            check(database, sql, finding.number, [finding.workers], report)
        except BROKEN:
            raise
        except duckdb.Error:
            return None
        found = report.findings[0] if report.findings else None
        return found if found and _class(found) == _class(finding) else None

    smaller = _smaller_query(finding, again)
    folder.mkdir(parents=True, exist_ok=True)
    with_less = _smaller_tables(smaller, database, folder, again)
    data = "\n".join(_script(database, name) for name in _tables(smaller.sql, database))
    for name, files in database.files.items():
        database.catalog.register(name, files)
    return with_less, data


def _class(finding: Finding) -> str:
    """Which differences are the same: an error of the same words, or else a wrong answer."""
    error = re.match(r"\w+(Error|Exception): ", finding.problem)
    return re.sub(r"[\d\"'].*", "", finding.problem)[:60] if error else "answer"


def _smaller_query(finding: Finding, again: Callable[[str], Finding | None]) -> Finding:
    until = time.monotonic() + _SECONDS
    progress = True
    while progress:
        progress = False
        for candidate in _candidates(finding.sql):
            if time.monotonic() > until:
                return finding
            found = again(candidate)
            if found is not None:
                finding, progress = found, True
                break
    return finding


def _candidates(sql: str) -> Iterator[str]:
    """The query with one part less, the largest parts first."""
    tree = sqlglot.parse_one(sql, read="duckdb")
    nodes = list(tree.walk())
    for position, node in enumerate(nodes):
        for change in _changes(node):
            copy = tree.copy()
            same = list(copy.walk())[position]
            try:
                new = change(same)
            except (ValueError, IndexError):
                continue
            text = (new if same is copy and new is not None else copy).sql("duckdb")
            if len(text) < len(sql):
                yield text


Change = Callable[[exp.Expr], exp.Expr | None]
"""Changes a tree at a node; where it puts another node in its place, that one is returned."""


def _changes(node: exp.Expr) -> Iterator[Change]:
    def put(name: str) -> Change:
        return lambda same: same.replace(same.args[name].copy())

    def without(name: str) -> Change:
        def change(same: exp.Expr) -> None:
            same.set(name, None)

        return change

    def without_item(name: str, index: int) -> Change:
        def change(same: exp.Expr) -> None:
            items = list(same.args[name])
            del items[index]
            same.set(name, items)

        return change

    if isinstance(node, exp.SetOperation | exp.And | exp.Or):
        yield put("this")
        yield put("expression")
    if isinstance(node, exp.Not):
        yield put("this")
    if isinstance(node, exp.Case) and node.args.get("default") is not None:
        yield put("default")
    if isinstance(node, exp.Query):
        fixed = node.args.get("limit") or node.args.get("distinct")
        for name in _OPTIONAL:
            if node.args.get(name) is not None:
                yield without(name)
        if node.args.get("limit") is not None:
            yield without("limit")
            yield without("offset")
        elif node.args.get("order") is not None and not fixed:
            yield without("order")
        for index in range(len(node.args.get("joins") or ())):
            yield without_item("joins", index)
    if isinstance(node, exp.Select | exp.Group | exp.With | exp.In) and len(node.expressions) > 1:
        for index in range(len(node.expressions)):
            yield without_item("expressions", index)


def _smaller_tables(
    finding: Finding, database: Database, folder: Path, again: Callable[[str], Finding | None]
) -> Finding:
    until = time.monotonic() + _SECONDS
    copies = 0
    for name in _tables(finding.sql, database):
        if name not in database.files:
            continue
        table = database.connection.table(name).to_arrow_table()
        size = max(1, table.num_rows // 2)
        start = 0
        while table.num_rows and time.monotonic() < until:
            rest = range(min(start + size, table.num_rows), table.num_rows)
            keep = pa.array([*range(start), *rest], pa.int64())
            copies += 1
            place = folder / f"{name}.{copies}"
            write_parquet(random.Random(0), table.take(keep), place)
            before = database.connection.table(name).to_arrow_table()
            database.catalog.register(name, place / "*.parquet")
            found = again(finding.sql)
            if found is not None:
                finding, table = found, table.take(keep)
            else:
                place = folder / f"{name}.{copies}.back"
                write_parquet(random.Random(0), before, place)
                database.catalog.register(name, place / "*.parquet")
                start += size
            if start >= table.num_rows:
                if size == 1:
                    break
                start, size = 0, max(1, size // 2)
    return finding


def _tables(sql: str, database: Database) -> list[str]:
    """Those that a query names, and those that its view reads."""
    named = [name for name in database.tables if re.search(rf"\b{name}\b", sql)]
    if "view0" in named:
        named = [name for name in database.files if name not in named] + named
    return named


def _script(database: Database, name: str) -> str:
    """A statement that makes a table as it is now."""
    if name == "view0":
        ((text,),) = database.connection.execute(
            "SELECT sql FROM duckdb_views() WHERE view_name = 'view0'"
        ).fetchall()
        return str(text)
    relation = database.connection.table(name)
    names = relation.columns
    texts = database.connection.sql(f"SELECT COLUMNS(*)::VARCHAR FROM {name}").fetchall()
    casts = ", ".join(
        f"{column}::{type_} AS {column}" for column, type_ in zip(names, relation.types, strict=True)
    )
    rows = (
        ", ".join(f"({', '.join(map(_quoted, row))})" for row in texts)
        or f"({', '.join('NULL' for _ in names)})"
    )
    where = "" if texts else " WHERE false"
    return f"CREATE TABLE {name} AS SELECT {casts} FROM (VALUES {rows}) AS v({', '.join(names)}){where};"


def _quoted(text: str | None) -> str:
    return "NULL" if text is None else "'" + text.replace("'", "''") + "'"
