"""``prune_files``: files whose partition values no row of a filter can have are not read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sord.planner.catalog import Table
from sord.planner.context import Context
from sord.planner.expressions import references
from sord.planner.logical import Filter, Plan, Scan, Values
from sord.planner.render import expression_sql, literal, quote
from sord.planner.restricted import of_partitions

_Partition = tuple[str | None, ...]


def prune_files(plan: Plan, context: Context) -> Plan:
    """Leave files out of scans before they are divided, so that the workers share what is left equally.

    The filter stays. DuckDB itself evaluates it on the partition values; where that fails, all files stay.
    """
    plan = plan.with_children(tuple(prune_files(child, context) for child in plan.children))
    if not isinstance(plan, Filter) or not isinstance(plan.input, Scan) or not plan.input.table.partitions:
        return plan
    scan = plan.input
    assert scan.table.files is not None
    ids = {
        id_: scan.table.partitions.index(name) for id_, name in scan.outputs if name in scan.table.partitions
    }
    predicates = [
        expression_sql(p) for p in plan.predicates if (used := references(p)) and used <= ids.keys()
    ]
    if not predicates:
        return plan
    partitions = list(
        dict.fromkeys(file.partition for file in scan.table.files if file.partition is not None)
    )
    kept = _matching(context, partitions, ids, scan.table, predicates)
    if kept is None:
        return plan
    files = tuple(file for file in scan.table.files if file.partition in kept)
    if len(files) == len(scan.table.files):
        return plan
    if not files:
        types = tuple(scan.table.type_of(name) for _, name in scan.outputs)
        return Values(scan.columns, types, ())
    return plan.with_children((replace(scan, table=of_partitions(scan.table, files)),))


def _matching(
    context: Context,
    partitions: Sequence[_Partition],
    ids: dict[str, int],
    table: Table,
    predicates: Sequence[str],
) -> set[_Partition] | None:
    """The partitions in which every predicate is true; None if DuckDB can't tell."""
    if not partitions:
        return set()
    texts = ", ".join(
        f"({number}, {', '.join('NULL' if v is None else literal(v) for v in values)})"
        for number, values in enumerate(partitions)
    )
    names = ", ".join(f"v{position}" for position in range(len(table.partitions)))
    columns = ", ".join(
        f"CAST(v{position} AS {table.type_of(table.partitions[position])}) AS {quote(id_)}"
        for id_, position in ids.items()
    )
    try:
        rows = context.catalog.rows(
            f"SELECT number FROM (SELECT number, {columns} FROM (VALUES {texts}) AS _(number, {names})) "
            f"WHERE {' AND '.join(f'({predicate})' for predicate in predicates)}"
        )
    except Exception:
        return None
    return {partitions[number] for (number,) in rows}
