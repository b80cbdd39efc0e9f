"""The `sord` command: `sord -c SQL` and the verbs, each of them imported only when it is asked for."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple


class Verb(NamedTuple):
    """A module with `main(arguments, program) -> exit status`, and what it is for."""

    module: str
    summary: str


# Names, not imports: the command line is above every room of the house, and `sord -c` must not load them.
VERBS: Final = {
    "shell": Verb("sord.shell", "type SQL, see tables"),
    "estimates": Verb("sord.estimates", "compare the planner's estimates with what is counted"),
    "tpch": Verb("sord.tpch.cli", "make TPC-H data; run and check the benchmark"),
    "bench": Verb("sord.bench", "measure one join or one aggregate on fleets of several sizes"),
    "fuzz": Verb("sord.fuzzing.command", "compare random queries with plain DuckDB"),
    "tpcds": Verb("sord.tpch.tpcds_cli", "make TPC-DS data; run and check the benchmark"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line; the exit status: 0 done, 1 it failed, 2 wrong usage, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        status = _dispatch(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has gone (`| head`). Python would complain again when it flushes stdout at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _dispatch(arguments: Sequence[str]) -> int:
    if arguments and arguments[0] in VERBS:
        name = arguments[0]
        status: int = importlib.import_module(VERBS[name].module).main(arguments[1:], program=f"sord {name}")
        return status
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.version:
        from importlib.metadata import version

        print(f"sord {version('sord')}")
        return 0
    if options.command is None:
        # Only a lone word can be meant as a verb; a folder alone has nothing to run on it.
        parser.error(f"no SQL: give -c SQL, or one of the verbs {', '.join(VERBS)}")
    from sord.shell import run_command

    return run_command(options.command, options.fleet, options.folder, parser)


def _parser() -> argparse.ArgumentParser:
    verbs = "\n".join(f"  {name:<11}{verb.summary}" for name, verb in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="sord",
        usage="sord -c SQL [--fleet URL] [DIR]\n       sord VERB ...",
        description="Distributed SQL on Parquet: a fleet of DuckDBs that answers one query together.",
        epilog=f"verbs (sord VERB --help says more):\n{verbs}\n\n"
        'example: sord -c "select count(*) from lineitem" --fleet local://4 data/tpch/sf1',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-c", dest="command", metavar="SQL", help="run these statements and print their results"
    )
    parser.add_argument(
        "--fleet", metavar="URL", help="the fleet, as local://4?threads=1 (default: in this process)"
    )
    parser.add_argument(
        "folder", nargs="?", metavar="DIR", help="each file or sub-folder of DIR becomes a table"
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    return parser


if __name__ == "__main__":
    sys.exit(main())
