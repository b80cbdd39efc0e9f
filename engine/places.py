"""Where files are: paths, globs and folders, as a user writes them."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence

import duckdb

from sord.errors import Error
from sord.readers import FORMATS, Source, extensions, function_of

_GLOB = "*?["


def source(places: Sequence[str | os.PathLike[str]]) -> Source:
    """The files of paths, globs and folders, now and later, and DuckDB's function for them.

    Raises :class:`sord.Error` for what isn't on this machine and for files of different formats.
    """
    found = [one for place in places for one in _patterns(place)]
    functions = {function for _, function in found}
    if len(functions) > 1:
        kinds = " and ".join(sorted(FORMATS[function] for function in functions))
        raise Error(f"{os.fspath(places[0])!r}: {kinds} files are no one table; register them one by one")
    return Source(tuple(pattern for pattern, _ in found), functions.pop())


def _patterns(place: str | os.PathLike[str]) -> list[tuple[str, str]]:
    """Absolute paths or globs of DuckDB's, and the functions that read their files."""
    text = os.fspath(place)
    if "://" in text:
        raise Error(f"{text!r}: remote tables are not supported yet; give a local path or glob")
    absolute = os.path.abspath(os.path.expanduser(text))
    if os.path.isdir(absolute):
        return [
            (os.path.join(glob.escape(absolute), "**", f"*{end}"), function)
            for end, function in _kinds(absolute)
        ]
    function = function_of(text) or "read_parquet"
    if os.path.exists(absolute):
        return [(glob.escape(absolute), function)]
    if not any(mark in text for mark in _GLOB):
        raise Error(
            f"{text!r} does not exist: give a Parquet, CSV or JSON file, a folder or a glob such as data/*.parquet"
        )
    return [(absolute, function)]


def _kinds(folder: str) -> list[tuple[str, str]]:
    """The endings of names in a folder and the functions for them; Parquet files are all that counts beside others."""
    names = [name.lower() for _, _, names in os.walk(folder) for name in names]
    found = [
        (end, function)
        for function in FORMATS
        for end in extensions(function)
        if any(name.endswith(end) for name in names)
    ]
    parquet = [one for one in found if one[1] == "read_parquet"]
    return parquet or found or [(".parquet", "read_parquet")]


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
        found += [path if _is_plain(path) else os.path.abspath(path) for (path,) in rows]
    return found


def states(paths: Sequence[str]) -> tuple[tuple[str, int, int], ...]:
    """What changes when one of the files does: path, modification time (ns), size (bytes)."""
    return tuple((path, (status := os.stat(path)).st_mtime_ns, status.st_size) for path in paths)


def _is_plain(path: str) -> bool:
    """Whether a path is surely absolute already; finding that out of thousands takes a while."""
    return path.startswith("/") and "//" not in path and "/." not in path


def _unescaped(place: str) -> str | None:
    """The path that a glob without wildcards stands for."""
    plain = place.replace("[[]", "\0[").replace("[*]", "\0*").replace("[?]", "\0?")
    for mark in _GLOB:
        if plain.replace(f"\0{mark}", "").find(mark) >= 0:
            return None
    return plain.replace("\0", "")
