"""A join whose sides are moved to where they meet, and what is done about frequent keys of either."""

from __future__ import annotations

from dataclasses import dataclass

from sord.planner.context import Context
from sord.planner.distribution import (
    Distribution,
    Hashed,
    Ranged,
    Replicated,
    Single,
    Spread,
    partition_keys,
)
from sord.planner.estimate import Estimator
from sord.planner.logical import Exchange, Join, Plan, Stage, in_order
from sord.planner.skew import can_split, frequent_keys, is_frequent, is_worth_sampling, split_join

Placed = tuple[Plan, Distribution]

_LARGER = 4.0
"""How many times more rows than the right side the left one may have and go into the hash table in its place."""


@dataclass(frozen=True, slots=True)
class Key:
    """A pair of columns to be equal, and the type that both are cast to before hashing."""

    left: str
    right: str
    type: str


@dataclass(frozen=True, slots=True)
class Meeting:
    """A join whose sides meet where they are partitioned by its keys. A side may lie so already."""

    plan: Join
    left: Placed
    right: Placed
    to_left: Distribution
    to_right: Distribution
    """How both sides will lie, each said in its own columns."""
    keys: list[Key]

    def swapped(self) -> Meeting:
        """The same of an inner join with its sides exchanged."""
        plan = self.plan
        keys = [Key(key.right, key.left, key.type) for key in self.keys]
        pairs = tuple((b, a) for a, b in plan.keys)
        swapped = Join("inner", plan.right, plan.left, pairs, plan.residual)
        return Meeting(swapped, self.right, self.left, self.to_right, self.to_left, keys)

    def left_by(self) -> list[tuple[str, str, str]]:
        """What the left side is moved by: (left id, right id, type)."""
        lying = [min(key) for key in partition_keys(self.to_left)]
        return [(key.left, key.right, key.type) for id_ in lying for key in self.keys if key.left == id_]

    def samples(self, context: Context, estimate: Estimator) -> tuple[Plan, ...]:
        """What finds the left side's frequent keys, if it is moved and its rows could be spread."""
        ids, types = [a for a, _, _ in self.left_by()], [type_ for _, _, type_ in self.left_by()]
        if isinstance(self.left[1], (Single, Replicated)) or not can_split(self.plan, self.moved_right(())):
            return ()
        if not is_worth_sampling(self.plan.left, ids, context, estimate):
            return ()
        found = frequent_keys(self.left[0], ids, types, context)
        return () if found is None else (found,)

    def moved_right(self, samples: tuple[Plan, ...]) -> Plan:
        """The right side where it is to be."""
        if self.right[1] == self.to_right:
            return self.right[0]
        return Exchange(self.right[0], self.to_right, samples=samples)


def shuffle_join(meeting: Meeting, context: Context, estimate: Estimator) -> Placed:
    """The join over exchanges, and how its rows lie.

    If only the right side of an inner join has frequent keys, the sides change places so that it can be spread.
    """
    plan = meeting.plan
    samples: tuple[Plan, ...] = ()
    moved = meeting.right[1] != meeting.to_right
    if moved and plan.kind == "inner" and estimate(plan.left).rows < _LARGER * estimate(plan.right).rows:
        samples = meeting.swapped().samples(context, estimate)
    if is_frequent(samples) and not (
        meeting.left[1] != meeting.to_left and is_frequent(meeting.samples(context, estimate))
    ):
        joined, where = _left_moved(meeting.swapped(), context, estimate)
        return in_order(joined, (*plan.left.columns, *plan.right.columns)), where
    return _left_moved(meeting, context, estimate, samples)


def _left_moved(
    meeting: Meeting, context: Context, estimate: Estimator, right_samples: tuple[Plan, ...] = ()
) -> Placed:
    """The join with its sides moved; the left one's frequent keys apart, once they are known."""
    plan, right = meeting.plan, meeting.moved_right(right_samples)
    pairs = [(key.left, key.right) for key in meeting.keys] if plan.kind == "inner" else []
    where = join_delivers(plan, meeting.to_left, pairs)
    if meeting.left[1] == meeting.to_left:
        return plan.with_children((meeting.left[0], right)), where
    samples = meeting.samples(context, estimate)
    if samples and is_frequent(samples):
        (found,) = samples
        assert isinstance(found, Stage)
        assert isinstance(meeting.to_left, (Hashed, Ranged))
        by = meeting.left_by()
        split = split_join(plan, meeting.left[0], right, meeting.to_left, by, found, context)
        if split is not None:
            return split, Spread()
    moved = Exchange(meeting.left[0], meeting.to_left, samples=samples)
    return plan.with_children((moved, right)), where


def join_delivers(plan: Join, where: Distribution, pairs: list[tuple[str, str]]) -> Distribution:
    """How a join's rows lie if the left side's lie so. ``pairs`` are columns that it makes equal."""
    # Rows of a full join have a NULL key on one side, so neither side's column says where they are.
    return Spread() if plan.kind == "full" else where.equated(pairs)
