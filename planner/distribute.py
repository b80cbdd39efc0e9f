"""``distribute``: an Exchange wherever an input does not lie as its operator requires.

One walk from the leaves up. Each operator states what it requires of its inputs and what it delivers; an input
that lies well enough already is left where it is.
"""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from sord.planner.context import Context
from sord.planner.distribute_joins import distribute_join
from sord.planner.distribution import (
    Distribution,
    Hashed,
    Ranged,
    Replicated,
    Single,
    Sorted,
    Spread,
)
from sord.planner.estimate import Estimator
from sord.planner.expressions import column, column_id
from sord.planner.logical import (
    Aggregate,
    AssertOneRow,
    Exchange,
    Filter,
    Join,
    Output,
    Plan,
    Project,
    Scan,
    SetOperation,
    SharedRef,
    Sort,
    Stage,
    Unnest,
    Values,
    Window,
    With,
    in_order,
)
from sord.planner.render import expression_sql
from sord.planner.skew import frequent_keys, is_split, is_worth_sampling
from sord.planner.split_aggregates import moved_rows, splitting_pays
from sord.planner.two_phases import distinct_arguments, has_two_phases, in_two_phases

Placed = tuple[Plan, Distribution]

_FEW_ROWS = 100_000
"""So many rows or fewer the client aggregates itself: gathering them costs less than another stage."""
_SORT_AT_CLIENT = 64e6
"""Bytes up to which a full sort is the client's."""


_KEPT_AT_CLIENT = 64e6
"""Bytes of a table in the client's DuckDB up to which joins and the like happen where it is."""


def distribute(plan: Plan, context: Context, estimate: Estimator) -> Plan:
    """A plan whose rows end up at the client, in order if the query demands one.

    Rows that workers write to files stay where they are made; an order is then that of the ranks.
    """
    estimate(plan)
    return _moved_once(_Distributor(context, estimate, _interesting(plan)).root(plan))


class _Distributor:
    def __init__(self, context: Context, estimate: Estimator, interesting: set[str]) -> None:
        self.context = context
        self.workers = context.options.workers
        self.in_place = context.sink is not None and context.sink.in_place
        self.estimate = estimate
        self.interesting = interesting
        self.shared: dict[str, Distribution] = {}

    def root(self, plan: Plan) -> Plan:
        if isinstance(plan, With):
            definitions: list[Plan] = []
            for name, definition in zip(plan.names, plan.definitions, strict=True):
                placed, self.shared[name] = self.place(definition)
                definitions.append(placed)
            return With(plan.names, tuple(definitions), self.root(plan.body))
        if isinstance(plan, Project) and isinstance(plan.input, Sort):
            return plan.with_children((self.root(plan.input),))
        if isinstance(plan, Sort) and plan.limit is None and not plan.offset and self.workers > 1:
            source, where = self.place(plan.input)
            size = self.estimate(plan.input).rows * self.estimate(plan.input).width(plan.columns)
            large = size > _SORT_AT_CLIENT and self.context.options.sort_ranges
            if not isinstance(where, (Single, Replicated)) and large:
                keys = tuple(map(expression_sql, plan.order))
                ranged = replace(plan, input=Exchange(source, Sorted(keys)))
                return ranged if self.in_place else Exchange(ranged, Single(), ordered=True)
            return plan.with_children((self.moved(source, where, Single()),))
        placed, where = self.place(plan)
        if self.in_place:
            return placed
        return self.moved(placed, where, Single(), ordered=self.workers == 1)

    def place(self, plan: Plan) -> Placed:
        """The plan with exchanges, and how its rows lie."""
        if isinstance(plan, Scan):
            return self.scan(plan)
        if isinstance(plan, Values):
            return plan, Single()
        if isinstance(plan, Stage):
            return plan, plan.target
        if isinstance(plan, SharedRef):
            names: dict[str, set[str]] = {}
            for new, old in plan.outputs:
                names.setdefault(old, set()).add(new)
            return plan, self.shared[plan.name].visible(names)
        if isinstance(plan, Filter):
            source, where = self.place(plan.input)
            return plan.with_children((source,)), where
        if isinstance(plan, Project):
            source, where = self.place(plan.input)
            return plan.with_children((source,)), where.visible(_renames(plan.outputs))
        if is_split(plan):
            return plan, Spread()  # its left side has been moved, and the right one lies to match
        if isinstance(plan, Join):
            left, right = self.shared_out(plan.left), self.shared_out(plan.right)
            return distribute_join(plan, left, right, self.context, self.estimate)
        if isinstance(plan, Aggregate):
            return self.aggregate(plan)
        if isinstance(plan, Unnest):
            source, where = self.place(plan.input)
            return plan.with_children((source,)), where
        if isinstance(plan, Window):
            return self.window(plan)
        if isinstance(plan, SetOperation):
            return self.set_operation(plan)
        if isinstance(plan, Sort):
            return self.sort(plan)
        if isinstance(plan, AssertOneRow):
            source, where = self.place(plan.input)
            if not isinstance(where, (Single, Replicated)):
                source, where = self.moved(source, where, Single()), Single()
            return plan.with_children((source,)), where
        raise AssertionError(f"{type(plan).__name__} can't be distributed")

    def shared_out(self, plan: Plan) -> Placed:
        """The plan in its place; if it reads a large table of the client's, each worker gets a share of the rows."""
        placed, where = self.place(plan)
        size = self.estimate(plan).rows * self.estimate(plan).width(plan.columns)
        if self.workers == 1 or not is_own_table(plan) or size <= _KEPT_AT_CLIENT:
            return placed, where
        return Exchange(placed, Spread()), Spread()

    def moved(self, plan: Plan, where: Distribution, target: Distribution, ordered: bool = False) -> Plan:
        if where == target:
            return plan
        return Exchange(plan, target, ordered)

    def scan(self, plan: Scan) -> Placed:
        if plan.table.files is None:
            return plan, Single()
        if self.workers == 1:
            # With one worker every row is on every worker, and no operator needs anything moved.
            return replace(plan, split=Replicated()), Replicated()
        ids = {name: id_ for id_, name in plan.outputs}
        for clustering in plan.table.clusterings:
            id_ = ids.get(clustering.column)
            if id_ is None or id_ not in self.interesting:
                continue
            boundaries = clustering.boundaries(self.workers)
            groups = len(clustering.row_groups)
            if len(set(boundaries)) == self.workers - 1 and 2 * groups >= self.workers:
                split = Ranged(frozenset((id_,)), boundaries)
                return replace(plan, split=split), split
        return replace(plan, split=Spread()), Spread()

    def aggregate(self, plan: Aggregate) -> Placed:
        if plan.phase == "partial":
            source, where = self.place(plan.input)
            return plan.with_children((source,)), where.visible(_renames(plan.common))
        plan = _keys_as_columns(plan)
        many_groups = bool(plan.common) and self.estimate(plan).rows > _FEW_ROWS
        source, where = (self.shared_out if many_groups else self.place)(plan.input)
        keys = {id_ for _, e in plan.common if (id_ := column_id(e)) is not None}
        if not isinstance(where, (Single, Replicated)) and not (keys and where.clusters(keys)):
            many = moved_rows(plan, self.context, self.estimate) > _FEW_ROWS
            if plan.sets and self.is_split_by_sets(plan):
                return self.by_sets(plan, source, many)
            target: Distribution = Single()
            if plan.common and many:
                target = self.hashed([e for _, e in plan.common], plan.input)
            source, where = Exchange(source, target, samples=self.samples(plan, source, target)), target
        return plan.with_children((source,)), where.visible(_renames(plan.common))

    def is_split_by_sets(self, plan: Aggregate) -> bool:
        """Whether grouping sets take two phases. Without a key in all of them, one phase is the client's alone."""
        if plan.common:
            return splitting_pays(plan, self.context, self.estimate)
        return has_two_phases(plan, self.context)

    def by_sets(self, plan: Aggregate, source: Plan, many: bool) -> Placed:
        """Grouping sets in two phases: the second is a plain aggregate by the keys and the number of the set."""

        def move(lower: Plan, ids: tuple[str, ...]) -> Exchange:
            return Exchange(lower, self.hashed([column(id_) for id_ in ids], lower) if many else Single())

        result = in_two_phases(replace(plan, input=source), self.context, move)
        outputs = tuple((id_, column(id_)) for id_ in plan.columns)
        assert isinstance(result.input, Exchange)
        return Project(result, outputs), result.input.target.visible(_renames(outputs))

    def samples(self, plan: Aggregate, source: Plan, target: Distribution) -> tuple[Plan, ...]:
        """What tells whether a first phase should take the load of frequent keys off one worker."""
        if not isinstance(target, Hashed) or plan.sets or distinct_arguments(plan):
            return ()
        if not has_two_phases(plan, self.context) or splitting_pays(plan, self.context, self.estimate):
            return ()
        ids = [min(key) for key in target.keys]
        if not is_worth_sampling(plan.input, ids, self.context, self.estimate):
            return ()
        found = frequent_keys(source, ids, target.types, self.context)
        return () if found is None else (found,)

    def window(self, plan: Window) -> Placed:
        source, where = (self.shared_out if plan.partition else self.place)(plan.input)
        ids = [column_id(key) for key in plan.partition]
        keys = {id_ for id_ in ids if id_ is not None}
        if not isinstance(where, (Single, Replicated)) and not where.clusters(keys):
            target: Distribution = Single()
            if keys and None not in ids:
                target = self.hashed(list(plan.partition), plan.input)
            source, where = Exchange(source, target), target
        return plan.with_children((source,)), where

    def set_operation(self, plan: SetOperation) -> Placed:
        # Placing a join may have added a key; the columns of these are told by their positions.
        placed = [(self.place(side), side.columns) for side in plan.inputs]
        sides = [(in_order(side, columns), where) for (side, where), columns in placed]
        wheres = [where for _, where in sides]
        for kind in (Single, Replicated):
            if all(isinstance(where, kind) for where in wheres):
                return replace(plan, inputs=tuple(side for side, _ in sides)), wheres[0]
        moved: list[Plan] = []
        if plan.kind == "union" and plan.all:
            for side, where in sides:
                away = isinstance(where, (Single, Replicated))
                moved.append(Exchange(side, Spread()) if away else side)
            return replace(plan, inputs=tuple(moved)), Spread()
        for side, where in sides:
            # A hash depends on the type, so it is that of the result's.
            target = Hashed(tuple(frozenset((id_,)) for id_ in side.columns), plan.types)
            moved.append(self.moved(side, where, target))
        result = Hashed(tuple(frozenset((id_,)) for id_ in plan.outputs), plan.types)
        return replace(plan, inputs=tuple(moved)), result

    def sort(self, plan: Sort) -> Placed:
        source, where = self.place(plan.input)
        if isinstance(where, (Single, Replicated)):
            return plan.with_children((source,)), where
        if plan.limit is not None:
            source = Sort(source, plan.order, plan.limit + plan.offset, 0, "partial")
        return plan.with_children((Exchange(source, Single()),)), Single()

    def hashed(self, keys: list[exp.Expr], source: Plan) -> Hashed:
        ids = [id_ for key in keys if (id_ := column_id(key)) is not None]
        types = (self.context.type_of(id_, source) for id_ in ids)
        return Hashed(tuple(frozenset((id_,)) for id_ in ids), tuple(type_ or "" for type_ in types))


def is_own_table(plan: Plan) -> bool:
    """Whether the plan takes rows and columns of one table in the client's DuckDB."""
    while isinstance(plan, (Filter, Project)):
        plan = plan.input
    return isinstance(plan, Scan) and plan.table.files is None


def _moved_once(plan: Plan) -> Plan:
    """Rows that are moved from the client to any worker, and on from there, go to their place at once."""
    plan = plan.with_children(tuple(map(_moved_once, plan.children)))
    if isinstance(plan, Exchange) and not plan.samples and isinstance(plan.input, Exchange):
        first = plan.input
        if first.target == Spread() and not first.kept and is_own_table(first.input):
            return replace(plan, input=first.input)
    return plan


def _keys_as_columns(plan: Aggregate) -> Aggregate:
    """Compute keys below the aggregate, so that rows can be moved by them."""
    computed = [(id_, e) for id_, e in plan.keys if column_id(e) is None]
    if not computed:
        return plan
    passed = [(id_, column(id_)) for id_ in plan.input.columns]
    keys = tuple((id_, column(id_) if column_id(e) is None else e) for id_, e in plan.keys)
    return replace(plan, input=Project(plan.input, (*passed, *computed)), keys=keys)


def _renames(outputs: tuple[Output, ...]) -> dict[str, set[str]]:
    """For each input column the ids under which it passes unchanged."""
    result: dict[str, set[str]] = {}
    for new, expression in outputs:
        old = column_id(expression)
        if old is not None:
            result.setdefault(old, set()).add(new)
    return result


def _interesting(plan: Plan) -> set[str]:
    """Columns that some join, aggregate or window above would like rows to be laid out by."""
    found: set[str] = set()
    stack = [plan]
    while stack:
        node = stack.pop()
        expressions: list[exp.Expr] = []
        if isinstance(node, Join):
            expressions = [side for key in node.keys for side in key]
        elif isinstance(node, Aggregate):
            expressions = [e for _, e in node.common]
        elif isinstance(node, Window):
            expressions = list(node.partition)
        found |= {id_ for e in expressions if (id_ := column_id(e)) is not None}
        if isinstance(node, Project):
            # A key may be a renamed column: then what it is called below counts as well.
            found |= {old for new, e in node.outputs if new in found and (old := column_id(e)) is not None}
        stack.extend(node.children)
    return found
