"""From SQL text to fragments, and to better fragments once the actual sizes are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
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
from sord.planner.fragment import Actual, Fragment, Route
from sord.planner.logical import (
    Aggregate,
    Exchange,
    Join,
    Plan,
    Project,
    Stage,
    With,
)
from sord.planner.optimizer import optimize
from sord.planner.order_joins import reorder_joins
from sord.planner.parse import parse
from sord.planner.prune_columns import prune_columns
from sord.planner.remaining import remaining, seconds_left, without_empty
from sord.planner.replanned import ORDER, decisions, differences
from sord.planner.runtime_filters import add_runtime_filters
from sord.planner.sink import Sink
from sord.planner.skew import is_frequent, is_split
from sord.planner.split_aggregates import split_aggregates
from sord.planner.walk import free_columns

_SURPRISE = 2.0
"""How far an estimate must be off to plan what is left anew."""
_WORTH = 20e-3
"""Seconds of work that must be left for that: it takes some milliseconds itself."""
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
    """Fragments that have finished since and by which the plan gets no better: they are not tried again."""
    begun: tuple[Fragment, ...] = ()
    """Fragments of earlier plans that were running when this one was made."""
    changes: tuple[str, ...] = ()
    """What is done otherwise than in the plan before, for people."""

    @property
    def fragments(self) -> tuple[Fragment, ...]:
        return self.cut.fragments

    def adapt(self, finished: Mapping[int, Actual], running: Set[int]) -> DistributedPlan | None:
        """Plan the rest anew if a finished fragment surprised, or can filter or balance what is left."""
        if not self.context.options.adapt:
            return None
        begun = finished.keys() | running
        waiting = [f for f in self.fragments if f.id not in begun]
        known = (*self.begun, *self.fragments)
        unseen = [f for f in known if f.id in finished and f.id not in self.done | self.seen]
        sampling = self._learn(finished, running)
        surprises = {
            f.id for f in unseen if f.id not in sampling and _surprises(f, finished[f.id])
        } & _decisive(waiting, finished)
        new = {f.id for f in unseen}
        if not surprises and not any(_can_gain(f, new, sampling, self.context) for f in waiting):
            return None
        if self.replans == _REPLANS or _has_internal(self, finished, running):
            return None
        better = self._planned_anew(finished, running, surprises)
        if better is None:
            self.seen.update(new)
            return None
        still = tuple(f for f in known if f.id in running)
        return replace(better, replans=self.replans + 1, begun=still)

    def _planned_anew(
        self, finished: Mapping[int, Actual], running: Set[int], surprises: Set[int]
    ) -> DistributedPlan | None:
        """A plan for the rest, if it is another one. Without surprises it must filter or balance more."""
        estimate = Estimator()
        plan = without_empty(remaining(self.physical, self.cut, finished, running), self.context)
        estimate(plan)
        if surprises:
            ends = any(finished[id_].rows == 0 for id_ in surprises)
            if not ends and seconds_left(plan, estimate, self.context.options) < _WORTH:
                return None
            plan = prune_columns(reorder_joins(plan, self.context, estimate), self.context)
        done = frozenset(finished)
        better = _physical(plan, self.logical, self.columns, self.context, self.next_id, estimate, done)
        begun = finished.keys() | running
        changes = differences(
            decisions(self.physical, self.cut.exchanges, begun), decisions(better.physical, {}, frozenset())
        )
        before = _gains(self.physical, self.cut.exchanges, begun)
        # Sides of a join change places so that the frequent keys of one can be spread next.
        exchanged = any(change.startswith(ORDER) for change in changes)
        gains = changes if surprises else exchanged or _gains(better.physical, {}, set()) > before
        return replace(better, changes=changes) if gains else None

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
    return _physical(logical, logical, columns, context, 0, Estimator(), frozenset())


def _physical(
    plan: Plan,
    logical: Plan,
    columns: tuple[tuple[str, str, str], ...],
    context: Context,
    first_id: int,
    estimate: Estimator,
    done: frozenset[int],
) -> DistributedPlan:
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


def _decisive(waiting: Sequence[Fragment], finished: Mapping[int, Actual]) -> set[int]:
    """Finished fragments on which something depends that can still be done otherwise, or needn't be done at all."""
    found: set[int] = set()
    for fragment in waiting:
        inputs = {one.exchange for one in fragment.inputs}
        if fragment.route is Route.RESULT:
            found |= {id_ for id_ in inputs if id_ in finished and finished[id_].rows == 0}
        else:
            found |= inputs | set(fragment.after)
    return found & finished.keys()


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
