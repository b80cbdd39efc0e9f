"""TPC-H data as Parquet, made by tpchgen-cli (a Rust port of the TPC's dbgen whose data is the same).

Its defaults stay: Snappy and row groups of about 7 MiB (114,000 rows of lineitem). Groups of 123,000 and
241,000 rows made no difference to DuckDB at SF1 that could be told from noise, and smaller ones split more
evenly.
"""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Final

import duckdb

from sord.tpch.spec import ROWS_PER_SCALE_FACTOR, TABLES
from sord.tpch.staging import complete_folder

# Measured at SF1 and SF10: about 0.35 GB of Parquet each; the rest is room for the last unfinished file.
_BYTES_PER_SCALE_FACTOR: Final = 400_000_000


class GenerationError(Exception):
    """The data could not be made; the message says what to do about it."""


def generate(out: Path, scale_factor: float, parts: int | None = None, *, log: Callable[[str], None]) -> bool:
    """Puts the eight tables at `scale_factor` into the folder `out`; says whether there was anything to do.

    The folder appears complete or not at all: the tables are written beside it and renamed at the end. Data
    of the same scale factor (and, where given, as many `parts`) is kept. Tables are single files
    (`lineitem.parquet`), or with `parts` folders (`lineitem/lineitem.1.parquet`, ...).

    Raises GenerationError when tpchgen-cli is missing or fails, the disk is full, or `out` is taken.
    """
    if not scale_factor > 0:
        raise GenerationError(f"the scale factor must be greater than 0, not {scale_factor:g}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        _expect_same_data(out, scale_factor, parts)
        log(f"{out} already holds TPC-H at scale factor {scale_factor:g}")
        return False
    program = _program()
    out.parent.mkdir(parents=True, exist_ok=True)
    _expect_room(out.parent, scale_factor)
    log(f"making TPC-H at scale factor {scale_factor:g} in {out}")
    with complete_folder(out) as unfinished:
        command = [
            program,
            "parquet",
            f"--scale-factor={scale_factor:g}",
            f"--output-dir={unfinished}",
            "--quiet",
        ]
        if parts is not None:
            command.append(f"--parts={parts}")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = done.stderr.strip() or f"it ended with status {done.returncode}"
            raise GenerationError(f"tpchgen-cli could not make the data: {reason}")
    # Somebody else may have been faster: theirs is as good, if it is the same.
    _expect_same_data(out, scale_factor, parts)
    return True


def table_files(folder: Path, table: str) -> list[Path]:
    """The Parquet files of a table: `<table>.parquet`, or everything in the folder `<table>`."""
    single = folder / f"{table}.parquet"
    return [single] if single.is_file() else sorted((folder / table).glob("*.parquet"))


def scale_factor_of(folder: Path) -> float | None:
    """The scale factor of the TPC-H data in a folder; None when any of the eight tables is missing."""
    files = {table: table_files(folder, table) for table in TABLES}
    if not all(files.values()):
        return None
    with duckdb.connect() as connection:
        count = connection.execute(
            "select sum(num_rows) from parquet_file_metadata($files)",
            {"files": [str(file) for file in files["orders"]]},
        ).fetchone()
    assert count is not None
    return float(count[0]) / ROWS_PER_SCALE_FACTOR["orders"]


def same_scale_factor(a: float, b: float) -> bool:
    """Whether two scale factors name the same data: tables have whole rows, so tiny ones are rounded."""
    orders = ROWS_PER_SCALE_FACTOR["orders"]
    return abs(a - b) * orders < 1


def _expect_same_data(out: Path, scale_factor: float, parts: int | None) -> None:
    found = scale_factor_of(out) if out.is_dir() else None
    if found is None:
        raise GenerationError(f"{out} exists and is not a folder of TPC-H data: remove it or choose another")
    if not same_scale_factor(found, scale_factor):
        raise GenerationError(
            f"{out} holds TPC-H at scale factor {found:g}, not {scale_factor:g}: remove it or choose another"
        )
    files = len(table_files(out, "lineitem"))
    if parts is not None and files != parts:
        raise GenerationError(f"{out} holds {files} parts, not {parts}: remove it or choose another")


def _expect_room(folder: Path, scale_factor: float) -> None:
    needed = int(_BYTES_PER_SCALE_FACTOR * scale_factor)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise GenerationError(
            f"scale factor {scale_factor:g} takes about {needed / 1e9:.1f} GB, "
            f"but {folder} has {free / 1e9:.1f} GB free"
        )


def _program() -> str:
    # The environment of this interpreter comes first: it need not be on the PATH.
    program = shutil.which("tpchgen-cli", path=sysconfig.get_path("scripts")) or shutil.which("tpchgen-cli")
    if program is None:
        raise GenerationError('making TPC-H data needs tpchgen-cli: pip install "sord[tpch]"')
    return program
