"""Comparisons with ANY or ALL of a subquery, as a scalar subquery over its least and greatest values."""

from __future__ import annotations

from sqlglot import exp

from sord.planner.context import Context
from sord.planner.expressions import column
from sord.planner.logical import Aggregate, Plan, Project

_COMPARISONS = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE)


def is_quantified(node: exp.Expr) -> bool:
    """Whether the node compares something with ANY or ALL rows of a subquery."""
    return (
        isinstance(node, _COMPARISONS)
        and isinstance(node.expression, (exp.Any, exp.All))
        and isinstance(node.expression.this, (exp.Query, exp.Subquery))
    )


def quantified(node: exp.Expr, operand: exp.Expr, subquery: Plan, value: str, context: Context) -> Plan:
    """One row with one column: TRUE, FALSE or NULL, as SQL's three-valued logic has it for every single value."""
    low, high = context.fresh("low"), context.fresh("high")
    rows, values = context.fresh("rows", "BIGINT"), context.fresh("values", "BIGINT")
    calls = (
        (low, exp.Min(this=column(value))),
        (high, exp.Max(this=column(value))),
        (rows, exp.Count(this=exp.Star())),
        (values, exp.Count(this=column(value))),
    )
    all_ = isinstance(node.expression, exp.All)
    greater, less = isinstance(node, (exp.GT, exp.GTE)), isinstance(node, (exp.LT, exp.LTE))

    def compared(id_: str) -> exp.Expr:
        return type(node)(this=exp.Paren(this=operand.copy()), expression=column(id_))

    if greater or less:
        holds = compared(high if greater == all_ else low)
    else:
        holds = exp.Paren(this=(exp.and_ if all_ else exp.or_)(compared(low), compared(high)))
    decided = exp.Not(this=holds) if all_ else holds
    empty = exp.EQ(this=column(rows), expression=exp.Literal.number(0))
    answer = exp.Case(
        ifs=[
            exp.If(this=empty, true=exp.convert(all_)),
            exp.If(this=exp.Is(this=exp.Paren(this=operand.copy()), expression=exp.Null()), true=exp.null()),
            exp.If(this=decided, true=exp.convert(not all_)),
            exp.If(this=exp.GT(this=column(rows), expression=column(values)), true=exp.null()),
        ],
        default=exp.convert(all_),
    )
    return Project(Aggregate(subquery, (), calls), ((context.fresh("answer", "BOOLEAN"), answer),))
