"""How rows lie over the workers, and what follows from it.

An operator requires a distribution of its inputs and delivers one. Two questions are kept apart, as Spark's
``partitioning.scala`` does: *clustered* (rows that agree on some keys are in one place: enough for an
aggregate or a window) and *co-partitioned* (two inputs are laid out by the same scheme on matching keys, in
the same order: what a join needs).

Keys are sets of column ids known to be equal in every row, since after ``a JOIN b ON a.x = b.y`` the rows lie
by ``x`` as much as by ``y``.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import TypeVar

D = TypeVar("D", bound="Distribution")


@dataclass(frozen=True, slots=True)
class Distribution:
    """Base of all."""

    def clusters(self, keys: Set[str]) -> bool:
        """Whether rows that agree on ``keys`` (ids) are in one place."""
        return False

    def visible(self: Distribution, mapping: Mapping[str, Set[str]]) -> Distribution:
        """The same layout under other ids: ``mapping`` gives each id's new names; none means it's gone."""
        return self

    def equated(self, pairs: list[tuple[str, str]]) -> Distribution:
        """The same layout, knowing that in every row the columns of each pair are equal."""
        return self


@dataclass(frozen=True, slots=True)
class Single(Distribution):
    """All rows at the client."""

    def clusters(self, keys: Set[str]) -> bool:
        return True

    def __str__(self) -> str:
        return "client"


@dataclass(frozen=True, slots=True)
class Replicated(Distribution):
    """All rows on every worker."""

    def __str__(self) -> str:
        return "every worker"


@dataclass(frozen=True, slots=True)
class Spread(Distribution):
    """Each row on some worker, no telling which."""

    def __str__(self) -> str:
        return "row groups"


@dataclass(frozen=True, slots=True)
class Hashed(Distribution):
    """Each row on worker ``hash(keys cast to types) % workers``."""

    keys: tuple[frozenset[str], ...]
    types: tuple[str, ...]

    def clusters(self, keys: Set[str]) -> bool:
        return all(key & keys for key in self.keys)

    def visible(self, mapping: Mapping[str, Set[str]]) -> Distribution:
        keys = tuple(_renamed(key, mapping) for key in self.keys)
        return replace(self, keys=keys) if all(keys) else Spread()

    def equated(self, pairs: list[tuple[str, str]]) -> Distribution:
        return replace(self, keys=tuple(_closed(key, pairs) for key in self.keys))

    def __str__(self) -> str:
        return f"hash({', '.join(min(key) for key in self.keys)})"


@dataclass(frozen=True, slots=True)
class Ranged(Distribution):
    """Each row on worker ``number of boundaries <= key``; rows with a NULL key on worker 0. The key is an integer."""

    key: frozenset[str]
    boundaries: tuple[int, ...]

    def clusters(self, keys: Set[str]) -> bool:
        return bool(self.key & keys)

    def visible(self, mapping: Mapping[str, Set[str]]) -> Distribution:
        key = _renamed(self.key, mapping)
        return replace(self, key=key) if key else Spread()

    def equated(self, pairs: list[tuple[str, str]]) -> Distribution:
        return replace(self, key=_closed(self.key, pairs))

    def __str__(self) -> str:
        return f"range({min(self.key)})"


@dataclass(frozen=True, slots=True)
class Skewed(Distribution):
    """Rows whose hash is frequent are on any worker, the others as in ``base``.

    Only a join's left side lies so, and its right side by ``base`` with the frequent hashes' rows on all workers.
    """

    base: Hashed | Ranged
    keys: tuple[str, ...]
    types: tuple[str, ...]
    """The hash is that of the keys cast to these types."""
    exchange: int
    """The exchange with the frequent hashes, and its column."""
    column: str

    def __str__(self) -> str:
        return f"{self.base}, frequent keys to any worker"


@dataclass(frozen=True, slots=True)
class Sorted(Distribution):
    """Worker ``i``'s rows all stand before worker ``i + 1``'s in the order of ``keys`` (rendered ORDER BY items)."""

    keys: tuple[str, ...]

    def __str__(self) -> str:
        return f"sort range({', '.join(self.keys)})"


def partition_keys(distribution: Distribution) -> tuple[frozenset[str], ...]:
    """The keys by which rows are partitioned; none if they are not."""
    if isinstance(distribution, Hashed):
        return distribution.keys
    if isinstance(distribution, Skewed):
        return (*(frozenset((key,)) for key in distribution.keys), *partition_keys(distribution.base))
    return (distribution.key,) if isinstance(distribution, Ranged) else ()


def _renamed(key: frozenset[str], mapping: Mapping[str, Set[str]]) -> frozenset[str]:
    return frozenset(new for old in key for new in mapping.get(old, ()))


def _closed(key: frozenset[str], pairs: list[tuple[str, str]]) -> frozenset[str]:
    grown = set(key)
    changed = True
    while changed:
        changed = False
        for a, b in pairs:
            if (a in grown) != (b in grown):
                grown |= {a, b}
                changed = True
    return frozenset(grown)
