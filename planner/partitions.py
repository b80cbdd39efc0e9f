"""What is known of columns that have one value per file."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

from sord.planner.catalog import ColumnStatistics, File, Table

_EPOCH = datetime.date(1970, 1, 1).toordinal()
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")


def partition_statistics(table: Table, files: Sequence[File]) -> Mapping[str, ColumnStatistics]:
    """Statistics of the partition columns over ``files``."""
    rows = max(sum(file.rows for file in files), 1)
    found: dict[str, ColumnStatistics] = {}
    for position, name in enumerate(table.partitions):
        values = [(file.partition[position], file.rows) for file in files if file.partition is not None]
        distinct = {value for value, _ in values if value is not None}
        numbers = [_number(value, table.type_of(name)) for value in distinct]
        known = [number for number in numbers if number is not None]
        complete = bool(known) and len(known) == len(numbers)
        found[name] = ColumnStatistics(
            distinct=float(max(len(distinct), 1)),
            minimum=min(known) if complete else None,
            maximum=max(known) if complete else None,
            null_fraction=sum(count for value, count in values if value is None) / rows,
        )
    return found


def _number(value: str, type_: str) -> float | None:
    try:
        if type_ in _INTEGERS:
            return float(value)
        if type_ == "DATE":
            return float(datetime.date.fromisoformat(value).toordinal() - _EPOCH)
    except ValueError:
        pass
    return None
