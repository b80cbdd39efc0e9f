"""``reduce_aggregates``: an aggregate that is joined on its keys only needs the groups that the join asks for.

Unnesting turns ``x < (SELECT avg(y) … WHERE k = outer.k)`` into a join with the aggregate over *all* k. If
another input of the join is filtered down to few k, a semi join below the aggregate spares the other groups: the
"magic set" of deductive databases, as one semi join (Seshadri et al., SIGMOD 1996).
"""

from __future__ import annotations

from dataclasses import replace

from sord.planner.context import Context
from sord.planner.estimate import Estimator
from sord.planner.expressions import column, column_id
from sord.planner.join_block import JoinBlock, Relation, put_together, take_apart
from sord.planner.logical import Aggregate, Filter, Join, Plan, Project, Scan, With

_WORTHWHILE = 0.25
"""The share of groups that must remain at most."""


def reduce_aggregates(plan: Plan, context: Context) -> Plan:
    """Put semi joins below aggregates where another input of their join is selective on the same keys."""
    return _reduce(plan, context, context.estimate)


def _reduce(plan: Plan, context: Context, estimate: Estimator) -> Plan:
    if isinstance(plan, With):
        estimate.define(plan)
    block = take_apart(plan, context)
    if block is not None:
        changed = False
        for number, relation in enumerate(block.relations):
            reduced = _reduced(block, number, relation.plan, context, estimate)
            changed = changed or reduced is not relation.plan
            relation.plan = reduced
        if changed:
            plan = put_together(block)
    return plan.with_children(tuple(_reduce(child, context, estimate) for child in plan.children))


def _reduced(block: JoinBlock, number: int, plan: Plan, context: Context, estimate: Estimator) -> Plan:
    if isinstance(plan, (Project, Filter)):
        below = _reduced(block, number, plan.input, context, estimate)
        return plan.with_children((below,))
    if not isinstance(plan, Aggregate) or block.relations[number].kind != "inner":
        return plan
    for id_, expression in plan.common:
        name = column_id(expression)
        class_ = block.class_of(id_)
        if name is None or class_ is None:
            continue
        source = estimate(plan.input)
        groups = source.distinct([expression])
        for reducer, key in _reducers(block, class_, number):
            few = estimate(reducer)
            if (
                not _is_filtered_scan(reducer)
                or few.rows > source.rows / 4
                or few.distinct([column(key)]) > groups * _WORTHWHILE
            ):
                continue
            asked = context.fresh(key, context.types.get(key))
            semi = Join(
                "semi",
                plan.input,
                Project(reducer, ((asked, column(key)),)),
                ((column(name), column(asked)),),
            )
            return replace(plan, input=semi)
    return plan


def _is_filtered_scan(plan: Plan) -> bool:
    """Whether computing the plan a second time costs no more than reading one table."""
    if isinstance(plan, Project):
        plan = plan.input
    return isinstance(plan, Filter) and isinstance(plan.input, Scan)


def _reducers(block: JoinBlock, class_: int, except_: int) -> list[tuple[Plan, str]]:
    """Plans whose column must have the class's value in every row of the block's result."""
    members = block.classes[class_]
    found = [
        (block.relations[number].plan, id_)
        for number, id_ in members
        if number != except_ and block.relations[number].kind == "inner"
    ]
    equal = {id_ for _, id_ in members}
    for relation in block.relations:
        found += [(relation.plan, id_) for id_ in _semi_keys(relation, equal)]
    return found


def _semi_keys(relation: Relation, equal: set[str]) -> list[str]:
    if relation.kind != "semi" or relation.residual:
        return []
    keys = ((column_id(a), column_id(b)) for a, b in relation.keys)
    return [b for a, b in keys if a in equal and b is not None]
