"""COPY (query) TO a file or a folder: what the options mean on a fleet, and that all or nothing appears."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import duckdb

from sord.enclosed import Copy, copy_to
from sord.relation import LocalRelation, Relation, T
from sord.writing import WritingRelation

if TYPE_CHECKING:
    from sord.connection import Connection
    from sord.exec.staging import Staging
    from sord.planner.sink import Sink

_FORMATS = {"parquet": "parquet", "csv": "csv", "json": "json", "jsonl": "json", "ndjson": "json", "": "csv"}
"""What DuckDB writes by the end of a name."""
_COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
_EXISTING = {"overwrite": "overwrite", "overwrite_or_ignore": "ignore", "append": "append"}
_SPLITTING = ("partition_by", "file_size_bytes", "row_groups_per_file")
"""Options with which one place writes many files."""
_OURS = (
    "format", "compression", "per_thread_output", "file_extension", "filename_pattern", "use_tmp_file",
    "return_files", *_EXISTING,
)  # fmt: skip
"""Options that the statements of the places have other values for; all others they have as they are."""


def copying(connection: Connection, text: str) -> CopyRelation | None:
    """What a COPY … TO will do, DuckDB having checked its text; None if DuckDB has to do it as a whole."""
    copy = copy_to(text)
    return None if copy is None else copy_query(connection, copy)


def copy_query(connection: Connection, copy: Copy) -> CopyRelation | None:
    """The same for a COPY in pieces."""
    from sord.planner.sink import Sink

    options = copy.options
    file_format, compression = _format(copy.path, options)
    if file_format not in _FORMATS.values() or "return_stats" in options:
        return None
    described = connection.catalog.describe(copy.query)
    if "://" in copy.path or (os.path.exists(copy.path) and not _replaceable(copy.path)):
        # A pipe or a terminal: there is nothing to appear all at once.
        return CopyRelation(connection, copy, described, Sink("COPY (", (f") {copy.tail}",)), None)
    with_folder = _flag(options, "per_thread_output") or any(name in options for name in _SPLITTING)
    many = any(name in options for name in _SPLITTING)
    kept = [f"FORMAT {file_format}"] + ([f"COMPRESSION {compression}"] if compression else [])
    kept += [f"{name} {value}".rstrip() for name, value in options.items() if name not in _OURS]
    kept.append("RETURN_FILES true")
    staging, in_place = _staging(copy, file_format, compression, with_folder, many)
    if many:
        from sord.exec.staging import UNFINISHED

        kept.append(f"FILE_EXTENSION {_literal(file_format + UNFINISHED)}")
    else:
        kept.append("USE_TMP_FILE false")
    workers = connection.options.workers
    ranks = range(workers + 1) if in_place else range(workers, workers + 1)
    after = tuple(f") TO {_literal(staging.place(rank))} ({', '.join(kept)})" for rank in ranks)
    sink = Sink("COPY (", after, staging.folder if in_place else "")
    return CopyRelation(connection, copy, described, sink, staging)


class CopyRelation(WritingRelation):
    """A COPY on a fleet."""

    def __init__(
        self,
        connection: Connection,
        copy: Copy,
        described: list[tuple[str, str]],
        sink: Sink,
        staging: Staging | None,
    ) -> None:
        super().__init__(
            connection,
            sink.statement(copy.query),
            [("Count", "BIGINT"), ("Files", "VARCHAR[]")],
            (copy.query, described, sink),
        )
        self._copy = copy
        self._staging = staging

    def execute(self) -> Relation:
        """Write the files. What DuckDB returns: the number of rows, and the files if asked for.

        Raises DuckDB's IOException for a destination that can't be written, and otherwise as queries do.
        """
        if self._staging is None:
            return self._returned(self.fetchall())
        staging = self._staging
        try:
            _in_words_of_duckdb(staging.prepare)
            # A query that nobody holds any more is forgotten, and its workers then keep what they have written.
            written = self._read(lambda relation: self._shown(relation.fetchall(), staging))
        except BaseException:
            staging.discard()
            raise
        return self._returned(written)

    def _shown(self, rows: list[tuple[object, ...]], staging: Staging) -> list[tuple[object, ...]]:
        parts = [
            (count, paths) for count, paths, *_ in rows if isinstance(count, int) and isinstance(paths, list)
        ]
        empty = {path for count, paths in parts if not count for path in paths}
        final = _in_words_of_duckdb(lambda: staging.commit(empty))
        return [(sum(count for count, _ in parts), list(final.values()))]

    def _returned(self, rows: list[tuple[object, ...]]) -> Relation:
        cursor = self._connection.catalog.cursor()
        if _flag(self._copy.options, "return_files"):
            relation = cursor.sql(
                "SELECT $1::BIGINT AS Count, $2::VARCHAR[] AS Files", params=list(rows[0][:2])
            )
        else:
            relation = cursor.sql("SELECT $1::BIGINT AS Count", params=[rows[0][0]])
        result = LocalRelation(relation, self._connection.catalog)
        result.report = self.report
        return result


def _staging(
    copy: Copy, file_format: str, compression: str, with_folder: bool, many: bool
) -> tuple[Staging, bool]:
    """Where the files are prepared, and whether the workers do it."""
    from sord.exec.staging import StagedFile, StagedFolder

    if not with_folder and not copy.path.endswith("/") and not os.path.isdir(os.path.expanduser(copy.path)):
        return StagedFile(copy.path), False
    options = copy.options
    existing = next((meant for name, meant in _EXISTING.items() if _flag(options, name)), "")
    suffix = next((end for end, method in _COMPRESSED.items() if method == compression), "")
    extension = file_format + (suffix if file_format != "parquet" else "")
    if "file_extension" in options:
        extension = _text(options["file_extension"])
    default = "{uuid}" if existing == "append" else "data_{i}"
    pattern = _text(options.get("filename_pattern", "")) or default
    return StagedFolder(copy.path, extension, pattern, existing, many), True


def _format(path: str, options: Mapping[str, str]) -> tuple[str, str]:
    """The format and, if it has to be said, the compression: staged files have other names than the final ones."""
    name = path.rstrip("/").rpartition("/")[2].lower()
    if "file_extension" in options:
        name += "." + _text(options["file_extension"]).lower()
    end = next((end for end in _COMPRESSED if name.endswith(end)), "")
    extension = name.removesuffix(end).rpartition(".")[2] if "." in name.removesuffix(end) else ""
    file_format = _text(options.get("format", "")).lower() or _FORMATS.get(extension, "unknown")
    compression = next(
        (_text(options[key]) for key in ("compression", "codec") if _text(options.get(key, ""))), ""
    )
    if file_format != "parquet" and compression.lower() in ("", "auto", "auto_detect"):
        compression = _COMPRESSED.get(end, "")
    return file_format, compression


def _replaceable(path: str) -> bool:
    return os.path.isfile(path) or os.path.isdir(path)


def _flag(options: Mapping[str, str], name: str) -> bool:
    return name in options and _text(options[name]).lower() not in ("false", "0", "f", "no", "off")


def _text(value: str) -> str:
    """An option's value without quotes and parentheses."""
    value = value.strip().removeprefix("(").removesuffix(")").strip()
    return value[1:-1].replace("''", "'") if value.startswith("'") else value


def _in_words_of_duckdb(step: Callable[[], T]) -> T:
    try:
        return step()
    except OSError as error:
        raise duckdb.IOException(f"IO Error: {error}") from None


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
