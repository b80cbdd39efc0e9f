"""``prune_files``: files whose partition values no row of a filter can have are not read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlglot import exp

from sord.planner.catalog import File, Table
from sord.planner.context import Context
from sord.planner.expressions import references
from sord.planner.logical import Filter, Plan, Scan, Values
from sord.planner.render import expression_sql, literal, quote
from sord.planner.restricted import of_partitions

_Values = tuple[str | None, ...]


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
    deciding = [p for p in plan.predicates if (used := references(p)) and used <= ids.keys()]
    if not deciding:
        return plan
    # Of many partitions few may differ in what is asked for.
    ids = {id_: position for id_, position in ids.items() if id_ in references(*deciding)}
    positions = sorted(set(ids.values()))

    def asked(file: File) -> _Values | None:
        return None if file.partition is None else tuple(file.partition[position] for position in positions)

    different = [values for values in dict.fromkeys(map(asked, scan.table.files)) if values is not None]
    columns = {id_: positions.index(position) for id_, position in ids.items()}
    kept = _matching(
        context, different, columns, [scan.table.partitions[p] for p in positions], scan.table, deciding
    )
    if kept is None:
        return plan
    files = tuple(file for file in scan.table.files if asked(file) in kept)
    if len(files) == len(scan.table.files):
        return plan
    if not files:
        types = tuple(scan.table.type_of(name) for _, name in scan.outputs)
        return Values(scan.columns, types, ())
    return plan.with_children((replace(scan, table=of_partitions(scan.table, files)),))


def _matching(
    context: Context,
    different: Sequence[_Values],
    ids: dict[str, int],
    names: Sequence[str],
    table: Table,
    predicates: Sequence[exp.Expr],
) -> set[_Values | None] | None:
    """Those values of columns with ``names`` for which every predicate is true; None if DuckDB can't tell.

    ``ids`` are the positions of the columns that predicates know by ids.
    """
    if not different:
        return set()
    texts = ", ".join(
        f"({number}, {', '.join('NULL' if v is None else literal(v) for v in values)})"
        for number, values in enumerate(different)
    )
    stored = ", ".join(f"v{position}" for position in range(len(names)))
    columns = ", ".join(
        f"CAST(v{position} AS {table.type_of(names[position])}) AS {quote(id_)}"
        for id_, position in ids.items()
    )
    try:
        rows = context.catalog.rows(
            f"SELECT number FROM (SELECT number, {columns} FROM (VALUES {texts}) AS _(number, {stored})) "
            f"WHERE {' AND '.join(f'({expression_sql(predicate)})' for predicate in predicates)}"
        )
    except Exception:
        return None
    return {different[number] for (number,) in rows}
