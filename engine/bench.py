"""`sord bench join | groupby`: how one join or one aggregate scales, and how evenly its rows lie."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import sord

QUERIES = {
    "join": "SELECT count(*), sum(v), max(text) FROM fact JOIN side ON fact.k = side.k",
    "groupby": "SELECT count(*), max(n), max(s) FROM (SELECT k, count(*) AS n, sum(v) AS s FROM fact GROUP BY k)",
}

_SEED = 1
_GROUP_ROWS = 100_000
_TEXT = 120
"""Characters."""


@dataclass(frozen=True, slots=True)
class Run:
    """One query on one number of workers."""

    workers: int
    rows: int
    seconds: float
    cpu_seconds: float
    bytes_exchanged: int
    efficiency: float
    """Of the first run's speed for each worker, what is left: 1 is perfect scaling."""
    rows_by_worker: list[int]
    """Made by each worker's fragments and, where rows are partitioned, received."""
    skew: float
    """The most of these against their mean."""


def main(arguments: Sequence[str], program: str = "sord bench") -> int:
    """Runs a benchmark; the exit status: 0 done, 1 failed, 2 wrong usage."""
    options = _parser(program).parse_args(arguments)
    try:
        runs = measure(
            options.query,
            options.workers,
            options.rows,
            options.mode == "weak",
            options.zipf,
            options.switches,
        )
    except sord.Error as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps({"runs": [asdict(run) for run in runs]}))
        return 0
    for run in runs:
        print(
            f"{run.workers} workers, {run.rows:,} rows: {run.seconds:.3f} s, {run.cpu_seconds:.3f} CPU s, "
            f"{run.bytes_exchanged:,} bytes exchanged, efficiency {run.efficiency:.2f}, skew {run.skew:.2f}"
        )
    return 0


def measure(
    query: str, workers: Sequence[int], rows: int, weak: bool, zipf: float | None, switches: str = ""
) -> list[Run]:
    """Run ``query`` (a key of QUERIES) on fleets of each size, over ``rows`` rows (for each worker if ``weak``)."""
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="sord-bench-") as folder:
        made = -1
        for count in workers:
            wanted = rows * count if weak else rows
            if wanted != made:
                make_tables(Path(folder), wanted, zipf)
                made = wanted
            run = _run(query, count, wanted, Path(folder), switches)
            first = runs[0] if runs else run
            speed = run.rows / run.seconds / run.workers
            runs.append(replace(run, efficiency=speed / (first.rows / first.seconds / first.workers)))
    return runs


def make_tables(folder: Path, rows: int, zipf: float | None) -> None:
    """``fact(k, v)`` of ``rows`` rows and ``side(k, text)`` of a tenth of them, each key once.

    The text is long enough that the side isn't copied to all workers.

    Keys of ``fact`` are uniform, or the k-th of them has a share of ``k ** -zipf``.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    keys = max(rows // 10, 1)
    random = np.random.default_rng(_SEED)
    if zipf is None:
        drawn = random.integers(1, keys + 1, rows)
    else:
        weights = np.cumsum(np.arange(1, keys + 1, dtype=np.float64) ** -zipf)
        drawn = np.searchsorted(weights, random.random(rows) * weights[-1]) + 1
    fact = pa.table({"k": drawn.astype(np.int64), "v": random.integers(0, 1000, rows)})
    every = random.permutation(np.arange(1, keys + 1, dtype=np.int64))
    side = pa.table({"k": every, "text": [random.bytes(_TEXT // 2).hex() for _ in range(keys)]})
    for name, table in (("fact", fact), ("side", side)):
        pq.write_table(
            table, folder / f"{name}.parquet", row_group_size=min(_GROUP_ROWS, max(rows // 100, 1))
        )


def _run(query: str, workers: int, rows: int, folder: Path, switches: str) -> Run:
    with sord.connect(f"local://{workers}?threads=1{switches and '&' + switches}") as db:
        db.register_dir(folder)
        db.start()
        relation = db.sql(QUERIES[query])
        assert relation is not None
        begin = time.perf_counter()
        relation.fetchall()
        seconds = time.perf_counter() - begin
        report = relation.report
    assert report is not None
    rows_of = [0] * workers
    for part in report.details:
        for task in part.tasks:
            if task.rank < workers:
                rows_of[task.rank] += task.rows
        for rank, received in enumerate(part.received_rows):
            rows_of[rank] += received
    skew = max(rows_of) * workers / sum(rows_of) if sum(rows_of) else 1.0
    return Run(workers, rows, seconds, report.cpu_seconds, report.bytes_exchanged, 1.0, rows_of, skew)


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program, description="Small benchmarks of one operator each.")
    verbs = parser.add_subparsers(required=True, metavar="join|groupby", dest="query")
    for name, what in (("join", "a join on a key"), ("groupby", "an aggregate by a key")):
        verb = verbs.add_parser(
            name,
            help=what,
            description=f"Runs {what} over generated tables on local fleets of several sizes, one thread each.",
            epilog=f"example: sord bench {name} --zipf 1.5 --workers 8 --rows 10000000 --json",
        )
        verb.add_argument(
            "--mode", choices=("weak", "strong"), default="strong", help="whether rows grow with the workers"
        )
        verb.add_argument("--workers", type=_counts, default=[1, 2, 4], metavar="N,N", help="default 1,2,4")
        verb.add_argument("--rows", type=_count, default=1_000_000, metavar="N", help="default 1000000")
        verb.add_argument(
            "--zipf", type=float, metavar="EXPONENT", help="skew of the keys (default: uniform)"
        )
        verb.add_argument(
            "--switches", default="", metavar="A=off", help="of the planner, as in a fleet's URL"
        )
        verb.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def _counts(text: str) -> list[int]:
    return [_count(part) for part in text.split(",")]
