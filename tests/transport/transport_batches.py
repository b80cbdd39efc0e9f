"""Arrow batches of every kind that goes through an exchange."""

from __future__ import annotations

import decimal
import uuid

import pyarrow as pa
from hypothesis import strategies as st

VALUES: list[tuple[pa.DataType, st.SearchStrategy[object]]] = [
    (pa.null(), st.none()),
    (pa.bool_(), st.booleans()),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.float64(), st.floats()),
    (pa.string(), st.text(max_size=20)),
    (pa.string_view(), st.text(max_size=20)),
    (pa.large_binary(), st.binary(max_size=20)),
    (pa.decimal128(38, 2), st.integers(-(10**30), 10**30).map(lambda n: decimal.Decimal(n).scaleb(-2))),
    (pa.month_day_nano_interval(), st.just(pa.MonthDayNano([1, -2, 3]))),
    (pa.list_(pa.int32()), st.lists(st.none() | st.integers(0, 9), max_size=4)),
    (pa.struct({"a": pa.int8(), "b": pa.list_(pa.string())}), st.just({"a": 1, "b": ["x", None]})),
    (
        pa.map_(pa.string(), pa.int32()),
        st.lists(st.tuples(st.text(max_size=3), st.integers(0, 9)), max_size=3),
    ),
    (pa.dictionary(pa.uint8(), pa.string()), st.sampled_from(["low", "middle", "high"])),
    (pa.uuid(), st.uuids(version=4).map(lambda value: value.bytes)),
    (pa.opaque(pa.binary(16), "hugeint", "DuckDB"), st.binary(min_size=16, max_size=16)),
]


def _array(values: list[object], kind: pa.DataType) -> pa.Array:
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, pa.array(values, kind.storage_type))
    return pa.array(values, kind)


@st.composite
def batches(
    draw: st.DrawFn, columns: list[tuple[pa.DataType, st.SearchStrategy[object]]] | None = None
) -> pa.RecordBatch:
    """A batch with NULLs, sometimes a slice of a longer one, sometimes without rows or columns."""
    if columns is None:
        columns = draw(st.lists(st.sampled_from(VALUES), max_size=4))
    rows = draw(st.integers(0, 20))
    arrays = [
        _array(draw(st.lists(st.none() | values, min_size=rows, max_size=rows)), kind)
        for kind, values in columns
    ]
    if not arrays:
        return pa.record_batch({"x": pa.nulls(rows)}).select([])
    batch = pa.RecordBatch.from_arrays(arrays, names=[f"c{i}" for i in range(len(arrays))])
    start = draw(st.integers(0, rows))
    return batch.slice(start, draw(st.integers(0, rows - start))) if draw(st.booleans()) else batch


def one_of_each() -> pa.RecordBatch:
    """Two rows, one of NULLs, of every kind of column."""
    examples: dict[str, object] = {
        "bool": True,
        "int64": 1,
        "double": 0.5,
        "string": "s",
        "string_view": "a string view that is too long to be inlined",
        "large_binary": b"b",
        "decimal128(38, 2)": decimal.Decimal("1.25"),
        "month_day_nano_interval": pa.MonthDayNano([1, -2, 3]),
        "list<item: int32>": [1, None],
        "struct<a: int8, b: list<item: string>>": {"a": 1, "b": ["x", None]},
        "map<string, int32>": [("k", 1)],
        "dictionary<values=string, indices=uint8, ordered=0>": "low",
    }
    arrays = []
    for kind, _ in VALUES:
        fallback = uuid.UUID(int=5).bytes if isinstance(kind, pa.BaseExtensionType) else None
        arrays.append(_array([examples.get(str(kind), fallback), None], kind))
    return pa.RecordBatch.from_arrays(arrays, names=[str(i) for i in range(len(arrays))])
