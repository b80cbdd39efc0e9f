"""``cut_fragments``: a plan with exchanges to fragments, each one DuckDB statement per place.

Every exchange ends a fragment. The fragment's own SQL says which worker gets a row, so that all workers agree and
the computation is vectorised.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sord.planner.context import BOUND, BOUNDARIES, PARTITION
from sord.planner.distribution import Distribution, Hashed, Ranged, Replicated, Single, Skewed, Sorted, Spread
from sord.planner.estimate import Estimator
from sord.planner.expressions import column
from sord.planner.fragment import Fragment, Input, Place, Route, RuntimeFilter
from sord.planner.logical import (
    Aggregate,
    Exchange,
    Filter,
    Join,
    Plan,
    Project,
    Scan,
    SharedRef,
    Sort,
    Stage,
    Values,
    With,
    leaves,
)
from sord.planner.render import quote, render, stage_name
from sord.planner.runtime_filters import runtime_filters, without_runtime_filters
from sord.planner.sink import Sink
from sord.planner.splits import Splits


@dataclass(frozen=True, slots=True)
class Cut:
    """Fragments, and the plan and exchange behind each by fragment id."""

    fragments: tuple[Fragment, ...]
    plans: dict[int, Plan]
    exchanges: dict[int, int]
    """Fragment id by ``id()`` of the Exchange (or definition) that it feeds."""
    targets: dict[int, Distribution]
    """How each fragment's rows lie once they have been moved."""
    trees: frozenset[int]
    """Fragments that ``plans`` shows; the inner steps of a sort are none of the plan's own operators."""


def cut_fragments(
    plan: Plan,
    columns: tuple[tuple[str, str, str], ...],
    workers: int,
    estimate: Estimator,
    first_id: int = 0,
    sink: Sink | None = None,
) -> Cut:
    """Cut a plan that ends at the client. ``columns`` are (id, name, type) of the result, in order."""
    cutter = _Cutter(workers, estimate, first_id, sink)
    cutter.result(plan, columns)
    return Cut(
        tuple(cutter.fragments), cutter.plans, cutter.exchanges, cutter.targets, frozenset(cutter.trees)
    )


class _Cutter:
    def __init__(self, workers: int, estimate: Estimator, first_id: int, sink: Sink | None) -> None:
        self.workers = workers
        self.estimate = estimate
        self.next_id = first_id
        self.sink = sink
        self.fragments: list[Fragment] = []
        self.plans: dict[int, Plan] = {}
        self.exchanges: dict[int, int] = {}
        self.targets: dict[int, Distribution] = {}
        self.trees: set[int] = set()
        self.stages: dict[int, Stage] = {}
        """By ``id()`` of an exchange: one that is read in two places is made once."""
        self.shared: dict[str, Stage] = {}

    def result(self, plan: Plan, columns: tuple[tuple[str, str, str], ...]) -> None:
        if isinstance(plan, With):
            for name, definition in zip(plan.names, plan.definitions, strict=True):
                self.shared[name] = self.definition(definition)
            plan = plan.body
        piece = self.inline(plan, ())
        private = _is_private(piece)
        if private:
            # Read on the user's connection and kept: who reads the result has another one, and takes his time.
            read = self.fragment(plan, piece, Route.KEEP, (), Single())
            piece = Stage(read.id, plan.columns, Single(), self.estimate(plan).rows, plan, False)
        items = ", ".join(f"CAST({quote(id_)} AS {type_}) AS {quote(name)}" for id_, name, type_ in columns)
        if self.sink is None:
            sql = f"SELECT {items} FROM ({render(piece)})"
        elif self.sink.in_place and _place(piece) is Place.WORKERS:
            written = self.fragment(plan, piece, Route.WRITE, (), Single(), items)
            plan = piece = Stage(written.id, (), Single(), float(self.workers), plan, False)
            sql = f"SELECT * FROM {stage_name(piece)}"
        else:
            sql = self.sink.statement(f"SELECT {items} FROM ({render(piece)})")
        ordered = {
            e.exchange for e in _stages(piece) if private or _is_ordered(plan, self.exchanges, e.exchange)
        }
        # A stream can be read once, and a shared table may be read several times.
        streaming = not private and sum(isinstance(leaf, Stage) for leaf in leaves(piece)) == 1
        inputs = tuple(
            Input(
                stage_name(stage),
                stage.exchange,
                streaming=streaming,
                ordered=stage.exchange in ordered,
            )
            for stage in _stages(piece)
        )
        estimated = self.estimate(plan)
        self.trees.add(self.next_id)
        self.add(
            Fragment(
                self.take_id(), Place.CLIENT, (sql,), inputs, Route.RESULT, (), False, title(piece),
                estimated.rows, estimated.rows * estimated.width(plan.columns),
            ),
            plan,
        )  # fmt: skip

    def take_id(self) -> int:
        self.next_id += 1
        return self.next_id - 1

    def add(self, fragment: Fragment, plan: Plan) -> None:
        self.fragments.append(fragment)
        self.plans[fragment.id] = plan

    def definition(self, plan: Plan) -> Stage:
        if isinstance(plan, Stage):
            return plan
        piece = self.inline(plan, ())
        place = _place(piece)
        target: Distribution = Single()
        if place is Place.WORKERS:
            target = Replicated() if _is_replicated(piece) else Spread()
        fragment = self.fragment(plan, piece, Route.KEEP, (), target)
        self.exchanges[id(plan)] = fragment.id
        self.targets[fragment.id] = target
        return Stage(fragment.id, plan.columns, target, self.estimate(plan).rows, plan, False)

    def inline(self, plan: Plan, after: tuple[int, ...]) -> Plan:
        """The plan with each exchange replaced by the stage that it reads, after the fragments that feed them."""
        if isinstance(plan, Exchange):
            return self.exchange(plan, after)
        if isinstance(plan, SharedRef):
            stage = self.shared[plan.name]
            return Project(stage, tuple((new, column(old)) for new, old in plan.outputs))
        if isinstance(plan, Join):
            # The build side first: once its size is known, the probe side may not have to be moved at all.
            first, second = (plan.left, plan.right) if self.left_first(plan) else (plan.right, plan.left)
            self.sampled(second)  # now, so that it's known when the build side is
            known = self.inline(first, after)
            waiting = self.inline(second, after + tuple(stage.exchange for stage in _stages(known)))
            return plan.with_children((known, waiting) if first is plan.left else (waiting, known))
        return plan.with_children(tuple(self.inline(child, after) for child in plan.children))

    def sampled(self, plan: Plan) -> tuple[int, ...]:
        """The exchanges that an exchange wants to know of first."""
        samples = plan.samples if isinstance(plan, Exchange) else ()
        return tuple(stage.exchange for sample in samples for stage in _stages(self.inline(sample, ())))

    def left_first(self, plan: Join) -> bool:
        """Whether the left input's keys can reduce a larger right one."""
        kinds = ("left", "semi", "anti")
        return (
            plan.kind in kinds
            and not plan.runtime
            and self.estimate(plan.left).rows < self.estimate(plan.right).rows
        )

    def exchange(self, plan: Exchange, after: tuple[int, ...]) -> Stage:
        stage = self.stages.get(id(plan))
        if stage is None:
            stage = self.moved(plan, after)
            self.stages[id(plan)] = stage
        return stage

    def moved(self, plan: Exchange, after: tuple[int, ...]) -> Stage:
        if isinstance(plan.target, Sorted):
            return self.sorted(plan, plan.target)
        after += self.sampled(plan)
        piece = self.inline(plan.input, after)
        target = plan.target
        if plan.kept:
            route = Route.KEEP
        elif isinstance(target, Single):
            route = Route.GATHER
        elif isinstance(target, Replicated):
            route = Route.BROADCAST
        else:
            route = Route.PARTITION
        waits = after if route is Route.PARTITION and _place(piece) is Place.WORKERS else ()
        fragment = self.fragment(plan.input, piece, route, waits, target)
        self.exchanges[id(plan)] = fragment.id
        self.targets[fragment.id] = target
        rows = self.estimate(plan.input).rows
        return Stage(fragment.id, plan.columns, target, rows, plan.input, False)

    def fragment(
        self,
        plan: Plan,
        piece: Plan,
        route: Route,
        after: tuple[int, ...],
        target: Distribution,
        items: str = "*",
    ) -> Fragment:
        stages = _stages(piece)
        place = _place(piece)
        splits = Splits(self.workers)
        free = not stages and self.workers == 1
        sql = render(piece, splits.source, None if free else self.builds_left)
        if route is Route.PARTITION:
            number = partition_number(target, piece.columns, self.workers)
            sql = f"SELECT *, CAST({number} AS USMALLINT) AS {PARTITION} FROM ({sql})"
        elif items != "*":
            sql = f"SELECT {items} FROM ({sql})"
        if place is Place.CLIENT:
            texts: tuple[str, ...] = (splits.whole(sql),)
        else:
            texts = tuple(splits.fill(sql, rank) for rank in range(self.workers))
            if route is not Route.KEEP and self.workers > 1 and _is_replicated(piece):
                # Every worker has all rows; one of them sends.
                texts = (texts[0],) + (f"SELECT * FROM ({texts[0]}) LIMIT 0",) * (self.workers - 1)
        staging = ""
        if route is Route.WRITE:
            assert self.sink is not None
            staging = self.sink.staging
            texts = tuple(self.sink.statement(text, rank) for rank, text in enumerate(texts))
        estimated = self.estimate(plan)
        inputs = tuple(Input(stage_name(stage), stage.exchange) for stage in stages)
        if isinstance(target, Skewed) and target.exchange not in {one.exchange for one in inputs}:
            inputs += (Input(f"exchange_{target.exchange}", target.exchange),)
        size = estimated.rows * estimated.width(plan.columns)
        waits = tuple(dict.fromkeys(i for i in after if i not in {one.exchange for one in inputs}))
        filters = runtime_filters(piece)
        unfiltered = self.estimate(without_runtime_filters(plan)).rows if filters else 0.0
        fragment = Fragment(
            self.take_id(), place, texts, inputs, route, waits, free, title(piece), estimated.rows, size,
            tuple(RuntimeFilter(*each) for each in filters), unfiltered, staging, _is_private(piece),
        )  # fmt: skip
        self.add(fragment, plan)
        self.trees.add(fragment.id)
        return fragment

    def builds_left(self, plan: Join) -> bool:
        """Whether a semi or anti join's left input is so much smaller that it should be in the hash table."""
        return self.estimate(plan.left).rows * 4 < self.estimate(plan.right).rows

    def sorted(self, plan: Exchange, target: Sorted) -> Stage:
        """A sample of sort keys gives boundaries; rows then go to the worker that sorts their range."""
        piece = self.inline(plan.input, ())
        kept = self.fragment(plan.input, piece, Route.KEEP, (), Spread())
        key = f"create_sort_key({', '.join(_sort_key(k) for k in target.keys)})"
        source = f"exchange_{kept.id}"
        sample = Fragment(
            self.take_id(), Place.WORKERS,
            (f"SELECT {key} AS k FROM {source} USING SAMPLE 1000 ROWS",) * self.workers,
            (Input(source, kept.id),), Route.GATHER, (), False, "sample sort keys", 1000.0 * self.workers, 4e4,
        )  # fmt: skip
        self.add(sample, plan.input)
        steps = ", ".join(f"{i}/{self.workers}" for i in range(1, self.workers))
        bounds = Fragment(
            self.take_id(), Place.CLIENT,
            (f"SELECT quantile_disc(k, [{steps}]) AS {BOUNDARIES} FROM exchange_{sample.id}",),
            (Input(f"exchange_{sample.id}", sample.id),), Route.BROADCAST, (), False, "choose boundaries", 1.0, 100.0,
        )  # fmt: skip
        self.add(bounds, plan.input)
        columns = ", ".join(map(quote, plan.columns))
        number = f"CAST(len(list_filter({BOUNDARIES}, lambda {BOUND}: {BOUND} <= {key})) AS USMALLINT)"
        estimated = self.estimate(plan.input)
        spread = Fragment(
            self.take_id(), Place.WORKERS,
            (f"SELECT {columns}, coalesce({number}, 0) AS {PARTITION} FROM {source} CROSS JOIN exchange_{bounds.id}",)
            * self.workers,
            (Input(source, kept.id), Input(f"exchange_{bounds.id}", bounds.id)), Route.PARTITION, (), False,
            "move by sort range", estimated.rows, estimated.rows * estimated.width(plan.columns),
        )  # fmt: skip
        self.add(spread, plan.input)
        self.exchanges[id(plan)] = spread.id
        self.targets[spread.id] = target
        return Stage(spread.id, plan.columns, target, estimated.rows, plan.input, False)


def partition_number(target: Distribution, columns: tuple[str, ...], workers: int) -> str:
    """SQL for the rank of the worker that gets a row."""
    if isinstance(target, Hashed):
        return f"{_hash([min(key) for key in target.keys], target.types)} % {workers}"
    if isinstance(target, Skewed):
        frequent = f"SELECT {quote(target.column)} FROM exchange_{target.exchange}"
        return (
            f"CASE WHEN {_hash(target.keys, target.types)} IN ({frequent}) THEN (row_number() OVER ()) % {workers} "
            f"ELSE {partition_number(target.base, columns, workers)} END"
        )
    if isinstance(target, Ranged):
        key = quote(min(target.key))
        branches = " ".join(f"WHEN {key} < {bound} THEN {i}" for i, bound in enumerate(target.boundaries))
        return f"CASE WHEN {key} IS NULL THEN 0 {branches} ELSE {workers - 1} END"
    return f"(row_number() OVER ()) % {workers}"


def _hash(keys: Iterable[str], types: Iterable[str]) -> str:
    casts = (
        f"CAST({quote(key)} AS {type_})" if type_ else quote(key)
        for key, type_ in zip(keys, types, strict=True)
    )
    return f"hash({', '.join(casts)})"


def _sort_key(rendered: str) -> str:
    """``"a" DESC NULLS FIRST`` to the two arguments of create_sort_key."""
    text, direction, nulls = rendered, "ASC", "NULLS LAST"
    for suffix in ("NULLS FIRST", "NULLS LAST"):
        if text.endswith(suffix):
            text, nulls = text[: -len(suffix)].rstrip(), suffix
    for suffix in ("DESC", "ASC"):
        if text.endswith(" " + suffix):
            text, direction = text[: -len(suffix)].rstrip(), suffix
    return f"{text}, '{direction} {nulls}'"


def _stages(piece: Plan) -> list[Stage]:
    found = {leaf.exchange: leaf for leaf in leaves(piece) if isinstance(leaf, Stage)}
    return list(found.values())


def _is_ordered(plan: Plan, exchanges: dict[int, int], exchange: int) -> bool:
    if isinstance(plan, Exchange):
        return plan.ordered and exchanges.get(id(plan)) == exchange
    return any(_is_ordered(child, exchanges, exchange) for child in plan.children)


def _place(piece: Plan) -> Place:
    """Where a piece without exchanges runs: its leaves are all in one place, literal rows apart."""
    for leaf in leaves(piece):
        if isinstance(leaf, Scan) and leaf.split is not None:
            return Place.WORKERS
        if isinstance(leaf, Stage) and not isinstance(leaf.target, Single):
            return Place.WORKERS
    return Place.CLIENT


def _is_private(piece: Plan) -> bool:
    return any(isinstance(leaf, Scan) and leaf.table.private for leaf in leaves(piece))


def _is_replicated(piece: Plan) -> bool:
    def everywhere(leaf: Plan) -> bool:
        if isinstance(leaf, Scan):
            return isinstance(leaf.split, Replicated)
        return isinstance(leaf, Values) or (isinstance(leaf, Stage) and isinstance(leaf.target, Replicated))

    return all(everywhere(leaf) for leaf in leaves(piece))


def title(piece: Plan) -> str:
    """A few words on what a fragment does, leaves first."""
    words: list[str] = []

    def walk(plan: Plan) -> None:
        filters = isinstance(plan, Join) and plan.runtime
        for child in plan.children[:1] if filters else plan.children:
            walk(child)
        if isinstance(plan, Scan):
            words.append(f"scan {plan.table.name}")
        elif isinstance(plan, Join) and plan.runtime:
            words.append("runtime filter")
        elif isinstance(plan, Join):
            words.append(f"{plan.kind} join" if plan.kind != "inner" else "join")
        elif isinstance(plan, Aggregate):
            words.append(f"{plan.phase} aggregate".strip())
        elif isinstance(plan, Sort):
            words.append(
                "top" if plan.limit is not None and plan.order else "limit" if plan.limit else "sort"
            )
        elif isinstance(plan, Stage):
            words.append(f"read {plan.exchange}")
        elif isinstance(plan, (Filter, Project, Values)):
            pass
        else:
            words.append(type(plan).__name__.lower())

    walk(piece)
    return ", ".join(words)
