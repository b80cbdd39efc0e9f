"""``order_joins``: the cheapest order of every join block; ``reorder_joins``: again, once actual sizes are known."""

from __future__ import annotations

from dataclasses import replace

from sord.planner.context import Context
from sord.planner.estimate import Estimator
from sord.planner.join_block import is_in_block, take_apart, with_outputs
from sord.planner.join_search import JoinSearch
from sord.planner.logical import Join, Plan, With
from sord.planner.skew import is_split

_WORTH = 20e-3
"""Seconds that another order must save, when some of the joins have been made already."""
_SHARE = 0.8
"""What it may cost at most, compared to the present order."""


def order_joins(plan: Plan, context: Context) -> Plan:
    """Reorder every block of inner, semi and anti joins."""
    if isinstance(plan, With):
        plan = replace(plan, definitions=tuple(order_joins(one, context) for one in plan.definitions))
        context.estimate.define(plan)
        return replace(plan, body=order_joins(plan.body, context))
    block = take_apart(plan, context)
    if block is None:
        return plan.with_children(tuple(order_joins(child, context) for child in plan.children))
    for relation in block.relations:
        relation.plan = order_joins(relation.plan, context)
    search = JoinSearch(block, context.options, context.estimate)
    return with_outputs(search.plan(search.best()), block)


def reorder_joins(plan: Plan, context: Context, estimate: Estimator) -> Plan:
    """Reorder the blocks in which that saves much. Stages are inputs like others; ``plan`` has no exchanges.

    The estimator must know the plan's shared definitions. What stays in its order stays the same object.
    """
    if is_split(plan):
        return plan  # its sides lie to match
    if not (isinstance(plan, Join) and is_in_block(plan)):
        return plan.with_children(tuple(reorder_joins(child, context, estimate) for child in plan.children))
    plan = _with_reordered_inputs(plan, context, estimate)
    block = take_apart(plan, context)
    assert block is not None
    search = JoinSearch(block, context.options, estimate)
    present = search.present(plan)
    if present.seconds < _WORTH:
        return plan  # no order saves more than that
    best = search.best()
    if best.seconds > present.seconds * _SHARE or best.seconds > present.seconds - _WORTH:
        return plan
    return with_outputs(search.plan(best), block)


def _with_reordered_inputs(plan: Plan, context: Context, estimate: Estimator) -> Plan:
    """A block's joins over inputs in which blocks have been reordered."""
    if not is_in_block(plan):
        return reorder_joins(plan, context, estimate)
    left = _with_reordered_inputs(plan.children[0], context, estimate)
    if not isinstance(plan, Join):
        return plan.with_children((left,))
    inside = plan.kind == "inner"
    right = (_with_reordered_inputs if inside else reorder_joins)(plan.right, context, estimate)
    return plan.with_children((left, right))
