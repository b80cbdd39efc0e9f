"""Exchanges as tables of a DuckDB connection."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import duckdb
import pyarrow as pa

TYPES_KEY = b"sord.types"
"""Metadata of a batch's schema: DuckDB's types as JSON, present where Arrow alone would lose them."""


_ENUM = re.compile(r"\bENUM\(")
_LOST = re.compile(r"\b(U?HUGEINT|BIT|TIME WITH TIME ZONE|UUID|JSON)\b")
"""Types that Arrow knows by other names, or not at all."""
_CAST = re.compile(f"{_ENUM.pattern}|{_LOST.pattern}")


class TableSource:
    """A table that DuckDB may scan several times in one query: a new stream for each scan.

    (A ``pyarrow.Table`` itself would be scanned through ``pyarrow.dataset`` and its threads.)
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    @property
    def schema(self) -> pa.Schema:
        return self._table.schema

    def __arrow_c_schema__(self) -> object:
        return self._table.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.to_reader().__arrow_c_stream__(requested_schema)


class StreamSource:
    """Batches that are still arriving: one scan only. Keeps what the batches raised in ``error``."""

    def __init__(self, schema: pa.Schema, batches: Callable[[], Iterator[pa.RecordBatch]]) -> None:
        self.schema = visible_schema(schema)
        self.error: BaseException | None = None
        self.exhausted = False
        self._batches = batches
        self._used = False

    def __arrow_c_schema__(self) -> object:
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        if self._used:
            self.error = RuntimeError("a streamed result can be read only once")
            raise self.error
        self._used = True
        return pa.RecordBatchReader.from_batches(self.schema, self._guarded()).__arrow_c_stream__(
            requested_schema
        )

    def _guarded(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._batches():
                yield _visible(batch)
            self.exhausted = True
        except GeneratorExit:
            raise
        except BaseException as error:
            self.error = error
            raise


def as_arrow_keeps(relation: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    """``relation`` with texts for values that Arrow loses where ``arrow_lossless_conversion`` is off.

    That is a setting of a whole DuckDB, and what users get of theirs must not change.
    """
    types = list(map(str, relation.types))
    if not any(map(_LOST.search, types)):
        return relation
    items = (
        f"CAST({_quoted(name)} AS VARCHAR) AS {_quoted(name)}" if _LOST.search(type_) else _quoted(name)
        for name, type_ in zip(relation.columns, types, strict=True)
    )
    return relation.project(", ".join(items))


def with_types(schema: pa.Schema, types: Sequence[Any], keeps_types: bool = True) -> pa.Schema:
    """``schema`` with DuckDB's types in its metadata if Arrow would lose one: an ENUM becomes VARCHAR."""
    names = [str(type_) for type_ in types]
    if not any(map(_CAST.search if not keeps_types else _ENUM.search, names)):
        return schema
    return schema.with_metadata({**(schema.metadata or {}), TYPES_KEY: json.dumps(names).encode()})


def visible_schema(schema: pa.Schema) -> pa.Schema:
    """``schema`` as DuckDB can register it: with a column if it has none."""
    return schema if len(schema) else pa.schema([pa.field("no_columns", pa.bool_())])


def table_source(table: pa.Table) -> TableSource:
    """A complete exchange as something to :func:`register`."""
    if table.num_columns:
        return TableSource(table)
    batches = [_visible(batch) for batch in table.to_batches()]
    return TableSource(pa.Table.from_batches(batches, visible_schema(table.schema)))


def register(connection: duckdb.DuckDBPyConnection, name: str, source: TableSource | StreamSource) -> None:
    """Make ``source`` the table ``name`` of this connection, with the types that its rows had in DuckDB."""
    types = json.loads((source.schema.metadata or {}).get(TYPES_KEY, b"[]"))
    if not types:
        connection.register(name, source)
        return
    connection.register(_arrow_name(name), source)
    columns = ", ".join(
        f"CAST({_quoted(column)} AS {type_}) AS {_quoted(column)}" if _CAST.search(type_) else _quoted(column)
        for column, type_ in zip(source.schema.names, types, strict=False)
    )
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW {_quoted(name)} AS SELECT {columns} FROM {_quoted(_arrow_name(name))}"
    )


def unregister(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Undo :func:`register`."""
    connection.execute(f"DROP VIEW IF EXISTS {_quoted(name)}")
    connection.unregister(_arrow_name(name))
    connection.unregister(name)


def _visible(batch: pa.RecordBatch) -> pa.RecordBatch:
    if batch.num_columns:
        return batch
    return pa.record_batch([pa.nulls(batch.num_rows, pa.bool_())], names=["no_columns"])


def _arrow_name(name: str) -> str:
    return f"{name} as arrow"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
