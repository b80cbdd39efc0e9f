"""Join blocks: maximal trees of inner, semi and anti joins taken apart, to be reordered or reduced."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlglot import exp

from sord.planner.context import Context
from sord.planner.expressions import column, column_id, references, substitute
from sord.planner.logical import Filter, Join, Output, Plan, Project, Stage, source_of
from sord.planner.skew import is_split


@dataclass(slots=True)
class Relation:
    """One input of a block. A semi or anti one only filters; its keys are (over other relations, over itself)."""

    plan: Plan
    kind: str = "inner"
    keys: tuple[tuple[exp.Expr, exp.Expr], ...] = ()
    residual: tuple[exp.Expr, ...] = ()


@dataclass(slots=True)
class JoinBlock:
    """Relations and what must hold between them."""

    relations: list[Relation] = field(default_factory=list)
    classes: list[list[tuple[int, str]]] = field(default_factory=list)
    """Columns that are equal in every row of the result: (relation, column id), of one type."""
    predicates: list[exp.Expr] = field(default_factory=list)
    """All other conditions over several relations."""
    outputs: tuple[Output, ...] = ()
    """What the block delivers, over the relations' columns."""
    owner: dict[str, int] = field(default_factory=dict)
    """Which relation delivers a column."""

    _masks: dict[int, tuple[exp.Expr, int]] = field(default_factory=dict)

    def mask(self, expression: exp.Expr) -> int:
        """The relations that an expression refers to, as bits."""
        known = self._masks.get(id(expression))
        if known is not None:
            return known[1]
        mask = self.mask_of(references(expression))
        self._masks[id(expression)] = (expression, mask)  # kept so that its id is not used again
        return mask

    def mask_of(self, ids: Iterable[str]) -> int:
        """The relations that deliver columns, as bits."""
        mask = 0
        for id_ in ids:
            mask |= 1 << self.owner[id_]
        return mask

    def class_of(self, id_: str) -> int | None:
        """The number of the class that a column is in."""
        for number, members in enumerate(self.classes):
            if any(member == id_ for _, member in members):
                return number
        return None


def take_apart(plan: Plan, context: Context) -> JoinBlock | None:
    """The join block at the top of a plan; None if there is none."""
    if not isinstance(plan, Join) or not is_in_block(plan):
        return None
    block = JoinBlock()
    equal: list[tuple[exp.Expr, exp.Expr]] = []
    computed: dict[str, exp.Expr] = {}
    _collect(plan, block, equal, computed)
    for number, relation in enumerate(block.relations):
        if relation.kind == "inner":
            block.owner.update(dict.fromkeys(relation.plan.columns, number))
    if computed:
        equal = [(substitute(a, computed), substitute(b, computed)) for a, b in equal]
        block.predicates = [substitute(predicate, computed) for predicate in block.predicates]
        for relation in block.relations:
            relation.keys = tuple((substitute(a, computed), b) for a, b in relation.keys)
            relation.residual = tuple(substitute(predicate, computed) for predicate in relation.residual)
    block.outputs = tuple((id_, computed.get(id_, column(id_))) for id_ in plan.columns)
    for a, b in equal:
        _equate(block, a, b, context)
    _equate_within(block)
    _push_single(block)
    _spread_constants(block)
    return block


def is_in_block(plan: Plan) -> bool:
    """Whether a plan is one of a block's joins, or what computes columns of one, rather than an input."""
    if isinstance(plan, Project):
        return isinstance(plan.input, Join) and plan.input.kind == "inner" and is_in_block(plan.input)
    # A runtime filter belongs to what it filters, and the sides of a join that spreads frequent keys to each other.
    return (
        isinstance(plan, Join)
        and plan.kind in ("inner", "semi", "anti")
        and not plan.runtime
        and not is_split(plan)
    )


def _collect(
    plan: Plan,
    block: JoinBlock,
    equal: list[tuple[exp.Expr, exp.Expr]],
    computed: dict[str, exp.Expr],
) -> None:
    if not is_in_block(plan):
        block.relations.append(Relation(plan))
    elif isinstance(plan, Join) and plan.kind == "inner":
        _collect(plan.left, block, equal, computed)
        _collect(plan.right, block, equal, computed)
        equal.extend(plan.keys)
        block.predicates.extend(plan.residual)
    elif isinstance(plan, Join):
        _collect(plan.left, block, equal, computed)
        block.relations.append(Relation(plan.right, plan.kind, plan.keys, plan.residual))
    elif isinstance(plan, Project):
        _collect(plan.input, block, equal, computed)
        for id_, expression in plan.outputs:
            if column_id(expression) != id_:
                computed[id_] = substitute(expression, computed)


def _equate(block: JoinBlock, a: exp.Expr, b: exp.Expr, context: Context) -> None:
    left, right = column_id(a), column_id(b)
    same_type = left is not None and right is not None and _same_type(left, right, context)
    if not same_type or left is None or right is None or block.owner[left] == block.owner[right]:
        block.predicates.append(exp.EQ(this=a, expression=b))
        return
    merged = [(block.owner[left], left), (block.owner[right], right)]
    for member in (left, right):
        number = block.class_of(member)
        if number is not None:
            merged = block.classes.pop(number) + merged
    block.classes.append(list(dict.fromkeys(merged)))


def _same_type(left: str, right: str, context: Context) -> bool:
    type_ = context.types.get(left)
    # NaN and -0.0 are equal to others without being interchangeable.
    return type_ is not None and type_ == context.types.get(right) and type_ not in ("DOUBLE", "FLOAT")


def _equate_within(block: JoinBlock) -> None:
    """A join compares one column of each side for each class, so a relation's own members are compared in itself."""
    for members in block.classes:
        first: dict[int, str] = {}
        for number, id_ in members:
            known = first.setdefault(number, id_)
            if known != id_:
                block.predicates.append(exp.EQ(this=column(known), expression=column(id_)))


def _push_single(block: JoinBlock) -> None:
    """Conditions on one relation become its filters; those on none (``ON false``) filter the first relation."""
    several: list[exp.Expr] = []
    for predicate in block.predicates:
        mask = block.mask(predicate)
        if mask & (mask - 1):
            several.append(predicate)
            continue
        relation = block.relations[max(mask.bit_length() - 1, 0)]
        relation.plan = _filtered(relation.plan, predicate)
    block.predicates = several


def _spread_constants(block: JoinBlock) -> None:
    """A condition on one column holds for every column equal to it, so all of their scans can use it."""
    for members in block.classes:
        found: list[tuple[str, exp.Expr]] = []
        for number, id_ in members:
            plan = block.relations[number].plan
            if isinstance(plan, Filter):
                found += [(id_, p) for p in plan.predicates if references(p) == {id_}]
        for number, id_ in members:
            relation = block.relations[number]
            if isinstance(source_of(relation.plan), Stage):
                continue  # what made its rows has filtered them
            for source, predicate in found:
                if source != id_:
                    relation.plan = _filtered(relation.plan, substitute(predicate, {source: column(id_)}))


def _filtered(plan: Plan, predicate: exp.Expr) -> Plan:
    if isinstance(plan, Filter):
        if predicate in plan.predicates:
            return plan
        return Filter(plan.input, (*plan.predicates, predicate))
    return Filter(plan, (predicate,))


def put_together(block: JoinBlock) -> Plan:
    """Joins in the order in which the relations stand: for passes that change inputs, not the order."""
    plan: Plan | None = None
    done = 0
    waiting = list(enumerate(block.relations))
    while waiting:
        number, relation = next(
            (n, r) for n, r in waiting if r.kind == "inner" or left_mask(block, r) & ~done == 0
        )
        waiting.remove((number, relation))
        if plan is None:
            plan, done = relation.plan, 1 << number
            continue
        plan = join_of(block, plan, done, relation.plan, 1 << number, relation)
        done |= 1 << number
    assert plan is not None
    return with_outputs(plan, block)


def with_outputs(plan: Plan, block: JoinBlock) -> Plan:
    """The joins of a block, delivering what it delivers."""
    if all(isinstance(e, exp.Column) and e.name == id_ for id_, e in block.outputs):
        return plan
    return Project(plan, block.outputs)


def join_of(
    block: JoinBlock, left: Plan, left_mask: int, right: Plan, right_mask: int, relation: Relation | None
) -> Join:
    """The join of two sets of relations; ``relation`` is the right one if it is but one."""
    if relation is not None and relation.kind != "inner":
        return Join(relation.kind, left, right, relation.keys, relation.residual)
    keys, residual = conditions(block, left_mask, right_mask)
    return Join("inner", left, right, tuple(keys), tuple(residual))


def conditions(
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


def left_mask(block: JoinBlock, relation: Relation) -> int:
    """The relations that a semi or anti join's condition needs on its left."""
    own = set(relation.plan.columns)
    used = references(*(a for a, _ in relation.keys), *relation.residual) - own
    return block.mask_of(used) if used else 1
