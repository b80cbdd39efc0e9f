"""Fragments: what a physical plan is cut into, and all that execution needs to know of one.

A fragment is a maximal piece of plan without an exchange inside. It is one DuckDB SQL statement per place
where it runs. Fragments are listed so that every input stands before its reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Place(StrEnum):
    """Where a fragment runs."""

    WORKERS = "workers"
    """Once on every worker, ``sql[rank]``."""
    CLIENT = "client"
    """Once, in the client's own DuckDB (which has the views, the temporary tables and registered frames)."""


class Route(StrEnum):
    """Where a fragment's rows go."""

    PARTITION = "partition"
    """The statement's last column, an unsigned integer, is the rank of the worker that gets the row; the
    column itself is not sent."""
    BROADCAST = "broadcast"
    """Every row to every worker."""
    GATHER = "gather"
    """Every row to the client."""
    KEEP = "keep"
    """Rows stay where they were made."""
    WRITE = "write"
    """Into files: the statement is a COPY … TO, and what it returns, its first column the number of rows written,
    goes to the client."""
    RESULT = "result"
    """The rows are the answer. Only the last fragment, which runs on the client."""


@dataclass(frozen=True, slots=True)
class Input:
    """An exchange that a fragment reads, as a table called ``name``."""

    name: str
    exchange: int
    """The id of the fragment that feeds it."""
    streaming: bool = False
    """The reader may start before the senders are done (the result's gather); else the input must be complete."""
    ordered: bool = False
    """Rows must be read sender by sender in the order of their ranks."""


@dataclass(frozen=True, slots=True)
class RuntimeFilter:
    """A semi join inside a fragment that drops rows which a later join would drop."""

    columns: tuple[str, ...]
    exchange: int | None
    """The fragment that made the keys; None if they are read from files."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """One statement per place, its inputs, and where its rows go."""

    id: int
    place: Place
    sql: tuple[str, ...]
    """One statement per worker, in the order of ranks; one element for the client."""
    inputs: tuple[Input, ...]
    route: Route
    after: tuple[int, ...] = ()
    """Fragments that must be finished before this one starts although it doesn't read them: a shuffle of a
    join's probe side waits for its build side, whose actual size may make the shuffle unnecessary."""
    reorder: bool = True
    """Whether DuckDB may choose the order of joins itself: it can't know the size of inputs and of parts of tables."""
    title: str = ""
    """A few words for people: ``scan lineitem, join orders``."""
    estimated_rows: float = 0.0
    estimated_bytes: float = 0.0
    filters: tuple[RuntimeFilter, ...] = ()
    unfiltered_rows: float = 0.0
    """Estimate of the rows that the fragment would make without its filters."""
    staging: str = ""
    """A folder that the statements write into; nothing of it may be left if the query fails."""
    private: bool = False
    """Whether it reads what only the user's own connection to the client's DuckDB sees. Never the result's."""


@dataclass(frozen=True, slots=True)
class Actual:
    """What a finished fragment made, over all places."""

    rows: int
    bytes: int
    received: tuple[int, ...] = ()
    """Rows that each worker got, by rank, of a fragment that partitions them."""


class PhysicalPlan(Protocol):
    """Fragments in an order in which inputs come first; the last one is the result."""

    @property
    def fragments(self) -> tuple[Fragment, ...]: ...

    def adapt(self, finished: Mapping[int, Actual], running: Set[int]) -> PhysicalPlan | None:
        """A better plan for what has not been started, given what finished fragments made; None to go on.

        Finished and running fragments keep their ids and are not among the new plan's ``fragments`` (which may
        read them); new fragments get ids that were never used in this query.
        """
