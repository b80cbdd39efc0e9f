"""Where Parquet files are: paths, globs and folders, as a user writes them."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence

import duckdb

from sord.errors import Error

_GLOB = "*?["


def pattern(place: str | os.PathLike[str]) -> str:
    """The absolute path or glob of DuckDB's that finds the Parquet files of ``place``, now and later.

    Raises :class:`sord.Error` for what isn't on this machine.
    """
    text = os.fspath(place)
    if "://" in text:
        raise Error(f"{text!r}: remote tables are not supported yet; give a local path or glob")
    absolute = os.path.abspath(os.path.expanduser(text))
    if os.path.isdir(absolute):
        return os.path.join(glob.escape(absolute), "**", "*.parquet")
    if os.path.exists(absolute):
        return glob.escape(absolute)
    if not any(mark in text for mark in _GLOB):
        raise Error(
            f"{text!r} does not exist: give a Parquet file, a folder or a glob such as data/*.parquet"
        )
    return absolute


def files(database: duckdb.DuckDBPyConnection, patterns: Sequence[str]) -> list[str]:
    """The absolute paths that DuckDB finds, in its order.

    Raises :class:`sord.Error` if a pattern has none.
    """
    found: list[str] = []
    for one in patterns:
        plain = _unescaped(one)
        if plain is not None and os.path.isfile(plain):
            found.append(os.path.abspath(plain))
            continue
        # DuckDB's own glob and not Python's, which leaves out hidden files: a table has one set of rows.
        rows = database.execute("SELECT file FROM glob(?)", [one]).fetchall()
        if not rows:
            raise Error(f"{one!r} matches no files")
        found += [os.path.abspath(row[0]) for row in rows]
    return found


def is_parquet(name: str) -> bool:
    """Whether DuckDB takes a table of this name for Parquet files."""
    return name.lower().endswith(".parquet")


def quoted(name: str) -> str:
    """An identifier."""
    return '"' + name.replace('"', '""') + '"'


def listed(paths: Sequence[str]) -> str:
    """A list of strings."""
    return "[" + ", ".join("'" + path.replace("'", "''") + "'" for path in paths) + "]"


def _unescaped(place: str) -> str | None:
    """The path that a glob without wildcards stands for."""
    plain = place.replace("[[]", "\0[").replace("[*]", "\0*").replace("[?]", "\0?")
    for mark in _GLOB:
        if plain.replace(f"\0{mark}", "").find(mark) >= 0:
            return None
    return plain.replace("\0", "")
