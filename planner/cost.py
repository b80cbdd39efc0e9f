"""What a join and the moves before it cost, in seconds on each worker.

The constants were measured on one core (docs/benchmarks.md); only their relations matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sord.planner.context import Options

EXPORT = 0.7e-9
"""A byte from DuckDB into an encoded Arrow batch."""
SCATTER = 0.5e-9
"""More, if rows are partitioned on the way."""
IMPORT = 0.4e-9
"""A byte from an Arrow batch into DuckDB."""
SCAN = 0.5e-9
"""A byte of a Parquet column, in memory's width."""
STORED = 0.4
"""Bytes in a file of a byte in memory: they come over a worker's network, as files on S3 and of a cluster do."""
BUILD = 40e-9
"""A row into a hash table, and again for every 40 bytes of it."""
PROBE = 12e-9
MAKE = 5e-9
"""A row of a join's result."""
REJECT = 2e-9
"""A row that a filter by another side's keys looks at."""
PASS = 18e-9
"""One that it lets through, in an inner join with distinct keys, and in a semi join."""
PASS_SEMI = 50e-9
COMPARE = 1e-9
"""A pair of rows in a join without keys."""
STAGE = 4e-3
"""Ending one fragment and starting the next."""


@dataclass(frozen=True, slots=True)
class Layout:
    """One side of a join, as far as costs depend on it."""

    rows: float
    width: float
    placed: bool
    """Partitioned by the join's keys."""
    replicated: bool = False
    everywhere: float = math.inf
    """Seconds that each worker would take to compute all of it from the files. Infinite where it can't."""


@dataclass(frozen=True, slots=True)
class Choice:
    """How a join gets its inputs together: what happens to each side, and what it costs."""

    seconds: float
    left: str
    right: str
    """keep, shuffle, broadcast, or replicate (each worker scans everything)."""


def choose(
    kind: str, left: Layout, right: Layout, matched: bool, has_keys: bool, rows: float, options: Options
) -> Choice:
    """The cheapest way for a join's inputs to meet. ``matched``: both sides lie by the same scheme already."""
    workers = options.workers
    best = Choice(math.inf, "keep", "shuffle")
    share_left, share_right = left.rows / workers, right.rows / workers

    def offer(seconds: float, how_left: str, how_right: str, probe: float, build: float) -> None:
        nonlocal best
        if kind in ("semi", "anti") and build > probe:
            build, probe = probe, build  # the side that is kept can be the one in the hash table
        whole = _everywhere(left, how_left) and _everywhere(right, how_right)
        seconds += build * BUILD * (1 + right.width / 40) + probe * PROBE
        seconds += (rows if whole else rows / workers) * MAKE
        if not has_keys:
            seconds += probe * build * COMPARE
        if seconds < best.seconds:
            best = Choice(seconds, how_left, how_right)

    if right.replicated:
        offer(0.0, "keep", "keep", left.rows if left.replicated else share_left, right.rows)
    elif left.replicated and kind == "inner":
        offer(0.0, "keep", "keep", left.rows, share_right)
    if left.replicated and not right.replicated and kind != "inner":
        # Only the coordinator's or every worker's whole copy of the right side gives each left row its answer.
        offer(broadcast(right, options), "keep", "broadcast", left.rows, right.rows)
        offer(right.everywhere, "keep", "replicate", left.rows, right.rows)
        return best
    if has_keys:
        if matched:
            offer(0.0, "keep", "keep", share_left, share_right)
        if left.placed:
            offer(shuffle(right, options), "keep", "shuffle", share_left, share_right)
        if right.placed:
            offer(shuffle(left, options), "shuffle", "keep", share_left, share_right)
        offer(shuffle(left, options) + shuffle(right, options), "shuffle", "shuffle", share_left, share_right)
    if kind != "full":
        offer(broadcast(right, options), "keep", "broadcast", share_left, right.rows)
        offer(right.everywhere, "keep", "replicate", share_left, right.rows)
    if kind == "inner":
        offer(broadcast(left, options), "broadcast", "keep", left.rows, share_right)
        offer(left.everywhere, "replicate", "keep", left.rows, share_right)
    return best


def _everywhere(side: Layout, how: str) -> bool:
    return how in ("broadcast", "replicate") or (how == "keep" and side.replicated)


def scan(rows: float, width: float, options: Options) -> float:
    """Seconds for one worker to read so many rows of so many bytes from files."""
    return rows * width * (SCAN + STORED / options.bytes_per_second)


def shuffle(side: Layout, options: Options) -> float:
    """Seconds for each worker to partition its share and take in another."""
    share = side.rows * side.width / options.workers
    # Of rows that all have, one worker sends all.
    sent = share * options.workers if side.replicated else share
    away = (options.workers - 1) / options.workers
    return STAGE + share * IMPORT + sent * (EXPORT + SCATTER + away / options.bytes_per_second)


def broadcast(side: Layout, options: Options) -> float:
    """Seconds for each worker to send its share to all and take in the whole."""
    total = side.rows * side.width
    away = (options.workers - 1) / options.workers
    return STAGE + total / options.workers * EXPORT + total * (IMPORT + away / options.bytes_per_second)
