"""What a query cost, fragment by fragment and worker by worker."""

from __future__ import annotations

from dataclasses import dataclass

from sord.exec.control import TaskReport
from sord.planner.fragment import PhysicalPlan, Place, Route


@dataclass(frozen=True, slots=True)
class FragmentReport:
    """One finished fragment. Seconds count from the start of the query, by the client's clock."""

    id: int
    title: str
    place: Place
    route: Route
    started: float
    finished: float
    tasks: tuple[TaskReport, ...]
    """One for each place where it ran, by rank; a client's has the rank ``n``."""

    @property
    def rows(self) -> int:
        return sum(task.rows for task in self.tasks)

    @property
    def received_rows(self) -> tuple[int, ...]:
        """Rows that each worker got, by rank, if they were partitioned; else empty."""
        return tuple(sum(counts) for counts in zip(*(task.sent_rows for task in self.tasks), strict=True))

    @property
    def bytes(self) -> int:
        return sum(task.bytes for task in self.tasks)

    @property
    def wire_bytes(self) -> int:
        return sum(task.wire_bytes for task in self.tasks)

    @property
    def seconds(self) -> float:
        """From dispatch to the last place's end, waiting in the workers' queues included."""
        return self.finished - self.started


@dataclass(frozen=True, slots=True)
class Planned:
    """One of the plans of a query. Of its fragments those ran that no later plan has given up."""

    plan: PhysicalPlan
    after: int | None
    """The fragment whose end was the reason for a new plan; None for the first."""


@dataclass(frozen=True, slots=True)
class Report:
    """All finished fragments of a query, in the order in which they finished. The result isn't among them."""

    fragments: tuple[FragmentReport, ...]
    plans: tuple[Planned, ...] = ()
    """In their order."""

    @property
    def bytes(self) -> int:
        """Arrow bytes that fragments made for others to read."""
        return sum(fragment.bytes for fragment in self.fragments)

    @property
    def wire_bytes(self) -> int:
        """Bytes that crossed a wire, each as often as it was sent."""
        return sum(fragment.wire_bytes for fragment in self.fragments)

    @property
    def cpu_seconds(self) -> float:
        """Of all processes while they ran tasks."""
        return sum(task.cpu_seconds for fragment in self.fragments for task in fragment.tasks)

    @property
    def peak_bytes(self) -> dict[int, int]:
        """Highest resident memory of each rank while it ran a task of this query."""
        peaks: dict[int, int] = {}
        for fragment in self.fragments:
            for task in fragment.tasks:
                peaks[task.rank] = max(peaks.get(task.rank, 0), task.peak_bytes)
        return peaks
