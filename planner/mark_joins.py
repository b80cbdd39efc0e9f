"""EXISTS and IN as columns: what a larger expression than a filter's conjunct makes of them needs their values."""

from __future__ import annotations

from sqlglot import exp

from sord.planner.context import Context
from sord.planner.correlation import Unnested
from sord.planner.expressions import column, operand_of
from sord.planner.logical import Aggregate, Join, Output, Plan, Project, Sort
from sord.planner.proofs import is_one_row, never_null
from sord.planner.rows_in import perhaps
from sord.planner.unnest import equal, keyed, outer_columns, renamed_keys, with_column


def exists_mark(left: Plan, output: str, subquery: Plan, context: Context) -> Plan:
    """A column that says whether the subquery has a row."""
    outer = outer_columns(subquery, left)
    if is_one_row(subquery):
        return with_column(left, left, output, exp.true())
    if not outer:
        rows = context.fresh("rows", "BIGINT")
        first = Sort(subquery, (), 1)
        counted = Aggregate(first, (), ((rows, exp.Count(this=exp.Star())),))
        found = exp.GT(this=column(rows), expression=exp.Literal.number(0))
        return with_column(Join("inner", left, counted), left, output, found)
    unnested, left = keyed(subquery, left, outer, context)
    marked, condition, mark = _marked(unnested, set(left.columns), (), context)
    joined = Join("left", left, marked, residual=condition)
    return with_column(joined, left, output, _is_not_null(mark))


def in_mark(
    left: Plan, output: str, operands: list[exp.Expr], subquery: Plan, only_true: bool, context: Context
) -> Plan:
    """A column that says whether the operands are among the subquery's rows: TRUE, FALSE or NULL."""
    if len(operands) > 1 and not only_true:
        return _row_mark(left, output, operands, subquery, context)
    outer = outer_columns(subquery, left)
    unnested, left = keyed(subquery, left, outer, context)
    values = subquery.columns[: len(operands)]
    marked, condition, mark = _marked(unnested, set(left.columns), values, context)
    joined: Plan = Join("left", left, marked, residual=condition + equal(operands, marked, values))
    found = _is_not_null(mark)
    sure = all(never_null(operand, left) for operand in operands) and all(
        never_null(column(value), unnested.plan) for value in values
    )
    if only_true or sure:
        return with_column(joined, left, output, found)
    joined, known, empty = counts_of(joined, operands[0], unnested, outer, values, context)
    unsure = exp.Not(this=exp.Paren(this=exp.or_(empty, known)))
    answer = exp.Case(
        ifs=[exp.If(this=found, true=exp.true()), exp.If(this=unsure, true=exp.null())], default=exp.false()
    )
    return with_column(joined, left, output, answer)


def _row_mark(left: Plan, output: str, operands: list[exp.Expr], subquery: Plan, context: Context) -> Plan:
    """The same for rows of several values."""
    plan, unsure = left, []
    for rows in perhaps(operands, subquery, left, context):
        unsure.append(column(context.fresh("unsure", "BOOLEAN")))
        plan = exists_mark(plan, unsure[-1].name, rows, context)
    found = context.fresh("found", "BOOLEAN")
    plan = in_mark(plan, found, operands, subquery, True, context)
    ifs = [exp.If(this=column(found), true=exp.true())]
    if unsure:
        ifs.append(exp.If(this=exp.or_(*unsure), true=exp.null()))
    return with_column(plan, left, output, exp.Case(ifs=ifs, default=exp.false()))


def counts_of(
    left: Plan,
    operand: exp.Expr,
    unnested: Unnested,
    outer: set[str],
    values: tuple[str, ...],
    context: Context,
) -> tuple[Plan, exp.Expr, exp.Expr]:
    """``left`` with counts of the subquery's rows; whether a missing match means FALSE; whether there are no rows."""
    rows, values_ = context.fresh("rows", "BIGINT"), context.fresh("values", "BIGINT")
    calls: tuple[Output, ...] = (
        (rows, exp.Count(this=exp.Star())),
        (values_, exp.Count(this=column(values[0]))),
    )
    keys, condition = renamed_keys(unnested.condition, outer, context)
    counts = Aggregate(unnested.plan, tuple(keys), calls)
    joined = Join("left" if keys else "inner", left, counts, residual=condition)
    known = exp.and_(
        exp.Not(this=exp.Is(this=operand_of(operand), expression=exp.Null())),
        exp.EQ(this=column(rows), expression=column(values_)),
    )
    total = exp.Coalesce(this=column(rows), expressions=[exp.Literal.number(0)]) if keys else column(rows)
    return joined, known, exp.EQ(this=total, expression=exp.Literal.number(0))


def _marked(
    unnested: Unnested, outer: set[str], values: tuple[str, ...], context: Context
) -> tuple[Plan, tuple[exp.Expr, ...], str]:
    """The distinct rows of ``values`` for each outer row, the condition that joins them, and a column that is TRUE."""
    keys, condition = renamed_keys(unnested.condition, outer, context)
    keys += [(value, column(value)) for value in values if value not in dict(keys)]
    grouped = Aggregate(unnested.plan, tuple(keys), ())
    mark = context.fresh("mark", "BOOLEAN")
    passed = tuple((id_, column(id_)) for id_, _ in keys)
    return Project(grouped, (*passed, (mark, exp.true()))), condition, mark


def _is_not_null(id_: str) -> exp.Expr:
    return exp.Not(this=exp.Is(this=column(id_), expression=exp.Null()))
