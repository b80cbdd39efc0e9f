"""Queries on a fleet: planned when they run, since tables may have changed by then."""

from __future__ import annotations

import contextlib
import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import duckdb

from sord.errors import Error, QueryCancelled, QueryError
from sord.relation import BATCH_ROWS, Relation, T, batches, interruptible, streaming
from sord.report import Report
from sord.sql_text import quoted

if TYPE_CHECKING:
    import pyarrow

    from sord.connection import Connection
    from sord.exec.execution import Execution
    from sord.exec.report import Planned
    from sord.planner.catalog import Table
    from sord.planner.physical import DistributedPlan
    from sord.planner.sink import Sink

_SHOWN = 10_000
"""Rows that are fetched to be shown; DuckDB prints the first and last few of them."""


_NAMED = 3
"""Files that an error names."""
_OF_TEXT = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException)
"""DuckDB's exceptions for what can't be executed as it is written."""
_OF_FILES = ("Error", "IOException", "InvalidInputException", "SerializationException", "InternalException")
"""DuckDB's exceptions that damaged files cause; the first is what it raises for a broken page."""


class Clock:
    """Since when a query runs, and how long it took to plan."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._cpu = time.process_time()
        self.plan_seconds = 0.0

    def planned(self) -> None:
        self.plan_seconds = self.seconds()

    def seconds(self) -> float:
        return time.perf_counter() - self._started

    def cpu_seconds(self) -> float:
        return time.process_time() - self._cpu


class DistributedRelation(Relation):
    """A query that a fleet answers, or one DuckDB where the planner doesn't know a construct."""

    def __init__(
        self,
        connection: Connection,
        text: str,
        described: list[tuple[str, str]],
        enclosed: tuple[str, list[tuple[str, str]], Sink] | None = None,
    ) -> None:
        """``described`` are the result's names and types.

        If ``text`` isn't a query but has one in it, ``enclosed`` is that query, its columns and what is around it.
        """
        self._connection = connection
        self._text = text
        self._described = described
        self._planned = enclosed or (text, described, None)
        self.plans: tuple[Planned, ...] = ()
        """How the last complete run on the fleet went."""

    @property
    def columns(self) -> list[str]:
        return [name for name, _ in self._described]

    @property
    def types(self) -> list[str]:
        return [type_ for _, type_ in self._described]

    def reader(self, batch_rows: int = BATCH_ROWS) -> pyarrow.RecordBatchReader:
        import pyarrow

        clock = Clock()
        plan = self._plan()
        clock.planned()
        if isinstance(plan, str):
            session = self._connection.catalog.session
            if session.needs_own:
                return self.arrow().to_reader(max_chunksize=batch_rows)
            cursor = self._connection.catalog.cursor()
            with interruptible(cursor):
                source = cursor.sql(self._text).to_arrow_reader(batch_rows)
            return pyarrow.RecordBatchReader.from_batches(
                source.schema, self._here(batches(source, cursor, session), clock, plan)
            )
        execution = self._connection.execute(plan)
        try:
            with _naming_files(plan), execution.guard():
                source = execution.relation.to_arrow_reader(batch_rows)
        except BaseException:
            execution.close()
            raise
        return pyarrow.RecordBatchReader.from_batches(
            source.schema, self._there(source, execution, clock, plan)
        )

    def show(self, max_rows: int = 40) -> None:
        """Run the query and print its first rows as a table."""
        import pyarrow

        fetched, rows = [], 0
        reader = self.reader(_SHOWN)
        for batch in reader:
            fetched.append(batch)
            rows += batch.num_rows
            if rows > _SHOWN:
                break
        reader.close()
        table = pyarrow.Table.from_batches(fetched, reader.schema)
        positions = [f"c{position}" for position in range(table.num_columns)]
        # Arrow has other names for some types, and names may be there twice.
        items = ", ".join(
            f"CAST({position} AS {type_}) AS {quoted(name)}"
            for position, (name, type_) in zip(positions, self._described, strict=True)
        )
        with self._connection.catalog.cursor() as cursor:
            cursor.register("rows to show", table.rename_columns(positions))
            cursor.sql(f'SELECT {items} FROM "rows to show"').show(max_rows=max_rows)
        if rows > _SHOWN:
            print(f"The first {rows:,} rows were fetched; there are more.")

    def write_parquet(self, path: str | os.PathLike[str]) -> None:
        """Run the query into a Parquet file, or into a folder if ``path`` is one or ends with a slash.

        It appears, or replaces another file, when it is complete. Into a folder, which must be new or empty, each
        worker writes a file of its own.
        """
        from sord.copying import copy_query
        from sord.enclosed import Copy

        target = os.fspath(path)
        if not os.path.isdir(os.path.dirname(target.rstrip("/")) or "."):
            raise Error(f"cannot write {target!r}: its folder does not exist")
        copy = copy_query(self._connection, Copy(self._text, target, {"format": "parquet"}))
        assert copy is not None
        self.report = copy.execute().report

    def explain(self) -> str:
        """The logical plan and the fragments; for what one DuckDB answers, the reason and DuckDB's plan."""
        plan = self._plan()
        if isinstance(plan, str):
            shown = self._fallback(lambda relation: relation.explain())
            return f"One DuckDB answers this: {plan}\n\n{shown}"
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
        from sord.exec.interrupts import without_ctrl_c
        from sord.planner.catalog import Unsupported
        from sord.planner.physical import plan_query

        connection = self._connection
        try:
            with _no_collections(), without_ctrl_c():
                text, described, sink = self._planned
                text = connection.catalog.inlined(text)
                connection.catalog.check_text(text)
                options = replace(connection.options, sort_ranges=connection.catalog.session.keeps_order)
                return plan_query(text, connection.catalog, options, described, sink)
        except Unsupported as reason:
            return str(reason)
        except _OF_TEXT as error:
            # The user's text has been described, so it is the planner's own that DuckDB doesn't take.
            return f"the planner failed: {type(error).__name__}: {error}"
        except (Error, duckdb.Error):
            raise
        except Exception as error:
            # A mistake in the planner must not keep a user from an answer, nor be hidden.
            return f"the planner failed: {type(error).__name__}: {error}"

    def _read(self, call: Callable[[duckdb.DuckDBPyRelation], T]) -> T:
        clock = Clock()
        plan = self._plan()
        clock.planned()
        if isinstance(plan, str):
            result = self._fallback(call)
            self.report = local_report(clock, plan)
            return result
        with self._connection.execute(plan) as execution:
            with _naming_files(plan), execution.guard():
                result = self._call(execution, call)
            _check_unchanged(plan)
            self._ran(execution, clock)
        return result

    def _call(self, execution: Execution, call: Callable[[duckdb.DuckDBPyRelation], T]) -> T:
        return call(execution.relation)

    def _fallback(self, call: Callable[[duckdb.DuckDBPyRelation], T]) -> T:
        """``call`` with the query on one DuckDB."""
        self._connection.check_open()
        try:
            if self._connection.catalog.session.needs_own:
                return self._connection.here(lambda database: call(database.sql(self._text)))
            with self._connection.catalog.cursor() as cursor, interruptible(cursor):
                return call(cursor.sql(self._text))
        except duckdb.InterruptException:
            raise QueryCancelled("the query was cancelled") from None

    def _here(
        self, source: Iterator[pyarrow.RecordBatch], clock: Clock, reason: str
    ) -> Iterator[pyarrow.RecordBatch]:
        yield from source
        self.report = local_report(clock, reason)

    def _there(
        self, source: pyarrow.RecordBatchReader, execution: Execution, clock: Clock, plan: DistributedPlan
    ) -> Iterator[pyarrow.RecordBatch]:
        with execution:
            while True:
                # Not around the whole loop: between batches Ctrl-C is the reader's own affair.
                with streaming(), _naming_files(plan), execution.guard():
                    batch = next(source, None)
                if batch is None:
                    break
                yield batch
            _check_unchanged(plan)
            self._ran(execution, clock)

    def _ran(self, execution: Execution, clock: Clock) -> None:
        """Take note of a complete run."""
        self.plans = execution.report.plans
        self.report = _report(execution, clock)


@contextmanager
def _no_collections() -> Iterator[None]:
    """No garbage collection inside: trees would outlive young generations in the middle of planning.

    One of all that a process with pyarrow and sqlglot has loaded takes longer (30 ms) than planning itself.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _naming_files(plan: DistributedPlan) -> Iterator[None]:
    """DuckDB names a file that it can't open, but not one with wrong bytes in its middle."""
    try:
        yield
    except QueryError as error:
        paths = _files_behind(plan, error) if error.error_type in _OF_FILES else []
        if not paths or any(path in error.message for path in paths):
            raise
        more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        raise QueryError(
            f"{error.message} (while it read {', '.join(paths[:_NAMED])}{more})",
            rank=error.rank,
            title=error.title,
            error_type=error.error_type,
        ) from None


def _check_unchanged(plan: DistributedPlan) -> None:
    """Rows were divided by what files were like when the query was planned: others would be missed, or read twice."""
    from sord.planner.logical import Scan, leaves

    files = {
        file for leaf in leaves(plan.logical) if isinstance(leaf, Scan) for file in _identities(leaf.table)
    }
    for path, modified, size in files:
        # What is gone was read before, or its reader has failed.
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(path)
            if (status.st_mtime_ns, status.st_size) != (modified, size):
                raise Error(f"{path!r} was changed while the query read it: run the query again")


def _identities(table: Table) -> Iterator[tuple[str, int, int]]:
    for file in table.files or ():
        if file.modified is not None:
            yield file.path, file.modified, file.bytes


def _files_behind(plan: DistributedPlan, error: QueryError) -> list[str]:
    """The files that the failed fragment has read on the worker where it failed."""
    from sord.planner.logical import Scan, leaves

    tables = [leaf.table for leaf in leaves(plan.logical) if isinstance(leaf, Scan)]
    paths = sorted({file.path for table in tables for file in table.files or ()})
    texts = [
        fragment.sql[error.rank] for fragment in plan.fragments
        if fragment.title == error.title and error.rank is not None and error.rank < len(fragment.sql)
    ]  # fmt: skip
    return [path for path in paths if any(path.replace("'", "''") in text for text in texts)]


def _report(execution: Execution, clock: Clock) -> Report:
    from sord.planner.fragment import Place

    details = execution.report
    workers = [task for part in details.fragments if part.place is Place.WORKERS for task in part.tasks]
    return Report(
        seconds=clock.seconds(),
        plan_seconds=clock.plan_seconds,
        fragments=len(details.fragments) + 1,
        bytes_exchanged=details.wire_bytes,
        peak_memory_bytes=max((task.peak_bytes for task in workers), default=0),
        cpu_seconds=clock.cpu_seconds() + sum(task.cpu_seconds for task in workers),
        fallback=None,
        details=details.fragments,
        replans=len(details.plans) - 1,
    )


def local_report(clock: Clock, reason: str) -> Report:
    """Of what the client's DuckDB has done, and why."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Report(clock.seconds(), clock.plan_seconds, 1, 0, peak, clock.cpu_seconds(), reason)
