"""The cheapest order of a join block.

Dynamic programming over connected subgraphs and their complements (DPccp, Moerkotte and Neumann, VLDB 2006) with
semi and anti joins as inputs that only filter. The cost counts rows built, probed and made, and bytes moved, with
each subplan's partitioning carried along. Past a budget of pairs, only the pairs that a greedy order suggests are
looked at.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from sqlglot import exp

from sord.planner.cardinality import Estimate
from sord.planner.context import Options
from sord.planner.cost import Layout, choose
from sord.planner.cost import scan as scan_cost
from sord.planner.distribution import Replicated, partition_keys
from sord.planner.estimate import Estimator
from sord.planner.expressions import references
from sord.planner.join_block import JoinBlock, Relation, conditions, is_in_block, join_of, left_mask
from sord.planner.join_graph import connected_pairs, intervals, neighbours_of
from sord.planner.join_size import join as estimate_join
from sord.planner.logical import Filter, Join, Plan, Project, Scan, Stage, source_of
from sord.planner.proofs import is_one_row

_PAIRS = 2_500
"""Joins of two sets that are looked at at most: each takes some 20 microseconds."""


@dataclass(slots=True)
class Entry:
    """The best plan for a set of relations."""

    seconds: float
    mask: int
    estimate: Estimate
    width: float
    place: int | None
    """The class by whose value rows are partitioned."""
    everywhere: float
    replicated: bool = False
    """All rows are on every worker."""
    left: Entry | None = None
    right: Entry | None = None
    relation: Relation | None = None


class JoinSearch:
    """One search over the orders of a block."""

    def __init__(self, block: JoinBlock, options: Options, estimator: Estimator) -> None:
        self.block = block
        self.options = options
        self.estimator = estimator
        self.table: dict[int, Entry] = {}
        self.filters = {
            number: left_mask(block, relation)
            for number, relation in enumerate(block.relations)
            if relation.kind != "inner"
        }
        self.needed = self._needed()
        self.loose = self._loose()
        self.neighbours = self._graph()
        self.class_of = {id_: number for number, members in enumerate(block.classes) for _, id_ in members}
        self.widths = self._widths()
        for number, relation in enumerate(block.relations):
            self.table[1 << number] = self._leaf(number, relation)

    def best(self) -> Entry:
        """The cheapest order; without the relations that :meth:`plan` joins last."""
        everything = ((1 << len(self.block.relations)) - 1) & ~self.loose
        pairs = list(itertools.islice(connected_pairs(self.neighbours), _PAIRS + 1))
        if len(pairs) > _PAIRS:
            self._greedy(everything)
            pairs = list(intervals(self._leaves(self.table[everything]), self.neighbours))
        for left, right in pairs:
            self._offer(left, right)
            self._offer(right, left)
        return self.table[everything]

    def present(self, plan: Plan) -> Entry:
        """What the order costs in which the joins of the block's plan stand."""
        numbers = itertools.count()

        def cost_of(node: Plan) -> Entry:
            if not is_in_block(node):
                return self.table[1 << next(numbers)]
            left = cost_of(node.children[0])
            if not isinstance(node, Join):
                return left
            right = cost_of(node.right) if node.kind == "inner" else self.table[1 << next(numbers)]
            if left.mask & ~self.loose == 0:
                return right
            if right.mask & ~self.loose == 0:
                return left
            relation = self.block.relations[right.mask.bit_length() - 1] if node.kind != "inner" else None
            return self._joined(left, right, left.mask | right.mask, relation, None)

        return cost_of(plan)

    def plan(self, entry: Entry) -> Plan:
        """The joins of an order, and then those that make every row wider, by relations of one row."""
        plan = self._plan(entry)
        for number, relation in enumerate(self.block.relations):
            if self.loose >> number & 1:
                plan = Join("inner", plan, relation.plan)
        return plan

    def _leaves(self, entry: Entry) -> list[int]:
        """The relations of a plan from left to right."""
        if entry.left is None or entry.right is None:
            return [entry.mask.bit_length() - 1]
        return self._leaves(entry.left) + self._leaves(entry.right)

    def _loose(self) -> int:
        """Relations of one row that no condition uses: they make the result wider wherever they are joined."""
        mask = 0
        used = 0
        for concerned, _ in self.needed:
            used |= concerned
        for number, relation in enumerate(self.block.relations):
            if relation.kind == "inner" and not used >> number & 1 and is_one_row(relation.plan):
                mask |= 1 << number
        # Something has to be left for them to be joined with.
        return mask & mask - 1 if mask == (1 << len(self.block.relations)) - 1 else mask

    def _plan(self, entry: Entry) -> Plan:
        if entry.left is None or entry.right is None:
            assert entry.relation is not None
            return entry.relation.plan
        left, right = self._plan(entry.left), self._plan(entry.right)
        return join_of(self.block, left, entry.left.mask, right, entry.right.mask, entry.right.relation)

    def _leaf(self, number: int, relation: Relation) -> Entry:
        estimate = self.estimator(relation.plan)
        source = relation.plan.input if isinstance(relation.plan, Filter) else relation.plan
        everywhere = math.inf
        if isinstance(source, Scan) and source.table.files is not None:
            everywhere = scan_cost(source.table.rows, self.estimator(source).width(), self.options)
        elif estimate.rows <= 1:
            everywhere = 0.0
        place, replicated = self._lying(relation.plan)
        width = self._width(1 << number)
        return Entry(0.0, 1 << number, estimate, width, place, everywhere, replicated, relation=relation)

    def _lying(self, plan: Plan) -> tuple[int | None, bool]:
        """The class by whose value a relation's rows are partitioned, and whether all of them are everywhere."""
        source = source_of(plan)
        if isinstance(source, Stage):
            keys = partition_keys(source.target)
            found = (self.class_of.get(id_) for id_ in sorted(keys[0] if keys else ()))
            return next((c for c in found if c is not None), None), isinstance(source.target, Replicated)
        if isinstance(source, Scan) and source.table.files is not None:
            names = {name: id_ for id_, name in source.outputs}
            for clustering in source.table.clusterings:
                place = self.class_of.get(names.get(clustering.column, ""))
                if place is not None:
                    return place, False
        return None, False

    def _needed(self) -> list[tuple[int, set[str]]]:
        """For each condition and output: the relations that it concerns and the columns that it uses."""
        block = self.block
        found = [(block.mask(predicate), references(predicate)) for predicate in block.predicates]
        for members in block.classes:
            mask = 0
            for number, _ in members:
                mask |= 1 << number
            found.append((mask, {id_ for _, id_ in members}))
        for number, relation in enumerate(block.relations):
            if relation.kind != "inner":
                used = references(*(a for a, _ in relation.keys), *relation.residual)
                found.append((self.filters[number] | 1 << number, used))
        return found

    def _widths(self) -> list[list[tuple[float, int]]]:
        """For each relation its columns' widths, each with the relations whose joins need the column."""
        outputs = references(*(expression for _, expression in self.block.outputs))
        concerned: dict[str, int] = {}
        for mask, used in self.needed:
            for id_ in used:
                concerned[id_] = concerned.get(id_, 0) | mask
        result = []
        for number, relation in enumerate(self.block.relations):
            columns = self.estimator(relation.plan).columns
            always = outputs if number not in self.filters else set(relation.plan.columns)
            result.append(
                [
                    (columns[id_].width if id_ in columns else 8.0, -1 if id_ in always else concerned[id_])
                    for id_ in relation.plan.columns
                    if id_ in always or id_ in concerned
                ]
            )
        return result

    def _width(self, mask: int) -> float:
        """Bytes of a row of a set of relations, as far as something outside of it still needs them."""
        total = 0.0
        for number, columns in enumerate(self.widths):
            if mask >> number & 1 and (number not in self.filters or mask == 1 << number):
                total += sum(width for width, concerned in columns if concerned & ~mask)
        return max(4.0, total)

    def _graph(self) -> list[int]:
        neighbours = [0] * len(self.block.relations)
        for mask, _ in self.needed:
            members = [number for number in range(len(neighbours)) if mask >> number & 1]
            for number in members:
                if number in self.filters:
                    neighbours[number] |= self.filters[number]
                    continue
                neighbours[number] |= mask & ~(1 << number)
        for number, needs in self.filters.items():
            for other in range(len(neighbours)):
                if needs >> other & 1:
                    neighbours[other] |= 1 << number
        return self._connected(neighbours)

    def _connected(self, neighbours: list[int]) -> list[int]:
        """Join unconnected parts of the graph by an edge between their smallest relations."""
        everything = ((1 << len(neighbours)) - 1) & ~self.loose
        reached = everything & -everything
        while True:
            grown = reached
            for number, near in enumerate(neighbours):
                if reached >> number & 1:
                    grown |= near
            if grown != reached:
                reached = grown
                continue
            if reached == everything:
                return neighbours
            rows = [self.estimator(relation.plan).rows for relation in self.block.relations]
            inner = [n for n in range(len(rows)) if n not in self.filters and everything >> n & 1]
            a = min((n for n in inner if reached >> n & 1), key=lambda n: rows[n])
            b = min((n for n in inner if not reached >> n & 1), key=lambda n: rows[n])
            neighbours[a] |= 1 << b
            neighbours[b] |= 1 << a

    def _offer(self, left_mask: int, right_mask: int) -> None:
        """Consider the join of two solved sets, the right one as the build side."""
        left, right = self.table.get(left_mask), self.table.get(right_mask)
        if left is None or right is None:
            return
        number = right_mask.bit_length() - 1
        filters = right_mask == 1 << number and number in self.filters
        if left_mask in (1 << n for n in self.filters) or (filters and self.filters[number] & ~left_mask):
            return
        if not filters and right.estimate.rows * right.width > left.estimate.rows * left.width * 1.0001:
            return  # the other order is offered as well
        mask = left_mask | right_mask
        known = self.table.get(mask)
        if known is not None and left.seconds + right.seconds >= known.seconds:
            return
        entry = self._joined(left, right, mask, self.block.relations[number] if filters else None, known)
        if known is None or entry.seconds < known.seconds:
            self.table[mask] = entry

    def _joined(
        self, left: Entry, right: Entry, mask: int, relation: Relation | None, known: Entry | None
    ) -> Entry:
        if relation is not None:
            kind, keys, residual = relation.kind, list(relation.keys), list(relation.residual)
        else:
            kind = "inner"
            keys, residual = conditions(self.block, left.mask, right.mask)
        if known is not None:
            estimate = known.estimate  # a set's estimate doesn't depend on how it was joined
        else:
            estimate = estimate_join(kind, left.estimate, right.estimate, keys, residual)
        classes = [self.class_of.get(a.name) for a, _ in keys if isinstance(a, exp.Column)]
        left_placed = left.place is not None and left.place in classes
        right_place = right.place if relation is None else self._place_of(right, keys)
        right_placed = right_place is not None and right_place in classes
        choice = choose(
            kind,
            Layout(left.estimate.rows, left.width, left_placed, left.replicated, left.everywhere),
            Layout(right.estimate.rows, right.width, right_placed, right.replicated, right.everywhere),
            left_placed and left.place == right_place,
            bool(keys),
            estimate.rows,
            self.options,
        )
        if choice.left in ("broadcast", "replicate") or left.replicated:
            place = right.place
        elif choice.left == "shuffle":
            place = (
                right_place if choice.right == "keep" else next((c for c in classes if c is not None), None)
            )
        else:
            place = left.place
        width = self._width(mask)
        seconds = left.seconds + right.seconds + choice.seconds
        everywhere = left.everywhere + right.everywhere
        replicated = left.replicated and right.replicated
        return Entry(seconds, mask, estimate, width, place, everywhere, replicated, left, right)

    def _place_of(self, right: Entry, keys: list[tuple[exp.Expr, exp.Expr]]) -> int | None:
        """The class by which a filtering relation lies: its own column is in none, its partner's is."""
        assert right.relation is not None
        plan = right.relation.plan
        by = _partitioned_by(plan)
        for a, b in keys:
            if isinstance(a, exp.Column) and isinstance(b, exp.Column) and b.name in by:
                return self.class_of.get(a.name)
        return None

    def _greedy(self, everything: int) -> None:
        """Join the pair that makes the cheapest next step, until one plan is left (GOO, Fegaras 1998)."""
        parts = [1 << number for number in range(len(self.block.relations)) if everything >> number & 1]
        while len(parts) > 1:
            best: tuple[float, int, int] | None = None
            for a in parts:
                for b in parts:
                    if a == b or not neighbours_of(a, self.neighbours) & b:
                        continue
                    self._offer(a, b)
                    self._offer(b, a)
                    found = self.table.get(a | b)
                    if found is not None and (best is None or found.seconds < best[0]):
                        best = (found.seconds, a, b)
            if best is None:
                raise AssertionError("a connected join graph has a next pair")
            parts = [part for part in parts if part not in best[1:]] + [best[1] | best[2]]


def _partitioned_by(plan: Plan) -> set[str]:
    """Columns by which a plan's rows can lie without being moved, judged from its scans' clusterings."""
    if isinstance(plan, Scan):
        names = {clustering.column for clustering in plan.table.clusterings}
        return {id_ for id_, name in plan.outputs if name in names}
    if isinstance(plan, Project):
        below = _partitioned_by(plan.input)
        return {id_ for id_, e in plan.outputs if isinstance(e, exp.Column) and e.name in below}
    if not plan.children:
        return set()
    return _partitioned_by(plan.children[0]) & set(plan.columns)
