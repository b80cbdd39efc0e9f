"""Batches on disk, mapped back into memory when they are read."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Spilled:
    """Where a batch lies in its spill file."""

    offset: int
    length: int


class SpillFile:
    """A file of Arrow IPC streams, one for each batch, so that a batch is read without its neighbours."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._sink: pa.OSFile | None = None
        self._closed = False
        self._map: pa.MemoryMappedFile | None = None
        self._mapped_bytes = 0

    def append(self, batch: pa.RecordBatch) -> Spilled | None:
        """Write a batch; None if the file was closed meanwhile. Raises ``OSError`` when the disk is full."""
        with self._lock:
            if self._closed:
                return None
            if self._sink is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._sink = pa.OSFile(str(self._path), mode="wb")
            offset = self._sink.tell()
            with pa.ipc.new_stream(self._sink, batch.schema) as writer:
                writer.write_batch(batch)
            return Spilled(offset, self._sink.tell() - offset)

    def read(self, place: Spilled) -> pa.RecordBatch:
        """The batch at ``place``; its memory is the mapped file, which may be removed while it is in use."""
        with self._lock:
            if self._map is None or self._mapped_bytes < place.offset + place.length:
                self._map = pa.memory_map(str(self._path), "r")
                self._mapped_bytes = self._map.size()
            self._map.seek(place.offset)
            buffer = self._map.read_buffer(place.length)
        return pa.ipc.open_stream(buffer).read_next_batch()

    def close(self) -> None:
        """Remove the file. Idempotent."""
        with self._lock:
            self._closed = True
            self._map = None
            if self._sink is not None:
                self._sink.close()
                self._sink = None
                with contextlib.suppress(OSError):
                    self._path.unlink()
