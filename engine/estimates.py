"""`sord estimates`: how far the planner's estimates are from the truth, over the queries of a benchmark.

The q-error of an estimate is max(estimated / actual, actual / estimated), with at least one row on both sides
(Moerkotte, Neumann and Steidl, VLDB 2009). Actual rows come from DuckDB: each node is rendered and counted.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import duckdb

from sord.connection import connect
from sord.errors import Error

if TYPE_CHECKING:
    from sord.connection import Connection
    from sord.planner.logical import Plan

KINDS = ("scan", "join", "aggregate", "result")
"""Filtered scans, joins, aggregates with keys, and whole queries."""
_TPCH = "sord.tpch"
"""Where the queries are that are measured by default: a name, as the command line is above all rooms."""
_WORST = 10


class Estimated(NamedTuple):
    """A node of a query's optimised plan."""

    query: str
    kind: str
    rows: float
    sql: str
    """A query that has the node's rows."""


class Measured(NamedTuple):
    """An estimate beside the truth."""

    node: Estimated
    actual: int

    @property
    def q_error(self) -> float:
        """At least 1, which is perfect."""
        estimated, actual = max(self.node.rows, 1.0), max(float(self.actual), 1.0)
        return max(estimated / actual, actual / estimated)


class Measurement(NamedTuple):
    """All of them, and what there is none of."""

    measured: list[Measured]
    refused: dict[str, str]
    """Why the planner doesn't plan a query, by the query's name."""
    unfinished: int
    """Nodes that were not counted in time."""


def main(arguments: Sequence[str], program: str = "sord estimates") -> int:
    """Measures and prints; the exit status: 0 done, 1 failed, 2 wrong usage."""
    parser = _parser(program)
    options = parser.parse_args(arguments)
    try:
        queries = _queries(options.queries)
        with connect() as db:
            db.register_dir(options.data)
            if options.analyze:
                db.analyze()
            found = measure(db, queries, options.workers, options.timeout)
    except (Error, duckdb.Error, OSError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(_json(found, len(queries)), indent=2) if options.json else _text(found, len(queries)))
    return 0


def measure(db: Connection, queries: dict[str, str], workers: int, timeout: float) -> Measurement:
    """Plan each query for ``workers`` workers and count the rows of its nodes, each in ``timeout`` seconds."""
    from sord.planner.catalog import Unsupported

    measured: list[Measured] = []
    refused: dict[str, str] = {}
    counted: dict[str, int | None] = {}
    for name, text in queries.items():
        try:
            nodes = list(estimates(db, name, text, workers))
        except Unsupported as reason:
            refused[name] = str(reason)
            continue
        for node in nodes:
            if node.sql not in counted:
                counted[node.sql] = _count(db, node.sql, timeout)
            actual = counted[node.sql]
            if actual is not None:
                measured.append(Measured(node, actual))
    unfinished = sum(1 for actual in counted.values() if actual is None)
    return Measurement(measured, refused, unfinished)


def estimates(db: Connection, name: str, text: str, workers: int) -> Iterator[Estimated]:
    """The nodes of a query's plan that can be counted. Raises the planner's Unsupported."""
    from sord.planner.context import Options
    from sord.planner.estimate import Estimator
    from sord.planner.logical import With
    from sord.planner.physical import plan_query
    from sord.planner.render import render

    plan = plan_query(text, db.catalog, Options(workers)).logical
    estimate = Estimator()
    estimate(plan)
    yield Estimated(name, "result", estimate(plan).rows, render(plan))
    shared: dict[str, Plan] = {}
    stack: list[Plan] = [plan]
    while stack:
        node = stack.pop()
        if isinstance(node, With):
            shared.update(zip(node.names, node.definitions, strict=True))
        kind = _kind(node)
        if kind is not None:
            yield Estimated(name, kind, estimate(node).rows, render(_with_shared(node, shared)))
        stack.extend(node.children)


def _kind(node: Plan) -> str | None:
    from sord.planner.logical import Aggregate, Filter, Join, Scan

    if isinstance(node, Filter) and isinstance(node.input, Scan):
        return "scan"
    if isinstance(node, Join):
        return "join"
    return "aggregate" if isinstance(node, Aggregate) and node.keys else None


def _with_shared(plan: Plan, shared: dict[str, Plan]) -> Plan:
    """The plan below the definitions that it refers to, directly or not."""
    from sord.planner.logical import SharedRef, With, leaves

    used: set[str] = set()
    todo = [plan]
    while todo:
        for leaf in leaves(todo.pop()):
            if isinstance(leaf, SharedRef) and leaf.name in shared and leaf.name not in used:
                used.add(leaf.name)
                todo.append(shared[leaf.name])
    names = tuple(name for name in shared if name in used)
    return With(names, tuple(shared[name] for name in names), plan) if names else plan


def _count(db: Connection, sql: str, timeout: float) -> int | None:
    cursor = db.catalog.cursor()
    timer = threading.Timer(timeout, cursor.interrupt)
    timer.start()
    try:
        ((rows,),) = cursor.execute(f"SELECT count(*) FROM ({sql})").fetchall()
    except (duckdb.InterruptException, duckdb.OutOfMemoryException):
        return None
    finally:
        timer.cancel()
        cursor.close()
    return int(rows)


def _queries(places: Sequence[Path]) -> dict[str, str]:
    """Texts by name. Raises :class:`sord.Error` for a folder without queries."""
    found: dict[str, str] = {}
    if not places:
        for entry in sorted((files(_TPCH) / "queries").iterdir(), key=lambda entry: entry.name):
            found[entry.name.removesuffix(".sql")] = entry.read_text(encoding="utf-8")
    for place in places:
        paths = sorted(place.glob("*.sql")) if place.is_dir() else [place]
        if not paths:
            raise Error(f"{str(place)!r} has no files *.sql")
        found.update((path.stem, path.read_text(encoding="utf-8")) for path in paths)
    return {name: text.strip().rstrip(";") for name, text in found.items()}


def summary(found: Measurement) -> dict[str, dict[str, float]]:
    """Of each kind of node: how many, and the median, the 90th percentile and the largest of the q-errors."""
    result: dict[str, dict[str, float]] = {}
    for kind in KINDS:
        errors = sorted(m.q_error for m in found.measured if m.node.kind == kind)
        if errors:
            ninth = errors[min(len(errors) * 9 // 10, len(errors) - 1)]
            result[kind] = {"nodes": len(errors), "median": median(errors), "p90": ninth, "max": errors[-1]}
    return result


def _worst(found: Measurement) -> list[Measured]:
    return sorted(found.measured, key=lambda m: -m.q_error)[:_WORST]


def _json(found: Measurement, queries: int) -> dict[str, object]:
    worst = [
        {
            "query": m.node.query,
            "kind": m.node.kind,
            "estimated_rows": m.node.rows,
            "actual_rows": m.actual,
            "q_error": m.q_error,
            "sql": m.node.sql,
        }
        for m in _worst(found)
    ]
    return {
        "queries": queries,
        "refused": found.refused,
        "unfinished_nodes": found.unfinished,
        "q_errors": summary(found),
        "worst": worst,
    }


def _text(found: Measurement, queries: int) -> str:
    lines = [f"{'':<10}{'nodes':>7}{'median':>10}{'p90':>12}{'max':>14}"]
    for kind, row in summary(found).items():
        lines.append(
            f"{kind:<10}{row['nodes']:>7}{row['median']:>10.2f}{row['p90']:>12.1f}{row['max']:>14,.0f}"
        )
    lines.append(
        f"{queries - len(found.refused)} of {queries} queries; {found.unfinished} nodes not counted in time"
    )
    lines += [f"  {name}: {reason}" for name, reason in found.refused.items()]
    lines += ["", "The worst:"]
    for m in _worst(found):
        lines.append(f"{m.node.query} {m.node.kind}: {m.node.rows:,.0f} estimated, {m.actual:,} counted")
        lines.append(f"    {m.node.sql}")
    return "\n".join(lines)


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description="Plans queries, counts the rows of every filtered scan, join, aggregate and result of the plans "
        "with DuckDB, and prints how far the planner's estimates are off: the q-error, 1 for a perfect one.",
        epilog="example: sord estimates --data data/tpch/sf1 --analyze",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the tables")
    parser.add_argument(
        "--queries", type=Path, nargs="+", default=[], metavar="DIR|FILE",
        help="files of one query each, or folders of *.sql (default: those of TPC-H)",
    )  # fmt: skip
    parser.add_argument("--analyze", action="store_true", help="ANALYZE the tables first")
    parser.add_argument(
        "--workers", type=int, default=8, metavar="N", help="the size of the fleet to plan for (default 8)"
    )
    parser.add_argument(
        "--timeout", type=float, default=10.0, metavar="SECONDS", help="for counting one node (default 10)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    return parser
