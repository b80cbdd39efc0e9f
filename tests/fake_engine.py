"""A stand-in for `sord.connect`: plain DuckDB with a lever for each thing that can go wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

import sord


@dataclass
class FakeReport:
    seconds: float = 0.5
    plan_seconds: float = 0.002
    fragments: int = 3
    bytes_exchanged: int = 1_234
    peak_memory_bytes: int = 5_000_000
    cpu_seconds: float = 0.7
    fallback: str | None = None


class FakeRelation:
    def __init__(self, relation: duckdb.DuckDBPyRelation, engine: FakeConnection) -> None:
        self._relation = relation
        self._engine = engine
        self.columns = relation.columns
        self.types = [str(kind) for kind in relation.types]
        self.report: FakeReport | None = None

    def arrow(self) -> pa.Table:
        self.report = self._engine.report
        return self._engine.spoil(self._relation.to_arrow_table())

    def show(self) -> None:
        self._relation.show()


class FakeConnection:
    def __init__(self, **options: Any) -> None:
        self.report: FakeReport | None = FakeReport()
        self.spoil: Callable[[pa.Table], pa.Table] = lambda table: table
        self.error: str | None = None
        self.options = options
        self._duckdb = duckdb.connect()

    def register_dir(self, folder: Path) -> None:
        for file in folder.glob("*.parquet"):
            self._duckdb.read_parquet(str(file)).create_view(file.stem)

    def sql(self, text: str) -> FakeRelation | None:
        if self.error is not None and "lineitem" in text:
            raise sord.Error(self.error)
        relation = self._duckdb.sql(text)
        return None if relation is None else FakeRelation(relation, self)

    def interrupt(self) -> None:
        self._duckdb.interrupt()

    def close(self) -> None:
        self._duckdb.close()

    def __enter__(self) -> FakeConnection:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
