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


class Listings:
    """The files that patterns stand for. Not for several threads at a time."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[list[str], list[str]]] = {}
        """By pattern: all that was below its folder, and the files."""

    def files(self, database: duckdb.DuckDBPyConnection, patterns: Sequence[str]) -> list[str]:
        """The absolute paths that DuckDB finds, in its order.

        Raises :class:`sord.Error` if a pattern has none.
        """
        found: list[str] = []
        for one in patterns:
            plain = _unescaped(one)
            if plain is not None and os.path.isfile(plain):
                found.append(os.path.abspath(plain))
                continue
            found += self._matching(database, one)
        return found

    def _matching(self, database: duckdb.DuckDBPyConnection, pattern: str) -> list[str]:
        # Names tell what a pattern matches, and to list them takes a tenth of the time.
        names = _names_below(pattern)
        known = self._known.get(pattern)
        if known is not None and names is not None and known[0] == names:
            return known[1]
        # DuckDB's own glob and not Python's, which leaves out hidden files: a table has one set of rows.
        rows = database.execute("SELECT file FROM glob(?)", [pattern]).fetchall()
        if not rows:
            raise Error(f"{pattern!r} matches no files")
        found = [path if _is_plain(path) else os.path.abspath(path) for (path,) in rows]
        self._known.pop(pattern, None)
        if names is not None and names == _names_below(pattern):
            self._known[pattern] = names, found
        return found


def files(database: duckdb.DuckDBPyConnection, patterns: Sequence[str]) -> list[str]:
    """As :meth:`Listings.files`, once."""
    return Listings().files(database, patterns)


def _names_below(pattern: str) -> list[str] | None:
    """All that lies in the folder of ``folder/*.parquet`` or below that of ``folder/**/*.parquet``.

    None for other patterns, and if there is a link, which leads elsewhere.
    """
    folder, name = os.path.split(pattern)
    deep = os.path.basename(folder) == "**"
    if deep:
        folder = os.path.dirname(folder)
    root = _unescaped(folder)
    if root is None or not os.path.isabs(root) or "**" in name:
        return None
    found: list[str] = []
    folders = [root]
    try:
        for one in folders:
            with os.scandir(one) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        return None
                    found.append(entry.path)
                    if deep and entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
    except OSError:
        return None
    return found


def states(paths: Sequence[str]) -> tuple[tuple[str, int, int], ...]:
    """What changes when one of the files does: path, modification time (ns), size (bytes)."""
    found = zip(paths, map(os.stat, paths), strict=True)
    return tuple([(path, status.st_mtime_ns, status.st_size) for path, status in found])


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
