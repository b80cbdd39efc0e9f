"""`sord tpch gen | run | answers`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import sord
from sord.tpch.fleet import EMBEDDED, Fleet
from sord.tpch.generate import GenerationError, generate, same_scale_factor, scale_factor_of
from sord.tpch.spec import QUERIES

FAILED = 1
WRONG_USAGE = 2


def main(arguments: Sequence[str], program: str = "sord tpch") -> int:
    """Runs a verb of `sord tpch`; the exit status: 0 done, 1 failed or an answer was wrong, 2 wrong usage."""
    parser = _parser(program)
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options, parser))
    except (GenerationError, sord.Error) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return FAILED


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program, description="The TPC-H benchmark: data, queries, checked answers."
    )
    verbs = parser.add_subparsers(required=True, metavar="gen|run|answers")

    gen = verbs.add_parser(
        "gen",
        help="make the data",
        description="Makes the eight tables as Parquet files.",
        epilog="example: sord tpch gen --sf 10 --out data/tpch/sf10",
    )
    gen.add_argument(
        "--sf", type=_positive, default=1.0, metavar="SF", help="scale factor (default 1: 350 MB)"
    )
    gen.add_argument("--out", type=Path, metavar="DIR", help="the folder to make (default data/tpch/sf<SF>)")
    gen.add_argument(
        "--parts", type=_count, metavar="N", help="files per table (default: one, without a sub-folder)"
    )
    gen.set_defaults(run=_gen)

    run = verbs.add_parser(
        "run",
        help="run the queries and check their answers",
        description="Runs the 22 queries on a fleet, in turn with plain DuckDB on as many threads, and "
        "checks every answer. Ends with status 1 if one is wrong or one node had to stand in for the fleet.",
        epilog="example: sord tpch run --sf 1 --fleet local://4 --query 5,9 --repeat 3",
    )
    run.add_argument("--sf", type=_positive, default=1.0, metavar="SF", help="scale factor (default 1)")
    run.add_argument(
        "--fleet",
        default=EMBEDDED,
        metavar="URL",
        help="the fleet, as local://4?threads=1 (default: in this process)",
    )
    run.add_argument(
        "--data", type=Path, metavar="DIR", help="the data (default data/tpch/sf<SF>, made when missing)"
    )
    run.add_argument(
        "--query", type=_queries, default=list(QUERIES), metavar="N,N", help="only these queries"
    )
    run.add_argument(
        "--repeat", type=_count, default=1, metavar="N", help="runs of each query; medians are shown"
    )
    run.add_argument(
        "--total-threads", type=_count, metavar="N", help="threads of the whole fleet, and of DuckDB"
    )
    run.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    run.set_defaults(run=_run)

    answers = verbs.add_parser(
        "answers",
        help="compute reference answers",
        description="Writes plain DuckDB's answers to the 22 queries, one CSV file each, as the reference "
        "answers that ship with sord were made.",
        epilog="example: sord tpch answers --sf 1 --data data/tpch/sf1 --out tpch/answers/sf1",
    )
    answers.add_argument("--sf", type=_positive, required=True, metavar="SF", help="scale factor of the data")
    answers.add_argument("--data", type=Path, required=True, metavar="DIR", help="the data")
    answers.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write to")
    answers.set_defaults(run=_answers)
    return parser


def _gen(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    generate(options.out or _default_data(options.sf), options.sf, options.parts, log=_log)
    return 0


def _run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from sord.tpch.progress import live_progress
    from sord.tpch.report import HEADER, as_json, passed, query_line, total_lines
    from sord.tpch.runner import QueryResult, run_queries

    try:
        fleet = Fleet.parse(options.fleet, options.total_threads)
    except ValueError as error:
        parser.error(str(error))
    if options.data is None:
        data = _default_data(options.sf)
        generate(data, options.sf, log=_log)
    else:
        data = options.data
        _expect_data(data, options.sf, parser)
    if not options.json:
        print(HEADER, flush=True)

    with live_progress(len(options.query), options.repeat) as progress:

        def finished(result: QueryResult) -> None:
            progress.finished()
            if not options.json:
                print(query_line(result), flush=True)
            for fault in result.faults:
                _log(f"query {result.query}: {fault}")
            if result.fallback:
                _log(f"query {result.query}: answered by a single node, as {result.fallback}")

        results = run_queries(
            data,
            options.sf,
            fleet,
            options.query,
            options.repeat,
            started=progress.started,
            finished=finished,
        )
    if options.json:
        print(json.dumps(as_json(options.sf, fleet.name, results)))
    else:
        print("\n".join(total_lines(results)))
    return 0 if passed(results) else FAILED


def _answers(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from sord.tpch.answers import write_answers

    _expect_data(options.data, options.sf, parser)
    write_answers(options.data, options.sf, options.out)
    return 0


def _expect_data(data: Path, scale_factor: float, parser: argparse.ArgumentParser) -> None:
    found = scale_factor_of(data)
    if found is None:
        parser.error(f"{data} does not hold the eight TPC-H tables; sord tpch gen makes them")
    if not same_scale_factor(found, scale_factor):
        parser.error(f"{data} holds scale factor {found:g}, not {scale_factor:g}")


def _default_data(scale_factor: float) -> Path:
    return Path("data") / "tpch" / f"sf{scale_factor:g}"


def _log(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be greater than 0, not {text}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return value


def _queries(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be numbers separated by commas, not {text!r}") from None
    for number in numbers:
        if number not in QUERIES:
            raise argparse.ArgumentTypeError(f"there is no query {number}: they are 1 to 22")
    return numbers
