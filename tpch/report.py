"""What a run says: a line per query, the totals, and the same as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from sord.tpch.runner import QueryResult

HEADER: Final = "query     sord   DuckDB   ratio  exchanged  fragments  peak memory  answer"


def query_line(result: QueryResult) -> str:
    """One line of the table under HEADER; times in seconds."""
    if result.seconds is None or result.ratio is None:
        nothing = f"{'-':>9}  {'-':>9}  {'-':>11}"
        return f"{result.query:>5}  {'-':>7}  {result.duckdb_seconds:7.3f}  {'-':>6}  {nothing}  failed"
    answer = "right" if result.correct else "WRONG"
    if result.fallback:
        answer += ", by one node"
    return (
        f"{result.query:>5}  {result.seconds:7.3f}  {result.duckdb_seconds:7.3f}  {result.ratio:6.2f}"
        f"  {_bytes(result.bytes_exchanged):>9}  {result.fragments:>9}"
        f"  {_bytes(result.peak_memory_bytes):>11}  {answer}"
    )


def total_lines(results: Sequence[QueryResult]) -> list[str]:
    """The totals under the table."""
    totals = _totals(results)
    right = sum(result.correct for result in results)
    lines = [f"{right} of {len(results)} answers right"]
    if totals["total_ratio"] is not None:
        lines = [
            f"total  {totals['total_seconds']:.3f} s, DuckDB {_duckdb_seconds(results):.3f} s, "
            f"ratio {totals['total_ratio']:.2f}, geometric mean {totals['geomean_ratio']:.2f}",
            f"CPU    {totals['cpu_seconds']:.3f} s, DuckDB {totals['duckdb_cpu_seconds']:.3f} s",
            *lines,
        ]
    return lines


def as_json(scale_factor: float, fleet: str, results: Sequence[QueryResult]) -> dict[str, Any]:
    """The object that `--json` prints; a failed query has no `seconds`, no `ratio`, no part in totals."""
    return {
        "sf": int(scale_factor) if scale_factor == int(scale_factor) else scale_factor,
        "fleet": fleet,
        "queries": [
            {
                "query": result.query,
                "seconds": result.seconds,
                "duckdb_seconds": result.duckdb_seconds,
                "ratio": result.ratio,
                "correct": result.correct,
                "fallback": result.fallback,
                "fragments": result.fragments,
                "bytes_exchanged": result.bytes_exchanged,
                "peak_memory_bytes": result.peak_memory_bytes,
                "plan_ms": result.plan_seconds * 1000,
            }
            for result in results
        ],
        **_totals(results),
    }


def passed(results: Sequence[QueryResult]) -> bool:
    """Whether every answer is right and none came from a single node standing in for the fleet."""
    return all(result.correct and result.fallback is None for result in results)


def _totals(results: Sequence[QueryResult]) -> dict[str, float | None]:
    ran = [result for result in results if result.seconds is not None]
    seconds = sum(result.seconds or 0.0 for result in ran)
    logs = [math.log(result.ratio) for result in ran if result.ratio]
    return {
        "total_seconds": seconds,
        "total_ratio": seconds / _duckdb_seconds(ran) if ran else None,
        "geomean_ratio": math.exp(sum(logs) / len(logs)) if logs else None,
        "cpu_seconds": sum(result.cpu_seconds for result in ran),
        "duckdb_cpu_seconds": sum(result.duckdb_cpu_seconds for result in ran),
    }


def _duckdb_seconds(results: Sequence[QueryResult]) -> float:
    return sum(result.duckdb_seconds for result in results if result.seconds is not None)


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
