"""What users have registered: files, frames, and snapshots of lakes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from sord.entries import MAIN, TEMPORARY, Entries, Entry
from sord.errors import Error
from sord.lakes import delta, is_delta_folder, is_iceberg_folder, snapshot
from sord.places import files, source
from sord.readers import Source, function_of, stem
from sord.sql_text import quoted


class Registry:
    """Views over files and frames in ``database``. Whoever calls holds the lock of the catalog."""

    def __init__(
        self, database: duckdb.DuckDBPyConnection, own: duckdb.DuckDBPyConnection, entries: Entries
    ) -> None:
        self._database = database
        self._own = own
        self._entries = entries
        self._files: dict[str, tuple[str, Source]] = {}
        """By name: the view's SQL and its files."""
        self._frames: dict[str, tuple[str, str, Any]] = {}
        """By name in lower case: the view's SQL, the name as it was given, and the frame."""

    def add(self, name: str, thing: Any) -> None:
        """Make a path, glob, folder or list of them, a frame, or a table of a lake a table."""
        if isinstance(thing, (str, os.PathLike)) and is_delta_folder(thing):
            self._add_snapshot(name, delta(thing))
        elif isinstance(thing, (str, os.PathLike)) and is_iceberg_folder(thing):
            raise Error(
                f"{os.fspath(thing)!r} is an Iceberg table: register what pyiceberg's catalog loads, "
                "or sord.iceberg(metadata file)"
            )
        elif isinstance(thing, (str, os.PathLike)):
            self._add_places(name, [thing])
        elif isinstance(thing, (list, tuple)) and all(isinstance(one, (str, os.PathLike)) for one in thing):
            self._add_places(name, thing)
        else:
            self._add_snapshot(name, thing)
        self._entries.forget()

    def add_dir(self, directory: str | os.PathLike[str]) -> list[str]:
        """Register every Parquet, CSV or JSON file and every sub-folder with such files under its own name."""
        root = Path(directory)
        if not root.is_dir():
            raise Error(
                f"{os.fspath(root)!r} is not a folder: give a folder of Parquet, CSV or JSON files or folders"
            )
        names: dict[str, Path] = {}
        for entry in sorted(root.iterdir()):
            is_file = entry.is_file() and function_of(entry.name) is not None
            if is_file or (entry.is_dir() and any(function_of(path.name) for path in entry.rglob("*"))):
                name = stem(entry.name) if is_file else entry.name
                if name.lower() in map(str.lower, names):
                    raise Error(
                        f"{os.fspath(root)!r} has more than one {name!r}: register them under other names"
                    )
                names[name] = entry
        if not names:
            raise Error(
                f"{os.fspath(root)!r} has no Parquet files, nor CSV or JSON ones, neither directly nor in sub-folders"
            )
        for name, entry in names.items():
            self.add(name, entry)
        return list(names)

    def files_of(self, entry: Entry | None) -> Source | None:
        """The files behind a view that is still what it was registered as: SQL may have replaced it."""
        known = self._files.get(entry.name.lower()) if entry is not None and entry.place == MAIN else None
        return known[1] if known is not None and entry is not None and entry.sql == known[0] else None

    def is_frame(self, entry: Entry | None) -> bool:
        """Whether a view is a frame."""
        known = (
            self._frames.get(entry.name.lower()) if entry is not None and entry.place == TEMPORARY else None
        )
        return known is not None and entry is not None and entry.sql == known[0]

    def executed(self) -> None:
        """Forget frames whose names a statement has given to something else, or to nothing."""
        for name in list(self._frames):
            if not self.is_frame(self._entries.at(TEMPORARY, name)):
                del self._frames[name]

    def frames(self) -> list[tuple[str, Any]]:
        """All frames by name."""
        return [(name, frame) for _, name, frame in list(self._frames.values())]

    def names(self) -> list[str]:
        """All that is registered."""
        files = (name for name in self._files if self.files_of(self._entries.at(MAIN, name)))
        return [*files, *(name for name, _ in self.frames())]

    def _add_places(self, name: str, places: Sequence[str | os.PathLike[str]]) -> None:
        if not places:
            raise Error(f"cannot register {name!r}: the list is empty")
        self._add_source(name, source(places))

    def _add_snapshot(self, name: str, thing: Any) -> None:
        """A table of deltalake's or pyiceberg's, or a frame."""
        found = snapshot(thing)
        if isinstance(found, Source):
            self._add_source(name, found)
        else:
            self._add_frame(name, thing if found is None else found)

    def _add_source(self, name: str, found: Source) -> None:
        files(self._own, found.places)
        # A view over patterns rather than files: files that come later are rows of the table too.
        self._own.execute(
            f"CREATE OR REPLACE VIEW memory.main.{quoted(name)} AS SELECT * FROM {found.call(found.places)}"
        )
        if self._frames.pop(name.lower(), None) is not None:
            self._database.unregister(name)
        self._files[name.lower()] = (_sql(self._own, "memory", name), found)

    def _add_frame(self, name: str, source: Any) -> None:
        if type(source).__name__ == "RecordBatchReader":
            # A reader gives its rows once, and planning asks for their number.
            source = source.read_all()
        try:
            self._database.register(name, source)
        except (duckdb.InvalidInputException, TypeError) as error:
            raise Error(
                f"cannot register {name!r}: {type(source).__name__} is neither a path nor a frame that DuckDB reads"
            ) from error
        self._frames[name.lower()] = (_sql(self._database, "temp", name), name, source)
        self._files.pop(name.lower(), None)


def _sql(database: duckdb.DuckDBPyConnection, place: str, view: str) -> str:
    """The text of a view as DuckDB writes it."""
    shown = database.execute(
        "SELECT sql FROM duckdb_views() WHERE database_name = ? AND schema_name = 'main' "
        "AND lower(view_name) = lower(?)",
        [place, view],
    ).fetchall()
    return str(shown[0][0]) if shown else ""
