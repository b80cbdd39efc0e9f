"""Relations: queries that haven't run yet. Every call that asks for rows runs the query."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import duckdb

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

    from sord.report import Report

_BATCH_ROWS = 122_880


class Relation(ABC):
    """A query and its columns. Made by :meth:`sord.Connection.sql`.

    Wrong SQL raises DuckDB's own errors, mostly when the relation is made; trouble with a fleet raises
    :class:`sord.Error` when it runs.
    """

    def __init__(self, columns: list[str], types: list[str]) -> None:
        self.columns = columns
        """Names of the columns, in order."""
        self.types = types
        """Their DuckDB types, as text."""
        self.report: Report | None = None
        """What the last run on a fleet cost; None before it, and always for the embedded engine."""

    def arrow(self) -> pyarrow.Table:
        """Run the query: all rows as a pyarrow Table."""
        with self._run() as relation:
            return relation.to_arrow_table()

    def reader(self, batch_rows: int = _BATCH_ROWS) -> pyarrow.RecordBatchReader:
        """Run the query: rows as they come, in batches of about ``batch_rows``.

        The query holds its resources until the reader is exhausted or gone.
        """
        import pyarrow

        running = self._run()
        relation = running.__enter__()
        try:
            source = relation.to_arrow_reader(batch_rows)
        except BaseException as error:
            running.__exit__(type(error), error, error.__traceback__)
            raise
        return pyarrow.RecordBatchReader.from_batches(source.schema, _batches(running, source))

    def df(self) -> pandas.DataFrame:
        """Run the query: all rows as a pandas DataFrame."""
        with self._run() as relation:
            return relation.df()

    def pl(self) -> polars.DataFrame:
        """Run the query: all rows as a polars DataFrame."""
        with self._run() as relation:
            return relation.pl()

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Run the query: all rows as Python tuples."""
        with self._run() as relation:
            return relation.fetchall()

    def show(self, max_rows: int = 40) -> None:
        """Run the query and print its first rows as a table."""
        with self._run() as relation:
            relation.show(max_rows=max_rows)

    def write_parquet(self, path: str | os.PathLike[str]) -> None:
        """Run the query into one Parquet file, which appears when it is complete."""
        with self._run() as relation:
            relation.write_parquet(os.fspath(path))

    @abstractmethod
    def explain(self) -> str:
        """How the query will be executed, as text. It doesn't run."""

    @abstractmethod
    def _run(self) -> AbstractContextManager[duckdb.DuckDBPyRelation]:
        """Run the query; inside the context its rows may be read once."""

    def __repr__(self) -> str:
        columns = ", ".join(f"{name} {type_}" for name, type_ in zip(self.columns, self.types, strict=True))
        return f"<sord.Relation ({columns})>"


class LocalRelation(Relation):
    """A query of the embedded engine: DuckDB's own relation."""

    def __init__(self, relation: duckdb.DuckDBPyRelation) -> None:
        super().__init__(relation.columns, [str(type_) for type_ in relation.types])
        self._relation = relation

    def explain(self) -> str:
        """DuckDB's plan."""
        return self._relation.explain()

    @contextmanager
    def _run(self) -> Iterator[duckdb.DuckDBPyRelation]:
        yield self._relation


def _batches(
    running: AbstractContextManager[duckdb.DuckDBPyRelation], source: pyarrow.RecordBatchReader
) -> Iterator[pyarrow.RecordBatch]:
    try:
        yield from source
    except BaseException as error:
        if not running.__exit__(type(error), error, error.__traceback__):
            raise
    else:
        running.__exit__(None, None, None)
