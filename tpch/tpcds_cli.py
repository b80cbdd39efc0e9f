"""`sord tpcds gen | run`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from sord.tpch.benchmark import Benchmark
from sord.tpch.run_command import add_run, log, positive, run_verb
from sord.tpch.tpcds import QUERIES, tpcds
from sord.tpch.tpcds_generate import (
    PYTHON,
    generate,
    has_queries,
    query_folder,
    same_scale_factor,
    scale_factor_of,
)


def main(arguments: Sequence[str], program: str = "sord tpcds") -> int:
    """Runs a verb of `sord tpcds`; the exit status: 0 done, 1 failed or an answer was wrong, 2 wrong usage."""
    return run_verb(_parser(program), arguments)


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program, description="The TPC-DS benchmark: data, queries, checked answers."
    )
    verbs = parser.add_subparsers(required=True, metavar="gen|run")
    gen = verbs.add_parser(
        "gen",
        help="make the data and the query texts",
        description="Makes the 24 tables as Parquet files, and the query texts in the folder `queries` beside them. "
        f"DuckDB's generator does it, in an environment of its own ({PYTHON.parent.parent}, from make tpcds).",
        epilog="example: sord tpcds gen --sf 10 --out data/tpcds/sf10",
    )
    gen.add_argument(
        "--sf", type=positive, default=1.0, metavar="SF", help="scale factor (default 1: 300 MB)"
    )
    gen.add_argument("--out", type=Path, metavar="DIR", help="the folder to make (default data/tpcds/sf<SF>)")
    gen.set_defaults(run=_gen)
    add_run(verbs, "tpcds", QUERIES, _prepare)
    return parser


def _gen(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    generate(options.out or _default_data(options.sf), options.sf, log=log)
    return 0


def _prepare(options: argparse.Namespace, parser: argparse.ArgumentParser) -> tuple[Benchmark, Path]:
    data: Path = options.data or _default_data(options.sf)
    if options.data is None:
        generate(data, options.sf, log=log)
    found = scale_factor_of(data)
    if found is None:
        parser.error(f"{data} does not hold the 24 TPC-DS tables; sord tpcds gen makes them")
    if not same_scale_factor(found, options.sf):
        parser.error(f"{data} holds scale factor {found:.2g}, not {options.sf:g}")
    texts = query_folder(data)
    if not has_queries(texts):
        parser.error(f"{texts} does not hold the 99 query texts; sord tpcds gen makes them")
    return tpcds(texts), data


def _default_data(scale_factor: float) -> Path:
    return Path("data") / "tpcds" / f"sf{scale_factor:g}"
