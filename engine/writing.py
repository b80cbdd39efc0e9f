"""Statements that write a query's rows: what COPY, CREATE TABLE … AS and INSERT have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import duckdb

from sord.distributed import DistributedRelation
from sord.enclosed import copy_to, enclosed
from sord.parameters import checked
from sord.relation import Relation

if TYPE_CHECKING:
    from sord.connection import Connection, Parameters
    from sord.statements import Statement


class WritingRelation(DistributedRelation):
    """A statement around a query. It is planned and explained as a query is, and executed by :meth:`execute`."""

    @abstractmethod
    def execute(self) -> Relation:
        """Execute the statement; what DuckDB returns for it."""


def writing(
    connection: Connection, statement: Statement, params: Parameters | None
) -> WritingRelation | None:
    """What a fleet has to do for a statement; None if it is DuckDB's alone.

    Raises DuckDB's errors for a wrong statement.
    """
    from sord.copying import copying
    from sord.storing import storing

    kind, text = statement
    if kind not in (duckdb.StatementType.CREATE, duckdb.StatementType.INSERT, duckdb.StatementType.COPY):
        return None
    is_copy = kind == duckdb.StatementType.COPY
    # With parameters a COPY shows its path only when they are in their places.
    if (params is None or not is_copy) and (copy_to(text) if is_copy else enclosed(text)) is None:
        return None
    text = connection.here(lambda database: checked(database, text, params))
    return copying(connection, text) if is_copy else storing(connection, text)
