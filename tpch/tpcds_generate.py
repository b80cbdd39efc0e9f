"""TPC-DS data and query texts, by DuckDB's own generator in an environment of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import duckdb

from sord.tpch.generate import GenerationError, table_files
from sord.tpch.staging import complete_folder
from sord.tpch.tpcds import QUERIES, TABLES

PYTHON: Final = Path(".venv-tpcds/bin/python")
"""Of the generator's environment."""

PACKAGES: Final = ("duckdb==1.5.5", "duckdb-extension-tpcds==1.5.5")

# Every store sale is a ticket line: the count is that of the specification to a hundredth of a percent.
_STORE_SALES_PER_SCALE_FACTOR: Final = 2_880_400


def generate(out: Path, scale_factor: float, python: Path = PYTHON, *, log: Callable[[str], None]) -> None:
    """Puts the 24 tables at `scale_factor` into the folder `out`, and the query texts into `queries` beside it.

    Both appear complete or not at all, and what is there already is kept.

    Raises GenerationError when the generator is missing or fails, or when `out` holds something else.
    """
    if out.exists():
        found = scale_factor_of(out)
        if found is None or not same_scale_factor(found, scale_factor):
            raise GenerationError(
                f"{out} holds {'something else' if found is None else f'TPC-DS at scale factor {found:.2g}'}, "
                f"not TPC-DS at scale factor {scale_factor:g}: remove it or choose another"
            )
        log(f"{out} already holds TPC-DS at scale factor {scale_factor:g}")
    else:
        log(f"making TPC-DS at scale factor {scale_factor:g} in {out}")
        with complete_folder(out) as unfinished:
            _run(python, "tables", f"{scale_factor:g}", str(unfinished))
    if not has_queries(texts := query_folder(out)):
        with complete_folder(texts) as unfinished:
            _run(python, "queries", str(unfinished))


def query_folder(data: Path) -> Path:
    """Where the query texts of some data are: beside it."""
    return data.parent / "queries"


def has_queries(texts: Path) -> bool:
    """Whether a folder holds all query texts."""
    return all((texts / f"q{number:02d}.sql").is_file() for number in QUERIES)


def scale_factor_of(folder: Path) -> float | None:
    """The scale factor of the TPC-DS data in a folder; None when any of the 24 tables is missing."""
    if not all(table_files(folder, table) for table in TABLES):
        return None
    files = [str(file) for file in table_files(folder, "store_sales")]
    with duckdb.connect() as connection:
        ((rows,),) = connection.execute(
            "SELECT sum(num_rows) FROM parquet_file_metadata($files)", {"files": files}
        ).fetchall()
    return float(rows) / _STORE_SALES_PER_SCALE_FACTOR


def same_scale_factor(found: float, wanted: float) -> bool:
    """Whether data whose size says `found` is that of scale factor `wanted`."""
    return abs(found - wanted) <= 0.01 * wanted


def _run(python: Path, *arguments: str) -> None:
    if not python.is_file():
        folder = python.parent.parent
        raise GenerationError(
            f"TPC-DS needs DuckDB's generator in {folder}: make tpcds makes it, or "
            f"python3 -m venv {folder} && {python} -m pip install {' '.join(PACKAGES)}"
        )
    script = Path(__file__).with_name("dsdgen.py")
    done = subprocess.run([str(python), str(script), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or [f"it ended with status {done.returncode}"]
        raise GenerationError(f"the TPC-DS data could not be made: {reason[0]}")
