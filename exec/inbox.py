"""What arrives from other ranks, kept until DuckDB reads it: in memory up to a budget, past it on disk."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pyarrow as pa

from sord.exec.spill import Spilled, SpillFile
from sord.transport.base import ExchangeId, PeerLost

_REMEMBERED_QUERIES = 4096
_POLL_SECONDS = 0.5


class InboxError(Exception):
    """An exchange can't be completed: its rows could not be kept, or a sender is gone."""


class _Limit:
    """How many bytes of each sender may wait, and who has been told to wait because of it."""

    def __init__(self, sender_bytes: int, tell: Callable[[int, bool], None]) -> None:
        self._sender_bytes = sender_bytes
        self._tell = tell
        self.paused: set[int] = set()

    def update(self, sender: int, waiting_bytes: int) -> None:
        if sender in self.paused:
            if waiting_bytes <= self._sender_bytes // 2:
                self.paused.remove(sender)
                self._tell(sender, False)
        elif waiting_bytes > self._sender_bytes:
            self.paused.add(sender)
            self._tell(sender, True)


class Inbox:
    """What came in for one exchange. All but the spill file is guarded by the registry's lock."""

    def __init__(self, spill: SpillFile) -> None:
        self.spill = spill
        self.schema: pa.Schema | None = None
        self.received: dict[int, deque[pa.RecordBatch | Spilled]] = {}
        self.finished: set[int] = set()
        self.expected: set[int] = set()
        self.held_bytes = 0
        self.waiting_bytes: dict[int, int] = {}
        """By sender, on disk too."""
        self.limit: _Limit | None = None
        self.error: Exception | None = None

    def count(self, sender: int, size: int) -> None:
        """Note that ``size`` more bytes of ``sender`` wait, or fewer."""
        waiting = self.waiting_bytes[sender] = self.waiting_bytes.get(sender, 0) + size
        if self.limit is not None:
            self.limit.update(sender, waiting)

    def load(self, entry: pa.RecordBatch | Spilled) -> pa.RecordBatch:
        return self.spill.read(entry) if isinstance(entry, Spilled) else entry


class Inboxes:
    """All inboxes of a process; a :class:`sord.transport.base.Receiver`. Thread-safe.

    ``budget_bytes`` is shared by all; batches past it go to files in ``spill_directory``. They are written by
    the receiving thread: a slow disk slows the senders down instead of filling the memory.
    """

    def __init__(
        self,
        spill_directory: Path,
        budget_bytes: int,
        on_failure: Callable[[int, Exception], None] | None = None,
    ) -> None:
        """``on_failure`` hears at once of (query, error), from the receiving thread."""
        self._directory = spill_directory
        self._budget_bytes = budget_bytes
        self._on_failure = on_failure
        self._changed = threading.Condition()
        self._inboxes: dict[ExchangeId, Inbox] = {}
        self._failed: dict[int, Exception] = {}
        self._forgotten: dict[int, None] = {}
        self._held_bytes = 0
        self.spilled_bytes = 0
        """Written to disk since the start."""

    @property
    def held_bytes(self) -> int:
        """Arrow bytes in memory now."""
        return self._held_bytes

    def batch(self, exchange: ExchangeId, sender: int, batch: pa.RecordBatch) -> None:
        # Not nbytes: on an empty union that came by IPC it crashes the process (pyarrow 26).
        size = batch.get_total_buffer_size() if batch.num_rows else 0
        with self._changed:
            inbox = self._open(exchange)
            if inbox is None or inbox.error is not None:
                return
            if inbox.schema is None:
                inbox.schema = batch.schema
            entries = inbox.received.setdefault(sender, deque())
            spill = bool(size) and self._held_bytes + size > self._budget_bytes
            if not spill:
                if batch.num_rows:
                    entries.append(batch)
                    inbox.held_bytes += size
                    self._held_bytes += size
                    inbox.count(sender, size)
                self._changed.notify_all()
                return
        try:
            place = inbox.spill.append(batch)
        except (OSError, pa.ArrowException) as error:
            reason = f"{size:,} bytes could not be spilled to {self._directory}: {error}"
            self._break(exchange, InboxError(reason))
            return
        with self._changed:
            if place is not None:
                entries.append(place)
                inbox.count(sender, place.length)
                self.spilled_bytes += place.length
            self._changed.notify_all()

    def finished(self, exchange: ExchangeId, sender: int) -> None:
        with self._changed:
            inbox = self._open(exchange)
            if inbox is not None:
                inbox.finished.add(sender)
                self._changed.notify_all()

    def lost(self, sender: int, reason: str) -> None:
        with self._changed:
            broken = [
                exchange
                for exchange, inbox in self._inboxes.items()
                if sender not in inbox.finished and (sender in inbox.received or sender in inbox.expected)
            ]
        for exchange in broken:
            self._break(exchange, PeerLost(sender, reason))

    def wait(
        self,
        exchange: ExchangeId,
        senders: Collection[int],
        deadline: float,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Return when all ``senders`` have finished; ``deadline`` is in seconds of ``time.monotonic``.

        Raises what broke the exchange, or :class:`InboxError` at the deadline or when ``stop()`` is true.
        """
        with self._changed:
            inbox = self._expect(exchange, senders)
            while not inbox.finished.issuperset(senders):
                self._check(exchange, inbox)
                if stop():
                    raise InboxError("stopped")
                seconds = deadline - time.monotonic()
                if seconds <= 0:
                    missing = sorted(set(senders) - inbox.finished)
                    raise InboxError(f"no end of the rows of rank {', '.join(map(str, missing))} in time")
                self._changed.wait(min(seconds, _POLL_SECONDS))
            self._check(exchange, inbox)

    def table(self, exchange: ExchangeId, senders: Collection[int]) -> pa.Table:
        """All rows of a complete exchange, by sender's rank, zero-copy. May be called again and again.

        Spilled batches are mapped, not read. Raises :class:`InboxError` if the senders' schemas differ.
        """
        with self._changed:
            inbox = self._expect(exchange, senders)
            self._check(exchange, inbox)
            entries = [entry for sender in sorted(inbox.received) for entry in inbox.received[sender]]
            schema = inbox.schema
        if schema is None:
            raise InboxError("no sender sent a batch, not even an empty one")
        try:
            return pa.Table.from_batches([inbox.load(entry) for entry in entries], schema)
        except pa.ArrowInvalid as error:
            raise InboxError(f"the senders' columns differ: {error}") from error

    def wait_schema(self, exchange: ExchangeId, senders: Collection[int]) -> pa.Schema:
        """The columns of an exchange, as soon as any of its ``senders`` has sent something."""
        with self._changed:
            inbox = self._expect(exchange, senders)
            while inbox.schema is None:
                self._check(exchange, inbox)
                if inbox.finished.issuperset(senders):
                    raise InboxError("no sender sent a batch, not even an empty one")
                self._changed.wait(_POLL_SECONDS)
            return inbox.schema

    def drain(
        self, exchange: ExchangeId, senders: Collection[int], ordered: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Batches while they arrive, freed as they are read: a single pass.

        ``ordered``: sender by sender in the order of ranks, else as they come. Raises what broke it.
        """
        waiting = deque(sorted(senders))
        while waiting:
            with self._changed:
                inbox = self._expect(exchange, senders)
                sender = self._readable(exchange, inbox, [waiting[0]] if ordered else list(waiting))
                entries = inbox.received.get(sender)
                if not entries:
                    waiting.remove(sender)
                    continue
                entry = entries.popleft()
                if isinstance(entry, Spilled):
                    inbox.count(sender, -entry.length)
                else:
                    size = entry.get_total_buffer_size()
                    inbox.held_bytes -= size
                    self._held_bytes -= size
                    inbox.count(sender, -size)
            yield inbox.load(entry)

    def _readable(self, exchange: ExchangeId, inbox: Inbox, candidates: list[int]) -> int:
        """Wait for a sender that has a batch here or is finished; the lock is held."""
        while True:
            self._check(exchange, inbox)
            for sender in candidates:
                if inbox.received.get(sender) or sender in inbox.finished:
                    return sender
            self._changed.wait(_POLL_SECONDS)

    def limit(
        self,
        exchange: ExchangeId,
        senders: Collection[int],
        limit_bytes: int,
        tell: Callable[[int, bool], None],
    ) -> None:
        """Hold back the senders of an exchange that is drained: each may have its share of ``limit_bytes`` waiting.

        Each for itself, because a reader may want the rows of one before another's. ``tell(sender, paused)`` is
        called under the lock, from the transport's and the reader's threads: it must only take note. A sender is
        resumed when half of its share has been read.
        """
        with self._changed:
            inbox = self._open(exchange)
            if inbox is None:
                return
            inbox.limit = _Limit(limit_bytes // len(senders), tell)
            for sender in senders:
                inbox.count(sender, 0)

    def fail(self, query: int, error: Exception) -> None:
        """Make everyone who waits for or reads an exchange of ``query`` raise ``error``."""
        with self._changed:
            if query not in self._forgotten:
                self._failed.setdefault(query, error)
            self._changed.notify_all()

    def drop(self, query: int, exchanges: Collection[int]) -> None:
        """Free exchanges that will not be read again."""
        self._remove([ExchangeId(query, exchange) for exchange in exchanges])

    def forget(self, query: int) -> None:
        """Free everything of a query and ignore what still comes for it. Idempotent."""
        with self._changed:
            self._forgotten[query] = None
            while len(self._forgotten) > _REMEMBERED_QUERIES:
                del self._forgotten[next(iter(self._forgotten))]
            self._failed.pop(query, None)
            exchanges = [exchange for exchange in self._inboxes if exchange.query == query]
        self._remove(exchanges)

    def close(self) -> None:
        """Free everything. Idempotent."""
        with self._changed:
            exchanges = list(self._inboxes)
        self._remove(exchanges)

    def _open(self, exchange: ExchangeId) -> Inbox | None:
        if exchange.query in self._forgotten:
            return None
        inbox = self._inboxes.get(exchange)
        if inbox is None:
            path = self._directory / f"inbox-{exchange.query}-{exchange.exchange}.arrow"
            inbox = self._inboxes[exchange] = Inbox(SpillFile(path))
        return inbox

    def _expect(self, exchange: ExchangeId, senders: Collection[int]) -> Inbox:
        inbox = self._open(exchange)
        if inbox is None:
            raise InboxError("the query is over")
        inbox.expected.update(senders)
        return inbox

    def _check(self, exchange: ExchangeId, inbox: Inbox) -> None:
        error = self._failed.get(exchange.query) or inbox.error
        if error is not None:
            raise error
        if exchange.query in self._forgotten:
            raise InboxError("the query is over")

    def _break(self, exchange: ExchangeId, error: Exception) -> None:
        with self._changed:
            inbox = self._inboxes.get(exchange)
            if inbox is None or inbox.error is not None:
                return
            inbox.error = error
            self._release(inbox)
            self._changed.notify_all()
        inbox.spill.close()
        if self._on_failure is not None:
            self._on_failure(exchange.query, error)

    def _remove(self, exchanges: Collection[ExchangeId]) -> None:
        with self._changed:
            removed = [inbox for key in exchanges if (inbox := self._inboxes.pop(key, None)) is not None]
            for inbox in removed:
                self._release(inbox)
            self._changed.notify_all()
        for inbox in removed:
            inbox.spill.close()

    def _release(self, inbox: Inbox) -> None:
        self._held_bytes -= inbox.held_bytes
        inbox.held_bytes = 0
        inbox.limit = None
        inbox.received.clear()
