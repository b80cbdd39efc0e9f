"""Correlated subqueries: which columns of outer queries a plan uses, and pulling the predicates that use them up."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlglot import exp

from sord.planner.aggregates import ZERO_OF_NOTHING, take_apart
from sord.planner.catalog import Unsupported
from sord.planner.context import Context
from sord.planner.expressions import column, column_id, references
from sord.planner.logical import (
    Aggregate,
    Filter,
    Join,
    Output,
    Plan,
    Project,
    SetOperation,
    Sort,
    Unnest,
    Window,
)
from sord.planner.walk import expressions_of, free_columns


class Dependent(Exception):
    """Pulling predicates up is not enough: the subquery has to be joined with the outer values themselves."""


@dataclass(frozen=True, slots=True)
class Unnested:
    """A subquery without its correlation: for an outer row its rows are those of ``plan`` that ``condition`` keeps."""

    plan: Plan
    condition: tuple[exp.Expr, ...]


def pull(plan: Plan, outer: set[str], context: Context) -> Unnested:
    """The plan without the predicates that use ``outer`` columns, and those; their other columns are delivered.

    Raises :class:`Dependent` where that would change the rows.
    """
    if not free_columns(plan) & outer:
        return Unnested(plan, ())
    if isinstance(plan, Filter):
        source = pull(plan.input, outer, context)
        kept = tuple(predicate for predicate in plan.predicates if not references(predicate) & outer)
        pulled = tuple(predicate for predicate in plan.predicates if references(predicate) & outer)
        return Unnested(Filter(source.plan, kept) if kept else source.plan, source.condition + pulled)
    if isinstance(plan, Project):
        if any(references(expression) & outer for _, expression in plan.outputs):
            raise Dependent
        source = pull(plan.input, outer, context)
        missing = references(*source.condition) - outer - set(plan.columns)
        passed = tuple((id_, column(id_)) for id_ in sorted(missing & set(source.plan.columns)))
        return Unnested(Project(source.plan, plan.outputs + passed), source.condition)
    if isinstance(plan, Unnest):
        if references(*expressions_of(plan)) & outer:
            raise Dependent
        source = pull(plan.input, outer, context)
        return Unnested(replace(plan, input=source.plan), source.condition)
    if isinstance(plan, Join):
        return _pull_join(plan, outer, context)
    if isinstance(plan, Sort):
        return _pull_sort(plan, outer, context)
    if isinstance(plan, Window):
        if references(*expressions_of(plan)) & outer:
            raise Dependent
        source = pull(plan.input, outer, context)
        keys = [inner for inner, _ in equalities(source.condition, outer)]
        return Unnested(partitioned(replace(plan, input=source.plan), keys), source.condition)
    if isinstance(plan, Aggregate) and not plan.is_never_empty:
        if references(*expressions_of(plan)) & outer:
            raise Dependent
        source = pull(plan.input, outer, context)
        added, condition = as_keys(source.condition, outer, context)
        return Unnested(grouped_also(replace(plan, input=source.plan), added), condition)
    if isinstance(plan, SetOperation):
        return _pull_set_operation(plan, outer, context)
    raise Dependent


def _pull_join(plan: Join, outer: set[str], context: Context) -> Unnested:
    conditions = [exp.EQ(this=a, expression=b) for a, b in plan.keys] + list(plan.residual)
    if plan.kind == "inner":
        left, right = pull(plan.left, outer, context), pull(plan.right, outer, context)
        pulled = left.condition + right.condition
        pulled += tuple(condition for condition in conditions if references(condition) & outer)
        keys = tuple(key for key in plan.keys if not references(*key) & outer)
        residual = tuple(predicate for predicate in plan.residual if not references(predicate) & outer)
        return Unnested(Join("inner", left.plan, right.plan, keys, residual), pulled)
    if plan.kind == "full" or free_columns(plan.right) & outer or references(*conditions) & outer:
        raise Dependent
    left = pull(plan.left, outer, context)
    return Unnested(replace(plan, left=left.plan), left.condition)


def _pull_sort(plan: Sort, outer: set[str], context: Context) -> Unnested:
    source = pull(plan.input, outer, context)
    if plan.limit is None and not plan.offset:
        return source
    if references(*plan.order) & outer:
        raise Dependent
    keys = [inner for inner, _ in equalities(source.condition, outer)]
    return Unnested(limited_by_number(replace(plan, input=source.plan), keys, context), source.condition)


def _pull_set_operation(plan: SetOperation, outer: set[str], context: Context) -> Unnested:
    sides: list[Plan] = []
    types: list[list[str | None]] = []
    outside: list[list[exp.Expr]] = []
    for side in plan.inputs:
        source = pull(side, outer, context)
        if len(source.plan.columns) != len(side.columns) and not source.condition:
            raise Dependent
        pairs = equalities(source.condition, outer)
        ids = [context.fresh("key", context.infer(inner)) for inner, _ in pairs]
        # Both sides must say which outer row they are for, in the same columns.
        ordered = sorted(zip(ids, pairs, strict=True), key=lambda item: item[1][1].sql())
        outputs = [(id_, column(id_)) for id_ in side.columns] + [(id_, inner) for id_, (inner, _) in ordered]
        sides.append(Project(source.plan, tuple(outputs)))
        types.append([context.type_of(id_, sides[-1]) for id_, _ in ordered])
        outside.append([out for _, (_, out) in ordered])
    if any(side != outside[0] for side in outside) or any(side != types[0] for side in types):
        raise Dependent
    known = [type_ for type_ in types[0] if type_ is not None]
    if len(known) != len(types[0]) or len(set(map(str, outside[0]))) != len(outside[0]):
        raise Dependent
    added = [context.fresh("key", type_) for type_ in known]
    result = SetOperation(
        plan.kind, plan.all, tuple(sides), plan.outputs + tuple(added), plan.types + tuple(known)
    )
    condition = tuple(
        exp.EQ(this=column(id_), expression=out) for id_, out in zip(added, outside[0], strict=True)
    )
    return Unnested(result, condition)


def equalities(condition: tuple[exp.Expr, ...], outer: set[str]) -> list[tuple[exp.Expr, exp.Expr]]:
    """The condition as pairs of equal (inner, outer) expressions. Raises :class:`Dependent` if it says more."""
    found: list[tuple[exp.Expr, exp.Expr]] = []
    for predicate in condition:
        if not isinstance(predicate, exp.EQ):
            raise Dependent
        a, b = predicate.this, predicate.expression
        if references(a) & outer:
            a, b = b, a
        if not references(a) or references(a) & outer or not references(b) or not references(b) <= outer:
            raise Dependent
        found.append((a, b))
    return found


def as_keys(
    condition: tuple[exp.Expr, ...], outer: set[str], context: Context
) -> tuple[list[Output], tuple[exp.Expr, ...]]:
    """Keys for an aggregate that keeps the rows of different outer values apart, and the condition over them."""
    keys: dict[str, exp.Expr] = {}
    equal: list[exp.Expr] = []
    for inner, outside in equalities(condition, outer):
        id_ = column_id(inner)
        if id_ is None:
            id_ = context.fresh("key", context.infer(inner))
        keys[id_] = inner
        equal.append(exp.EQ(this=outside, expression=column(id_)))
    return list(keys.items()), tuple(equal)


def grouped_also(plan: Aggregate, added: list[Output]) -> Aggregate:
    """The aggregate with more keys, in each of its grouping sets."""
    keys = dict(plan.keys)
    for id_, expression in added:
        if keys.setdefault(id_, expression) != expression:
            raise Dependent
    if not plan.sets:
        return replace(plan, keys=tuple(keys.items()))
    # They go first, so that the numbers of the sets stay as they are.
    more = tuple((id_, keys.pop(id_)) for id_, _ in added)
    sets = tuple(set_ | {id_ for id_, _ in more} for set_ in plan.sets)
    return replace(plan, keys=more + tuple(keys.items()), sets=sets)


def partitioned(plan: Window, added: list[exp.Expr]) -> Window:
    """The window computed for each value of ``added`` by itself."""
    calls: list[Output] = []
    for id_, call in plan.calls:
        changed = call.copy()
        window = changed if isinstance(changed, exp.Window) else changed.find(exp.Window)
        assert window is not None
        parts = [*(window.args.get("partition_by") or ()), *(part.copy() for part in added)]
        window.set("partition_by", parts)
        calls.append((id_, changed))
    return replace(plan, partition=(*plan.partition, *added), calls=tuple(calls))


def limited_by_number(plan: Sort, keys: list[exp.Expr], context: Context) -> Plan:
    """ORDER BY … LIMIT for each value of ``keys`` by itself, by the numbers of rows."""
    id_ = context.fresh("row_number", "BIGINT")
    order = exp.Order(expressions=[item.copy() for item in plan.order]) if plan.order else None
    call = exp.Window(
        this=exp.RowNumber(), partition_by=[key.copy() for key in keys], order=order, over="OVER"
    )
    numbered = Window(plan.input, tuple(keys), ((id_, call),))
    bounds: list[exp.Expr] = []
    if plan.offset:
        bounds.append(exp.GT(this=column(id_), expression=exp.Literal.number(plan.offset)))
    if plan.limit is not None:
        bounds.append(exp.LTE(this=column(id_), expression=exp.Literal.number(plan.offset + plan.limit)))
    return Filter(numbered, tuple(bounds))


_ZERO = (exp.Count, exp.CountIf, exp.ApproxDistinct, exp.RegrCount)
_NULL = (
    exp.Sum, exp.Avg, exp.Min, exp.Max, exp.ArgMin, exp.ArgMax, exp.AnyValue, exp.First, exp.Last, exp.Median,
    exp.Stddev, exp.StddevSamp, exp.StddevPop, exp.Variance, exp.VariancePop, exp.LogicalAnd, exp.LogicalOr,
    exp.Corr, exp.CovarSamp, exp.CovarPop, exp.ArrayAgg, exp.GroupConcat, exp.Quantile, exp.PercentileCont,
    exp.PercentileDisc, exp.Mode,
)  # fmt: skip


def value_of_nothing(id_: str, call: exp.Expr) -> exp.Expr:
    """An aggregate's column above a left join, where NULL stands for groups without rows: a count of those is 0."""
    name = take_apart(call).name
    if name in ZERO_OF_NOTHING:
        return exp.Coalesce(this=column(id_), expressions=[exp.Literal.number(0)])
    if name:
        return column(id_)
    raise Unsupported("a correlated subquery with an expression over aggregates")
