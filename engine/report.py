"""What a query cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sord.exec.report import FragmentReport


@dataclass(frozen=True, slots=True)
class Report:
    """Of one run of a query on a fleet."""

    seconds: float
    """From the call to the last row."""
    plan_seconds: float
    """Of these, parsing and planning."""
    fragments: int
    bytes_exchanged: int
    """Put on the wire, each byte as often as it was sent."""
    peak_memory_bytes: int
    """Resident memory of the largest worker while it worked on the query."""
    cpu_seconds: float
    """Of the client and all workers together."""
    fallback: str | None
    """Why one DuckDB answered instead of the fleet; None if the fleet did."""
    details: tuple[FragmentReport, ...] = ()
    """What each fragment cost, in the order in which they finished."""
    replans: int = 0
    """How often the rest was planned anew, because a fragment made more or fewer rows than expected."""
