"""The expressions that nodes hold: reading them, changing them, and the columns of outer queries among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sqlglot import exp

from sord.planner.expressions import references
from sord.planner.logical import Aggregate, Apply, Filter, Join, Output, Plan, Project, Sort, Unnest, Window


def expressions_of(plan: Plan) -> list[exp.Expr]:
    """The expressions of a node, those of its inputs not included."""
    if isinstance(plan, Filter):
        return list(plan.predicates)
    if isinstance(plan, Project):
        return [expression for _, expression in plan.outputs]
    if isinstance(plan, Join):
        return [side for key in plan.keys for side in key] + list(plan.residual)
    if isinstance(plan, Aggregate):
        return [expression for _, expression in plan.keys + plan.calls]
    if isinstance(plan, Window):
        return list(plan.partition) + [call for _, call in plan.calls]
    if isinstance(plan, Unnest):
        return [list_ for _, list_ in plan.lists]
    if isinstance(plan, Apply):
        return [plan.operand] if plan.operand is not None else []
    if isinstance(plan, Sort):
        return list(plan.order)
    return []


def with_expressions(plan: Plan, change: Callable[[exp.Expr], exp.Expr]) -> Plan:
    """The node with each of its own expressions changed."""

    def outputs(items: tuple[Output, ...]) -> tuple[Output, ...]:
        return tuple((id_, change(expression)) for id_, expression in items)

    def each(items: tuple[exp.Expr, ...]) -> tuple[exp.Expr, ...]:
        return tuple(map(change, items))

    if isinstance(plan, Filter):
        return replace(plan, predicates=each(plan.predicates))
    if isinstance(plan, Project):
        return replace(plan, outputs=outputs(plan.outputs))
    if isinstance(plan, Join):
        keys = tuple((change(a), change(b)) for a, b in plan.keys)
        return replace(plan, keys=keys, residual=each(plan.residual))
    if isinstance(plan, Aggregate):
        return replace(plan, keys=outputs(plan.keys), calls=outputs(plan.calls))
    if isinstance(plan, Window):
        return replace(plan, partition=each(plan.partition), calls=outputs(plan.calls))
    if isinstance(plan, Unnest):
        return replace(plan, lists=outputs(plan.lists))
    if isinstance(plan, Apply):
        return replace(plan, operand=None if plan.operand is None else change(plan.operand))
    if isinstance(plan, Sort):
        return replace(plan, order=each(plan.order))
    return plan


def free_columns(plan: Plan) -> set[str]:
    """The ids that a plan uses but doesn't make: columns of outer queries."""
    available = {id_ for child in plan.children for id_ in child.columns}
    free = references(*expressions_of(plan)) - available
    if isinstance(plan, Apply):
        inside = free_columns(plan.subquery) - set(plan.input.columns)
        return free | inside | free_columns(plan.input)
    if isinstance(plan, Join):
        # A lateral join's right side sees the left one's columns.
        return free | free_columns(plan.left) | (free_columns(plan.right) - set(plan.left.columns))
    return free.union(*map(free_columns, plan.children))
