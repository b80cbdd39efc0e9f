"""``prune_row_groups``: row groups in which no row of a filter can be are not counted, their files not opened."""

from __future__ import annotations

import itertools
from dataclasses import replace

from sord.planner.catalog import File
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
    may = ZoneTests(table, dict(scan.outputs), context.catalog).test(plan.predicates)
    if may is None or all(may):
        return plan
    files: list[File] = []
    flags = iter(may)
    for file in table.files:
        mine = list(itertools.islice(flags, len(file.row_groups)))
        if all(mine) and mine:
            files.append(file)
        elif any(mine):
            skipped = frozenset(number for number, kept in enumerate(mine) if not kept)
            files.append(replace(file, skipped=skipped))
    if not files:
        types = tuple(table.type_of(name) for _, name in scan.outputs)
        return Values(scan.columns, types, ())
    return plan.with_children((replace(scan, table=without_row_groups(table, tuple(files))),))
