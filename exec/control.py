"""The messages of the control channel between the client and a worker, and their JSON form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, get_args


@dataclass(frozen=True, slots=True)
class TaskInput:
    """A complete exchange that a task reads as a table called ``name``."""

    name: str
    exchange: int
    senders: tuple[int, ...]
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """Client to worker: run one fragment's statement and send its rows to ``peers``."""

    query: int
    fragment: int
    title: str
    sql: str
    inputs: tuple[TaskInput, ...]
    partition: bool
    """The last column says which of ``peers``, then ``0 .. n-1``, gets the row; else all get all rows."""
    peers: tuple[int, ...]
    reorder: bool
    """Whether DuckDB may change the order of joins."""
    settings: Mapping[str, str]
    staging: str = ""
    """A folder that the statement, a COPY … TO, writes into. It returns the number of rows first."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Client to worker: stop a query's tasks, keep what they made until it is forgotten."""

    query: int


@dataclass(frozen=True, slots=True)
class Forget:
    """Client to worker: stop a query's tasks and drop all that is held for it; what it wrote is settled."""

    query: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Client to worker: free exchanges of a running query that nobody will read again."""

    query: int
    exchanges: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pause:
    """Client to worker: the reader of an exchange is behind; send no more of it until :class:`Resume`.

    A worker that isn't sending it ignores this, and one that has another task waiting doesn't obey.
    """

    query: int
    exchange: int


@dataclass(frozen=True, slots=True)
class Resume:
    """Client to worker: the reader has caught up."""

    query: int
    exchange: int


@dataclass(frozen=True, slots=True)
class Roster:
    """Client to worker: where every rank listens, as (rank, host, port, epoch)."""

    peers: tuple[tuple[int, str, int, int], ...]
    version: int


@dataclass(frozen=True, slots=True)
class Shutdown:
    """Client to worker: end now."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Worker to client, once: it is up and receives batches at ``host``, ``port``."""

    pid: int
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class RosterTaken:
    """Worker to client: it knows the peers of this version."""

    version: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Worker to client, every second."""

    resident_bytes: int


@dataclass(frozen=True, slots=True)
class TaskReport:
    """What one task did at one place."""

    rank: int
    rows: int = 0
    """Rows made; one that is broadcast counts once."""
    bytes: int = 0
    """Their size as Arrow in memory; what is broadcast counts once."""
    wire_bytes: int = 0
    """Bytes put on the wire: once for each receiver, none for the rank itself."""
    compute_seconds: float = 0.0
    """In DuckDB and in scattering its batches."""
    wait_seconds: float = 0.0
    """For the end of the inputs and for a full send queue."""
    cpu_seconds: float = 0.0
    """Of the whole process while the task ran."""
    peak_bytes: int = 0
    """Highest resident memory of the process while the task ran."""
    sent_rows: tuple[int, ...] = ()
    """Rows for each worker, by rank, where rows are partitioned."""


@dataclass(frozen=True, slots=True)
class Done:
    """Worker to client: the task is finished and everything is sent."""

    query: int
    fragment: int
    report: TaskReport


@dataclass(frozen=True, slots=True)
class Failed:
    """Worker to client: the query can't go on."""

    query: int
    fragment: int | None
    message: str
    error_type: str
    lost_rank: int | None = None
    """Set when the reason is that this rank could not be reached."""


Message = (
    Run
    | Cancel
    | Forget
    | Drop
    | Pause
    | Resume
    | Roster
    | Shutdown
    | Ready
    | RosterTaken
    | Heartbeat
    | Done
    | Failed
)

_KINDS: dict[str, type[Message]] = {kind.__name__: kind for kind in get_args(Message)}


def encode(message: Message) -> dict[str, Any]:
    """The JSON object of a message."""
    return {"kind": type(message).__name__, **asdict(message)}


def decode(document: dict[str, Any]) -> Message:
    """The message of a JSON object. Raises ``ValueError`` if it is none of ours."""
    fields = dict(document)
    kind = _KINDS.get(str(fields.pop("kind", "")))
    try:
        if kind is None:
            raise ValueError("unknown kind")
        if kind is Run:
            inputs = (TaskInput(**{**one, "senders": tuple(one["senders"])}) for one in fields["inputs"])
            fields |= {"inputs": tuple(inputs), "peers": tuple(fields["peers"])}
        elif kind is Done:
            report = fields["report"]
            fields["report"] = TaskReport(**{**report, "sent_rows": tuple(report["sent_rows"])})
        elif kind is Drop:
            fields["exchanges"] = tuple(fields["exchanges"])
        elif kind is Roster:
            fields["peers"] = tuple((rank, host, port, epoch) for rank, host, port, epoch in fields["peers"])
        return kind(**fields)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a control message ({error}): {str(document)[:200]}") from error
