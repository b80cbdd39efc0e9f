"""Plans written by hand, real worker processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass

import duckdb

from sord.exec.coordinator import Coordinator
from sord.exec.fleet import parse_fleet
from sord.planner.fragment import Actual, Fragment, Input, PhysicalPlan, Place, Route

Adapt = Callable[[Mapping[int, Actual], Set[int]], PhysicalPlan | None]


@dataclass(frozen=True)
class Plan:
    """Fragments that stay as they are, unless ``changes`` says otherwise."""

    fragments: tuple[Fragment, ...]
    changes: Adapt = lambda finished, running: None

    def adapt(self, finished: Mapping[int, Actual], running: Set[int]) -> PhysicalPlan | None:
        return self.changes(finished, running)


def on_workers(
    number: int, sql: str | list[str], route: Route, *inputs: Input, size: int, after: tuple[int, ...] = ()
) -> Fragment:
    """A fragment on all workers; in one text ``{rank}`` and ``{size}`` are filled in."""
    texts = [sql.replace("{rank}", str(rank)) for rank in range(size)] if isinstance(sql, str) else sql
    texts = [text.replace("{size}", str(size)) for text in texts]
    return Fragment(number, Place.WORKERS, tuple(texts), inputs, route, after, title=f"fragment {number}")


def on_client(number: int, sql: str, route: Route, *inputs: Input) -> Fragment:
    return Fragment(number, Place.CLIENT, (sql,), inputs, route, title=f"fragment {number}")


def gathered(sql: str | list[str], size: int, result: str = "FROM rows") -> Plan:
    """``sql`` on every worker, ``result`` over its rows."""
    return Plan(
        (
            on_workers(1, sql, Route.GATHER, size=size),
            on_client(2, result, Route.RESULT, Input("rows", 1, streaming=True)),
        )
    )


def fetch(coordinator: Coordinator, plan: PhysicalPlan) -> list[tuple[object, ...]]:
    with coordinator.run(plan) as execution, execution.guard():
        return execution.relation.fetchall()


PATIENCE_SECONDS = 20.0


def eventually(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Flock:
    """A coordinator and its DuckDB."""

    def __init__(self, url: str, **options: float) -> None:
        self.connection = duckdb.connect()
        fleet = parse_fleet(url)
        self.key = fleet.key
        self.coordinator = Coordinator(fleet, self.connection.cursor, **options)  # type: ignore[arg-type]
        self.size = self.coordinator.size

    def rows(self, plan: PhysicalPlan) -> list[tuple[object, ...]]:
        return fetch(self.coordinator, plan)

    def close(self) -> None:
        self.coordinator.close()
        self.connection.close()


LONG = "SELECT sum(a.range * b.range) AS n FROM range(1000000000) a, range(1000000000) b"
"""A statement that takes longer than any test."""
