"""What is left of a plan whose fragments have begun in part, and how much work that is."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace

from sord.planner import cost
from sord.planner.context import Context, Options
from sord.planner.cut_fragments import Cut
from sord.planner.estimate import Estimator
from sord.planner.fragment import Actual
from sord.planner.logical import (
    Aggregate,
    Exchange,
    Filter,
    Join,
    Plan,
    Project,
    Scan,
    SetOperation,
    Sort,
    Stage,
    Unnest,
    Values,
    Window,
)
from sord.planner.runtime_filters import keys_source
from sord.planner.skew import is_split, joined_again
from sord.planner.two_phases import put_together


def remaining(plan: Plan, cut: Cut, finished: Mapping[int, Actual], running: Set[int]) -> Plan:
    """The plan without the exchanges that haven't begun; those that have are stages."""

    begun = finished.keys() | running

    def has_begun(node: Plan) -> bool:
        return isinstance(node, Stage) or cut.exchanges.get(id(node)) in begun

    def walk(node: Plan) -> Plan:
        number = cut.exchanges.get(id(node))
        if number is not None and (number in finished or number in running):
            actual = finished.get(number)
            source = node.input if isinstance(node, Exchange) else node
            expected = next(f.estimated_rows for f in cut.fragments if f.id == number)
            rows = float(actual.rows) if actual is not None else expected
            return Stage(number, node.columns, cut.targets[number], rows, source, actual is not None)
        if isinstance(node, Exchange):
            return walk(node.input)
        if isinstance(node, Stage) and not node.exact and node.exchange in finished:
            return replace(node, rows=float(finished[node.exchange].rows), exact=True)
        if isinstance(node, Join) and is_split(node) and cut.exchanges.get(id(node.left), -1) not in begun:
            return node if isinstance(node.left, Stage) else walk(joined_again(node))
        if isinstance(node, Join) and node.runtime and not has_begun(keys_source(node)):
            return walk(node.left)  # whether it pays is decided anew
        if isinstance(node, Aggregate) and node.phase == "final" and _undone(node, cut, finished, running):
            return walk(put_together(node))
        if isinstance(node, Sort) and node.phase == "partial":
            return walk(node.input)
        return node.with_children(tuple(walk(child) for child in node.children))

    return walk(plan)


def _undone(node: Aggregate, cut: Cut, finished: Mapping[int, Actual], running: Set[int]) -> bool:
    """Whether the first phase below a final aggregate hasn't begun."""
    exchange = node.input
    number = cut.exchanges.get(id(exchange))
    return isinstance(exchange, Exchange) and number not in finished and number not in running


def without_empty(plan: Plan, context: Context) -> Plan:
    """Nothing comes of nothing: joins with an empty input, and what stands on them."""
    plan = plan.with_children(tuple(without_empty(child, context) for child in plan.children))

    def empty(node: Plan) -> bool:
        return (isinstance(node, Stage) and node.exact and node.rows == 0) or (
            isinstance(node, Values) and bool(node.outputs) and not node.rows
        )

    gone = False
    if isinstance(plan, Join):
        gone = empty(plan.left) and plan.kind in ("inner", "left", "semi", "anti")
        gone = gone or (empty(plan.right) and plan.kind in ("inner", "semi"))
        if not gone and plan.kind == "anti" and empty(plan.right):
            return plan.left
    elif isinstance(plan, (Filter, Project, Unnest, Window)) or (
        isinstance(plan, Aggregate) and not plan.is_never_empty
    ):
        gone = empty(plan.children[0])
    types = [context.type_of(id_, plan) for id_ in plan.columns] if gone else [None]
    if None in types:
        return plan  # what stands on it needs to know the types
    return Values(plan.columns, tuple(type_ for type_ in types if type_ is not None), ())


def seconds_left(plan: Plan, estimate: Estimator, options: Options) -> float:
    """About what each worker has to do for a plan, if what it reads is moved once."""
    move = 1 / options.bytes_per_second

    def seconds(node: Plan) -> float:
        below = sum(map(seconds, node.children))
        if isinstance(node, Scan):
            rows, width = node.table.rows, estimate(node).width(node.columns)
            return below + cost.scan(rows, width, options) + rows * width * move
        if isinstance(node, Stage):
            return below + node.rows * estimate(node).width(node.columns) * (cost.IMPORT + move)
        if isinstance(node, Join):
            sides = sorted(estimate(side).rows for side in node.children)
            return below + sides[0] * cost.BUILD + sides[1] * cost.PROBE + estimate(node).rows * cost.MAKE
        if isinstance(node, (Aggregate, Window, Sort, SetOperation)):
            return below + sum(estimate(child).rows for child in node.children) * cost.BUILD
        return below

    return seconds(plan) / options.workers
