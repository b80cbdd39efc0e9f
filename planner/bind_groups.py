"""GROUP BY: the keys and calls of a SELECT to an Aggregate."""

from __future__ import annotations

from sqlglot import exp

from sord.planner.bind_expressions import ExpressionBinder
from sord.planner.catalog import Unsupported
from sord.planner.context import Context
from sord.planner.expressions import column_id, references
from sord.planner.logical import Aggregate, Output
from sord.planner.scope import Rewrite, Select, unique


def aggregate(
    context: Context,
    expressions: ExpressionBinder,
    group: exp.Group | None,
    select: Select,
    items: list[tuple[str, exp.Expr]],
) -> Rewrite:
    """Put the Aggregate of a SELECT on its plan; what is returned rewrites expressions to stand above it."""
    calls, subqueries = {id_ for id_, _ in select.calls}, {apply[2] for apply in select.applies}
    keys: list[Output] = []
    for expression in _group_keys(expressions, group, select, items) if group is not None else []:
        if references(expression) & (subqueries | {id_ for id_, _ in select.calls}):
            raise Unsupported("an aggregate or a subquery in GROUP BY")
        known = column_id(expression)
        keys.append((known or context.fresh("key", context.infer(expression)), expression))
    select.plan = Aggregate(select.plan, unique(keys), tuple(select.calls))
    return Rewrite(keys, calls, subqueries, select)


def _group_keys(
    expressions: ExpressionBinder, group: exp.Group, select: Select, items: list[tuple[str, exp.Expr]]
) -> list[exp.Expr]:
    if any(group.args.get(part) for part in ("grouping_sets", "cube", "rollup", "totals")):
        raise Unsupported("GROUPING SETS, ROLLUP or CUBE")
    if not group.args.get("all"):
        return [expressions.bind(node, select) for node in group.expressions]
    computed = {id_ for id_, _ in select.calls + select.windows} | {apply[2] for apply in select.applies}
    keys = [expression for _, expression in items if references(expression) - computed]
    if any(references(key) & computed for key in keys):
        raise Unsupported("GROUP BY ALL with a column beside an aggregate in one expression")
    return keys
