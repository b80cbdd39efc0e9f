"""Lateral joins, whose right side depends on the rows of the left one, as joins of two sides or as no join at all."""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from sord.planner.catalog import Unsupported
from sord.planner.context import Context
from sord.planner.correlation import Dependent, pull
from sord.planner.dependent_join import depend
from sord.planner.expressions import column, disjunction, references
from sord.planner.logical import ONE_ROW, Filter, Join, Output, Plan, Project, Unnest
from sord.planner.scope import unique
from sord.planner.walk import free_columns


def lateral(plan: Join, context: Context) -> Plan:
    """A lateral join without its dependence.

    A right side that makes its rows from one row of the left side alone, as UNNEST does, is put on top of the left
    side. Any other is joined by what it says of the outer columns, or with the outer values themselves.
    """
    if plan.kind not in ("inner", "left"):
        raise Unsupported(f"a {plan.kind} join with a lateral table")
    left, outer = plan.left, free_columns(plan.right) & set(plan.left.columns)
    condition = (*(exp.EQ(this=a, expression=b) for a, b in plan.keys), *plan.residual)
    joined = _row_by_row(plan.kind, left, plan.right, outer, condition)
    if joined is not None:
        return joined
    try:
        unnested = pull(plan.right, outer, context)
    except Dependent:
        unnested, left = depend(plan.right, left, outer, context)
    return Join(plan.kind, left, unnested.plan, residual=condition + unnested.condition)


def _row_by_row(
    kind: str, left: Plan, right: Plan, outer: set[str], condition: tuple[exp.Expr, ...]
) -> Plan | None:
    """The lateral join as operators over the left side; None where the right one is more than they can do."""
    if kind == "left" and (condition or not _has_one_row(right)):
        padded = None if condition else _padded(right)
        return None if padded is None else _beside(left, padded, outer)
    joined = _beside(left, right, outer)
    return Filter(joined, condition) if joined is not None and condition else joined


def _beside(left: Plan, right: Plan, outer: set[str]) -> Plan | None:
    """The right side's columns beside those of the left side's row that each of its rows depends on."""
    if isinstance(left, Join) and left.kind == "inner" and not left.keys and not left.residual:
        # Fewer rows are made before the tables of a comma are joined than after.
        for place, side in enumerate(left.children):
            if outer <= set(side.columns):
                below = _beside(side, right, outer)
                sides = (below, left.right) if place == 0 else (left.left, below)
                return None if below is None else Join("inner", *sides)
    return _grafted(left, right)


def _grafted(left: Plan, right: Plan) -> Plan | None:
    if right is ONE_ROW:
        return left
    if not isinstance(right, (Unnest, Project, Filter)):
        return None
    source = _grafted(left, right.input)
    if source is None:
        return None
    if isinstance(right, Project):
        passed: list[Output] = [(id_, column(id_)) for id_ in left.columns]
        return Project(source, unique([*passed, *right.outputs]))
    return replace(right, input=source)


def _has_one_row(right: Plan) -> bool:
    return _has_one_row(right.input) if isinstance(right, Project) else right is ONE_ROW


def _padded(right: Plan) -> Plan | None:
    """Elements of lists, or a row of NULLs where there are none. None for what isn't elements of lists."""
    if isinstance(right, Project):
        below = _padded(right.input)
        made = {id_ for id_, _ in below.lists} if isinstance(below, Unnest) else set()
        if below is None or not all(
            isinstance(value, exp.Column) and references(value) <= made for _, value in right.outputs
        ):
            return None
        return replace(right, input=below)
    if not isinstance(right, Unnest) or right.input is not ONE_ROW:
        return None
    zero = exp.Literal.number(0)
    some = disjunction(
        exp.GT(this=exp.Anonymous(this="len", expressions=[list_.copy()]), expression=zero.copy())
        for _, list_ in right.lists
    )
    nothing = exp.Array(expressions=[exp.null()])
    lists = (
        (id_, exp.Case(ifs=[exp.If(this=some.copy(), true=list_)], default=nothing.copy()))
        for id_, list_ in right.lists
    )
    return replace(right, lists=tuple(lists))
