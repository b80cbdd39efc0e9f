"""The passes in their order, and the driver that runs them."""

from __future__ import annotations

from collections.abc import Callable

from sord.planner.context import Context
from sord.planner.decorrelate import decorrelate
from sord.planner.fuse_aggregates import fuse_aggregates
from sord.planner.inline_shared import inline_shared
from sord.planner.logical import Plan
from sord.planner.order_joins import order_joins
from sord.planner.outer_to_inner import outer_to_inner
from sord.planner.prune_columns import prune_columns
from sord.planner.prune_files import prune_files
from sord.planner.prune_row_groups import prune_row_groups
from sord.planner.push_aggregates import push_aggregates
from sord.planner.push_filters import push_filters
from sord.planner.reduce_aggregates import reduce_aggregates

LogicalPass = Callable[[Plan, Context], Plan]

LOGICAL_PASSES: tuple[LogicalPass, ...] = (
    push_filters,
    decorrelate,
    push_filters,
    inline_shared,
    fuse_aggregates,
    outer_to_inner,
    push_filters,
    prune_files,
    prune_row_groups,
    prune_columns,
    reduce_aggregates,
    order_joins,
    push_filters,
    push_aggregates,
    prune_columns,
)
"""Every pass leaves a plan that renders to one DuckDB statement with the same answer."""


def optimize(plan: Plan, context: Context) -> Plan:
    """Run all logical passes."""
    for logical_pass in LOGICAL_PASSES:
        plan = logical_pass(plan, context)
    return plan
