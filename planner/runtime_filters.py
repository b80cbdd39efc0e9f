"""``add_runtime_filters``: rows that a join drops for their keys are dropped before they are moved.

One side of a join tells the other its keys. Where the other side's rows go through exchanges on their way to the
join, a semi join with these keys below the first of them spares moving the rows that have no partner. The keys come
from what is known already: a finished fragment with its exact number of rows, a broadcast that is planned anyway, or
a side that stays where it is, which is then computed first. DuckDB filters inside a fragment by itself. This is the
semi-join reduction of distributed databases (Bernstein and Chiu, JACM 1981), decided by cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sord.planner import cost
from sord.planner.context import Context, is_integer
from sord.planner.delivered import delivered
from sord.planner.distribution import Replicated, Single, Sorted
from sord.planner.estimate import Estimator
from sord.planner.expressions import column, column_id
from sord.planner.join_size import join as estimate_join
from sord.planner.logical import (
    Aggregate,
    Exchange,
    Filter,
    Join,
    Output,
    Plan,
    Project,
    Scan,
    SetOperation,
    Sort,
    Stage,
    Window,
    leaves,
    source_of,
)

_MARGIN = 1.1
"""Seconds that a filter by counted keys must save, in those that it costs."""
_GUESSED_MARGIN = 1.4
"""The same where the keys are estimated."""
_UNIQUE = 0.8
"""Share of distinct keys from which on removing duplicates isn't worth it."""


def add_runtime_filters(plan: Plan, context: Context, estimate: Estimator) -> Plan:
    """Put semi joins below exchanges where they save more than they cost. The rows stay where they were."""
    if context.options.workers == 1 or not context.options.runtime_filters:
        return plan
    return _Reducer(context, estimate).walk(plan)


@dataclass(frozen=True, slots=True)
class _Build:
    """The rows that have the keys."""

    plan: Plan
    everywhere: bool
    """Each worker has all of them; else the keys must be broadcast."""
    seconds: float
    """What it costs to have them."""
    margin: float


@dataclass(frozen=True, slots=True)
class _Reduced:
    """A probe side with a filter inside, and what the exchanges above the filter cost."""

    plan: Plan
    moving: float
    probed: float
    """Rows that the filter looks at."""


class _Reducer:
    def __init__(self, context: Context, estimate: Estimator) -> None:
        self.context = context
        self.options = context.options
        self.estimate = estimate
        # A kept exchange stands in two places of the tree and must be one object in both.
        self.memo: dict[int, tuple[Plan, Plan]] = {}

    def walk(self, plan: Plan) -> Plan:
        known = self.memo.get(id(plan))
        if known is not None:
            return known[1]
        result = self.reduced(plan) if isinstance(plan, Join) and not plan.runtime else plan
        result = result.with_children(tuple(self.walk(child) for child in result.children))
        self.memo[id(plan)] = (plan, result)
        return result

    def reduced(self, plan: Join) -> Join:
        """The join with the filter of one side that saves most, if any does."""
        best, result = 0.0, plan
        for probe_is_left in (True, False):
            if plan.kind not in (("inner", "semi") if probe_is_left else ("inner", "left", "semi", "anti")):
                continue
            saved, changed = self.offer(plan, probe_is_left)
            if saved > best:
                best, result = saved, changed
        return result

    def offer(self, plan: Join, probe_is_left: bool) -> tuple[float, Join]:
        """Seconds saved, and the join with one side reduced by the other."""
        probe, build = (plan.left, plan.right) if probe_is_left else (plan.right, plan.left)
        keys = [pair if probe_is_left else pair[::-1] for pair in self.keys(plan)]
        source = self.build(build) if keys else None
        if source is None:
            return 0.0, plan
        rows, build_rows = self.estimate(probe), self.estimate(source.plan)
        pairs = [(column(a), column(b)) for a, b in keys]
        left = estimate_join("semi", rows, build_rows, pairs, ()).rows
        removed = 1 - left / max(rows.rows, 1.0)
        unique = all(_compares_exactly(self.context.types[b]) for _, b in keys)
        asked = self.renamed([b for _, b in keys])
        distinct = build_rows.distinct(e for _, e in asked)
        width = build_rows.width([b for _, b in keys])
        filter_keys: Plan = Project(source.plan, asked)
        seconds = source.seconds
        if source.everywhere:
            distinct = build_rows.rows
        else:
            share = build_rows.rows / self.options.workers
            if distinct < build_rows.rows * _UNIQUE:
                filter_keys = Aggregate(source.plan, asked, ())
                seconds += share * cost.BUILD
            filter_keys = Exchange(filter_keys, Replicated())
            seconds += share * width * cost.IMPORT
            seconds += cost.broadcast(cost.Layout(distinct, width, False), self.options)
        if unique:
            # An inner join with distinct keys passes rows on at a third of a semi join's cost.
            filter_keys = Aggregate(filter_keys, self.renamed(filter_keys.columns), ())
            seconds += distinct * cost.BUILD
        found = self.below(probe, tuple(a for a, _ in keys), filter_keys, False)
        if found is None:
            return 0.0, plan
        per_row = cost.REJECT + (1 - removed) * (cost.PASS if unique else cost.PASS_SEMI)
        seconds += found.probed / self.options.workers * per_row + distinct * cost.BUILD * (1 + width / 40)
        spared = cost.PROBE if probe_is_left or plan.kind in ("semi", "anti") else cost.BUILD
        joining = rows.rows / self.options.workers * spared
        saved = (found.moving + joining) * removed - seconds * source.margin
        sides = (found.plan, build) if probe_is_left else (build, found.plan)
        if source.plan is not build and isinstance(source.plan, Exchange):
            sides = (found.plan, source.plan) if probe_is_left else (source.plan, found.plan)
        return saved, plan.with_children(sides)  # type: ignore[return-value]

    def renamed(self, ids: Sequence[str]) -> tuple[Output, ...]:
        """Columns under new ids, so that a fragment never has one id twice."""
        return tuple((self.context.fresh(id_, self.context.types.get(id_)), column(id_)) for id_ in ids)

    def keys(self, plan: Join) -> list[tuple[str, str]]:
        """Keys whose comparison can't fail and is the join's own: columns of one type, or integers.

        No floating point: DuckDB skips row groups by minima and maxima, which don't count NaN.
        """
        found = []
        for a, b in plan.keys:
            left, right = column_id(a), column_id(b)
            if left is None or right is None:
                continue
            types = self.context.types.get(left), self.context.types.get(right)
            if types[0] is None or types[0] in ("DOUBLE", "FLOAT"):
                continue
            if types[0] == types[1] or (is_integer(types[0]) and is_integer(types[1] or "")):
                found.append((left, right))
        return found

    def build(self, plan: Plan) -> _Build | None:
        """Where a side's keys can be had before the other side moves."""
        if isinstance(plan, Exchange):
            if isinstance(plan.target, Replicated):
                return _Build(plan, True, 0.0, _GUESSED_MARGIN)
            # The other side waits for the fragment below; once it is finished its rows are known.
            return self.finished(plan.input)
        done = self.finished(plan)
        if done is not None or isinstance(plan, Stage):
            return done
        where = delivered(plan)
        if where is None or isinstance(where, (Single, Sorted)):
            return None
        if isinstance(where, Replicated):
            if any(isinstance(leaf, Stage) and not leaf.exact for leaf in leaves(plan)) or _exchanges(plan):
                return None
            tables = (leaf.table for leaf in leaves(plan) if isinstance(leaf, Scan))
            reading = sum(cost.scan(table.rows, 8.0, self.options) for table in tables)
            return _Build(plan, True, reading, _GUESSED_MARGIN)
        estimated = self.estimate(plan)
        size = estimated.rows * estimated.width(plan.columns) / self.options.workers
        seconds = cost.STAGE + size * (cost.EXPORT + cost.IMPORT)
        return _Build(Exchange(plan, where, kept=True), False, seconds, _GUESSED_MARGIN)

    def finished(self, plan: Plan) -> _Build | None:
        """The rows of a fragment that is finished, filtered and renamed at most."""
        source = source_of(plan)
        if not isinstance(source, Stage) or not source.exact or isinstance(source.target, Single):
            return None
        return _Build(plan, isinstance(source.target, Replicated), 0.0, _MARGIN)

    def below(self, plan: Plan, ids: tuple[str, ...], keys: Plan, moved: bool) -> _Reduced | None:
        """The filter as deep inside ``plan`` as it may be and is of use; None if no exchange is above it.

        ``moved``: whether there is one above ``plan``.
        """
        if isinstance(plan, Exchange) and not plan.kept and not isinstance(plan.target, Sorted):
            found = self.below(plan.input, ids, keys, True)
            if found is None:
                return None
            return _Reduced(
                plan.with_children((found.plan, *plan.samples)),
                found.moving + self.moving(plan),
                found.probed,
            )
        if isinstance(plan, Join) and plan.runtime and ids == tuple(column_id(a) for a, _ in plan.keys):
            return None  # this has been done
        if isinstance(plan, SetOperation) and plan.kind == "union":
            return self.union(plan, ids, keys, moved)
        for number, names in self.paths(plan, ids):
            child = plan.children[number]
            found = self.below(child, names, keys, moved)
            if found is None:
                return None
            children = list(plan.children)
            children[number] = found.plan
            return _Reduced(plan.with_children(tuple(children)), found.moving, found.probed)
        if not moved or not _on_workers(plan):
            return None
        asked = tuple((column(id_), column(key)) for id_, key in zip(ids, keys.columns, strict=True))
        rows = self.estimate(plan).rows
        if not isinstance(keys, Aggregate):
            return _Reduced(Join("semi", plan, keys, asked, runtime=True), 0.0, rows)
        joined = Join("inner", plan, keys, asked, runtime=True)
        return _Reduced(Project(joined, tuple((id_, column(id_)) for id_ in plan.columns)), 0.0, rows)

    def paths(self, plan: Plan, ids: tuple[str, ...]) -> Iterator[tuple[int, tuple[str, ...]]]:
        """The input into which the filter can be pushed, and what the ids are called there. One at most."""
        if isinstance(plan, Filter):
            # What a scan's own predicates leave is less to look up.
            if not isinstance(plan.input, Scan):
                yield 0, ids
        elif isinstance(plan, (Project, Aggregate)):
            outputs = dict(plan.outputs if isinstance(plan, Project) else plan.common)
            names = [column_id(outputs[id_]) if id_ in outputs else None for id_ in ids]
            if None not in names and not isinstance(plan.children[0], Scan):
                yield 0, tuple(name for name in names if name is not None)
        elif isinstance(plan, Window):
            if set(ids) <= {column_id(key) for key in plan.partition}:
                yield 0, ids
        elif isinstance(plan, Sort):
            if plan.limit is None and not plan.offset:
                yield 0, ids
        elif isinstance(plan, Join) and plan.kind != "full":
            numbers = (0, 1) if plan.kind == "inner" else (0,)
            for number in numbers:
                child = plan.children[number]
                if set(ids) <= set(child.columns):
                    # A join that drops many rows itself had better do so first.
                    if self.estimate(plan).rows * 2 >= self.estimate(child).rows or _exchanges(child):
                        yield number, ids
                    return

    def union(self, plan: SetOperation, ids: tuple[str, ...], keys: Plan, moved: bool) -> _Reduced | None:
        """The filter in every branch in which it is of use."""
        positions = [plan.outputs.index(id_) for id_ in ids]
        branches: list[Plan] = []
        moving = probed = 0.0
        for side in plan.inputs:
            names = tuple(side.columns[position] for position in positions)
            types = [self.context.types.get(name) for name in names]
            found = None
            if types == [plan.types[position] for position in positions]:
                found = self.below(side, names, keys, moved)
            branches.append(side if found is None else found.plan)
            if found is not None:
                moving, probed = moving + found.moving, probed + found.probed
        if not probed:
            return None
        return _Reduced(plan.with_children(tuple(branches)), moving, probed)

    def moving(self, plan: Exchange) -> float:
        """Seconds that an exchange takes for its rows."""
        estimated = self.estimate(plan.input)
        side = cost.Layout(estimated.rows, estimated.width(plan.columns), False)
        move = cost.broadcast if isinstance(plan.target, Replicated) else cost.shuffle
        return max(move(side, self.options) - cost.STAGE, 0.0)


def _compares_exactly(type_: str) -> bool:
    """Whether values that are equal are the same, so that DISTINCT and ``=`` surely mean the same."""
    return is_integer(type_) or type_.startswith(("DATE", "TIMESTAMP", "DECIMAL")) or type_ == "BOOLEAN"


def keys_source(plan: Join) -> Plan:
    """What a runtime filter's keys are read from: an exchange or a stage, unless each worker reads files."""
    source = plan.right
    while isinstance(source, (Aggregate, Project)):
        source = source.input
    return source


def unfiltered(plan: Plan) -> Plan:
    """What a runtime filter at the top of a plan filters."""
    below = plan.input if isinstance(plan, Project) else plan
    return unfiltered(below.left) if isinstance(below, Join) and below.runtime else plan


def _on_workers(plan: Plan) -> bool:
    """Whether the piece of a fragment at the top of a plan surely runs on the workers."""
    if isinstance(plan, (Exchange, Stage)):
        return not isinstance(plan.target, Single)
    if isinstance(plan, Scan):
        return plan.split is not None
    return any(_on_workers(child) for child in plan.children)


def _exchanges(plan: Plan) -> bool:
    """Whether a plan has an exchange that hasn't begun."""
    return isinstance(plan, Exchange) or any(_exchanges(child) for child in plan.children)


def runtime_filters(plan: Plan) -> list[tuple[tuple[str, ...], int | None]]:
    """The columns and the source (a fragment, or None for files) of the filters in a piece of a fragment."""
    found = [filter_ for child in plan.children for filter_ in runtime_filters(child)]
    if isinstance(plan, Join) and plan.runtime:
        stages = [leaf.exchange for leaf in leaves(plan.right) if isinstance(leaf, Stage)]
        found.append((tuple(column_id(a) or "" for a, _ in plan.keys), stages[0] if stages else None))
    return found


def without_runtime_filters(plan: Plan) -> Plan:
    """The plan as it would be without filters."""
    if isinstance(plan, Join) and plan.runtime:
        return without_runtime_filters(plan.left)
    return plan.with_children(tuple(without_runtime_filters(child) for child in plan.children))
