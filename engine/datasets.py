"""pyarrow's datasets over Parquet files, which DuckDB reads itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from sord.lakes import NULL, duckdb_columns, source_of
from sord.readers import Source, schema_map, text_list

if TYPE_CHECKING:
    import pyarrow
    from pyarrow.parquet import FileMetaData


def parquet_source(dataset: Any) -> Source | None:
    """The files of a ``pyarrow.dataset.FileSystemDataset``; None where DuckDB might read something else in them.

    That is a dataset of other files or of another file system's, one with a filter, one whose partition values DuckDB
    doesn't find in the paths, and one whose files have columns of quite other types or names than the dataset.
    """
    from pyarrow import dataset as datasets
    from pyarrow import fs

    partitioning = dataset.partitioning
    is_plain = (
        isinstance(dataset.format, datasets.ParquetFileFormat)
        and isinstance(dataset.filesystem, fs.LocalFileSystem)
        and getattr(dataset, "_scan_options", None) == {}
        and not dataset.format.read_options.dictionary_columns
    )
    # Others than discovered ones, which have a partitioning, may be of some row groups of their files.
    if not is_plain or partitioning is None or not dataset.files:
        return None
    keys = set(partitioning.schema.names)
    if keys and not isinstance(partitioning, datasets.HivePartitioning):
        return None
    schema = dataset.schema
    if len({name.lower() for name in schema.names}) < len(schema.names):
        return None
    for fragment in dataset.get_fragments():
        if not _has_partitions(
            fragment.path, datasets.get_partition_keys(fragment.partition_expression), keys
        ):
            return None
        if not _is_alike(fragment.physical_schema, schema, keys) or _has_old_times(fragment.metadata):
            return None
    columns = duckdb_columns(schema)
    stored = [(name, type_) for name, type_ in columns if name not in keys]
    if not stored or any("ENUM(" in type_ for _, type_ in columns):
        return None
    options = [("schema", schema_map(stored)), ("hive_partitioning", "true" if keys else "false")]
    if keys:
        options.append(("hive_types", text_list([one for one in columns if one[0] in keys])))
    return source_of([os.path.abspath(path) for path in dataset.files], options, columns)


def _has_partitions(path: str, values: Mapping[str, object], keys: set[str]) -> bool:
    """Whether DuckDB finds the same partition values in a path."""
    parts = [unquote(part).partition("=") for part in os.path.dirname(path).split("/") if "=" in part]
    found = {key: value for key, _, value in parts}
    if len(found) < len(parts):
        return False
    for name in keys:
        value = values.get(name)
        text = NULL if value is None else str(value)
        if found.get(name) != text or (value is not None and text.upper() in ("NULL", "", NULL)):
            return False
    # Partitions above the dataset's folder are none of its columns.
    return set(found) == keys


def _has_old_times(metadata: FileMetaData) -> bool:
    """Whether there are timestamps of Parquet's first kind: pyarrow reads nanoseconds in them, DuckDB microseconds."""
    stored = metadata.schema
    return any(stored.column(number).physical_type == "INT96" for number in range(metadata.num_columns))


def _is_alike(physical: pyarrow.Schema, schema: pyarrow.Schema, keys: set[str]) -> bool:
    """Whether columns of a file become those of the dataset by their exact names and without losing anything."""
    from pyarrow import types

    small = {name.lower(): name for name in schema.names}
    for field in physical:
        name = small.get(field.name.lower())
        if name is None:
            continue
        if name != field.name or name in keys:
            return False
        wanted = schema.field(name).type
        is_wider = (
            types.is_integer(field.type) and (types.is_integer(wanted) or types.is_float64(wanted))
        ) or (types.is_float32(field.type) and types.is_float64(wanted))
        if field.type != wanted and not is_wider:
            return False
    return len(set(map(str.lower, physical.names))) == len(physical.names)
