"""Join graphs as bit sets: which sets of relations are connected, and by which pairs they can be joined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def neighbours_of(mask: int, neighbours: Sequence[int]) -> int:
    """The relations outside of a set that share a condition with one inside."""
    near = 0
    rest = mask
    while rest:
        lowest = rest & -rest
        near |= neighbours[lowest.bit_length() - 1]
        rest ^= lowest
    return near & ~mask


def connected_pairs(neighbours: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Every pair of disjoint, connected, adjacent sets, smaller ones first (DPccp, Moerkotte and Neumann 2006)."""
    for start in range(len(neighbours) - 1, -1, -1):
        first = 1 << start
        yield from _complements(first, neighbours)
        yield from _grow(first, (first << 1) - 1, neighbours)


def intervals(order: Sequence[int], neighbours: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The pairs of adjacent sets that are neighbouring intervals of a linear order, shorter ones first.

    Linearised dynamic programming (Neumann and Radke, SIGMOD 2018): cubic where all pairs would be exponential.
    """
    prefix = [0]
    for number in order:
        prefix.append(prefix[-1] | 1 << number)
    for length in range(2, len(order) + 1):
        for start in range(len(order) - length + 1):
            for middle in range(start + 1, start + length):
                left = prefix[middle] & ~prefix[start]
                right = prefix[start + length] & ~prefix[middle]
                if neighbours_of(left, neighbours) & right:
                    yield left, right


def _grow(mask: int, excluded: int, neighbours: Sequence[int]) -> Iterator[tuple[int, int]]:
    near = neighbours_of(mask, neighbours) & ~excluded
    for subset in _subsets(near):
        yield from _complements(mask | subset, neighbours)
    for subset in _subsets(near):
        yield from _grow(mask | subset, excluded | near, neighbours)


def _complements(mask: int, neighbours: Sequence[int]) -> Iterator[tuple[int, int]]:
    lowest = mask & -mask
    excluded = ((lowest << 1) - 1) | mask
    near = neighbours_of(mask, neighbours) & ~excluded
    for start in range(near.bit_length() - 1, -1, -1):
        if near >> start & 1:
            first = 1 << start
            yield mask, first
            yield from _grow_complement(mask, first, excluded | (near & ((first << 1) - 1)), neighbours)


def _grow_complement(
    left: int, mask: int, excluded: int, neighbours: Sequence[int]
) -> Iterator[tuple[int, int]]:
    near = neighbours_of(mask, neighbours) & ~excluded
    for subset in _subsets(near):
        yield left, mask | subset
    for subset in _subsets(near):
        yield from _grow_complement(left, mask | subset, excluded | near, neighbours)


def _subsets(mask: int) -> Iterator[int]:
    """The non-empty subsets of a bit set, in ascending order."""
    subset = mask & -mask
    while subset:
        yield subset
        subset = (subset - mask) & mask
