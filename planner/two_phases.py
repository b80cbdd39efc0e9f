"""An aggregate in two phases around an exchange, whatever mix of grouping sets and DISTINCT it has.

The first phase groups each worker's rows by every grouping set, and for each argument of a DISTINCT aggregate by
that argument too, all in one pass by GROUPING SETS of its own (what Spark does by expanding rows). The number of
its set tells the second phase which rows are partial results and which are the values of which argument.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from sqlglot import exp

from sord.planner.aggregates import take_apart
from sord.planner.context import Context
from sord.planner.expressions import column
from sord.planner.logical import Aggregate, Exchange, Output, Plan, Project
from sord.planner.phases import halves, only_where, splits
from sord.planner.runtime_filters import unfiltered

Move = Callable[[Plan, tuple[str, ...]], Exchange]
"""The exchange of the first phase's rows, whose second phase groups by these ids."""

_IGNORES_NULL = {
    "avg", "bit_and", "bit_or", "bit_xor", "bool_and", "bool_or", "count", "count_if", "max", "median", "min",
    "product", "stddev_pop", "stddev_samp", "sum", "var_pop", "var_samp",
}  # fmt: skip
"""Functions of one argument for which a FILTER can be a NULL instead."""


def has_two_phases(plan: Aggregate, context: Context) -> bool:
    """Whether every call can be computed in two phases."""
    return all(splits(call, context) or distinct_argument(call) is not None for _, call in plan.calls)


def distinct_argument(call: exp.Expr) -> exp.Expr | None:
    """What a DISTINCT aggregate of one argument aggregates; None for any other call."""
    parts = take_apart(call)
    if not parts.distinct or len(parts.arguments) != 1 or not isinstance(parts.function.this, exp.Distinct):
        return None
    (argument,) = parts.arguments
    if isinstance(argument, (exp.Tuple, exp.Star)):
        return None  # Arrow has no type for a tuple
    if parts.condition is None:
        return argument
    if parts.name not in _IGNORES_NULL:
        return None
    return exp.Case(ifs=[exp.If(this=parts.condition.this.copy(), true=argument.copy())])


def first_sets(plan: Aggregate, arguments: list[exp.Expr]) -> list[list[exp.Expr]]:
    """The expressions of each set by which the first phase groups, for estimates."""
    sets = plan.sets or (frozenset(id_ for id_, _ in plan.keys),)
    bare: list[list[exp.Expr]] = [[]] if len(arguments) < len(plan.calls) or not arguments else []
    return [
        [e for id_, e in plan.keys if id_ in set_] + more
        for set_ in sets
        for more in bare + [[argument] for argument in arguments]
    ]


def distinct_arguments(plan: Aggregate) -> list[exp.Expr]:
    """The different arguments of DISTINCT calls."""
    found: list[exp.Expr] = []
    for _, call in plan.calls:
        argument = distinct_argument(call)
        if argument is not None and argument not in found:
            found.append(argument)
    return found


def in_two_phases(plan: Aggregate, context: Context, move: Move) -> Aggregate:
    """The aggregate with an exchange between its phases. It must have two of them."""
    arguments = distinct_arguments(plan)
    if not plan.sets and not arguments:
        below, final = _partial_calls(plan, context)
        lower = Aggregate(plan.input, plan.keys, below, "partial")
        ids = tuple(id_ for id_, _ in plan.keys)
        return _final(plan, move(lower, ids), ids, final)
    return _by_sets(plan, arguments, context, move)


def put_together(final: Aggregate) -> Aggregate:
    """The aggregate whose second phase this is, over what its first phase aggregates."""
    half = unfiltered(final.input.children[0])
    while isinstance(half, Project):
        half = unfiltered(half.input)
    assert isinstance(half, Aggregate)
    assert final.whole is not None
    source = half.input
    if half.sets and len(half.keys) > len(final.whole.keys):
        source = unfiltered(source).children[0]  # without the arguments' own columns
    return replace(final.whole, input=source)


def _by_sets(plan: Aggregate, arguments: list[exp.Expr], context: Context, move: Move) -> Aggregate:
    values = {context.fresh("argument", context.infer(argument)): argument for argument in arguments}
    below, final = _partial_calls(plan, context)
    source = plan.input
    if values:
        # A column of its own for each argument, since one may be a key as well.
        source = Project(source, (*((id_, column(id_)) for id_ in source.columns), *values.items()))
    keys = (*plan.keys, *((id_, column(id_)) for id_ in values))
    number = context.fresh("grouping", "BIGINT")
    sets: list[frozenset[str]] = []
    for set_ in plan.sets or (frozenset(id_ for id_, _ in plan.keys),):
        if below or not values or (plan.keys and not set_):
            sets.append(set_)  # the set without keys has a row even if there are none to aggregate
        sets += [set_ | {id_} for id_ in values]
    lower = Aggregate(source, keys, below, "partial", sets=tuple(sets), grouping=number)
    above = plan.grouping or context.fresh("grouping", "BIGINT")
    ids = tuple(id_ for id_, _ in plan.keys) + ((above,) if plan.sets else ())
    span = exp.Literal.number(1 << len(values))
    passed = tuple((id_, column(id_)) for id_ in lower.columns)
    outer = exp.IntDiv(this=column(number), expression=span)
    moved = move(Project(lower, (*passed, (above, outer))) if plan.sets else lower, ids)
    part = exp.Mod(this=column(number), expression=span.copy())
    if not values:
        return _final(plan, moved, ids, final)
    nothing = (1 << len(values)) - 1
    calls: list[Output] = []
    for id_, call in plan.calls:
        argument = distinct_argument(call)
        if argument is None:
            calls.append((id_, only_where(dict(final)[id_], _equal(part, nothing))))
            continue
        place = list(values.values()).index(argument)
        aggregate = take_apart(call).function.copy()
        distinct = exp.Distinct(expressions=[column(list(values)[place])])
        aggregate.set("this", distinct)
        own = nothing - (1 << (len(values) - 1 - place))
        calls.append((id_, only_where(aggregate, _equal(part, own))))
    return _final(plan, moved, ids, calls)


def _partial_calls(plan: Aggregate, context: Context) -> tuple[tuple[Output, ...], list[Output]]:
    below: list[Output] = []
    final: list[Output] = []
    for id_, call in plan.calls:
        if distinct_argument(call) is not None:
            continue
        split = halves(call, context, partial(context.fresh, f"{id_}_part"))
        assert split is not None
        below += split[0]
        final.append((id_, split[1]))
    return tuple(below), final


def _final(plan: Aggregate, moved: Exchange, ids: tuple[str, ...], calls: list[Output]) -> Aggregate:
    keys = tuple((id_, column(id_)) for id_ in ids)
    return Aggregate(moved, keys, tuple(calls), "final", plan)


def _equal(number: exp.Expr, value: int) -> exp.Expr:
    return exp.EQ(this=exp.Paren(this=number.copy()), expression=exp.Literal.number(value))
