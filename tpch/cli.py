"""`sord tpch gen | run | answers`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from sord.tpch.answers import TPCH, write_answers
from sord.tpch.benchmark import Benchmark
from sord.tpch.generate import generate, same_scale_factor, scale_factor_of
from sord.tpch.run_command import add_run, count, log, positive, run_verb
from sord.tpch.spec import QUERIES


def main(arguments: Sequence[str], program: str = "sord tpch") -> int:
    """Runs a verb of `sord tpch`; the exit status: 0 done, 1 failed or an answer was wrong, 2 wrong usage."""
    return run_verb(_parser(program), arguments)


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
        "--sf", type=positive, default=1.0, metavar="SF", help="scale factor (default 1: 350 MB)"
    )
    gen.add_argument("--out", type=Path, metavar="DIR", help="the folder to make (default data/tpch/sf<SF>)")
    gen.add_argument(
        "--parts", type=count, metavar="N", help="files per table (default: one, without a sub-folder)"
    )
    gen.set_defaults(run=_gen)

    add_run(verbs, "tpch", QUERIES, _prepare)

    answers = verbs.add_parser(
        "answers",
        help="compute reference answers",
        description="Writes plain DuckDB's answers to the 22 queries, one CSV file each, as the reference "
        "answers that ship with sord were made.",
        epilog="example: sord tpch answers --sf 1 --data data/tpch/sf1 --out tpch/answers/sf1",
    )
    answers.add_argument("--sf", type=positive, required=True, metavar="SF", help="scale factor of the data")
    answers.add_argument("--data", type=Path, required=True, metavar="DIR", help="the data")
    answers.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write to")
    answers.set_defaults(run=_answers)
    return parser


def _gen(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    generate(options.out or _default_data(options.sf), options.sf, options.parts, log=log)
    return 0


def _prepare(options: argparse.Namespace, parser: argparse.ArgumentParser) -> tuple[Benchmark, Path]:
    if options.data is None:
        data = _default_data(options.sf)
        generate(data, options.sf, log=log)
    else:
        data = options.data
        _expect_data(data, options.sf, parser)
    return TPCH, data


def _answers(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
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
