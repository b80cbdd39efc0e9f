"""What becomes of a query's rows when they are not for a reader: a statement around the query."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sink:
    """A statement such as ``CREATE TABLE t AS …`` or ``COPY (…) TO …``, cut where its query stands."""

    before: str
    after: tuple[str, ...]
    """What follows the query: one text, for the client, which runs the statement on the whole result. Or one text
    per worker and then the client's: each worker that has rows of the result runs the statement on these, in
    files of its own, and what the statements return is the result."""
    staging: str = ""
    """The folder that the statements write into, beside the destination."""

    @property
    def in_place(self) -> bool:
        """Whether workers run the statement, each on its own rows."""
        return len(self.after) > 1

    def statement(self, query: str, rank: int = -1) -> str:
        """The statement around ``query`` for a worker, or for the client if no ``rank`` is given."""
        return f"{self.before}{query}{self.after[rank]}"
