"""Subqueries as plans of their own and a condition that joins them with the outer rows."""

from __future__ import annotations

from sqlglot import exp

from sord.planner.context import Context
from sord.planner.correlation import Dependent, Unnested, equalities, pull
from sord.planner.dependent_join import depend
from sord.planner.expressions import column, column_id, operand_of, references
from sord.planner.logical import Output, Plan, Project
from sord.planner.walk import free_columns


def keyed(subquery: Plan, left: Plan, outer: set[str], context: Context) -> tuple[Unnested, Plan]:
    """The subquery unnested so that its condition compares columns of it with the outer row, and nothing else.

    With ``left`` as it has to be used then.
    """
    try:
        unnested = pull(subquery, outer, context)
        equalities(unnested.condition, outer)
    except Dependent:
        return depend(subquery, left, outer, context)
    return unnested, left


def renamed_keys(
    condition: tuple[exp.Expr, ...], outer: set[str], context: Context
) -> tuple[list[Output], tuple[exp.Expr, ...]]:
    """Grouping by the inner sides of a condition, under ids that are new, so that a plan can be used twice."""
    keys: dict[exp.Expr, str] = {}
    changed: list[exp.Expr] = []
    for predicate in condition:
        inner_first = not references(predicate.this) <= outer
        inner = predicate.this if inner_first else predicate.expression
        outside = predicate.expression if inner_first else predicate.this
        if inner not in keys:
            keys[inner] = context.fresh(column_id(inner) or "key", context.infer(inner))
        changed.append(type(predicate)(this=outside.copy(), expression=column(keys[inner])))
    return [(id_, inner) for inner, id_ in keys.items()], tuple(changed)


def outer_columns(subquery: Plan, left: Plan) -> set[str]:
    """The columns of ``left`` that the subquery uses."""
    return free_columns(subquery) & set(left.columns)


def equal(
    operands: list[exp.Expr], plan: Plan, values: tuple[str, ...] | None = None
) -> tuple[exp.Expr, ...]:
    names = values or plan.columns[: len(operands)]
    return tuple(
        exp.EQ(this=operand_of(operand), expression=column(name))
        for operand, name in zip(operands, names, strict=True)
    )


def with_column(plan: Plan, left: Plan, output: str, value: exp.Expr) -> Plan:
    """The columns of ``left`` and one more."""
    return Project(plan, (*((id_, column(id_)) for id_ in left.columns), (output, value)))
