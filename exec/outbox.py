"""Sending in the background, so that it overlaps computing."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence

import pyarrow as pa

from sord.transport.base import Channel

_DEPTH = 8
"""Batches that may wait to be sent; they are of about a mebibyte, see :mod:`sord.exec.scatter`."""


class Outbox:
    """One thread that sends what it is given through a channel. Used by one producer."""

    def __init__(
        self, channel: Channel, peers: Sequence[int], hold_back: Callable[[], None] = lambda: None
    ) -> None:
        """``hold_back`` is called before each batch is sent and returns when it may be, or when it won't matter."""
        self._channel = channel
        self._hold_back = hold_back
        self._peers = peers
        self._queue: queue.Queue[tuple[Sequence[int], pa.RecordBatch] | None] = queue.Queue(_DEPTH)
        self._error: BaseException | None = None
        self._abandoned = False
        self._served: set[int] = set()
        self._thread = threading.Thread(target=self._send, name="outbox", daemon=True)
        self._started = False
        self.wire_bytes = 0
        self.wait_seconds = 0.0
        """How long the producer waited for the network, or for a reader that was behind."""

    def put(self, peers: Sequence[int], batch: pa.RecordBatch) -> None:
        """Send a batch soon; waits while too many wait. Raises what an earlier send raised."""
        if not self._started:
            self._started = True
            self._thread.start()
        if self._error is not None:
            raise self._error
        self._served.update(peers)
        start = time.perf_counter()
        self._queue.put((peers, batch))
        self.wait_seconds += time.perf_counter() - start

    def finish(self, schema: pa.Schema) -> None:
        """Send what waits, an empty batch to each peer that got none, and the end. Raises as :meth:`put`."""
        unserved = [peer for peer in self._peers if peer not in self._served]
        start = time.perf_counter()
        self._stop()
        if self._error is not None:
            raise self._error
        if unserved:
            empty = pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)
            self.wire_bytes += self._channel.send(unserved, empty)
        self._channel.finish(self._peers)
        self.wait_seconds += time.perf_counter() - start

    def abandon(self) -> None:
        """Send nothing more and let the thread end."""
        self._abandoned = True
        self._stop()

    def _stop(self) -> None:
        if self._started:
            self._queue.put(None)
            self._thread.join()
            self._started = False

    def _send(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._error is None and not self._abandoned:
                try:
                    self._hold_back()
                    self.wire_bytes += self._channel.send(*item)
                except BaseException as error:
                    # The producer learns of it at its next call; until then the queue must go on draining.
                    self._error = error
