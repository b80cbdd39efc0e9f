"""Runs a benchmark's queries on a fleet and on plain DuckDB, alternating, and checks every answer."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import duckdb

import sord
from sord.tpch.baseline import Baseline, Measured
from sord.tpch.compare import Answer

if TYPE_CHECKING:
    from sord.tpch.benchmark import Benchmark
    from sord.tpch.fleet import Fleet


@dataclass(slots=True)
class QueryResult:
    """One query: medians over its repetitions on both engines, and what was wrong with any answer.

    `seconds` is None when the query failed on sord; `faults` then holds the error.
    """

    query: int
    seconds: float | None = None
    cpu_seconds: float = 0.0
    duckdb_seconds: float = 0.0
    duckdb_cpu_seconds: float = 0.0
    fallback: str | None = None
    fragments: int = 1
    bytes_exchanged: int = 0
    peak_memory_bytes: int = 0
    plan_seconds: float = 0.0
    faults: list[str] = field(default_factory=list)

    @property
    def correct(self) -> bool:
        """Whether every repetition gave the right answer."""
        return not self.faults

    @property
    def ratio(self) -> float | None:
        """sord's seconds over DuckDB's: below 1 means faster than DuckDB."""
        return None if self.seconds is None else self.seconds / self.duckdb_seconds


def run_queries(
    benchmark: Benchmark,
    data: Path,
    scale_factor: float,
    fleet: Fleet,
    queries: Sequence[int],
    repeat: int,
    *,
    analyze: bool = False,
    started: Callable[[int, int], None],
    finished: Callable[[QueryResult], None],
) -> list[QueryResult]:
    """Runs each query `repeat` times on both engines, telling `started` and `finished` how far it is."""
    results = []
    warm_page_cache(data)
    with (
        Baseline(data, benchmark.tables, fleet.total_threads) as baseline,
        sord.connect(fleet.url, **fleet.options) as db,
    ):
        db.register_dir(data)
        if analyze:
            db.analyze()
        # What happens once is not part of any query: workers start, libraries are imported.
        warm_up = f"select count(*) from {benchmark.tables[0]}"
        baseline.run(warm_up)
        _measure(db, warm_up, QueryResult(query=0))
        for query in queries:
            result = _run_query(benchmark, db, baseline, query, scale_factor, repeat, started)
            finished(result)
            results.append(result)
    return results


def warm_page_cache(data: Path) -> None:
    """Reads every file once, so that neither engine pays for the first touch."""
    for file in data.rglob("*.parquet"):
        with file.open("rb", buffering=0) as stream:
            while stream.read(1 << 24):
                pass


def _run_query(
    benchmark: Benchmark,
    db: sord.Connection,
    baseline: Baseline,
    query: int,
    scale_factor: float,
    repeat: int,
    started: Callable[[int, int], None],
) -> QueryResult:
    text = benchmark.query_text(query, scale_factor)
    result = QueryResult(query)
    ours: list[Measured] = []
    theirs: list[Measured] = []
    for repetition in range(repeat):
        started(query, repetition)
        # Who goes first alternates too: what the first leaves in the processor's caches serves the second.
        ours_first = (query + repetition) % 2 == 0
        if not ours_first:
            theirs.append(baseline.run(text))
        try:
            ours.append(_measure(db, text, result))
        except (sord.Error, duckdb.Error) as error:
            result.faults.append(f"{type(error).__name__}: {error}")
        if ours_first:
            theirs.append(baseline.run(text))
        if result.faults:
            break
        result.faults = benchmark.judge(
            query, scale_factor, ours[-1].answer, theirs[-1].answer, lambda sql: baseline.run(sql).answer
        )
    result.duckdb_seconds = median(measured.seconds for measured in theirs)
    result.duckdb_cpu_seconds = median(measured.cpu_seconds for measured in theirs)
    if ours:
        result.seconds = median(measured.seconds for measured in ours)
        result.cpu_seconds = median(measured.cpu_seconds for measured in ours)
    return result


def _measure(db: sord.Connection, text: str, result: QueryResult) -> Measured:
    started, cpu_started = time.perf_counter(), time.process_time()
    relation: Any = db.sql(text)
    table = relation.arrow()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    report = relation.report
    if report is None:
        # The embedded engine is this process. Linux counts its memory in KiB, and since it began.
        result.peak_memory_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    else:
        cpu_seconds = report.cpu_seconds
        result.fallback = result.fallback or report.fallback
        result.fragments = report.fragments
        result.bytes_exchanged = report.bytes_exchanged
        result.peak_memory_bytes = max(result.peak_memory_bytes, report.peak_memory_bytes)
        result.plan_seconds = report.plan_seconds
    return Measured(Answer.from_arrow(table, relation.types), seconds, cpu_seconds)
