"""What a runner must know about a benchmark: its tables, its queries, and what makes an answer right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sord.tpch.compare import Answer


class Judge(Protocol):
    """Says what is wrong with an answer, one sentence each; nothing when it is right."""

    def __call__(
        self,
        query: int,
        scale_factor: float,
        answer: Answer,
        duckdb_answer: Answer,
        ask_duckdb: Callable[[str], Answer],
    ) -> list[str]:
        """Judges `answer` by DuckDB's, and by that of any other statement that it asks of DuckDB."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Queries by number, and texts that depend on the scale factor."""

    tables: tuple[str, ...]
    queries: Sequence[int]
    query_text: Callable[[int, float], str]
    judge: Judge
