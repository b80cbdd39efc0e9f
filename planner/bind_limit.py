"""LIMIT and OFFSET: by a number, by an expression, by a subquery, in percent."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from sord.planner.catalog import Catalog, Unsupported
from sord.planner.context import Context
from sord.planner.expressions import column
from sord.planner.logical import Filter, Plan, Sort, Window
from sord.planner.render import expression_sql
from sord.planner.scope import Scope, Select, attached

Bind = Callable[[exp.Expr, Select], exp.Expr]


def limited(
    plan: Plan, sort: list[exp.Ordered], tree: exp.Expr, scope: Scope, context: Context, bind: Bind
) -> Plan:
    """The plan sorted, and cut as LIMIT and OFFSET of ``tree`` say; its columns may be more than it had."""
    limit, offset = tree.args.get("limit"), tree.args.get("offset")
    options = limit.args.get("limit_options") if limit is not None else None
    if options is not None and options.args.get("with_ties"):
        raise Unsupported("LIMIT with ties")
    percent = options is not None and bool(options.args.get("percent"))
    most = limit.args["count"] if isinstance(limit, exp.Fetch) else limit and limit.expression
    first = offset and offset.expression
    if not percent and not any(value is not None and value.find(exp.Query) for value in (most, first)):
        number, skipped = _count(most, context.catalog), _count(first, context.catalog) or 0
        if not sort and number is None and not skipped:
            return plan
        return Sort(plan, tuple(sort), number, skipped)
    if percent and most is not None:
        rows = context.fresh("rows", "BIGINT")
        counted = Window(plan, (), ((rows, exp.Window(this=exp.Count(this=exp.Star()), over="OVER")),))
        share = _share(most, column(rows), context.catalog)
        return _numbered(counted, sort, share, None if first is None else _unsigned(first), context)
    select = Select(Scope(scope), plan)
    bounds = [None if value is None else _unsigned(bind(value, select)) for value in (most, first)]
    return _numbered(attached(plan, select.applies), sort, bounds[0], bounds[1], context)


def _numbered(
    plan: Plan, sort: list[exp.Ordered], most: exp.Expr | None, first: exp.Expr | None, context: Context
) -> Plan:
    """The rows whose numbers lie between bounds that are computed."""
    number = context.fresh("number", "BIGINT")
    call = exp.Window(this=exp.RowNumber(), over="OVER")
    if sort:
        call.set("order", exp.Order(expressions=[item.copy() for item in sort]))
    plan = Window(plan, (), ((number, call),))
    skipped = exp.Coalesce(this=first or exp.null(), expressions=[exp.Literal.number(0)])
    predicates: list[exp.Expr] = [exp.GT(this=column(number), expression=skipped)]
    if most is not None:
        last = exp.Add(this=skipped.copy(), expression=most)
        within = exp.LTE(this=column(number), expression=last)
        predicates.append(exp.or_(exp.Is(this=most.copy(), expression=exp.null()), within))
    plan = Filter(plan, tuple(predicates))
    return Sort(plan, tuple(sort)) if sort else plan


def _share(percent: exp.Expr, rows: exp.Expr, catalog: Catalog) -> exp.Expr:
    """So many percent of all rows, as DuckDB rounds them."""
    if percent.find(exp.Column, exp.Query):
        raise Unsupported("LIMIT by a subquery, in percent")
    ((text, _),) = catalog.evaluate([f"CAST({expression_sql(percent)} AS DOUBLE)"])
    if text is not None and not 0 <= float(text) <= 100:
        raise Unsupported("a LIMIT that is no percentage")
    value = exp.null() if text is None else exp.Literal.number(text)
    part = exp.Div(this=exp.cast(value, "DOUBLE"), expression=exp.Literal.number(100))
    return exp.cast(exp.func("trunc", exp.Mul(this=part, expression=rows)), "BIGINT")


def _unsigned(value: exp.Expr) -> exp.Expr:
    """A bound, whose type is large enough to be added to; a negative one raises, as it does in DuckDB."""
    return exp.cast(exp.cast(value, "UBIGINT", dialect="duckdb"), "HUGEINT", dialect="duckdb")


def _count(value: exp.Expr | None, catalog: Catalog) -> int | None:
    if value is None or (isinstance(value, exp.Var) and value.name.upper() == "ALL"):
        return None
    if isinstance(value, exp.Literal) and not value.is_string and value.this.isdigit():
        return int(value.this)
    ((text, _),) = catalog.evaluate([f"CAST({expression_sql(value)} AS BIGINT)"])
    if text is not None and int(text) < 0:
        raise Unsupported("a negative LIMIT or OFFSET")
    return None if text is None else int(text)
