"""Delta and Iceberg tables: the projects' own libraries say which files a snapshot has, and DuckDB reads them.

Where a snapshot is more than its files (rows deleted in place, partition values that no path holds, …), the library
reads it into Arrow.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import duckdb

from sord.errors import Error
from sord.readers import Source, schema_map, text_list

if TYPE_CHECKING:
    import pyarrow
    from deltalake import DeltaTable
    from pyiceberg.table import StaticTable

NULL = "__HIVE_DEFAULT_PARTITION__"


def delta(place: str | os.PathLike[str], version: int | None = None) -> DeltaTable:
    """A Delta table, to be registered: its latest version or another one.

    Raises :class:`sord.Error` if deltalake isn't installed or there is no such table.
    """
    try:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError
    except ImportError as error:
        raise Error("Delta tables need deltalake: pip install 'sord[delta]'") from error
    try:
        return DeltaTable(os.path.abspath(os.fspath(place)), version=version)
    except (DeltaError, OSError) as error:
        raise Error(f"cannot open the Delta table {os.fspath(place)!r}: {error}") from error


def iceberg(metadata: str | os.PathLike[str]) -> StaticTable:
    """The Iceberg table that a metadata file (``….metadata.json``) describes, to be registered.

    Tables of catalogs come from pyiceberg's ``load_catalog`` and can be registered themselves. Raises
    :class:`sord.Error` if pyiceberg isn't installed or can't read the file.
    """
    try:
        from pyiceberg.exceptions import ValidationError
        from pyiceberg.table import StaticTable
    except ImportError as error:
        raise Error("Iceberg tables need pyiceberg: pip install 'sord[iceberg]'") from error
    try:
        return StaticTable.from_metadata(os.path.abspath(os.fspath(metadata)))
    except (OSError, ValueError, ValidationError) as error:
        raise Error(f"cannot read the Iceberg metadata {os.fspath(metadata)!r}: {error}") from error


def is_delta_folder(place: str | os.PathLike[str]) -> bool:
    """Whether a folder is a Delta table."""
    return os.path.isdir(os.path.join(place, "_delta_log"))


def is_iceberg_folder(place: str | os.PathLike[str]) -> bool:
    """Whether a folder is an Iceberg table."""
    return bool(glob.glob(os.path.join(glob.escape(os.fspath(place)), "metadata", "*.metadata.json")))


def snapshot(thing: Any) -> Source | pyarrow.Table | None:
    """The files of a dataset of pyarrow's or of a table or scan of deltalake's or pyiceberg's, or its rows.

    None for anything else.

    It stays what it is now: later versions have to be registered anew. Raises :class:`sord.Error` for what can't
    be read.
    """
    library = type(thing).__module__.partition(".")[0]
    if library == "pyarrow" and type(thing).__name__ == "FileSystemDataset":
        from sord.datasets import parquet_source

        return parquet_source(thing)
    if library == "deltalake" and type(thing).__name__ == "DeltaTable":
        return _delta(thing)
    if library == "pyiceberg" and hasattr(thing, "scan"):
        return _iceberg(thing.scan(), thing.metadata)
    if library == "pyiceberg" and hasattr(thing, "plan_files"):
        return _iceberg(thing, thing.table_metadata)
    return None


def _delta(table: DeltaTable) -> Source | pyarrow.Table:
    import pyarrow

    if "deletionVectors" in (table.protocol().reader_features or ()):
        vectors = pyarrow.RecordBatchReader.from_stream(table.deletion_vectors()).read_all()
        if vectors.num_rows > 0:
            raise Error(
                f"{table.table_uri}: rows are deleted by deletion vectors, which are not supported: "
                "rewrite the files first (in Spark: REORG TABLE … APPLY (PURGE))"
            )
    mode = table.metadata().configuration.get("delta.columnMapping.mode", "none")
    if mode != "none":
        raise Error(
            f"{table.table_uri}: its columns have other names in its files (delta.columnMapping.mode = {mode}), "
            "which is not supported: write the table anew without column mapping"
        )
    columns = duckdb_columns(pyarrow.schema(table.schema().to_arrow()))
    keys = set(table.metadata().partition_columns)
    partitions = [(name, type_) for name, type_ in columns if name in keys]
    stored = [(name, type_) for name, type_ in columns if name not in keys]
    paths = _delta_paths(table, [name for name, _ in partitions])
    if not paths or not stored:
        return table.to_pyarrow_table()
    options = [("schema", schema_map(stored))]
    if partitions:
        options += [("hive_partitioning", "true"), ("hive_types", text_list(partitions))]
    return source_of(paths, options, columns)


def _delta_paths(table: DeltaTable, partitions: Sequence[str]) -> list[str]:
    """The data files; none unless DuckDB reads the log's partition values in all of the paths."""
    import pyarrow

    root = _local(table.table_uri)
    paths = []
    for add in pyarrow.table(table.get_add_actions()).to_pylist():
        relative = unquote(add["path"])
        if os.path.isabs(relative) or "://" in relative:
            return []
        parts = (unquote(part).partition("=") for part in os.path.dirname(relative).split("/"))
        found = {key: value for key, _, value in parts}
        values: Mapping[str, object] = add.get("partition") or {}
        for name in partitions:
            value = values.get(name)
            text = NULL if value is None else str(value)
            if found.get(name) != text or (value is not None and text.upper() in ("NULL", "", NULL)):
                return []
        paths.append(os.path.join(root, relative))
    return paths


def _iceberg(scan: Any, metadata: Any) -> Source | pyarrow.Table:
    from pyiceberg.expressions import AlwaysTrue

    try:
        tasks = list(scan.plan_files())
        whole = (
            isinstance(scan.row_filter, AlwaysTrue) and scan.selected_fields == ("*",) and scan.limit is None
        )
        plain = all(
            not task.delete_files and str(task.file.file_format).endswith("PARQUET") for task in tasks
        )
        fields = scan.projection().fields
        ids = [field.field_id for field in fields]
        # Nested columns are looked up by their names, defaults by nobody.
        simple = all(field.field_type.is_primitive and field.initial_default is None for field in fields)
        paths = [_local(task.file.file_path) for task in tasks]
        if not (whole and plain and simple and paths and _have_ids(paths, ids, metadata)):
            return scan.to_arrow()
        columns = duckdb_columns(scan.projection().as_arrow())
    except (ValueError, NotImplementedError, OSError) as error:
        raise Error(f"pyiceberg cannot read this table: {error}") from error
    options = [("schema", schema_map(columns, ids))]
    return source_of(paths, options, columns)._replace(renamed=len(metadata.schemas) > 1)


def _have_ids(paths: Sequence[str], ids: Sequence[int], metadata: Any) -> bool:
    """Whether every file says which of its columns is which, and has those that partition the table.

    Files that Iceberg took over from elsewhere may do neither.
    """
    needed = {
        field.source_id for spec in metadata.partition_specs for field in spec.fields
        if str(field.transform) == "identity"
    } & set(ids)  # fmt: skip
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT count(*) FILTER (field_id IS NULL), list(field_id) FROM parquet_schema(?) "
            "WHERE column_id > 0 GROUP BY file_name",
            [list(paths)],
        ).fetchall()
    return all(unknown == 0 and needed <= set(found) for unknown, found in rows)


def duckdb_columns(schema: pyarrow.Schema) -> list[tuple[str, str]]:
    """Names and DuckDB's types."""
    with duckdb.connect() as connection:
        relation = connection.from_arrow(schema.empty_table())
        return list(zip(relation.columns, map(str, relation.types), strict=True))


def source_of(
    paths: Sequence[str], options: Sequence[tuple[str, str]], columns: Sequence[tuple[str, str]]
) -> Source:
    names = tuple(name for name, _ in columns)
    return Source(tuple(map(glob.escape, paths)), "read_parquet", tuple(options), names)


def _local(uri: str) -> str:
    """The path of a file on this machine."""
    if uri.startswith("file:"):
        path = uri.removeprefix("file:")
        return "/" + path.lstrip("/")
    if "://" in uri:
        raise Error(f"{uri!r}: remote tables are not supported yet")
    return uri
