"""CREATE TABLE … AS and INSERT INTO …: the fleet computes the rows, the client's DuckDB keeps them.

The statement runs on the client around the stream of the result, so it is as atomic as DuckDB makes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import duckdb

from sord.distributed import DistributedRelation
from sord.enclosed import Enclosed, enclosed
from sord.relation import LocalRelation, Relation, T, interruptible
from sord.sql_text import quoted
from sord.writing import WritingRelation

if TYPE_CHECKING:
    from sord.connection import Connection
    from sord.exec.execution import Execution


def storing(connection: Connection, text: str) -> StoringRelation | None:
    """What such a statement will do, DuckDB having checked its text; None if there is no query in it for a fleet."""
    cut = enclosed(text)
    if cut is None or (cut.creates and _exists(connection, cut.creates)):
        return None
    described = connection.catalog.describe(cut.query)
    relation = StoringRelation(connection, text, cut, described)
    return relation if relation.takes_typed_rows() else None


def _exists(connection: Connection, table: str) -> bool:
    try:
        connection.catalog.describe(f"FROM {table}")
    except duckdb.Error:
        return False
    return True


def summarizing(connection: Connection, text: str) -> DistributedRelation | None:
    """SUMMARIZE of a query, which the fleet computes and the client summarises; None for anything else.

    A table is summarised where DuckDB reads it: what it computes of a column has no parts.
    """
    if text[:1].lower() != "s" or text[:9].lower() != "summarize":
        return None
    cut = enclosed(text)
    if cut is None:
        return None
    from sord.planner.sink import Sink

    described = connection.catalog.describe(cut.query)
    sink = Sink(cut.before, (cut.after,))
    return DistributedRelation(
        connection, text, connection.catalog.describe(text), (cut.query, described, sink)
    )


class StoringRelation(WritingRelation):
    """A statement that stores a query's rows."""

    def __init__(
        self, connection: Connection, text: str, cut: Enclosed, described: list[tuple[str, str]]
    ) -> None:
        from sord.planner.sink import Sink

        sink = Sink(cut.before, (cut.after,))
        super().__init__(connection, text, [("Count", "BIGINT")], (cut.query, described, sink))

    def takes_typed_rows(self) -> bool:
        """Whether the statement accepts rows of the query's types: a bare NULL, for one, has less of a type."""
        _, described, sink = self._planned
        assert sink is not None
        nulls = ", ".join(f"CAST(NULL AS {type_}) AS {quoted(name)}" for name, type_ in described)
        try:
            self._connection.here(
                lambda database: database.execute(f"EXPLAIN {sink.statement(f'SELECT {nulls}')}").fetchall()
            )
        except duckdb.Error:
            return False
        return True

    def execute(self) -> Relation:
        """Execute the statement. What DuckDB returns: the number of rows, or those of RETURNING."""
        relation = self._read(lambda relation: relation)
        result = LocalRelation(relation, self._connection.catalog, lock=self._connection.catalog.lock)
        result.report = self.report
        return result

    def _call(self, execution: Execution, call: Callable[[duckdb.DuckDBPyRelation], T]) -> T:
        # Not under the lock: the plan may still change, and planning takes it.
        execution.ready()
        return self._where(lambda database: call(execution.execute_on(database)))

    def _fallback(self, call: Callable[[duckdb.DuckDBPyRelation], T]) -> T:
        return self._where(lambda database: call(database.sql(self._text)))

    def _where(self, call: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """``call`` with the user's own connection if the statement needs it: nobody plans a query meanwhile."""
        session = self._connection.catalog.session
        if session.needs_own or session.is_private(self._text):
            return self._connection.here(call)
        self._connection.check_open()
        cursor = self._connection.catalog.cursor()
        with interruptible(cursor):
            return call(cursor)
