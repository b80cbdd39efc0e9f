"""Decides whether an answer is right: against another engine's on the same data, or against the reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pyarrow as pa

    from sord.tpch.spec import Precision

Row = tuple[Any, ...]

# Floating-point sums depend on the order of additions, which no distributed engine fixes.
RELATIVE_TOLERANCE: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Answer:
    """A query's result: column names, DuckDB type names (empty when not known), rows in their order."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[Row]

    @classmethod
    def from_arrow(cls, table: pa.Table, types: Sequence[str]) -> Answer:
        """The answer that an Arrow table holds; the values become Python's (int, Decimal, date, str, ...)."""
        columns = [column.to_pylist() for column in table.columns]
        return cls(tuple(table.column_names), tuple(types), list(zip(*columns, strict=True)))


def differences(got: Answer, expected: Answer, order_by: Sequence[str] = ()) -> list[str]:
    """What is wrong with `got`, one sentence each, at most one per kind of fault; empty when it is right.

    Names and types must be equal, rows equal as multisets, and the values of the `order_by` columns must come
    in the same sequence. Values are equal exactly; floating-point ones to a relative 1e-9.
    """
    faults = _header_differences(got, expected)
    if faults:
        return faults
    for index, (row, wanted) in enumerate(
        zip(sorted(got.rows, key=_any_total_order), sorted(expected.rows, key=_any_total_order), strict=True)
    ):
        if not _rows_equal(row, wanted):
            return [f"row {index} of the sorted answer is {row!r}, expected {wanted!r}"]
    return order_differences(got, expected, order_by)


def order_differences(got: Answer, expected: Answer, order_by: Sequence[str]) -> list[str]:
    """What is wrong with the values of the `order_by` columns, row by row, or with the header."""
    faults = _header_differences(got, expected)
    if faults:
        return faults
    positions = [expected.columns.index(name) for name in order_by]
    for index, (row, wanted) in enumerate(zip(got.rows, expected.rows, strict=True)):
        keys, wanted_keys = tuple(row[p] for p in positions), tuple(wanted[p] for p in positions)
        if not _rows_equal(keys, wanted_keys):
            return [f"row {index} has the sort key {keys!r}, expected {wanted_keys!r}: the order is wrong"]
    return []


def rows_missing_from(whole: Answer, part: Answer) -> list[Row]:
    """The rows of `part` that `whole` does not have, or not as often."""
    missing = []
    rest = sorted(whole.rows, key=_any_total_order, reverse=True)
    for row in sorted(part.rows, key=_any_total_order):
        while rest and not _rows_equal(rest[-1], row) and _any_total_order(rest[-1]) < _any_total_order(row):
            rest.pop()
        if rest and _rows_equal(rest[-1], row):
            rest.pop()
        else:
            missing.append(row)
    return missing


def reference_differences(
    got: Answer, reference: Answer, precision: dict[str, Precision], order_by: Sequence[str] = ()
) -> list[str]:
    """What is wrong with `got` by the specification's rules for validation output (clause 2.1.3.5).

    Rows are compared in their order, so ties on the `order_by` columns are put into one order first.
    """
    faults = _header_differences(got, reference)
    if faults:
        return faults
    kinds = [precision.get(name, "exact") for name in reference.columns]
    exact = [position for position, kind in enumerate(kinds) if kind == "exact"]
    keys = [reference.columns.index(name) for name in order_by]
    rows, wanted_rows = (_ties_in_one_order(answer.rows, keys, exact) for answer in (got, reference))
    for index, (row, wanted) in enumerate(zip(rows, wanted_rows, strict=True)):
        for name, kind, value, valid in zip(reference.columns, kinds, row, wanted, strict=True):
            if not within_specification(kind, value, valid):
                return [f"row {index}: {name} is {value!r}, the reference answer is {valid!r} ({kind})"]
    return []


def within_specification(kind: Precision, value: Any, valid: Any) -> bool:
    """Whether `value` may stand where the validation output has `valid` (clause 2.1.3.5, a to d)."""
    if value is None or valid is None or kind == "exact":
        return bool(value == valid)
    value, valid = Decimal(str(value)), Decimal(str(valid))
    if kind == "sum":
        return bool(abs(value - valid) <= 100)
    # The published output has two decimals; ours has all of them.
    cent = Decimal("0.01")
    value, valid = value.quantize(cent), valid.quantize(cent)
    return bool(abs(value - valid) <= abs(valid) / 100)


def _header_differences(got: Answer, expected: Answer) -> list[str]:
    faults = []
    if got.columns != expected.columns:
        faults.append(f"the columns are {list(got.columns)}, expected {list(expected.columns)}")
    if got.types and expected.types and got.types != expected.types:
        faults.append(f"the types are {list(got.types)}, expected {list(expected.types)}")
    if len(got.rows) != len(expected.rows):
        faults.append(f"there are {len(got.rows)} rows, expected {len(expected.rows)}")
    return faults


def _rows_equal(row: Row, wanted: Row) -> bool:
    return all(_equal(a, b) for a, b in zip(row, wanted, strict=True))


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=RELATIVE_TOLERANCE) or (math.isnan(a) and math.isnan(b))
    return bool(a == b)


def _any_total_order(row: Row) -> tuple[Any, ...]:
    """A sort key that pairs up the rows of equal multisets: floats last, their last digits may differ."""
    exact = [repr(value) for value in row if not isinstance(value, float)]
    floats = [
        (math.isnan(value), 0.0 if math.isnan(value) else value) for value in row if isinstance(value, float)
    ]
    return (exact, floats)


def _ties_in_one_order(rows: list[Row], keys: list[int], exact: list[int]) -> list[Row]:
    """The rows with each run of equal sort keys ordered by its exact columns."""
    runs: list[list[Row]] = []
    for row in rows:
        if runs and all(runs[-1][0][key] == row[key] for key in keys):
            runs[-1].append(row)
        else:
            runs.append([row])
    return [row for run in runs for row in sorted(run, key=lambda row: [repr(row[p]) for p in exact])]
