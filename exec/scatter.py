"""Cutting batches by the rank that gets each row, and joining small pieces to batches worth a frame."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

FLUSH_BYTES = 1 << 20
"""Pieces for one peer are collected to about this size: below, a frame's fixed costs show."""
FLUSH_ROWS = 1 << 16


class Scatter:
    """Sends each row of the batches given to it to the rank in the batch's last column."""

    def __init__(self, size: int) -> None:
        """For the ranks ``0 .. size-1``."""
        self._size = size
        self._narrow = np.min_scalar_type(max(size - 1, 0))
        self._pending: list[list[pa.RecordBatch]] = [[] for _ in range(size)]
        self._pending_bytes = [0] * size
        self._pending_rows = [0] * size

    def add(self, batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Take a batch; give the (rank, batch) pairs that are ready, without the last column.

        Raises ``ValueError`` for a rank that is NULL or that doesn't exist.
        """
        for rank, piece in self._split(batch):
            self._pending[rank].append(piece)
            self._pending_bytes[rank] += piece.get_total_buffer_size()
            self._pending_rows[rank] += piece.num_rows
            if self._pending_bytes[rank] >= FLUSH_BYTES or self._pending_rows[rank] >= FLUSH_ROWS:
                yield rank, self._take(rank)

    def rest(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """The (rank, batch) pairs that were held back."""
        for rank in range(self._size):
            if self._pending[rank]:
                yield rank, self._take(rank)

    def _take(self, rank: int) -> pa.RecordBatch:
        pieces = self._pending[rank]
        self._pending[rank] = []
        self._pending_bytes[rank] = self._pending_rows[rank] = 0
        return pieces[0] if len(pieces) == 1 else pa.concat_batches(pieces)

    def _split(self, batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
        column = batch.column(batch.num_columns - 1)
        rows = batch.select(range(batch.num_columns - 1))
        if not batch.num_rows:
            return
        if column.null_count:
            raise ValueError("the rank of a row is NULL")
        # Neither to_numpy() nor pa.array(): they import pandas where it is installed, 0.3 s of a first query.
        ranks = np.from_dlpack(column)
        highest = int(ranks.max())
        if highest >= self._size:
            raise ValueError(f"the rank of a row is {highest}, the fleet has {self._size} workers")
        # Stable sorting is a radix sort, linear in the rows, for 8 and 16 bit integers only.
        ranks = ranks.astype(self._narrow, copy=False)
        counts = np.bincount(ranks, minlength=self._size)
        if counts[highest] == batch.num_rows:
            yield highest, rows
            return
        order = _int64_array(np.argsort(ranks, kind="stable"))
        start = 0
        for rank, count in enumerate(counts.tolist()):
            if count:
                # One take per rank, not slices of one: each piece owns its memory and is freed on its own.
                yield rank, _take_rows(rows, order.slice(start, count))
                start += count


def _int64_array(values: npt.NDArray[np.int64]) -> pa.Array:
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(values)])


def _take_rows(batch: pa.RecordBatch, indices: pa.Array) -> pa.RecordBatch:
    if not batch.num_columns:
        return batch.slice(0, len(indices))
    return batch.take(indices)
