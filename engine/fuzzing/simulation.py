"""Execute fragments in one DuckDB, one after another: the planner's meaning without sockets or processes."""

from __future__ import annotations

import re
from typing import Any, Protocol

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from sord.exec.sources import register, table_source, with_types
from sord.planner.fragment import Actual, Fragment, Place, Route
from sord.planner.physical import DistributedPlan
from sord.planner.replanned import ORDER


class Database(Protocol):
    """Where cursors come from."""

    def cursor(self) -> duckdb.DuckDBPyConnection: ...


class Simulation:
    """Runs plans of ``workers`` workers over the tables of ``database``.

    That is a connection, or anything else that gives cursors: a catalog's see the frames registered with it.
    """

    def __init__(self, database: Database, workers: int) -> None:
        self.database = database
        self.workers = workers
        self.inboxes: dict[tuple[int, int], pa.Table] = {}
        """Rows by exchange and rank; the client's rank is the number of workers."""
        self.actual: dict[int, Actual] = {}
        self.fragments: list[Fragment] = []
        self.adapted = 0
        self.reordered = 0
        """How often the plan has changed, and then for more than empty inputs the order of joins in it."""
        self.names: list[str] = []
        self.types: list[str] = []
        """Of the result."""
        self.running: duckdb.DuckDBPyConnection | None = None

    def run(self, plan: DistributedPlan) -> list[tuple[Any, ...]]:
        """The result's rows, adapting after each fragment as the coordinator does."""
        result = self.relation(plan)
        self.names, self.types = result.columns, list(map(str, result.types))
        return result.fetchall()

    def interrupt(self) -> None:
        """Ends what runs, from another thread: it raises duckdb.InterruptException."""
        if self.running is not None:
            self.running.interrupt()

    def relation(self, plan: DistributedPlan) -> duckdb.DuckDBPyRelation:
        """The result, whose rows come from the last fragment when they are asked for."""
        todo = list(plan.fragments)
        while todo:
            fragment = self._startable(todo)
            todo.remove(fragment)
            if fragment.route is Route.RESULT:
                self.fragments.append(fragment)
                for source in fragment.inputs:
                    readers = len(re.findall(rf"\b{source.name}\b", fragment.sql[0]))
                    assert readers == 1 or not source.streaming, "a stream can be read only once"
                return self._cursor(fragment, self.workers).sql(fragment.sql[0])
            self._run(fragment)
            better = plan.adapt(self.actual, set())
            if better is not None:
                self.adapted += 1
                self.reordered += any(
                    change.startswith(ORDER) and "no rows" not in change for change in better.changes
                )
                plan, todo = better, list(better.fragments)
        raise AssertionError("a plan ends with its result")

    def _startable(self, todo: list[Fragment]) -> Fragment:
        for fragment in todo:
            if all(i.exchange in self.actual for i in fragment.inputs) and set(fragment.after) <= set(
                self.actual
            ):
                return fragment
        raise AssertionError(f"no fragment can start: {[(f.id, f.inputs, f.after) for f in todo]}")

    def _cursor(self, fragment: Fragment, rank: int) -> duckdb.DuckDBPyConnection:
        cursor = self.database.cursor()
        for source in fragment.inputs:
            register(cursor, source.name, table_source(self.inboxes[source.exchange, rank]))
        self.running = cursor
        return cursor

    def _run(self, fragment: Fragment) -> None:
        self.fragments.append(fragment)
        ranks = [self.workers] if fragment.place is Place.CLIENT else list(range(self.workers))
        assert len(fragment.sql) == len(ranks)
        pieces: dict[int, list[pa.Table]] = {rank: [] for rank in range(self.workers + 1)}
        rows = size = 0
        received = [0] * self.workers if fragment.route is Route.PARTITION else []
        for rank, sql in zip(ranks, fragment.sql, strict=True):
            relation = self._cursor(fragment, rank).sql(sql)
            table = relation.to_arrow_table()
            metadata = with_types(table.schema, relation.types).metadata
            table = table.replace_schema_metadata(metadata)
            rows, size = rows + table.num_rows, size + table.nbytes
            if fragment.route is Route.PARTITION:
                numbers = table.column(table.num_columns - 1)
                table = table.drop_columns([table.column_names[-1]])
                for to in range(self.workers):
                    pieces[to].append(table.filter(pc.equal(numbers, to)))
                    received[to] += pieces[to][-1].num_rows
            elif fragment.route is Route.KEEP:
                pieces[rank].append(table)
            elif fragment.route in (Route.GATHER, Route.WRITE):
                pieces[self.workers].append(table)
            else:
                for to in range(self.workers):
                    pieces[to].append(table)
        for rank, parts in pieces.items():
            self.inboxes[fragment.id, rank] = pa.concat_tables(parts) if parts else table.slice(0, 0)
        self.actual[fragment.id] = Actual(rows, size, tuple(received))
