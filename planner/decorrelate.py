"""``decorrelate``: every Apply becomes a join (Neumann and Kemper's unnesting, in the forms SQL writers use).

EXISTS and IN that a filter demands become semi joins, their negations anti joins; a scalar aggregate becomes a
left join with the aggregate grouped by the correlated columns; an uncorrelated scalar a cross join with one row.
"""

from __future__ import annotations

from sqlglot import exp

from sord.planner.catalog import Unsupported
from sord.planner.context import Context
from sord.planner.expressions import column, column_id, references, substitute
from sord.planner.logical import (
    Aggregate,
    Apply,
    AssertOneRow,
    Filter,
    Join,
    Output,
    Plan,
    Project,
    Scan,
    SetOperation,
    Sort,
    Window,
)


def decorrelate(plan: Plan, context: Context) -> Plan:
    """The plan without Apply nodes."""
    predicates: list[exp.Expr] = []
    applies: list[Apply] = []
    while isinstance(plan, (Filter, Apply)):
        if isinstance(plan, Filter):
            predicates = list(plan.predicates) + predicates
        else:
            applies.append(plan)
        plan = plan.input
    result = plan.with_children(tuple(decorrelate(child, context) for child in plan.children))
    for apply in reversed(applies):
        subquery = decorrelate(apply.subquery, context)
        if apply.kind == "scalar":
            result = _scalar(result, apply, subquery, context)
            continue
        demanded = [predicate for predicate in predicates if apply.output in references(predicate)]
        negated = len(demanded) == 1 and isinstance(demanded[0], exp.Not)
        tested = demanded[0].this if negated else demanded[0] if demanded else None
        if len(demanded) != 1 or tested is None or column_id(_bare(tested)) != apply.output:
            raise Unsupported(f"{apply.kind.upper()} of a subquery inside a larger expression")
        predicates.remove(demanded[0])
        if apply.kind == "exists":
            result = _exists(result, subquery, "anti" if negated else "semi")
        elif negated:
            result = _not_in(result, apply, subquery, context)
        else:
            result = _exists(result, subquery, "semi", _equal(apply, subquery))
    return Filter(result, tuple(predicates)) if predicates else result


def _exists(left: Plan, subquery: Plan, kind: str, condition: tuple[exp.Expr, ...] = ()) -> Plan:
    right, pulled = _pull(subquery, free_columns(subquery))
    if isinstance(right, Aggregate) and not right.keys and kind == "semi" and not pulled and not condition:
        return left  # an aggregate without keys always has its one row
    return Join(kind, left, right, residual=condition + tuple(pulled))


def _equal(apply: Apply, subquery: Plan) -> tuple[exp.Expr, ...]:
    assert apply.operand is not None
    return (exp.EQ(this=apply.operand.copy(), expression=column(subquery.columns[0])),)


def _not_in(left: Plan, apply: Apply, subquery: Plan, context: Context) -> Plan:
    """Rows whose operand is surely not among the subquery's values; one NULL on either side makes it unsure."""
    assert apply.operand is not None
    if free_columns(subquery):
        raise Unsupported("a correlated NOT IN")
    value = subquery.columns[0]
    anti = Join("anti", left, subquery, residual=_equal(apply, subquery))
    if _never_null(apply.operand, left) and _never_null(column(value), subquery):
        return anti
    rows, values = context.fresh("rows", "BIGINT"), context.fresh("values", "BIGINT")
    counts = Aggregate(
        subquery, (), ((rows, exp.Count(this=exp.Star())), (values, exp.Count(this=column(value))))
    )
    known = exp.and_(
        exp.Not(this=exp.Is(this=apply.operand.copy(), expression=exp.Null())),
        exp.EQ(this=column(rows), expression=column(values)),
    )
    empty = exp.EQ(this=column(rows), expression=exp.Literal.number(0))
    return Filter(Join("inner", anti, counts), (exp.or_(empty, known),))


def _scalar(left: Plan, apply: Apply, subquery: Plan, context: Context) -> Plan:
    (value,) = subquery.columns
    outer = free_columns(subquery)
    if not outer:
        row = subquery if _is_one_row(subquery) else AssertOneRow(subquery)
        return Join("inner", left, Project(row, ((apply.output, column(value)),)))
    result: exp.Expr = column(value)
    while isinstance(subquery, Project):
        result = substitute(result, dict(subquery.outputs))
        subquery = subquery.input
    if not isinstance(subquery, Aggregate) or subquery.keys or references(result) & outer:
        raise Unsupported("a correlated scalar subquery that is not an aggregate")
    source, pulled = _pull(subquery.input, outer)
    keys: list[Output] = []
    equal: list[tuple[exp.Expr, exp.Expr]] = []
    for predicate in pulled:
        inner, outside = _sides(predicate, outer)
        id_ = column_id(inner)
        if id_ is None or id_ in dict(keys):
            id_ = context.fresh("key", context.infer(inner))
        keys.append((id_, inner))
        equal.append((outside, column(id_)))
    grouped = Aggregate(source, tuple(keys), subquery.calls)
    # Without a matching row a count is 0, where the left join says NULL.
    zero = {
        id_: exp.Coalesce(this=column(id_), expressions=[exp.Literal.number(0)])
        for id_, call in subquery.calls
        if isinstance(call.this if isinstance(call, exp.Filter) else call, exp.Count)
    }
    joined = Join("left", left, grouped, tuple(equal))
    passed = tuple((id_, column(id_)) for id_ in left.columns)
    return Project(joined, (*passed, (apply.output, substitute(result, zero))))


def _sides(predicate: exp.Expr, outer: set[str]) -> tuple[exp.Expr, exp.Expr]:
    """The inner and the outer operand of a correlated equality."""
    if isinstance(predicate, exp.EQ):
        for inner, outside in (
            (predicate.this, predicate.expression),
            (predicate.expression, predicate.this),
        ):
            if not references(inner) & outer and references(outside) <= outer and references(inner):
                return inner, outside
    raise Unsupported("a scalar subquery correlated by something else than an equality")


def free_columns(plan: Plan) -> set[str]:
    """The ids that a plan uses but doesn't make: columns of outer queries."""
    available = {id_ for child in plan.children for id_ in child.columns}
    free = references(*_expressions(plan)) - available
    if isinstance(plan, Apply):
        inside = free_columns(plan.subquery) - set(plan.input.columns)
        return free | inside | free_columns(plan.input)
    return free.union(*map(free_columns, plan.children))


def _expressions(plan: Plan) -> list[exp.Expr]:
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
    if isinstance(plan, Apply):
        return [plan.operand] if plan.operand is not None else []
    if isinstance(plan, Sort):
        return list(plan.order)
    return []


def _pull(plan: Plan, outer: set[str]) -> tuple[Plan, list[exp.Expr]]:
    """The plan without the predicates that use ``outer`` columns, and those; their other columns are delivered."""
    if not free_columns(plan) & outer:
        return plan, []
    if isinstance(plan, Filter):
        source, pulled = _pull(plan.input, outer)
        kept = [predicate for predicate in plan.predicates if not references(predicate) & outer]
        pulled += [predicate for predicate in plan.predicates if references(predicate) & outer]
        return (Filter(source, tuple(kept)) if kept else source), pulled
    if isinstance(plan, Project):
        if any(references(expression) & outer for _, expression in plan.outputs):
            raise Unsupported("a subquery that selects a column of the outer query")
        source, pulled = _pull(plan.input, outer)
        missing = references(*pulled) - outer - set(plan.columns)
        return Project(source, plan.outputs + tuple((id_, column(id_)) for id_ in sorted(missing))), pulled
    if isinstance(plan, Join) and plan.kind in ("inner", "semi", "anti", "left"):
        left, pulled = _pull(plan.left, outer)
        right = plan.right
        if plan.kind == "inner":
            right, more = _pull(plan.right, outer)
            pulled += more
        elif free_columns(right) & outer:
            raise Unsupported("a correlated column inside an outer, semi or anti join")
        conditions = [exp.EQ(this=a, expression=b) for a, b in plan.keys] + list(plan.residual)
        if plan.kind != "inner" and references(*conditions) & outer:
            raise Unsupported("a correlated column in an outer, semi or anti join")
        pulled += [condition for condition in conditions if references(condition) & outer]
        keys = tuple(key for key in plan.keys if not references(*key) & outer)
        residual = tuple(predicate for predicate in plan.residual if not references(predicate) & outer)
        return Join(plan.kind, left, right, keys, residual), pulled
    if isinstance(plan, Sort) and plan.limit is None and not plan.offset:
        return _pull(plan.input, outer)
    raise Unsupported(f"a correlated column below {type(plan).__name__.lower()}")


def _is_one_row(plan: Plan) -> bool:
    while isinstance(plan, Project):
        plan = plan.input
    return isinstance(plan, Aggregate) and not plan.keys


def _never_null(expression: exp.Expr, plan: Plan) -> bool:
    """Whether footers prove that a column of the plan has no NULL. False when in doubt."""
    id_ = column_id(expression)
    if id_ is None:
        return False
    if isinstance(plan, Scan):
        name = dict(plan.outputs).get(id_)
        statistics = plan.table.statistics.get(name or "")
        return statistics is not None and statistics.null_fraction == 0
    if isinstance(plan, Project):
        return _never_null(dict(plan.outputs)[id_], plan.input)
    if isinstance(plan, (Filter, Sort)):
        return _never_null(expression, plan.input)
    if isinstance(plan, Aggregate):
        key = dict(plan.keys).get(id_)
        return key is not None and _never_null(key, plan.input)
    if isinstance(plan, Join):
        if id_ in plan.left.columns:
            return plan.kind != "full" and _never_null(expression, plan.left)
        return plan.kind == "inner" and _never_null(expression, plan.right)
    if isinstance(plan, SetOperation):
        position = plan.outputs.index(id_)
        return all(_never_null(column(side.columns[position]), side) for side in plan.inputs)
    return False


def _bare(expression: exp.Expr) -> exp.Expr:
    while isinstance(expression, exp.Paren):
        expression = expression.this
    return expression
