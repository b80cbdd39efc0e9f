"""What execution raises. Everything derives from :class:`SordError`."""

from __future__ import annotations


class SordError(Exception):
    """Base of sord's own errors. The message is for people and complete without the traceback."""


class FleetError(SordError):
    """A fleet's URL is wrong, or its workers could not be started."""


class QueryError(SordError):
    """A statement failed in DuckDB, or its rows could not be kept."""

    def __init__(
        self, message: str, *, rank: int | None = None, title: str = "", error_type: str = ""
    ) -> None:
        place = "" if rank is None else f"worker {rank}"
        where = ", ".join(part for part in (place, title) if part)
        super().__init__(f"{where}: {message}" if where else message)
        self.message = message
        """DuckDB's own words."""
        self.rank = rank
        """The worker where it happened; None for the client."""
        self.title = title
        """The fragment's title."""
        self.error_type = error_type
        """The name of DuckDB's exception class, ``ConversionException`` for instance."""


class ExchangeError(QueryError):
    """Rows could not be moved between two ranks although both are alive."""


class QueryCancelled(SordError):
    """The query was cancelled or closed before its result was read."""


class WorkerLost(SordError):
    """A worker died, stopped answering or could not be reached. The next query starts it anew."""

    def __init__(self, rank: int, pid: int, reason: str) -> None:
        super().__init__(f"worker {rank} (pid {pid}) {reason}")
        self.rank = rank
        self.pid = pid
