"""GROUP BY: the keys and calls of a SELECT to an Aggregate."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from sqlglot import exp

from sord.planner.bind_expressions import ExpressionBinder
from sord.planner.bind_unnest import grouped_elements
from sord.planner.catalog import Unsupported
from sord.planner.context import Context
from sord.planner.expressions import column, column_id, references
from sord.planner.logical import Aggregate, Join, Output, Project, Values
from sord.planner.scope import Rewrite, Select, unique

_MOST_SETS = 1024
_MOST_KEYS = 40
"""The number of a set has a bit for each key, and for each argument of a DISTINCT aggregate."""

Set = tuple[exp.Expr, ...]


def aggregate(
    context: Context,
    expressions: ExpressionBinder,
    group: exp.Group | None,
    select: Select,
    items: list[tuple[str, exp.Expr]],
) -> Rewrite:
    """Put the Aggregate of a SELECT on its plan; what is returned rewrites expressions to stand above it."""
    calls, subqueries = {id_ for id_, _ in select.calls}, {apply[2] for apply in select.applies}
    sets: list[Set] = [()]
    if group is not None:
        sets = _grouping_sets(expressions, group, select, items)
    if any(references(e) & (subqueries | calls) for set_ in sets for e in set_):
        raise Unsupported("an aggregate or a subquery in GROUP BY")
    grouped_elements(select, [e for set_ in sets for e in set_], context)
    if len(sets) > 1:
        return _several_sets(context, select, sets, Rewrite([], calls, subqueries, select))
    keys = [
        (column_id(expression) or context.fresh("key", context.infer(expression)), expression)
        for expression in sets[0]
    ]
    if not keys and not select.calls:
        raise Unsupported("GROUP BY or HAVING without a key and without an aggregate")
    select.plan = Aggregate(select.plan, unique(keys), tuple(select.calls))
    return Rewrite(keys, calls, subqueries, select)


def _several_sets(context: Context, select: Select, sets: list[Set], rewrite: Rewrite) -> Rewrite:
    """One Aggregate for all sets; a set that is listed several times delivers its rows as often."""
    source: list[Output] = [(id_, column(id_)) for id_ in select.plan.columns]
    keys: list[Output] = []
    for expression in dict.fromkeys(expression for set_ in sets for expression in set_):
        below = column_id(expression)
        if below is None:
            below = context.fresh("key", context.infer(expression))
            source.append((below, expression))
        # Where a key is left out it is NULL, so it is another column than the one that it was.
        above = context.fresh(below, context.types.get(below))
        keys.append((above, column(below)))
        rewrite.keys.append((above, expression))
    if len(sets) > _MOST_SETS or len(keys) > _MOST_KEYS:
        raise Unsupported("very many grouping sets")
    ids = {expression: above for above, expression in rewrite.keys}
    members = [frozenset(ids[expression] for expression in set_) for set_ in sets]
    different = tuple(dict.fromkeys(members))
    if len(source) > len(select.plan.columns):
        select.plan = Project(select.plan, tuple(source))
    if len(different) == 1:
        plain = Aggregate(select.plan, tuple(keys), tuple(select.calls))
        times = Values(
            (context.fresh("copy", "BIGINT"),), ("BIGINT",), ((exp.Literal.number(0),),) * len(sets)
        )
        select.plan = Join("inner", plain, times)
        return rewrite
    rewrite.number = context.fresh("grouping", "BIGINT")
    plan = Aggregate(select.plan, tuple(keys), tuple(select.calls), sets=different, grouping=rewrite.number)
    select.plan = plan
    if len(different) < len(sets):
        again = context.fresh("grouping", "BIGINT")
        rows = tuple((exp.Literal.number(plan.number_of(set_)),) for set_ in members)
        equal = (column(rewrite.number), column(again))
        select.plan = Join("inner", plan, Values((again,), ("BIGINT",), rows), (equal,))
    return rewrite


def _grouping_sets(
    expressions: ExpressionBinder, group: exp.Group, select: Select, items: list[tuple[str, exp.Expr]]
) -> list[Set]:
    """The sets that GROUP BY lists: the product of its elements, each of which is one set or several."""
    if group.args.get("totals"):
        raise Unsupported("GROUP BY WITH TOTALS")
    if group.args.get("all"):
        return [_all_keys(select, items)]

    def bind(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Paren):
            return bind(node.this)
        if isinstance(node, exp.Literal) and not node.is_string:
            position = int(node.this) if node.this.isdigit() else 0
            if not 0 < position <= len(items):
                raise Unsupported("a constant as a key of grouping sets")
            return items[position - 1][1]
        return expressions.bind(node, select)

    parts = list(group.expressions)
    for name in ("rollup", "cube", "grouping_sets"):
        parts += group.args.get(name) or []
    if not any(isinstance(part, (exp.Rollup, exp.Cube, exp.GroupingSets)) for part in parts):
        keys = (part for part in parts if not _is_nothing(part))
        return [
            tuple(
                bind(key)
                if isinstance(key, exp.Paren) or _is_of_unnest(key, select, items)
                else expressions.bind(key, select)
                for key in keys
            )
        ]
    product = itertools.product(*(_sets(part, bind) for part in parts))
    return [
        tuple(dict.fromkeys(itertools.chain(*sets))) for sets in itertools.islice(product, _MOST_SETS + 1)
    ]


def _sets(node: exp.Expr, bind: Callable[[exp.Expr], exp.Expr]) -> list[Set]:
    if isinstance(node, exp.GroupingSets):
        return [set_ for part in node.expressions for set_ in _sets(part, bind)]
    if not isinstance(node, (exp.Rollup, exp.Cube)):
        return [_columns(node, bind)]
    parts = [_columns(part, bind) for part in node.expressions]
    if isinstance(node, exp.Rollup):
        chosen = [parts[:length] for length in range(len(parts), -1, -1)]
    else:
        sizes = range(len(parts), -1, -1)
        chosen = [list(some) for size in sizes for some in itertools.combinations(parts, size)]
    return [tuple(itertools.chain(*some)) for some in chosen]


def _columns(node: exp.Expr, bind: Callable[[exp.Expr], exp.Expr]) -> Set:
    return tuple(map(bind, node.expressions)) if isinstance(node, exp.Tuple) else (bind(node),)


def _is_of_unnest(key: exp.Expr, select: Select, items: list[tuple[str, exp.Expr]]) -> bool:
    """Whether a key is the position of an item that unnests: sqlglot puts expressions in place of the others."""
    if not isinstance(key, exp.Literal) or key.is_string or not key.this.isdigit():
        return False
    made = {id_ for lists in select.lists for id_, _ in lists}
    return 0 < int(key.this) <= len(items) and bool(references(items[int(key.this) - 1][1]) & made)


def _is_nothing(node: exp.Expr) -> bool:
    return isinstance(node, exp.Tuple) and not node.expressions


def _all_keys(select: Select, items: list[tuple[str, exp.Expr]]) -> Set:
    computed = {id_ for id_, _ in select.calls + select.windows} | {apply[2] for apply in select.applies}
    keys = tuple(expression for _, expression in items if references(expression) - computed)
    if any(references(key) & computed for key in keys):
        raise Unsupported("GROUP BY ALL with a column beside an aggregate in one expression")
    return keys
