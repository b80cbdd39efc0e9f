"""What ANALYZE found, by the state of the table: in memory, and for files in the user's cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sord.analyze import Analysis, as_json, from_json
from sord.planner.statistics import overlaid
from sord.samples import Samples, TableSample

if TYPE_CHECKING:
    from sord.planner.catalog import ColumnStatistics, Table

_VERSION = 3
"""Of the format of the files and of what is in them."""
_KEY = b"sord"
_KEPT_BYTES = 512 << 20
"""Bytes of the cache folder, above which what was not used for longest is removed."""

_Known = tuple["dict[str, ColumnStatistics]", TableSample]


class Analyses:
    """The analyses that one connection knows. Not for several threads at a time."""

    def __init__(self) -> None:
        self._samples = Samples()
        self._known: dict[Hashable, tuple[Hashable, _Known | None]] = {}
        """By table, beside the state in which it was analysed; None: it wasn't."""

    def remember(self, table: Table, key: Hashable, state: Hashable, analysis: Analysis) -> None:
        """Keep an analysis of the table that is called ``key`` while it is in ``state``."""
        self._keep(table, key, state, analysis)
        if table.files is not None:
            with contextlib.suppress(OSError):
                _write(_path(state, table), analysis)

    def applied(self, table: Table, key: Hashable, state: Hashable) -> Table:
        """The table with the statistics and the sample of an analysis of this state, if there is one."""
        known = self._known.get(key)
        if known is None or known[0] != state:
            found = _read(_path(state, table)) if table.files is not None else None
            if found is None:
                self._known[key] = state, None
                return table
            self._keep(table, key, state, found)
            known = self._known[key]
        if known[1] is None:
            return table
        columns, sample = known[1]
        return replace(table, statistics=overlaid(table.statistics, columns), sample=sample)

    def _keep(self, table: Table, key: Hashable, state: Hashable, analysis: Analysis) -> None:
        known = self._known.get(key)
        if known is not None and known[1] is not None:
            self._samples.drop(known[1][1].name)
        sample = self._samples.add(analysis.sample, table.columns, analysis.complete)
        self._known[key] = state, (dict(analysis.columns), sample)


def cache_folder() -> Path:
    """Where analyses of files are kept, for the next process."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "sord" / "statistics"


def _path(state: Hashable, table: Table) -> Path:
    text = repr((_VERSION, state, table.options, table.columns))
    return cache_folder() / f"{hashlib.sha256(text.encode()).hexdigest()}.arrow"


def _write(path: Path, analysis: Analysis) -> None:
    """An Arrow file with the sample's rows, and the statistics in its schema; complete or not at all."""
    from pyarrow import ipc

    found = {"columns": as_json(analysis.columns), "complete": analysis.complete}
    rows = analysis.sample.replace_schema_metadata({_KEY: json.dumps(found).encode()})
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        options = ipc.IpcWriteOptions(compression="zstd")
        with os.fdopen(handle, "wb") as file, ipc.new_file(file, rows.schema, options=options) as writer:
            writer.write_table(rows)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    _make_room(path.parent)


def _read(path: Path) -> Analysis | None:
    """What :func:`_write` wrote; None for anything else."""
    if not path.is_file():
        return None
    import pyarrow
    from pyarrow import ipc

    try:
        rows = ipc.open_file(path.read_bytes()).read_all()
        rows.validate(full=True)
        found = json.loads(rows.schema.metadata[_KEY])
        analysis = Analysis(from_json(found["columns"]), rows, bool(found["complete"]))
        os.utime(path)
    except (OSError, pyarrow.ArrowException, KeyError, TypeError, ValueError):
        return None
    return analysis


def _make_room(folder: Path) -> None:
    """Remove what was not used for longest."""
    entries = sorted(
        (
            (status.st_mtime, status.st_size, path)
            for path in folder.glob("*.arrow")
            if (status := path.stat())
        ),
        reverse=True,
    )
    kept = 0
    for _, size, path in entries:
        kept += size
        if kept > _KEPT_BYTES:
            with contextlib.suppress(OSError):
                path.unlink()
