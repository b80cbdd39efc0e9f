"""Splits: which rows of a table each worker reads, as plain SQL."""

from __future__ import annotations

from sord.planner.catalog import File
from sord.planner.distribution import Ranged, Replicated
from sord.planner.logical import Scan
from sord.planner.render import quote, read_files, whole_table

Part = tuple[File, int, int]
"""A file, its first row to read, and the row after the last."""


class Splits:
    """FROM items of a fragment's scans: rendered once with place-holders, filled in for each worker."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.scans: list[Scan] = []
        self.assigned: dict[int, list[list[Part]]] = {}

    def source(self, scan: Scan) -> str:
        """A place-holder, or the text itself where it is the same for all."""
        if scan.split is None or isinstance(scan.split, Replicated):
            return whole_table(scan)
        self.scans.append(scan)
        return f"\0{len(self.scans) - 1}\0"

    def fill(self, sql: str, rank: int) -> str:
        """The statement of one worker."""
        for number, scan in enumerate(self.scans):
            sql = sql.replace(f"\0{number}\0", self.part(scan, rank, number))
        return sql

    def part(self, scan: Scan, rank: int, number: int) -> str:
        """The FROM item of one worker."""
        assert scan.table.files is not None
        if isinstance(scan.split, Ranged):
            return _range(scan, scan.split, rank, self.workers)
        if number not in self.assigned:
            self.assigned[number] = assign(scan.table.files, self.workers)
        return _rows(scan, self.assigned[number][rank])

    def whole(self, sql: str) -> str:
        """The statement over whole tables."""
        for number, scan in enumerate(self.scans):
            sql = sql.replace(f"\0{number}\0", whole_table(scan))
        return sql


def _rows(scan: Scan, parts: list[Part]) -> str:
    """Row groups by their row numbers."""
    table = scan.table
    assert table.files is not None
    whole = [file.path for file, first, last in parts if first == 0 and last == file.rows]
    cut = [(file, first, last) for file, first, last in parts if not (first == 0 and last == file.rows)]
    numbered = "file_row_number" in (name for name, _ in table.columns)
    items, option = ("*", "") if numbered else ("* EXCLUDE (file_row_number)", ", file_row_number=true")
    sources = [f"SELECT * FROM {read_files(table, whole)}"] if whole else []
    sources += [
        # DuckDB skips the row groups outside of the range by their row numbers.
        f"SELECT {items} FROM {read_files(table, [file.path], option)} "
        f"WHERE file_row_number BETWEEN {first} AND {last - 1}"
        for file, first, last in cut
    ]
    if not sources:
        return f"(SELECT * FROM {read_files(table, [table.files[0].path])} LIMIT 0)"
    if len(sources) == 1 and whole:
        return read_files(table, whole)
    return f"({' UNION ALL '.join(sources)})"


def _range(scan: Scan, split: Ranged, rank: int, workers: int) -> str:
    """A range of keys. DuckDB skips row groups by their minima and maxima; whole files are left out here."""
    assert scan.table.files is not None
    (id_,) = {id_ for id_, _ in scan.outputs} & split.key
    name = dict(scan.outputs)[id_]
    low = split.boundaries[rank - 1] if rank > 0 else None
    high = split.boundaries[rank] if rank < workers - 1 else None
    conditions = []
    if low is not None:
        conditions.append(f"{quote(name)} >= {low}")
    if high is not None:
        conditions.append(f"{quote(name)} < {high}" + (f" OR {quote(name)} IS NULL" if rank == 0 else ""))
    paths = [file.path for file in scan.table.files if _overlaps(file, name, low, high)]
    source = read_files(scan.table, paths or [scan.table.files[0].path])
    return f"(SELECT * FROM {source} WHERE {' AND '.join(conditions) or 'true'})"


def _overlaps(file: File, column: str, low: int | None, high: int | None) -> bool:
    lowest, highest = file.key_ranges.get(column, (None, None))
    if lowest is None or highest is None:
        return True
    return (high is None or lowest < high) and (low is None or highest >= low)


def assign(files: tuple[File, ...], workers: int) -> list[list[Part]]:
    """For each worker consecutive row groups, about equal bytes.

    Consecutive, so that a worker opens few files and the same ones in every query. What files skip counts for
    nothing and is read over by whoever has the row groups around it.
    """
    total = sum(file.bytes * file.kept_rows / max(file.rows, 1) for file in files)
    result: list[list[Part]] = [[] for _ in range(workers)]
    seen = 0.0
    for file in files:
        row = 0
        owners = set()
        for number, rows in enumerate(file.row_groups):
            if number in file.skipped:
                row += rows
                continue
            size = file.bytes * rows / max(file.rows, 1)
            rank = min(int((seen + size / 2) * workers / max(total, 1)), workers - 1)
            seen += size
            mine = result[rank]
            owners.add(rank)
            if mine and mine[-1][0] is file:
                mine[-1] = (file, mine[-1][1], row + rows)
            else:
                mine.append((file, row, row + rows))
            row += rows
        if len(owners) == 1:
            result[owners.pop()][-1] = (file, 0, file.rows)
    return result
