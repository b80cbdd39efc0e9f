"""``order_joins``: the cheapest order of every join block.

Dynamic programming over connected subgraphs and their complements (DPccp, Moerkotte and Neumann, VLDB 2006) with
semi and anti joins as inputs that only filter. The cost counts rows built, probed and made, and bytes moved, with
each subplan's partitioning carried along. Past a budget of pairs, only the pairs that a greedy order suggests are
looked at.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

from sqlglot import exp

from sord.planner.cardinality import Estimate
from sord.planner.context import Context
from sord.planner.cost import Layout, choose
from sord.planner.cost import scan as scan_cost
from sord.planner.expressions import column, references
from sord.planner.join_block import JoinBlock, Relation, take_apart
from sord.planner.join_graph import connected_pairs, intervals, neighbours_of
from sord.planner.join_size import join as estimate_join
from sord.planner.logical import Filter, Join, Plan, Project, Scan, With
from sord.planner.proofs import is_one_row

_PAIRS = 2_500
"""Joins of two sets that are looked at at most: each takes some 20 microseconds."""


def order_joins(plan: Plan, context: Context) -> Plan:
    """Reorder every block of inner, semi and anti joins."""
    if isinstance(plan, With):
        plan = replace(plan, definitions=tuple(order_joins(one, context) for one in plan.definitions))
        context.estimate.define(plan)
        return replace(plan, body=order_joins(plan.body, context))
    block = take_apart(plan, context)
    if block is None:
        return plan.with_children(tuple(order_joins(child, context) for child in plan.children))
    for relation in block.relations:
        relation.plan = order_joins(relation.plan, context)
    return _with_outputs(_Search(block, context).best(), block)


def put_together(block: JoinBlock) -> Plan:
    """Joins in the order in which the relations stand: for passes that change inputs, not the order."""
    plan: Plan | None = None
    done = 0
    waiting = list(enumerate(block.relations))
    while waiting:
        number, relation = next(
            (n, r) for n, r in waiting if r.kind == "inner" or _left_mask(block, r) & ~done == 0
        )
        waiting.remove((number, relation))
        if plan is None:
            plan, done = relation.plan, 1 << number
            continue
        plan = _join(block, plan, done, relation.plan, 1 << number, relation)
        done |= 1 << number
    assert plan is not None
    return _with_outputs(plan, block)


def _with_outputs(plan: Plan, block: JoinBlock) -> Plan:
    if all(isinstance(e, exp.Column) and e.name == id_ for id_, e in block.outputs):
        return plan
    return Project(plan, block.outputs)


def _join(
    block: JoinBlock, left: Plan, left_mask: int, right: Plan, right_mask: int, relation: Relation | None
) -> Join:
    if relation is not None and relation.kind != "inner":
        return Join(relation.kind, left, right, relation.keys, relation.residual)
    keys, residual = _conditions(block, left_mask, right_mask)
    return Join("inner", left, right, tuple(keys), tuple(residual))


def _conditions(
    block: JoinBlock, left: int, right: int
) -> tuple[list[tuple[exp.Expr, exp.Expr]], list[exp.Expr]]:
    """Keys and residual of the join of two sets of relations: one equality per class, and what became complete."""
    keys: list[tuple[exp.Expr, exp.Expr]] = []
    for members in block.classes:
        a = b = None
        for number, id_ in members:
            if left >> number & 1:
                a = a or id_
            elif right >> number & 1:
                b = b or id_
        if a is not None and b is not None:
            keys.append((column(a), column(b)))
    residual: list[exp.Expr] = []
    for predicate in block.predicates:
        mask = block.mask(predicate)
        if mask & ~(left | right) or not mask & left or not mask & right:
            continue
        if isinstance(predicate, exp.EQ):
            a_mask, b_mask = block.mask(predicate.this), block.mask(predicate.expression)
            if a_mask & ~left == 0 and b_mask & ~right == 0:
                keys.append((predicate.this, predicate.expression))
                continue
            if b_mask & ~left == 0 and a_mask & ~right == 0:
                keys.append((predicate.expression, predicate.this))
                continue
        residual.append(predicate)
    return keys, residual


def _left_mask(block: JoinBlock, relation: Relation) -> int:
    """The relations that a semi or anti join's condition needs on its left."""
    own = set(relation.plan.columns)
    used = references(*(a for a, _ in relation.keys), *relation.residual) - own
    return block.mask_of(used) if used else 1


@dataclass(slots=True)
class _Entry:
    """The best plan for a set of relations."""

    seconds: float
    mask: int
    estimate: Estimate
    width: float
    place: int | None
    """The class by whose value rows are partitioned."""
    everywhere: float
    left: _Entry | None = None
    right: _Entry | None = None
    relation: Relation | None = None


class _Search:
    def __init__(self, block: JoinBlock, context: Context) -> None:
        self.block = block
        self.options = context.options
        self.estimator = context.estimate
        self.table: dict[int, _Entry] = {}
        self.filters = {
            number: _left_mask(block, relation)
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

    def best(self) -> Plan:
        everything = ((1 << len(self.block.relations)) - 1) & ~self.loose
        pairs = list(itertools.islice(connected_pairs(self.neighbours), _PAIRS + 1))
        if len(pairs) > _PAIRS:
            self._greedy(everything)
            pairs = list(intervals(self._leaves(self.table[everything]), self.neighbours))
        for left, right in pairs:
            self._offer(left, right)
            self._offer(right, left)
        plan = self._plan(self.table[everything])
        for number, relation in enumerate(self.block.relations):
            if self.loose >> number & 1:
                plan = Join("inner", plan, relation.plan)
        return plan

    def _leaves(self, entry: _Entry) -> list[int]:
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

    def _plan(self, entry: _Entry) -> Plan:
        if entry.left is None or entry.right is None:
            assert entry.relation is not None
            return entry.relation.plan
        left, right = self._plan(entry.left), self._plan(entry.right)
        return _join(self.block, left, entry.left.mask, right, entry.right.mask, entry.right.relation)

    def _leaf(self, number: int, relation: Relation) -> _Entry:
        estimate = self.estimator(relation.plan)
        scan = relation.plan.input if isinstance(relation.plan, Filter) else relation.plan
        place: int | None = None
        everywhere = math.inf
        width = self._width(1 << number)
        if isinstance(scan, Scan) and scan.table.files is not None:
            names = {name: id_ for id_, name in scan.outputs}
            for clustering in scan.table.clusterings:
                if clustering.column in names:
                    place = self.class_of.get(names[clustering.column])
                    if place is not None:
                        break
            everywhere = scan_cost(scan.table.rows, self.estimator(scan).width())
        elif estimate.rows <= 1:
            everywhere = 0.0
        return _Entry(0.0, 1 << number, estimate, width, place, everywhere, relation=relation)

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
        self, left: _Entry, right: _Entry, mask: int, relation: Relation | None, known: _Entry | None
    ) -> _Entry:
        if relation is not None:
            kind, keys, residual = relation.kind, list(relation.keys), list(relation.residual)
        else:
            kind = "inner"
            keys, residual = _conditions(self.block, left.mask, right.mask)
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
            Layout(left.estimate.rows, left.width, left_placed, everywhere=left.everywhere),
            Layout(right.estimate.rows, right.width, right_placed, everywhere=right.everywhere),
            left_placed and left.place == right_place,
            bool(keys),
            estimate.rows,
            self.options,
        )
        if choice.left in ("broadcast", "replicate"):
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
        return _Entry(seconds, mask, estimate, width, place, everywhere, left, right)

    def _place_of(self, right: _Entry, keys: list[tuple[exp.Expr, exp.Expr]]) -> int | None:
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
