"""What a connection knows by name: Parquet tables, frames, and DuckDB's own views and tables."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from sord.errors import Error

if TYPE_CHECKING:
    from sord.planner.catalog import Table

_GLOB = "*?["


class Catalog:
    """Implements the planner's catalog over a DuckDB database private to one connection."""

    def __init__(self, database: duckdb.DuckDBPyConnection) -> None:
        self._database = database
        self._parquet: dict[str, str] = {}
        """Name to the place (path or glob) it was registered with."""
        self._frames: dict[str, Any] = {}
        self._tables: dict[tuple[str, str], tuple[object, Table]] = {}
        """Tables by place and options, beside the identity of the files at the time of reading."""
        self._pure: dict[str, bool] = {}

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A new connection to the same database that sees the registered frames too."""
        cursor = self._database.cursor()
        for name, frame in self._frames.items():
            cursor.register(name, frame)
        return cursor

    def register(self, name: str, source: Any) -> None:
        """Make a Parquet path, glob or list of them, or a frame (pyarrow, pandas, polars), a table.

        Raises :class:`sord.Error` for a place without files and DuckDB's own error for a file that it can't read.
        """
        key = name.lower()
        if isinstance(source, (str, os.PathLike)):
            place = os.fspath(source)
            options = ""
            paths = _files(place)
            self._database.execute(
                f"CREATE OR REPLACE VIEW {_quote(name)} AS SELECT * FROM read_parquet({_list(paths)}{options})"
            )
            self._parquet[key] = place
            self._frames.pop(key, None)
        else:
            try:
                self._database.register(name, source)
            except duckdb.Error as error:
                raise Error(
                    f"cannot register {name!r}: {type(source).__name__} is neither a path nor a frame that DuckDB reads"
                ) from error
            self._frames[key] = source
            self._parquet.pop(key, None)

    def register_dir(self, directory: str | os.PathLike[str]) -> list[str]:
        """Register every Parquet file and every sub-folder with Parquet files under its own name."""
        root = Path(directory)
        if not root.is_dir():
            raise Error(f"{os.fspath(root)!r} is not a folder: give a folder of Parquet files or of folders of them")
        names: list[str] = []
        for entry in sorted(root.iterdir()):
            if entry.is_file() and entry.suffix == ".parquet":
                self.register(entry.stem, entry)
                names.append(entry.stem)
            elif entry.is_dir() and any(entry.rglob("*.parquet")):
                self.register(entry.name, entry / "**" / "*.parquet")
                names.append(entry.name)
        if not names:
            raise Error(f"{os.fspath(root)!r} has no Parquet files, neither directly nor in sub-folders")
        return names

    # The planner's catalog

    def table(self, name: str) -> Table | None:
        """A registered Parquet table, a path, a frame or a table of DuckDB's own."""
        from sord.planner.catalog import Table

        place = self._parquet.get(name.lower())
        if place is not None:
            return self._read(name.lower(), place, "")
        if name.lower() not in self._frames and _is_path(name):
            return self._read(Path(name).stem.strip("*") or "files", name, "")
        cursor = self.cursor()
        try:
            known = name.lower() in self._frames or cursor.execute(
                "SELECT count(*) FROM duckdb_tables() WHERE lower(table_name) = ?", [name.lower()]
            ).fetchall()[0][0]
            if not known:
                return None
            columns = tuple((row[0], row[1]) for row in cursor.execute(f"DESCRIBE {_quote(name)}").fetchall())
            rows = cursor.execute(f"SELECT count(*) FROM {_quote(name)}").fetchall()[0][0]
        finally:
            cursor.close()
        return Table(name, columns, float(rows), {}, None)

    def view(self, name: str) -> str | None:
        """The query of a view that a user created."""
        if name.lower() in self._parquet or name.lower() in self._frames:
            return None
        found = self._database.execute(
            "SELECT sql FROM duckdb_views() WHERE NOT internal AND lower(view_name) = ?", [name.lower()]
        ).fetchall()
        if not found:
            return None
        import sqlglot

        tree = sqlglot.parse_one(found[0][0], read="duckdb")
        columns = tree.this.expressions if isinstance(tree.this, sqlglot.exp.Schema) else []
        if columns:
            from sord.planner.catalog import Unsupported

            raise Unsupported(f"the view {name} renames its columns")
        body: str = tree.expression.sql("duckdb")
        return body

    def scan(self, function: str, arguments: Sequence[str]) -> Table:
        """The Parquet files behind read_parquet(…)."""
        from sord.planner.catalog import Unsupported

        if function not in ("read_parquet", "parquet_scan") or not arguments:
            raise Unsupported(f"{function}() in FROM")
        allowed = ("union_by_name", "hive_partitioning", "hive_types_autocast", "binary_as_string")
        options = ""
        for argument in arguments[1:]:
            key, _, value = argument.partition("=")
            if key.strip().strip('"').lower() not in allowed:
                raise Unsupported(f"read_parquet with {key.strip()}")
            options += f", {key.strip()}={value.strip()}"
        place = arguments[0].strip()
        if place.startswith("'"):
            places = [place[1:-1].replace("''", "'")]
        else:
            places = [row[0] for row in self._database.execute(f"SELECT unnest({place})").fetchall()]
        return self._read(Path(places[0]).stem.strip("*") or "files", "\0".join(places), options)

    def describe(self, sql: str) -> list[tuple[str, str]]:
        """Names and DuckDB types of a query's columns. Raises DuckDB's error for a wrong query."""
        cursor = self.cursor() if self._frames else self._database
        return [(row[0], row[1]) for row in cursor.execute(f"DESCRIBE {sql}").fetchall()]

    def is_pure_function(self, name: str) -> bool:
        """Whether every overload of a DuckDB function is scalar and deterministic."""
        if name not in self._pure:
            rows = self._database.execute(
                "SELECT function_type, stability FROM duckdb_functions() WHERE function_name = ?", [name]
            ).fetchall()
            self._pure[name] = bool(rows) and all(row == ("scalar", "CONSISTENT") for row in rows)
        return self._pure[name]

    def _read(self, name: str, place: str, options: str) -> Table:
        from dataclasses import replace

        from sord.statistics import identity, read_table

        paths = [path for part in place.split("\0") for path in _files(part)]
        same = identity(paths)
        known = self._tables.get((place, options))
        if known is not None and known[0] == same:
            table = known[1]
        else:
            table = read_table(self._database, name, paths, options)
            self._tables[place, options] = (same, table)
        # Two places may have files of one name; the planner knows tables by their names.
        clash = [t for key, (_, t) in self._tables.items() if t.name == name and key != (place, options)]
        return replace(table, name=f"{name}_{len(clash) + 1}") if clash and table.name == name else table


def _files(place: str) -> list[str]:
    if "://" in place:
        raise Error(f"{place!r}: remote tables are not supported yet; give a local path or glob")
    if os.path.isdir(place):
        place = os.path.join(place, "**", "*.parquet")
    if not any(mark in place for mark in _GLOB):
        if not os.path.exists(place):
            raise Error(f"{place!r} does not exist: give a Parquet file, a folder or a glob such as data/*.parquet")
        return [os.path.abspath(place)]
    paths = sorted(path for path in glob.glob(place, recursive=True) if os.path.isfile(path))
    if not paths:
        raise Error(f"{place!r} matches no files")
    return [os.path.abspath(path) for path in paths]


def _is_path(name: str) -> bool:
    return name.endswith(".parquet") or (any(mark in name for mark in _GLOB) and "." in name)


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _list(paths: Sequence[str]) -> str:
    return "[" + ", ".join("'" + path.replace("'", "''") + "'" for path in paths) + "]"
