"""Rows of several values IN a subquery, where NULLs leave it open: ``(a, b) NOT IN (SELECT …)``."""

from __future__ import annotations

from sqlglot import exp

from sord.planner.context import Context
from sord.planner.expressions import column, operand_of
from sord.planner.logical import Filter, Plan, Project
from sord.planner.proofs import never_null


def perhaps(operands: list[exp.Expr], subquery: Plan, left: Plan, context: Context) -> list[Plan]:
    """Correlated plans of the subquery's rows that, for all that NULLs say, are ``operands``; none if surely none are.

    Whether they have rows that are equal doesn't matter. Rows with NULLs, which are few as a rule, are one plan; the
    other is for outer rows with NULLs, and has an equality that holds for those alone, as the key of a join.
    """
    unsure = [operand for operand in operands if not never_null(operand, left)]
    plans: list[Plan] = []
    plan, condition, nulls = _again(operands, unsure, subquery, context)
    if nulls:
        plans.append(Filter(plan, (exp.or_(*nulls), *condition)))
    if unsure:
        plan, condition, _ = _again(operands, unsure, subquery, context)
        one = context.fresh("one", "INTEGER")
        plan = Project(plan, (*((id_, column(id_)) for id_ in plan.columns), (one, exp.Literal.number(1))))
        case = exp.If(this=exp.or_(*map(_is_null, unsure)), true=exp.Literal.number(1))
        plans.append(Filter(plan, (exp.EQ(this=exp.Case(ifs=[case]), expression=column(one)), *condition)))
    return plans


def _again(
    operands: list[exp.Expr], unsure: list[exp.Expr], subquery: Plan, context: Context
) -> tuple[Plan, list[exp.Expr], list[exp.Expr]]:
    """The subquery under other ids, that its values may be the operands, and which of its values are NULL."""
    ids = {id_: context.fresh(id_, context.types.get(id_)) for id_ in subquery.columns}
    plan = Project(subquery, tuple((new, column(old)) for old, new in ids.items()))
    condition: list[exp.Expr] = []
    nulls: list[exp.Expr] = []
    for operand, value in zip(operands, map(column, ids.values()), strict=False):
        same: list[exp.Expr] = [exp.EQ(this=operand_of(operand), expression=value)]
        if operand in unsure:
            same.append(_is_null(operand))
        if not never_null(value, plan):
            nulls.append(_is_null(value))
            same.append(nulls[-1].copy())
        condition.append(exp.or_(*same))
    return plan, condition, nulls


def _is_null(operand: exp.Expr) -> exp.Expr:
    return exp.Is(this=operand_of(operand), expression=exp.Null())
