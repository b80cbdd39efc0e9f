"""What DuckDB makes of all files of a Parquet table, in words that make the same of each of them.

Workers read different files, and DuckDB takes names and types from the first file it is given (or unites them),
and the types of hive partition columns from all paths.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

import duckdb

from sord.planner.catalog import Unsupported
from sord.readers import Source, file_column, is_true, rendered, schema_map, text_list
from sord.sql_text import listed, quoted

_FILE = "sord file"
_PLAIN = re.compile(r"[A-Za-z0-9_.:-]+")
Columns = tuple[tuple[str, str], ...]


class Pinned(NamedTuple):
    """A table's schema."""

    columns: Columns
    options: dict[str, str]
    """Arguments of read_parquet under which any of the files has these columns."""
    partitions: tuple[str, ...]
    """Columns that DuckDB reads in a file's path."""


def pin(
    cursor: duckdb.DuckDBPyConnection, source: Source, paths: Sequence[str], different: Sequence[str]
) -> Pinned:
    """``different`` are the first of the files, in their order, of each schema.

    Raises Unsupported where it isn't sure that files read one by one are the table that DuckDB reads.
    """
    columns = _columns_of_all(cursor, source, paths, different)
    given = dict(source.options)
    options = {
        name: value
        for name, value in given.items()
        if name != "union_by_name" and not name.startswith("hive_")
    }
    try:
        partitions = partition_columns(paths, source, columns)
        united = is_true(given.get("union_by_name", "false"))
    except ValueError as error:
        raise Unsupported(f"read_parquet with the argument {error}") from None
    options |= hive_options(paths, partitions)
    differing: frozenset[str] = frozenset()
    if source.renamed:
        differing = frozenset(name.lower() for name, _ in columns)
    elif len(different) > 1 and (variants := _variants(cursor, different)):
        differing = _differing(variants)
    if differing and "schema" not in given:
        added = {name for name, _ in partitions} | {file_column(source.options) or ""}
        if "file_row_number" in given:
            added.add("file_row_number")
        stored = [(name, type_) for name, type_ in columns if name not in added]
        if not united:
            _check_has_all(variants, stored)
        options["schema"] = schema_map(stored)
    pinned = source._replace(options=tuple(options.items()))
    if options != given and described(cursor, pinned.call(different)) != columns:
        raise Unsupported("a table whose Parquet files have schemas that can't be pinned")
    return Pinned(columns, options, tuple(name for name, _ in partitions))


def _columns_of_all(
    cursor: duckdb.DuckDBPyConnection, source: Source, paths: Sequence[str], different: Sequence[str]
) -> Columns:
    """Names and types that DuckDB gives to all the files.

    With ``union_by_name`` it would open each of them: what ``different`` files have is what all have, and of the
    others only the paths count.
    """
    united = [value for name, value in source.options if name == "union_by_name"]
    if not united or len(different) == len(paths):
        return described(cursor, source.call(paths))
    columns = described(cursor, source.call(different))
    apart = source._replace(options=tuple(one for one in source.options if one[0] != "union_by_name"))
    try:
        partitions = dict(partition_columns(paths, source, described(cursor, apart.call(paths))))
    except ValueError:
        return columns
    return tuple((name, partitions.get(name, type_)) for name, type_ in columns)


def described(cursor: duckdb.DuckDBPyConnection, source: str) -> Columns:
    """Names and types of a FROM item."""
    return tuple((row[0], row[1]) for row in cursor.execute(f"DESCRIBE SELECT * FROM {source}").fetchall())


def partition_values(
    cursor: duckdb.DuckDBPyConnection,
    function: str,
    options: dict[str, str],
    partitions: Sequence[str],
    paths: Sequence[str],
) -> dict[str, tuple[str | None, ...]]:
    """The partition columns' values as text, by path. ``paths`` are files that have rows."""
    if not partitions:
        return {}
    found = {path: plain_values(path, partitions) for path in paths}
    # DuckDB says what it reads in other paths; the first row of a file is enough, and one file of a folder.
    asked = {os.path.dirname(path): path for path, values in found.items() if values is None}
    if asked:
        own = {name: value for name, value in options.items() if name not in ("filename", "file_row_number")}
        values = ", ".join(f"CAST({quoted(name)} AS VARCHAR)" for name in partitions)
        rows = cursor.execute(
            f"SELECT {quoted(_FILE)}, {values} FROM {function}({listed(list(asked.values()))}{rendered(own)}, "
            f"filename='{_FILE}', file_row_number=true) WHERE file_row_number = 0"
        ).fetchall()
        told = {os.path.dirname(row[0]): row[1:] for row in rows}
    return {path: values or told[os.path.dirname(path)] for path, values in found.items()}


def plain_values(path: str, names: Sequence[str]) -> tuple[str, ...] | None:
    """The partition columns' values in a path; None if they aren't plain words, which casts leave alone."""
    parts = [unquote(part).partition("=") for part in os.path.dirname(path).split("/") if "=" in part]
    found = {key.lower(): value for key, _, value in parts}
    values = tuple(found[name.lower()] for name in names)
    if len(found) == len(parts) and all(map(_is_word, values)):
        return values
    return None


def _is_word(value: str) -> bool:
    return _PLAIN.fullmatch(value) is not None and value.lower() != "null" and "__" not in value


def partition_columns(paths: Sequence[str], source: Source, columns: Columns) -> Columns:
    """Those of the columns that DuckDB reads in the paths. Raises ValueError for an argument that isn't plain."""
    keys = _hive_keys(paths, dict(source.options).get("hive_partitioning"))
    return tuple((name, type_) for name, type_ in columns if name.lower() in keys)


def hive_options(paths: Sequence[str], partitions: Columns) -> dict[str, str]:
    """Arguments under which DuckDB reads in any of the paths what it reads in all."""
    if partitions:
        return {"hive_partitioning": "true", "hive_types": text_list(partitions)}
    return (
        {"hive_partitioning": "false"}
        if any("=" in path and "=" in os.path.dirname(path) for path in paths)
        else {}
    )


def _hive_keys(paths: Sequence[str], wanted: str | None) -> frozenset[str]:
    """The lower-case names of the partition columns, none if DuckDB doesn't look for them."""
    if wanted is not None and not is_true(wanted):
        return frozenset()
    found = {
        frozenset(unquote(part.partition("=")[0]).lower() for part in folder.split("/") if "=" in part)
        for folder in {os.path.dirname(path) if "=" in path else "" for path in paths}
    }
    if len(found) == 1:
        return found.pop()
    return frozenset()


class _Variant(NamedTuple):
    file: str
    elements: list[dict[str, Any]]
    """As parquet_schema gives them: a tree in pre-order, its root first."""


def _variants(cursor: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> list[_Variant]:
    """One file for each schema; none if all are the same."""
    rows = cursor.execute(
        "SELECT any_value(file_name), elements FROM (SELECT file_name, list({name: name, type: type, "
        "repetition_type: repetition_type, num_children: num_children, converted_type: converted_type, "
        "logical_type: logical_type}) AS elements "
        f"FROM parquet_schema({listed(paths)}) GROUP BY file_name) GROUP BY elements"
    ).fetchall()
    return [_Variant(*row) for row in rows] if len(rows) > 1 else []


def _columns(variant: _Variant) -> dict[str, list[dict[str, Any]]]:
    """The elements of each top-level column by its lower-case name."""
    found: dict[str, list[dict[str, Any]]] = {}
    position = 1
    while position < len(variant.elements):
        start, open_ = position, 1
        while open_:
            open_ += (variant.elements[position]["num_children"] or 0) - 1
            position += 1
        found[variant.elements[start]["name"].lower()] = variant.elements[start:position]
    return found


def _check_has_all(variants: Sequence[_Variant], stored: Sequence[tuple[str, str]]) -> None:
    for variant in variants:
        own = _columns(variant)
        missing = next((name for name, _ in stored if name.lower() not in own), None)
        if missing is not None:
            raise Unsupported(
                f"a table of Parquet files of which one has no column {missing}: {variant.file}"
            )


def _differing(variants: Sequence[_Variant]) -> frozenset[str]:
    columns = [_columns(variant) for variant in variants]
    names = {name for own in columns for name in own}
    return frozenset(name for name in names if any(own.get(name) != columns[0].get(name) for own in columns))
