"""What is certain of a plan's columns and rows, from footers and from its operators."""

from __future__ import annotations

from sqlglot import exp

from sord.planner.expressions import column, column_id
from sord.planner.logical import (
    Aggregate,
    AssertOneRow,
    Filter,
    Join,
    Plan,
    Project,
    Scan,
    SetOperation,
    Sort,
    Stage,
    Window,
)


def is_one_row(plan: Plan) -> bool:
    """Whether the plan surely has exactly one row. False when in doubt."""
    while isinstance(plan, (Project, Window)):
        plan = plan.input
    if isinstance(plan, Stage):
        return plan.exact and plan.rows == 1
    return isinstance(plan, AssertOneRow) or (isinstance(plan, Aggregate) and not plan.keys)


def never_null(expression: exp.Expr, plan: Plan) -> bool:
    """Whether footers prove that a column of the plan has no NULL. False when in doubt."""
    id_ = column_id(expression)
    if id_ is None:
        return isinstance(expression, exp.Literal)
    if isinstance(plan, Scan):
        name = dict(plan.outputs).get(id_)
        statistics = plan.table.statistics.get(name or "")
        return statistics is not None and statistics.null_fraction == 0
    if isinstance(plan, Project):
        return never_null(dict(plan.outputs)[id_], plan.input)
    if isinstance(plan, (Filter, Sort)):
        return never_null(expression, plan.input)
    if isinstance(plan, Window):
        return id_ in plan.input.columns and never_null(expression, plan.input)
    if isinstance(plan, Aggregate):
        key = dict(plan.common).get(id_)
        return key is not None and never_null(key, plan.input)
    if isinstance(plan, Join):
        if id_ in plan.left.columns:
            return plan.kind != "full" and never_null(expression, plan.left)
        return plan.kind == "inner" and never_null(expression, plan.right)
    if isinstance(plan, SetOperation):
        position = plan.outputs.index(id_)
        return all(never_null(column(side.columns[position]), side) for side in plan.inputs)
    return False
