"""``decorrelate``: every Apply becomes a join.

EXISTS and IN that a filter demands become semi joins, their negations anti joins; elsewhere they become a column that
a left join with the distinct matches makes. A scalar aggregate becomes a left join with the aggregate grouped by the
correlated columns, any other scalar a left join with one checked row for each; an uncorrelated one a cross join with
its row. Where predicates cannot be pulled out of a subquery, it is joined with the outer values themselves
(:mod:`sord.planner.dependent_join`).
"""

from __future__ import annotations

from sqlglot import exp

from sord.planner.context import Context
from sord.planner.correlation import (
    Dependent,
    pull,
    value_of_nothing,
)
from sord.planner.dependent_join import depend, one_row_each
from sord.planner.expressions import column, column_id, conjunction, references, substitute
from sord.planner.lateral import lateral
from sord.planner.logical import (
    Aggregate,
    Apply,
    AssertOneRow,
    Filter,
    Join,
    Plan,
    Project,
    Sort,
    With,
)
from sord.planner.mark_joins import counts_of, exists_mark, in_mark
from sord.planner.proofs import is_one_row, never_null
from sord.planner.rows_in import perhaps
from sord.planner.unnest import equal, keyed, outer_columns, renamed_keys, with_column
from sord.planner.walk import free_columns


def decorrelate(plan: Plan, context: Context) -> Plan:
    """The plan without Apply nodes."""
    result = _decorrelated(plan, context, marks=False)
    if free_columns(result):
        # What a filter demands of a subquery is also delivered, which takes a column.
        result = _decorrelated(plan, context, marks=True)
    return result


def _decorrelated(plan: Plan, context: Context, marks: bool) -> Plan:
    parts: list[tuple[str | None, Plan]] = [(None, plan)]
    if isinstance(plan, With):
        parts = [*zip(plan.names, plan.definitions, strict=True), (None, plan.body)]
    definitions: dict[str, Plan] = {}
    for name, part in parts:
        changed = _unnest(part, context, marks)
        # What outer rows were shared stands before its readers.
        definitions.update(context.pending)
        context.pending.clear()
        if name is not None:
            definitions[name] = changed
    return With(tuple(definitions), tuple(definitions.values()), changed) if definitions else changed


def _unnest(plan: Plan, context: Context, marks: bool) -> Plan:
    """The part without Apply nodes; with ``marks`` each of them is a column, even if a filter is all that it is for."""
    predicates: list[exp.Expr] = []
    applies: list[Apply] = []
    while isinstance(plan, (Filter, Apply)):
        if isinstance(plan, Filter):
            predicates = list(plan.predicates) + predicates
        else:
            applies.append(plan)
        plan = plan.input
    result = plan.with_children(tuple(_unnest(child, context, marks) for child in plan.children))
    if isinstance(result, Join) and outer_columns(result.right, result.left):
        result = lateral(result, context)
    for apply in reversed(applies):
        subquery = _renamed(_unnest(apply.subquery, context, marks), result, context)
        if apply.kind == "scalar":
            result = _scalar(result, apply.output, subquery, context)
            continue
        demanded = [predicate for predicate in predicates if apply.output in references(predicate)]
        negated = len(demanded) == 1 and isinstance(demanded[0], exp.Not)
        tested = demanded[0].this if negated else demanded[0] if demanded else None
        operands = _operands(apply)
        if (
            not marks
            and len(demanded) == 1
            and tested is not None
            and column_id(_bare(tested)) == apply.output
        ):
            if apply.kind == "exists":
                result = _filtered(result, subquery, "anti" if negated else "semi", (), context)
            elif negated:
                result = _not_in(result, operands, subquery, context)
            else:
                result = _filtered(result, subquery, "semi", equal(operands, subquery), context)
            predicates.remove(demanded[0])
        elif apply.kind == "exists":
            result = exists_mark(result, apply.output, subquery, context)
        else:
            # Where only TRUE matters, NULL may as well be FALSE.
            only_true = bool(demanded) and all(_is_monotone(p, apply.output) for p in demanded)
            result = in_mark(result, apply.output, operands, subquery, only_true, context)
    return Filter(result, tuple(predicates)) if predicates else result


def _filtered(
    left: Plan, subquery: Plan, kind: str, condition: tuple[exp.Expr, ...], context: Context
) -> Plan:
    """The left rows with (semi) or without (anti) a match."""
    outer = outer_columns(subquery, left)
    if is_one_row(subquery) and not condition:
        return left if kind == "semi" else Filter(left, (exp.false(),))
    if isinstance(subquery, Sort) and not condition and subquery.limit != 0 and not subquery.offset:
        subquery = subquery.input
    try:
        unnested = pull(subquery, outer, context)
    except Dependent:
        unnested, left = depend(subquery, left, outer, context)
    return Join(kind, left, unnested.plan, residual=condition + unnested.condition)


def _not_in(left: Plan, operands: list[exp.Expr], subquery: Plan, context: Context) -> Plan:
    """Rows whose operand is surely not among the subquery's values; one NULL on either side makes it unsure."""
    outer = outer_columns(subquery, left)
    unnested, left = keyed(subquery, left, outer, context)
    values = subquery.columns[: len(operands)]
    anti: Plan = Join("anti", left, unnested.plan, residual=equal(operands, subquery) + unnested.condition)
    if all(never_null(operand, left) for operand in operands) and all(
        never_null(column(value), unnested.plan) for value in values
    ):
        return anti
    if len(operands) > 1:
        for rows in perhaps(operands, subquery, left, context):
            anti = _filtered(anti, rows, "anti", (), context)
        return anti
    joined, known, empty = counts_of(anti, operands[0], unnested, outer, values, context)
    kept = Filter(joined, (exp.or_(empty, known),))
    return Project(kept, tuple((id_, column(id_)) for id_ in left.columns))


def _scalar(left: Plan, output: str, subquery: Plan, context: Context) -> Plan:
    value = subquery.columns[0]
    outer = outer_columns(subquery, left)
    if not outer:
        row = subquery if is_one_row(subquery) else AssertOneRow(subquery)
        return Join("inner", left, Project(row, ((output, column(value)),)))
    result: exp.Expr = column(value)
    guards: list[exp.Expr] = []
    plan = subquery
    while isinstance(plan, (Project, Filter)):
        if isinstance(plan, Project):
            outputs = dict(plan.outputs)
            result = substitute(result, outputs)
            guards = [substitute(guard, outputs) for guard in guards]
        else:
            guards += plan.predicates
        plan = plan.input
    if isinstance(plan, Aggregate) and not plan.keys:
        return _scalar_aggregate(left, output, plan, result, guards, context)
    unnested, left = keyed(subquery, left, outer, context)
    keys, condition = renamed_keys(unnested.condition, outer, context)
    grouped, checked = one_row_each(unnested.plan, value, keys, context)
    return with_column(Join("left", left, grouped, residual=condition), left, output, checked)


def _scalar_aggregate(
    left: Plan, output: str, plan: Aggregate, result: exp.Expr, guards: list[exp.Expr], context: Context
) -> Plan:
    """An aggregate's one row, with expressions (and HAVING) over it that are evaluated above the join."""
    if references(*(call for _, call in plan.calls)) & set(left.columns):
        unnested, left = depend(plan, left, free_columns(plan) & set(left.columns), context)
        joined: Plan = Join("left", left, unnested.plan, residual=unnested.condition)
        if guards:
            result = exp.Case(ifs=[exp.If(this=conjunction(guards), true=result)])
        return with_column(joined, left, output, result)
    outer = outer_columns(plan.input, left)
    unnested, left = keyed(plan.input, left, outer, context)
    keys, condition = renamed_keys(unnested.condition, outer, context)
    grouped = Aggregate(unnested.plan, tuple(keys), plan.calls)
    values = {id_: value_of_nothing(id_, call) for id_, call in plan.calls} if keys else {}
    result = substitute(result, values)
    if guards:
        kept = conjunction(substitute(guard, values) for guard in guards)
        result = exp.Case(ifs=[exp.If(this=kept, true=result)])
    joined = Join("left" if keys else "inner", left, grouped, residual=condition)
    return with_column(joined, left, output, result)


def _renamed(subquery: Plan, left: Plan, context: Context) -> Plan:
    """A subquery that selects an outer column has that under an id of its own."""
    if not set(subquery.columns) & set(left.columns):
        return subquery
    outputs = tuple((context.fresh(id_, context.types.get(id_)), column(id_)) for id_ in subquery.columns)
    return Project(subquery, outputs)


def _operands(apply: Apply) -> list[exp.Expr]:
    if apply.operand is None:
        return []
    if isinstance(apply.operand, exp.Tuple):
        return list(apply.operand.expressions)
    return [apply.operand]


def _is_monotone(predicate: exp.Expr, id_: str) -> bool:
    """Whether the predicate uses the column under AND and OR only, where NULL is as good as FALSE."""
    if id_ not in references(predicate):
        return True
    if isinstance(predicate, (exp.And, exp.Or)):
        return _is_monotone(predicate.left, id_) and _is_monotone(predicate.right, id_)
    if isinstance(predicate, exp.Paren):
        return _is_monotone(predicate.this, id_)
    return column_id(predicate) == id_


def _bare(expression: exp.Expr) -> exp.Expr:
    while isinstance(expression, exp.Paren):
        expression = expression.this
    return expression
