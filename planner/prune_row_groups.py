"""``prune_row_groups``: row groups in which no row of a filter can be are not counted, their files not opened."""

from __future__ import annotations

from dataclasses import replace

from sord.planner.context import Context
from sord.planner.logical import Filter, Plan, Scan, Values
from sord.planner.restricted import without_row_groups
from sord.planner.zone_tests import ZoneTests


def prune_row_groups(plan: Plan, context: Context) -> Plan:
    """Leave row groups out by the bounds in footers before scans are divided: workers share what is left equally.

    The filter stays, and where a worker reads on past such row groups, DuckDB skips them by the same bounds.
    """
    plan = plan.with_children(tuple(prune_row_groups(child, context) for child in plan.children))
    if not isinstance(plan, Filter) or not isinstance(plan.input, Scan) or plan.input.table.footers is None:
        return plan
    scan, table = plan.input, plan.input.table
    assert table.files is not None
    if sum(len(file.row_groups) for file in table.files) < 2:
        return plan
    test = ZoneTests(table, dict(scan.outputs), context.catalog).test(plan.predicates)
    if test is None:
        return plan
    files = []
    for file in table.files:
        kept = [number for number in range(len(file.row_groups)) if test(file.path, number)]
        if kept:
            skipped = frozenset(range(len(file.row_groups))).difference(kept)
            files.append(replace(file, skipped=skipped) if skipped else file)
    if not files:
        types = tuple(table.type_of(name) for _, name in scan.outputs)
        return Values(scan.columns, types, ())
    if len(files) == len(table.files) and not any(file.skipped for file in files):
        return plan
    return plan.with_children((replace(scan, table=without_row_groups(table, tuple(files))),))
