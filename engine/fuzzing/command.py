"""`sord fuzz`."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

from sord.fuzzing.checking import BROKEN, Finding, Report, check
from sord.fuzzing.databases import make_database
from sord.fuzzing.queries import statement

PER_DATABASE: Final = 20
"""Queries in a row share their tables."""

Reduced = tuple[Finding, str]
"""A finding and a script that makes its tables."""


def main(arguments: Sequence[str], program: str = "sord fuzz") -> int:
    """Compares random queries; the exit status: 0 no difference, 1 a difference, 2 wrong usage."""
    options = _parser(program).parse_args(arguments)
    seed = random.SystemRandom().randrange(10**9) if options.seed is None else options.seed
    total, differences = Report(), []
    print(f"seed {seed}, {options.count} queries at {options.workers} workers", file=sys.stderr, flush=True)
    for report, found in fuzz(seed, options.count, options.workers, options.jobs, options.query):
        total.add(report)
        differences += found
        for finding, data in found:
            print(f"{finding}\n{data}", file=sys.stderr, flush=True)
        if sys.stderr.isatty():
            print(
                f"\r{total.queries} queries, {len(differences)} differ", end="", file=sys.stderr, flush=True
            )
    if options.json:
        print(json.dumps(_as_json(seed, total, differences)))
    else:
        print("\n".join(_lines(total, differences)))
    return 1 if differences else 0


def fuzz(
    seed: int, count: int, workers: Sequence[int], jobs: int = 1, sql: str | None = None
) -> Iterator[tuple[Report, list[Reduced]]]:
    """Checks the queries numbered ``seed`` to ``seed + count - 1``, as many at a time as share their tables."""
    numbers = [
        range(max(seed, first), min(seed + count, first + PER_DATABASE))
        for first in range(seed - seed % PER_DATABASE, seed + count, PER_DATABASE)
    ]
    with tempfile.TemporaryDirectory(prefix="sord-fuzz-") as folder:
        task = partial(_check_all, workers=workers, sql=sql, place=folder)
        if jobs == 1:
            yield from map(task, numbers)
            return
        # Not forked: DuckDB has threads.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, context, initializer=_end_with_parent, initargs=(folder,)) as pool:
            yield from pool.map(task, numbers)


def _end_with_parent(folder: str) -> None:
    """Have this process end, and ``folder`` removed, when the one that started it is killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _check_all(
    numbers: Sequence[int], workers: Sequence[int], sql: str | None, place: str
) -> tuple[Report, list[Reduced]]:
    from sord.fuzzing.reduction import reduced

    report, found = Report(), []
    with tempfile.TemporaryDirectory(dir=place) as folder:
        tables = partial(make_database, numbers[0] // PER_DATABASE)
        database = tables(Path(folder) / "first")
        for number in numbers:
            known = len(report.findings)
            try:
                text = sql or statement(number, database)
                if text is None:
                    report.invalid += 1
                    continue
                check(database, text, number, workers, report)
                if len(report.findings) > known:
                    apart = Path(folder) / f"reduced{number}"
                    found.append(reduced(report.findings[known], database, apart))
            except BROKEN:
                if len(report.findings) > known:
                    found.append((report.findings[known], ""))
                else:
                    report.invalid += 1
                database.close()
                database = tables(Path(folder) / f"after{number}")
        database.close()
    return report, found


def _as_json(seed: int, report: Report, differences: Sequence[Reduced]) -> dict[str, object]:
    return {
        "seed": seed,
        "queries": report.queries,
        "refused": report.refused.total(),
        "differences": [
            {
                "sql": finding.sql,
                "data": data,
                "number": finding.number,
                "workers": finding.workers,
                "problem": finding.problem,
            }
            for finding, data in differences
        ],
        "refusals": dict(report.refused.most_common()),
        "invalid": report.invalid,
        "slow": report.slow,
        "eager": report.eager,
        "lazy": report.lazy,
        "ran": {str(workers): count for workers, count in sorted(report.ran.items())},
        "strategies": dict(report.used.most_common()),
    }


def _lines(report: Report, differences: Sequence[Reduced]) -> list[str]:
    return [
        f"{report.queries} queries: {max(report.ran.values(), default=0)} planned and compared, "
        f"{report.refused.total()} refused, {report.invalid} invalid, {report.slow} too slow, "
        f"{report.eager} eager, {report.lazy} lazy",
        *(f"  refused {count}: {reason}" for reason, count in report.refused.most_common(20)),
        "plans: " + ", ".join(f"{name} {count}" for name, count in report.used.most_common()),
        f"{len(differences)} queries differ",
    ]


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description="Compares plans of random queries over random tables with plain DuckDB: names, types, rows, and "
        "their order where it is fixed. Fragments run in one DuckDB, one after another. A query is named by a number, "
        "which decides its tables, its text, and the costs that the planner believes in.",
        epilog="example: sord fuzz --seed 0 --count 20000 --workers 1,2,3,8 --jobs 2",
    )
    parser.add_argument(
        "--seed", type=_whole, metavar="N", help="number of the first query (default: a random one)"
    )
    parser.add_argument("--count", type=_positive, default=200, metavar="N", help="queries (default 200)")
    parser.add_argument(
        "--workers", type=_workers, default=[1, 2, 3, 8], metavar="N,N", help="numbers of workers (1,2,3,8)"
    )
    parser.add_argument(
        "--jobs", type=_positive, default=1, metavar="N", help="processes that share the queries"
    )
    parser.add_argument("--query", metavar="SQL", help="check this text over the seed's tables instead")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    return parser


def _whole(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, as {text} is")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return value


def _workers(text: str) -> list[int]:
    return [_positive(part) for part in text.split(",")]
