"""Queries on a fleet: planned when they run, since tables may have changed by then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import duckdb

from sord.relation import Relation
from sord.report import Report

if TYPE_CHECKING:
    from sord.connection import Connection
    from sord.exec.execution import Execution
    from sord.planner.physical import DistributedPlan

_SHOWN = 10_000
"""Rows that are fetched to be shown; DuckDB prints the first and last few of them."""


class DistributedRelation(Relation):
    """A query that a fleet answers, or one DuckDB where the planner doesn't know a construct."""

    def __init__(self, connection: Connection, text: str, described: list[tuple[str, str]]) -> None:
        super().__init__([name for name, _ in described], [type_ for _, type_ in described])
        self._connection = connection
        self._text = text
        self._described = described

    def show(self, max_rows: int = 40) -> None:
        """Run the query and print its first rows as a table."""
        import pyarrow

        batches, rows = [], 0
        with self._run() as relation:
            reader = relation.to_arrow_reader(_SHOWN)
            for batch in reader:
                batches.append(batch)
                rows += batch.num_rows
                if rows > _SHOWN:
                    break
            table = pyarrow.Table.from_batches(batches, reader.schema)
            # Over a table rather than the stream, which can be read only once.
            cursor = self._connection.catalog.cursor()
            cursor.register("rows", table)
            cursor.sql("FROM rows").show(max_rows=max_rows)
        if rows > _SHOWN:
            print(f"The first {rows:,} rows were fetched; there are more.")

    def explain(self) -> str:
        """The logical plan and the fragments; for what one DuckDB answers, the reason and DuckDB's plan."""
        plan = self._plan()
        if isinstance(plan, str):
            cursor = self._connection.catalog.cursor()
            return f"One DuckDB answers this: {plan}\n\n{cursor.sql(self._text).explain()}"
        from sord.planner.format import format_plan

        return format_plan(plan)

    def explain_json(self) -> dict[str, object]:
        """The same as a tree of plain values."""
        plan = self._plan()
        if isinstance(plan, str):
            return {"fallback": plan}
        from sord.planner.format import plan_json

        return plan_json(plan)

    def _plan(self) -> DistributedPlan | str:
        """The plan, or why there is none."""
        from sord.planner.catalog import Unsupported
        from sord.planner.physical import plan_query

        try:
            return plan_query(
                self._text, self._connection.catalog, self._connection.options, self._described
            )
        except Unsupported as reason:
            return str(reason)

    @contextmanager
    def _run(self) -> Iterator[duckdb.DuckDBPyRelation]:
        started, cpu = time.perf_counter(), time.process_time()
        plan = self._plan()
        planned = time.perf_counter() - started
        if isinstance(plan, str):
            cursor = self._connection.catalog.cursor()
            with self._connection.interruptible(cursor.interrupt):
                yield cursor.sql(self._text)
            seconds = time.perf_counter() - started
            self.report = Report(seconds, planned, 1, 0, _own_peak(), time.process_time() - cpu, plan)
            return
        execution = self._connection.coordinator.run(plan, self._connection.settings)
        with execution, self._connection.interruptible(execution.cancel):
            with execution.guard():
                yield execution.relation
            seconds = time.perf_counter() - started
            self.report = _report(execution, seconds, planned, time.process_time() - cpu)


def _report(execution: Execution, seconds: float, planned: float, own_cpu: float) -> Report:
    from sord.planner.fragment import Place

    details = execution.report
    workers = [task for part in details.fragments if part.place is Place.WORKERS for task in part.tasks]
    return Report(
        seconds=seconds,
        plan_seconds=planned,
        fragments=len(details.fragments) + 1,
        bytes_exchanged=details.wire_bytes,
        peak_memory_bytes=max((task.peak_bytes for task in workers), default=0),
        cpu_seconds=own_cpu + sum(task.cpu_seconds for task in workers),
        fallback=None,
        details=details.fragments,
    )


def _own_peak() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
