"""``split_aggregates``: an aggregate above an exchange is computed in two phases where that moves fewer rows."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from sqlglot import exp

from sord.planner.cardinality import drawn
from sord.planner.context import Context
from sord.planner.distribution import Distribution
from sord.planner.estimate import Estimator
from sord.planner.expressions import column, column_id
from sord.planner.logical import Aggregate, Exchange, Output, Plan
from sord.planner.phases import halves, splits

_SHRINKS = 0.7
"""A first phase pays if it leaves at most this share of its rows."""


def split_aggregates(plan: Plan, context: Context, estimate: Estimator) -> Plan:
    """Push a partial aggregate below the exchange of each aggregate that can be split."""
    plan = plan.with_children(tuple(split_aggregates(child, context, estimate) for child in plan.children))
    if not isinstance(plan, Aggregate) or plan.phase or not isinstance(plan.input, Exchange):
        return plan
    exchange = plan.input
    distinct = _only_distinct(plan)
    if distinct is None and not all(splits(call, context) for _, call in plan.calls):
        return plan
    if plan.keys and not _shrinks(plan, distinct, context, estimate):
        return plan
    if distinct is not None:
        return _deduplicated(plan, exchange, distinct, context)
    below: list[Output] = []
    final: list[Output] = []
    for id_, call in plan.calls:
        split = halves(call, context, partial(context.fresh, f"{id_}_part"))
        assert split is not None
        below += split[0]
        final.append((id_, split[1]))
    lower = Aggregate(exchange.input, plan.keys, tuple(below), "partial")
    moved = replace(exchange, input=lower, target=_renamed(exchange.target, plan.keys))
    keys = tuple((id_, column(id_)) for id_, _ in plan.keys)
    return Aggregate(moved, keys, tuple(final), "final", plan.calls)


def moved_rows(plan: Aggregate, context: Context, estimate: Estimator) -> float:
    """Rows that an exchange below the aggregate has to move, a first phase counted in where there will be one."""
    source = estimate(plan.input).rows
    distinct = _only_distinct(plan)
    if distinct is None and not all(splits(call, context) for _, call in plan.calls):
        return source
    workers = context.options.workers
    if plan.keys and not _shrinks(plan, distinct, context, estimate):
        return source
    if distinct is not None:
        return min(source, estimate(plan.input).distinct([*(e for _, e in plan.keys), distinct]) * workers)
    return min(source, estimate(plan).rows * workers)


def _deduplicated(plan: Aggregate, exchange: Exchange, distinct: exp.Expr, context: Context) -> Plan:
    """DISTINCT aggregates of one argument: drop duplicates before the exchange, aggregate after it."""
    argument = column_id(distinct) or context.fresh("argument")
    keys = dict(plan.keys)
    keys.setdefault(argument, distinct)
    lower = Aggregate(exchange.input, tuple(keys.items()), (), "partial")
    moved = replace(exchange, input=lower, target=_renamed(exchange.target, plan.keys))
    calls = tuple(
        (id_, call.transform(lambda node: column(argument) if node == distinct else node))
        for id_, call in plan.calls
    )
    return Aggregate(moved, tuple((id_, column(id_)) for id_, _ in plan.keys), calls, "final", plan.calls)


def _renamed(target: Distribution, keys: tuple[Output, ...]) -> Distribution:
    names: dict[str, set[str]] = {}
    for new, expression in keys:
        old = column_id(expression)
        if old is not None:
            names.setdefault(old, set()).add(new)
    return target.visible(names)


def _shrinks(plan: Aggregate, distinct: exp.Expr | None, context: Context, estimate: Estimator) -> bool:
    source = estimate(plan.input)
    keys = [e for _, e in plan.keys] + ([distinct] if distinct is not None else [])
    mine = source.rows / context.options.workers
    return drawn(source.distinct(keys), source.rows, mine) <= _SHRINKS * mine


def _only_distinct(plan: Aggregate) -> exp.Expr | None:
    """The argument, if all calls are DISTINCT ones of a single argument that is the same."""
    found: exp.Expr | None = None
    for _, call in plan.calls:
        inner = call.this
        if not isinstance(inner, exp.Distinct) or len(inner.expressions) != 1 or isinstance(call, exp.Filter):
            return None
        if isinstance(inner.expressions[0], exp.Tuple):
            return None  # Arrow has no such type
        if found is not None and inner.expressions[0] != found:
            return None
        found = inner.expressions[0]
    return found
