"""How the inputs of a join meet: where they are, on the kept side of a broadcast, or after a shuffle."""

from __future__ import annotations

import math
from dataclasses import replace

from sqlglot import exp

from sord.planner.context import Context, Options, is_integer
from sord.planner.cost import Layout, choose, scan
from sord.planner.distribution import (
    Distribution,
    Hashed,
    Ranged,
    Replicated,
    Single,
)
from sord.planner.estimate import Estimator
from sord.planner.expressions import column, column_id
from sord.planner.logical import (
    Exchange,
    Filter,
    Join,
    Plan,
    Project,
    Scan,
    SharedRef,
    Stage,
    leaves,
)
from sord.planner.shuffle_join import Key, Meeting, Placed, join_delivers, shuffle_join

_SMALL = 1e6
"""Bytes up to which a join with something at the client happens there."""


def distribute_join(plan: Join, left: Placed, right: Placed, context: Context, estimate: Estimator) -> Placed:
    """The join over placed inputs, and how its rows lie. ``plan`` is the join over the inputs as they were."""
    if isinstance(left[1], Single) or isinstance(right[1], Single):
        return _join_with_client(plan, left, right, context, estimate)
    plan, left, right = _keys_as_columns(plan, left, right, context)
    keys = _movable_keys(plan, context)
    placed = (
        _is_placed(left[1], [key.left for key in keys], keys),
        _is_placed(right[1], [key.right for key in keys], keys),
    )
    choice = choose(
        plan.kind,
        _layout(plan.left, left[1], placed[0], estimate, context.options),
        _layout(plan.right, right[1], placed[1], estimate, context.options),
        _lie_alike(left, right, keys),
        bool(keys),
        estimate(plan).rows,
        context.options,
    )
    if math.isinf(choice.seconds):
        gathered = (Exchange(left[0], Single()), Single()), (Exchange(right[0], Single()), Single())
        return _join_with_client(plan, *gathered, context, estimate)
    pairs = [(key.left, key.right) for key in keys] if plan.kind == "inner" else []
    if choice.left in ("broadcast", "replicate"):
        moved = _everywhere(plan.left, left[0], choice.left)
        return plan.with_children((moved, right[0])), right[1].equated(pairs)
    if choice.right in ("broadcast", "replicate"):
        moved = _everywhere(plan.right, right[0], choice.right)
        return plan.with_children((left[0], moved)), left[1].equated(pairs)
    if choice.left == choice.right == "keep":
        if isinstance(left[1], Replicated):
            return plan.with_children((left[0], right[0])), right[1].equated(pairs)
        if not isinstance(right[1], Replicated):
            left, right = _same_boundaries(left, right, estimate)
        return plan.with_children((left[0], right[0])), join_delivers(plan, left[1], pairs)
    types = tuple(key.type for key in keys)
    to_left: Distribution = Hashed(tuple(frozenset((key.left,)) for key in keys), types)
    to_right: Distribution = Hashed(tuple(frozenset((key.right,)) for key in keys), types)
    if choice.left == "keep":
        to_left, to_right = left[1], _scheme(left[1], [key.left for key in keys], [key.right for key in keys])
    elif choice.right == "keep":
        to_left, to_right = (
            _scheme(right[1], [key.right for key in keys], [key.left for key in keys]),
            right[1],
        )
    return shuffle_join(Meeting(plan, left, right, to_left, to_right, keys), context, estimate)


def _join_with_client(
    plan: Join, left: Placed, right: Placed, context: Context, estimate: Estimator
) -> Placed:
    """At least one side is at the client. Small things move to where the other side is."""
    if isinstance(left[1], Single) and isinstance(right[1], Single):
        return plan.with_children((left[0], right[0])), Single()
    size_left = estimate(plan.left).rows * estimate(plan.left).width()
    size_right = estimate(plan.right).rows * estimate(plan.right).width()
    if isinstance(right[1], Single):
        if plan.kind != "full" and (size_right <= size_left or size_left > _SMALL):
            return plan.with_children((left[0], Exchange(right[0], Replicated()))), left[1]
        return plan.with_children((Exchange(left[0], Single()), right[0])), Single()
    if plan.kind == "inner" and (size_left <= size_right or size_right > _SMALL):
        return plan.with_children((Exchange(left[0], Replicated()), right[0])), right[1]
    keys = _movable_keys(plan, context)
    if size_right <= _SMALL or not keys:
        return plan.with_children((left[0], Exchange(right[0], Single()))), Single()
    if _is_placed(right[1], [key.right for key in keys], keys):
        target = _scheme(right[1], [key.right for key in keys], [key.left for key in keys])
        return plan.with_children((Exchange(left[0], target), right[0])), join_delivers(plan, target, [])
    types = tuple(key.type for key in keys)
    to_left = Hashed(tuple(frozenset((key.left,)) for key in keys), types)
    to_right = Hashed(tuple(frozenset((key.right,)) for key in keys), types)
    shuffled = plan.with_children((Exchange(left[0], to_left), Exchange(right[0], to_right)))
    return shuffled, join_delivers(plan, to_left, [])


def _everywhere(logical: Plan, placed: Plan, how: str) -> Plan:
    return _replicated(logical) if how == "replicate" else Exchange(placed, Replicated())


def _replicated(plan: Plan) -> Plan:
    """The plan computed by every worker from the files."""
    if isinstance(plan, Scan):
        return replace(plan, split=Replicated())
    return plan.with_children(tuple(_replicated(child) for child in plan.children))


def _layout(plan: Plan, where: Distribution, placed: bool, estimate: Estimator, options: Options) -> Layout:
    estimated = estimate(plan)
    return Layout(
        estimated.rows,
        estimated.width(plan.columns),
        placed,
        isinstance(where, Replicated),
        _scan_everywhere(plan, estimate, options),
    )


def _scan_everywhere(plan: Plan, estimate: Estimator, options: Options) -> float:
    """Seconds for a worker to compute the plan alone from the files; infinite if it isn't made of scans."""
    if isinstance(plan, Scan):
        if plan.table.files is None:
            return math.inf
        return scan(plan.table.rows, estimate(plan).width(plan.columns), options)
    if isinstance(plan, (Filter, Project, Join)):
        return sum(_scan_everywhere(child, estimate, options) for child in plan.children)
    return math.inf


def _keys_as_columns(
    plan: Join, left: Placed, right: Placed, context: Context
) -> tuple[Join, Placed, Placed]:
    """Compute keys that are expressions below the join, so that rows can be moved by them."""
    sides = [(plan.left, *left), (plan.right, *right)]
    keys = [list(pair) for pair in plan.keys]
    for index in (0, 1):
        added: list[tuple[str, exp.Expr]] = []
        for pair in keys:
            if column_id(pair[index]) is None:
                id_ = context.fresh("key", context.infer(pair[index]))
                added.append((id_, pair[index]))
                pair[index] = column(id_)
        if added:
            logical, placed, where = sides[index]
            outputs = (*((id_, column(id_)) for id_ in logical.columns), *added)
            sides[index] = (Project(logical, outputs), Project(placed, outputs), where)
    if sides[0][0] is plan.left and sides[1][0] is plan.right:
        return plan, left, right
    pairs = tuple((a, b) for a, b in keys)
    changed = Join(plan.kind, sides[0][0], sides[1][0], pairs, plan.residual)
    return changed, sides[0][1:], sides[1][1:]


def _movable_keys(plan: Join, context: Context) -> list[Key]:
    """The keys whose two sides hash alike after a cast to a common type."""
    found: list[Key] = []
    for a, b in plan.keys:
        left, right = column_id(a), column_id(b)
        if left is None or right is None:
            continue
        type_ = _common_type(context.type_of(left, plan.left), context.type_of(right, plan.right))
        if type_ is not None:
            found.append(Key(left, right, type_))
    return found


def _common_type(left: str | None, right: str | None) -> str | None:
    if left is None or right is None or left == right:
        return left if left == right else None
    if is_integer(left) and is_integer(right):
        return "HUGEINT"
    return None


def _positions(where: Distribution, ids: list[str]) -> list[int] | None:
    """For each key of a partitioning the join key that it is; None if one is not among them."""
    if isinstance(where, Hashed):
        keys = where.keys
    elif isinstance(where, Ranged):
        keys = (where.key,)
    else:
        return None
    found: list[int] = []
    for key in keys:
        position = next((i for i, id_ in enumerate(ids) if id_ in key), None)
        if position is None:
            return None
        found.append(position)
    return found


def _is_placed(where: Distribution, ids: list[str], keys: list[Key]) -> bool:
    """Whether rows lie by join keys, hashed as the other side's will be."""
    positions = _positions(where, ids)
    if positions is None:
        return False
    return not isinstance(where, Hashed) or where.types == tuple(
        keys[position].type for position in positions
    )


def _lie_alike(left: Placed, right: Placed, keys: list[Key]) -> bool:
    """Whether matching rows are on the same worker, or will be once ranges get the same boundaries."""
    a, b = left[1], right[1]
    positions = _positions(a, [key.left for key in keys])
    if positions is None or positions != _positions(b, [key.right for key in keys]):
        return False
    if isinstance(a, Hashed) and isinstance(b, Hashed):
        types = tuple(keys[position].type for position in positions)
        return a.types == b.types == types
    if isinstance(a, Ranged) and isinstance(b, Ranged):
        return a.boundaries == b.boundaries or not (_is_fixed(left) and _is_fixed(right))
    return False


def _is_fixed(placed: Placed) -> bool:
    """Whether some rows lie by the boundaries already, so that they can't change. A shared table has other readers."""
    where = placed[1]
    return any(
        isinstance(leaf, SharedRef) or (isinstance(leaf, Stage) and _has_boundaries(leaf.target, where))
        for leaf in leaves(placed[0])
    )


def _has_boundaries(target: Distribution, where: Distribution) -> bool:
    return isinstance(target, Ranged) and isinstance(where, Ranged) and target.boundaries == where.boundaries


def _same_boundaries(left: Placed, right: Placed, estimate: Estimator) -> tuple[Placed, Placed]:
    """Give both sides the boundaries of the one that is fixed, or else of the larger one."""
    a, b = left[1], right[1]
    if not isinstance(a, Ranged) or not isinstance(b, Ranged) or a.boundaries == b.boundaries:
        return left, right
    keep_left = _is_fixed(left) or (
        not _is_fixed(right) and _read(left[0], estimate) >= _read(right[0], estimate)
    )
    if keep_left:
        return left, (_rebound(right[0], b.boundaries, a.boundaries), replace(b, boundaries=a.boundaries))
    return (_rebound(left[0], a.boundaries, b.boundaries), replace(a, boundaries=b.boundaries)), right


def _read(plan: Plan, estimate: Estimator) -> float:
    return sum(leaf.table.rows for leaf in leaves(plan) if isinstance(leaf, Scan))


def _rebound(plan: Plan, old: tuple[int, ...], new: tuple[int, ...]) -> Plan:
    plan = plan.with_children(tuple(_rebound(child, old, new) for child in plan.children))
    if isinstance(plan, Scan) and isinstance(plan.split, Ranged) and plan.split.boundaries == old:
        return replace(plan, split=replace(plan.split, boundaries=new))
    if isinstance(plan, Exchange) and isinstance(plan.target, Ranged) and plan.target.boundaries == old:
        return replace(plan, target=replace(plan.target, boundaries=new))
    return plan


def _scheme(kept: Distribution, kept_ids: list[str], moved_ids: list[str]) -> Distribution:
    """The kept side's partitioning, said in the moved side's columns."""
    positions = _positions(kept, kept_ids)
    assert positions is not None
    keys = tuple(frozenset((moved_ids[position],)) for position in positions)
    if isinstance(kept, Ranged):
        return replace(kept, key=keys[0])
    assert isinstance(kept, Hashed)
    return replace(kept, keys=keys)
