"""From SQL text to fragments, and to better fragments once the actual sizes are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field, replace

from sord.planner import cost
from sord.planner.bind import bind
from sord.planner.catalog import Catalog, Unsupported
from sord.planner.context import Context, Options
from sord.planner.cut_fragments import Cut, cut_fragments
from sord.planner.distribute import distribute
from sord.planner.distribution import Replicated
from sord.planner.estimate import Estimator
from sord.planner.expressions import column
from sord.planner.fragment import Actual, Fragment
from sord.planner.logical import (
    Aggregate,
    Exchange,
    Filter,
    Join,
    Plan,
    Project,
    Sort,
    Stage,
    Unnest,
    Values,
    Window,
    With,
)
from sord.planner.optimizer import optimize
from sord.planner.parse import parse
from sord.planner.prune_columns import prune_columns
from sord.planner.runtime_filters import add_runtime_filters, keys_source
from sord.planner.sink import Sink
from sord.planner.skew import is_frequent, is_split, joined_again
from sord.planner.split_aggregates import split_aggregates
from sord.planner.two_phases import put_together
from sord.planner.walk import free_columns

_SURPRISE = 4.0
"""How far an estimate must be off to plan what is left anew."""
_REPLANS = 16
"""Times that one query is planned anew at most, should a plan move the same rows again and again."""


@dataclass(frozen=True, slots=True)
class DistributedPlan:
    """Implements :class:`~sord.planner.fragment.PhysicalPlan`."""

    logical: Plan
    """The optimised plan, before distribution."""
    physical: Plan
    columns: tuple[tuple[str, str, str], ...]
    """(id, name, DuckDB type) of the result."""
    context: Context
    cut: Cut
    next_id: int
    done: frozenset[int] = field(default_factory=frozenset)
    """Fragments that were finished when this plan was made."""
    replans: int = 0
    """How often the query has been planned anew."""
    seen: set[int] = field(default_factory=set)
    """Finished fragments by which the plan gets no better: they are not tried again."""
    begun: tuple[Fragment, ...] = ()
    """Fragments of earlier plans that were running when this one was made."""

    @property
    def fragments(self) -> tuple[Fragment, ...]:
        return self.cut.fragments

    def adapt(self, finished: Mapping[int, Actual], running: Set[int]) -> DistributedPlan | None:
        """Plan the rest anew if a finished fragment that something waits for surprised, or can filter it."""
        if not self.context.options.adapt:
            return None
        waiting = [f for f in self.fragments if f.id not in finished and f.id not in running]
        known = (*self.begun, *self.fragments)
        news = [f for f in known if f.id in finished and f.id not in self.done]
        sampling = self._learn(finished, running)
        wanted = {id_ for f in waiting for id_ in f.after} | {
            i.exchange for f in waiting for i in f.inputs if finished.get(i.exchange, Actual(1, 1)).rows == 0
        }
        surprised = any(
            f.id in wanted and f.id not in sampling and _surprises(f, finished[f.id]) for f in news
        )
        unseen = {f.id for f in news} - self.seen
        if not surprised and not any(_can_gain(f, unseen, sampling, self.context) for f in waiting):
            return None
        if self.replans == _REPLANS or _has_internal(self, finished, running):
            return None
        plan = _remaining(self.physical, self.cut, finished, running)
        better = _physical(
            _without_empty(plan, self.context),
            self.logical,
            self.columns,
            self.context,
            self.next_id,
            frozenset(finished),
        )
        before = _gains(self.physical, self.cut.exchanges, finished.keys() | running)
        if not surprised and _gains(better.physical, {}, set()) <= before:
            self.seen.update(unseen)
            return None
        return replace(better, replans=self.replans + 1, begun=tuple(f for f in known if f.id in running))

    def _learn(self, finished: Mapping[int, Actual], running: Set[int]) -> set[int]:
        """Tell the context of frequent keys that have been found; returns the fragments that look for such."""
        sampling: set[int] = set()
        for sample in _samples(self.physical):
            number = self.cut.exchanges.get(id(sample), -1)
            if isinstance(sample, Stage):
                number = sample.exchange
            sampling |= {number, *(self.cut.exchanges.get(id(child), -1) for child in _nodes(sample))}
            if number in finished or number in running:
                rows = float(finished[number].rows) if number in finished else 1.0
                self.context.frequent[sample.columns[0]] = Stage(
                    number, sample.columns, Replicated(), rows, sample, number in finished
                )
        return sampling


def plan_query(
    sql: str,
    catalog: Catalog,
    options: Options,
    described: list[tuple[str, str]] | None = None,
    sink: Sink | None = None,
) -> DistributedPlan:
    """Plan one query. ``described`` are the names and types of its rows, if they have been asked for already.

    With a ``sink`` the result is what the statement around the query returns.

    Raises :class:`~sord.planner.catalog.Unsupported` for what one DuckDB has to answer.
    """
    context = Context(catalog, options, sink)
    plan, ids = bind(parse(sql, catalog), context)
    described = described if described is not None else catalog.describe(sql)
    if len(ids) != len(described):
        raise Unsupported("a star that stands for several columns")
    columns = tuple((id_, name, type_) for id_, (name, type_) in zip(ids, described, strict=True))
    logical = optimize(_delivering(plan, ids), context)
    if free_columns(logical):
        raise Unsupported("a subquery's result that is used in several places")
    return _physical(logical, logical, columns, context, 0, frozenset())


def _physical(
    plan: Plan,
    logical: Plan,
    columns: tuple[tuple[str, str, str], ...],
    context: Context,
    first_id: int,
    done: frozenset[int],
) -> DistributedPlan:
    estimate = Estimator()
    plan = distribute(plan, context, estimate)
    plan = split_aggregates(plan, context, estimate)
    plan = prune_columns(plan, context)
    plan = add_runtime_filters(plan, context, estimate)
    estimate(plan)
    cut = cut_fragments(plan, columns, context.options.workers, estimate, first_id, context.sink)
    next_id = max((f.id for f in cut.fragments), default=first_id) + 1
    return DistributedPlan(logical, plan, columns, context, cut, next_id, done)


def _delivering(plan: Plan, ids: tuple[str, ...]) -> Plan:
    """Drop columns that were only needed for sorting: the result has ``ids``."""
    if isinstance(plan, With):
        return replace(plan, body=_delivering(plan.body, ids))
    wanted = tuple(dict.fromkeys(ids))
    if plan.columns == wanted:
        return plan
    return Project(plan, tuple((id_, column(id_)) for id_ in wanted))


def _surprises(fragment: Fragment, actual: Actual) -> bool:
    if actual.rows == 0:
        # Only once: what then merely moves these no rows is expected to.
        return fragment.estimated_rows > 0
    expected = max(fragment.estimated_rows, 1.0)
    return actual.rows * _SURPRISE < expected or actual.rows > expected * _SURPRISE


def _can_gain(waiting: Fragment, news: Set[int], sampling: Set[int], context: Context) -> bool:
    """Whether a fragment waits for something new and moves so much that another plan could save time."""
    new = news & set(waiting.after)
    if any(
        stage.exact and stage.rows > 0 and stage.exchange in waiting.after
        for stage in context.frequent.values()
    ):
        return bool(new)
    return bool(new - sampling) and context.options.runtime_filters and _moves_much(waiting, context.options)


def _moves_much(waiting: Fragment, options: Options) -> bool:
    side = cost.Layout(1.0, waiting.estimated_bytes, False)
    return cost.shuffle(side, options) > 3 * cost.STAGE


def _gains(plan: Plan, exchanges: Mapping[int, int], begun: Set[int]) -> int:
    """Runtime filters, split joins and first phases for frequent keys in what hasn't begun."""
    if exchanges.get(id(plan)) in begun:
        return 0
    found = isinstance(plan, Join) and (plan.runtime or is_split(plan))
    if isinstance(plan, Exchange) and is_frequent(plan.samples):
        found = isinstance(plan.input, Aggregate) and plan.input.phase == "partial"
    return found + sum(_gains(child, exchanges, begun) for child in plan.children)


def _samples(plan: Plan) -> list[Plan]:
    """What exchanges of a plan want to know first."""
    found = list(plan.samples) if isinstance(plan, Exchange) else []
    return found + [sample for child in plan.children for sample in _samples(child)]


def _nodes(plan: Plan) -> Iterator[Plan]:
    yield plan
    for child in plan.children:
        yield from _nodes(child)


def _has_internal(plan: DistributedPlan, finished: Mapping[int, Actual], running: Set[int]) -> bool:
    """Whether a sort range exchange is half done: its inner fragments aren't exchanges of the plan."""
    outer = set(plan.cut.exchanges.values())
    return any(
        f.id not in outer and (f.id in finished or f.id in running)
        for f in plan.fragments
        if f.id not in plan.done
    )


def _remaining(plan: Plan, cut: Cut, finished: Mapping[int, Actual], running: Set[int]) -> Plan:
    """The plan without the exchanges that haven't begun; those that have are stages."""

    begun = finished.keys() | running

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
        if isinstance(node, Join) and node.runtime and cut.exchanges.get(id(keys_source(node))) not in begun:
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


def _without_empty(plan: Plan, context: Context) -> Plan:
    """Nothing comes of nothing: joins with an empty input, and what stands on them."""
    plan = plan.with_children(tuple(_without_empty(child, context) for child in plan.children))

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
