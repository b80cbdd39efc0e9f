"""The verb `run` of every benchmark: its options, what it prints, its exit status."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import sord
from sord.tpch.benchmark import Benchmark
from sord.tpch.fleet import EMBEDDED, Fleet
from sord.tpch.generate import GenerationError

FAILED: Final = 1

Verbs = Any
"""What `add_subparsers` returns: argparse has no public name for it."""

Prepare = Callable[[argparse.Namespace, argparse.ArgumentParser], tuple[Benchmark, Path]]
"""Finds or makes the data that the options name."""


def run_verb(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> int:
    """Parses a benchmark's command line and runs the verb; 0 done, 1 failed, 2 wrong usage."""
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options, parser))
    except (GenerationError, sord.Error) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return FAILED


def add_run(verbs: Verbs, name: str, queries: Sequence[int], prepare: Prepare) -> argparse.ArgumentParser:
    """Adds the verb to the command `sord NAME`."""
    run: argparse.ArgumentParser = verbs.add_parser(
        "run",
        help="run the queries and check their answers",
        description=f"Runs the {len(queries)} queries on a fleet, in turn with plain DuckDB on as many threads, and "
        "checks every answer. Ends with status 1 if one is wrong or one node had to stand in for the fleet.",
        epilog=f"example: sord {name} run --sf 1 --fleet local://4 --query 5,9 --repeat 3",
    )
    run.add_argument("--sf", type=positive, default=1.0, metavar="SF", help="scale factor (default 1)")
    run.add_argument(
        "--fleet",
        default=EMBEDDED,
        metavar="URL",
        help="the fleet, as local://4?threads=1 (default: in this process)",
    )
    run.add_argument(
        "--data", type=Path, metavar="DIR", help=f"the data (default data/{name}/sf<SF>, made when missing)"
    )
    run.add_argument(
        "--query",
        type=partial(_queries, known=queries),
        default=list(queries),
        metavar="N,N",
        help="only these queries",
    )
    run.add_argument(
        "--repeat", type=count, default=1, metavar="N", help="runs of each query; medians are shown"
    )
    run.add_argument(
        "--total-threads", type=count, metavar="N", help="threads of the whole fleet, and of DuckDB"
    )
    run.add_argument(
        "--analyze", action="store_true", help="ANALYZE the tables before, outside of what is measured"
    )
    run.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    run.set_defaults(run=partial(_run, prepare=prepare))
    return run


def _run(options: argparse.Namespace, parser: argparse.ArgumentParser, prepare: Prepare) -> int:
    from sord.tpch.progress import live_progress
    from sord.tpch.report import HEADER, as_json, passed, query_line, total_lines
    from sord.tpch.runner import QueryResult, run_queries

    try:
        fleet = Fleet.parse(options.fleet, options.total_threads)
    except ValueError as error:
        parser.error(str(error))
    benchmark, data = prepare(options, parser)
    if not options.json:
        print(HEADER, flush=True)

    with live_progress(len(options.query), options.repeat) as progress:

        def finished(result: QueryResult) -> None:
            progress.finished()
            if not options.json:
                print(query_line(result), flush=True)
            for fault in result.faults:
                log(f"query {result.query}: {fault}")
            if result.fallback:
                log(f"query {result.query}: answered by a single node, as {result.fallback}")

        results = run_queries(
            benchmark,
            data,
            options.sf,
            fleet,
            options.query,
            options.repeat,
            analyze=options.analyze,
            started=progress.started,
            finished=finished,
        )
    if options.json:
        print(json.dumps(as_json(options.sf, fleet.name, results)))
    else:
        print("\n".join(total_lines(results)))
    return 0 if passed(results) else FAILED


def log(message: str) -> None:
    """Says something beside the results."""
    print(message, file=sys.stderr, flush=True)


def positive(text: str) -> float:
    """A scale factor of a command line."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be greater than 0, not {text}")
    return value


def count(text: str) -> int:
    """A number of repetitions, threads or files of a command line."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return value


def _queries(text: str, known: Sequence[int]) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be numbers separated by commas, not {text!r}") from None
    for number in numbers:
        if number not in known:
            raise argparse.ArgumentTypeError(
                f"there is no query {number}: they are {known[0]} to {known[-1]}"
            )
    return numbers
