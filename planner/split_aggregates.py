"""``split_aggregates``: an aggregate above an exchange is computed in two phases where that moves fewer rows."""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from sord.planner.aggregates import take_apart
from sord.planner.cardinality import drawn
from sord.planner.context import Context
from sord.planner.distribution import Distribution
from sord.planner.estimate import Estimator
from sord.planner.expressions import column, column_id
from sord.planner.logical import Aggregate, Exchange, Output, Plan
from sord.planner.skew import is_frequent
from sord.planner.two_phases import (
    distinct_argument,
    distinct_arguments,
    first_sets,
    has_two_phases,
    in_two_phases,
)

_SHRINKS = 0.7
"""A first phase pays if it leaves at most this share of its rows."""


def split_aggregates(plan: Plan, context: Context, estimate: Estimator) -> Plan:
    """Push a partial aggregate below the exchange of each aggregate that can be split."""
    plan = plan.with_children(tuple(split_aggregates(child, context, estimate) for child in plan.children))
    if not isinstance(plan, Aggregate) or plan.phase or plan.sets or not isinstance(plan.input, Exchange):
        return plan
    exchange = plan.input
    frequent = is_frequent(exchange.samples) and has_two_phases(plan, context)
    if not frequent and not splitting_pays(plan, context, estimate):
        return plan
    distinct = _only_distinct(plan)
    if distinct is not None:
        return _deduplicated(plan, exchange, distinct, context)

    def move(lower: Plan, ids: tuple[str, ...]) -> Exchange:
        return replace(exchange, input=lower, target=_renamed(exchange.target, plan.keys))

    return in_two_phases(replace(plan, input=exchange.input), context, move)


def splitting_pays(plan: Aggregate, context: Context, estimate: Estimator) -> bool:
    """Whether a first phase of the aggregate is possible and leaves much fewer rows."""
    if not has_two_phases(plan, context):
        return False
    arguments = distinct_arguments(plan)
    if not plan.keys and (not arguments or _only_distinct(plan) is not None):
        return True
    source = estimate(plan.input)
    mine = source.rows / context.options.workers
    left = sum(drawn(source.distinct(set_), source.rows, mine) for set_ in _first_sets(plan, arguments))
    return left <= _SHRINKS * mine


def moved_rows(plan: Aggregate, context: Context, estimate: Estimator) -> float:
    """Rows that an exchange below the aggregate has to move, a first phase counted in where there will be one."""
    source = estimate(plan.input)
    if not splitting_pays(plan, context, estimate):
        return source.rows
    arguments = distinct_arguments(plan)
    if not arguments:
        return min(source.rows, estimate(plan).rows * context.options.workers)
    rows = sum(source.distinct(set_) for set_ in _first_sets(plan, arguments))
    return min(source.rows, rows * context.options.workers)


def _first_sets(plan: Aggregate, arguments: list[exp.Expr]) -> list[list[exp.Expr]]:
    only = _only_distinct(plan)
    return [[*(e for _, e in plan.keys), only]] if only is not None else first_sets(plan, arguments)


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
    whole = replace(plan, input=exchange.input)
    return Aggregate(moved, tuple((id_, column(id_)) for id_, _ in plan.keys), calls, "final", whole)


def _renamed(target: Distribution, keys: tuple[Output, ...]) -> Distribution:
    names: dict[str, set[str]] = {}
    for new, expression in keys:
        old = column_id(expression)
        if old is not None:
            names.setdefault(old, set()).add(new)
    return target.visible(names)


def _only_distinct(plan: Aggregate) -> exp.Expr | None:
    """The argument, if all calls are DISTINCT ones of a single argument that is the same, and there are no sets."""
    arguments = distinct_arguments(plan)
    if plan.sets or len(arguments) != 1:
        return None
    whole = (
        distinct_argument(call) is not None and take_apart(call).condition is None for _, call in plan.calls
    )
    return arguments[0] if all(whole) else None
