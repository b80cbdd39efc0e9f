"""Copies of plans that may stand beside the original, since all their columns have new ids."""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from sord.planner.context import Context
from sord.planner.expressions import column, substitute
from sord.planner.logical import (
    Aggregate,
    AssertOneRow,
    Filter,
    Join,
    Output,
    Plan,
    Project,
    Scan,
    SetOperation,
    SharedRef,
    Sort,
    Values,
    Window,
)
from sord.planner.walk import with_expressions


class NotCopied(Exception):
    """A plan has a node of which copies can't be made."""


def copied(plan: Plan, context: Context) -> tuple[Plan, dict[str, str]]:
    """The plan under new ids, and the new id of each of its columns."""
    copies = [copied(child, context) for child in plan.children]
    children = tuple(copy for copy, _ in copies)
    # Two inputs may have the same ids further down, where nobody sees them.
    names = {old: new for _, found in copies for old, new in found.items()}

    def fresh(id_: str) -> str:
        names[id_] = context.fresh(id_, context.types.get(id_))
        return names[id_]

    def outputs(items: tuple[Output, ...]) -> tuple[Output, ...]:
        return tuple((fresh(id_), expression) for id_, expression in items)

    if isinstance(plan, SetOperation):
        plan = replace(plan, inputs=children, outputs=tuple(map(fresh, plan.outputs)))
        return plan, names
    old_columns = plan.columns
    plan = plan.with_children(children)
    mapping: dict[str, exp.Expr] = {old: column(new) for old, new in names.items()}
    plan = with_expressions(plan, lambda expression: substitute(expression, mapping))
    if isinstance(plan, (Scan, SharedRef)):
        plan = replace(plan, outputs=tuple((fresh(id_), name) for id_, name in plan.outputs))
    elif isinstance(plan, Values):
        plan = replace(plan, outputs=tuple(map(fresh, plan.outputs)))
    elif isinstance(plan, Project):
        plan = replace(plan, outputs=outputs(plan.outputs))
    elif isinstance(plan, Aggregate) and not plan.phase and not plan.sets:
        plan = replace(plan, keys=outputs(plan.keys), calls=outputs(plan.calls))
    elif isinstance(plan, Window):
        plan = replace(plan, calls=outputs(plan.calls))
    elif not isinstance(plan, (Filter, Join, Sort, AssertOneRow)):
        raise NotCopied(type(plan).__name__)
    return plan, {id_: names[id_] for id_ in old_columns}
