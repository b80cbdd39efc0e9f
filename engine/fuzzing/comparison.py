"""Whether two results are the same: names, types, rows as multisets, and their order as far as it is fixed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """Rows in their order; nanoseconds are integers, for Python's datetime would lose some."""

    names: list[str]
    types: list[str]
    rows: list[Row]


def result_of(relation: duckdb.DuckDBPyRelation, most: int | None = None) -> Result:
    """Runs a relation; raises ValueError when it has more than ``most`` rows."""
    names, types = relation.columns, [str(type_) for type_ in relation.types]
    batches, rows = [], 0
    reader = relation.to_arrow_reader(2048)
    for batch in reader:
        batches.append(batch)
        rows += batch.num_rows
        if most is not None and rows > most:
            raise ValueError(f"more than {most} rows")
    table = pa.Table.from_batches(batches, reader.schema)
    columns = [
        (column.cast(pa.int64()) if column.type == pa.timestamp("ns") else column).to_pylist()
        for column in table.columns
    ]
    return Result(names, types, list(zip(*columns, strict=True)))


def difference(sql: str, wanted: Result, got: Result) -> str | None:
    """What is wrong with a result of ``sql``; nothing when it is right."""
    if wanted.names != got.names:
        return f"names {got.names} instead of {wanted.names}"
    if wanted.types != got.types:
        return f"types {got.types} instead of {wanted.types}"
    mine, right = sorted(got.rows, key=_sort_key), sorted(wanted.rows, key=_sort_key)
    if not _same_rows(mine, right):
        return f"{len(mine)} rows {_first(mine, right)} instead of {len(right)} {_first(right, mine)}"
    keys = _order_positions(sql, len(wanted.names))
    # Floats that differ in their last digits decide otherwise than equal ones what comes first by the next key.
    floats = (i + 1 for i, key in enumerate(keys) if wanted.types[key] in ("FLOAT", "DOUBLE"))
    keys = keys[: next(floats, len(keys))]
    if not _same_rows([_picked(row, keys) for row in wanted.rows], [_picked(row, keys) for row in got.rows]):
        return f"the order is {got.rows[:6]} instead of {wanted.rows[:6]}"
    return None


def _first(rows: list[Row], others: list[Row]) -> list[Row]:
    """Some rows, from the first that isn't the others' on."""
    at = next((i for i, (a, b) in enumerate(zip(rows, others, strict=False)) if not _same(a, b)), 0)
    return rows[at : at + 4]


def _picked(row: Row, positions: list[int]) -> Row:
    return tuple(row[i] for i in positions)


def _order_positions(sql: str, width: int) -> list[int]:
    """The columns whose order can be compared: those of the outermost ORDER BY, if they come first or are all."""
    before, _, tail = sql.rpartition(" ORDER BY ")
    if not before or before.count("(") != before.count(")"):
        return []
    tail = tail.partition(" LIMIT ")[0].partition(" OFFSET ")[0]
    words = [item.split()[0] for item in tail.split(", ")]
    if words == ["ALL"]:
        return list(range(width))
    positions = [int(word) - 1 for word in words if word.isdigit()]
    return positions if len(positions) in (len(words), width) else []


def _same_rows(a: list[Row], b: list[Row]) -> bool:
    return len(a) == len(b) and all(map(_same, a, b))


def _same(a: Any, b: Any) -> bool:
    """Floats may differ in their last digits, for the order of additions isn't fixed."""
    if isinstance(a, float) and isinstance(b, float):
        if math.isnan(a) or math.isnan(b):
            return math.isnan(a) and math.isnan(b)
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)
    if type(a) is not type(b):
        return False
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(map(_same, a.values(), b.values()))
    return bool(a == b)


def _sort_key(row: Row) -> tuple[str, ...]:
    return tuple(f"{value + 0.0:.9e}" if isinstance(value, float) else repr(value) for value in row)
