"""What the footers of a table's files say of its columns: zones of row groups, statistics and clusterings."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence

from sord.footers import Chunk, Footer, Kind, chunks, layout, list_positions
from sord.planner.catalog import Bound, Clustering, File, Zone

INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
_ROW_GROUPS_LIMIT = 4096
"""Clusterings of tables with more row groups are merged down to about this many."""
_OVERLAP = 0.05
"""The share of row groups that may reach into the next one's range in a clustered table."""


class TableFooters:
    """Implements the planner's :class:`~sord.planner.catalog.Footers`."""

    def __init__(
        self, types: Mapping[str, str], footers: Mapping[str, Footer], unknown: Collection[str] = ()
    ) -> None:
        """``types`` are the table's columns, ``footers`` those of its files by path.

        ``unknown`` are columns whose values aren't those of the files' columns of this name.
        """
        self._types = {name: type_ for name, type_ in types.items() if name not in unknown}
        self._footers = footers
        self._layouts: dict[str, dict[str, tuple[int, Kind]]] = {}
        self._lists: dict[str, dict[str, int]] = {}
        for footer in footers.values():
            if footer.schema not in self._layouts:
                self._layouts[footer.schema] = layout(footer.metadata)
                self._lists[footer.schema] = list_positions(footer.metadata)
        self._zones: dict[str, Mapping[str, Sequence[Zone]]] = {}
        self.names = tuple(name for name in self._types if self.kinds(name))
        """Columns of which the footers say something."""
        listed = {name for names in self._lists.values() for name in names}
        self.lists = tuple(name for name in self._types if name.lower() in listed and name not in self.names)
        """Columns of which they say how long lists are."""

    def kinds(self, column: str) -> set[Kind]:
        """How the files store a column."""
        name = column.lower()
        return {columns[name][1] for columns in self._layouts.values() if name in columns}

    def chunks(self, column: str) -> Iterator[tuple[Kind, Chunk]]:
        """A column in each row group of the files that have it."""
        for footer in self._footers.values():
            found = self._layouts[footer.schema].get(column.lower())
            if found is not None:
                position, kind = found
                for chunk in chunks(footer, position):
                    yield kind, chunk

    def elements(self, column: str) -> float | None:
        """Elements of an average list, where an empty list and NULL count as one; None if there are no rows."""
        rows = values = 0
        for footer in self._footers.values():
            position = self._lists[footer.schema].get(column.lower())
            if position is not None:
                groups = map(footer.metadata.row_group, range(footer.metadata.num_row_groups))
                values += sum(group.column(position).num_values for group in groups)
                rows += footer.metadata.num_rows
        return values / rows if rows else None

    def zones(self, column: str) -> Mapping[str, Sequence[Zone]] | None:
        if column not in self.names:
            return None
        if column not in self._zones:
            ordered = _keeps_order(self._types[column], self.kinds(column))
            self._zones[column] = {
                path: self._of_file(f, column, ordered) for path, f in self._footers.items()
            }
        return self._zones[column]

    def _of_file(self, footer: Footer, column: str, ordered: bool) -> Sequence[Zone]:
        found = self._layouts[footer.schema].get(column.lower())
        if found is None:
            # The table has NULL where a file has no such column.
            return [Zone(rows, nulls=rows) for rows in footer.row_groups]
        position, kind = found
        bound = kind.bound if ordered else _nothing
        return [
            Zone(chunk.rows, bound(chunk.low), bound(chunk.high), chunk.nulls)
            for chunk in chunks(footer, position)
        ]

    def clustering(self, column: str, files: Sequence[File]) -> Clustering | None:
        zones = self.zones(column) if self._types[column] in INTEGERS else None
        if zones is None:
            return None
        groups: list[tuple[int, int, int]] = []
        for file in files:
            for number, zone in enumerate(zones[file.path]):
                if zone.rows == 0 or number in file.skipped:
                    continue
                if not isinstance(zone.low, int) or not isinstance(zone.high, int):
                    return None
                groups.append((zone.low, zone.high, zone.rows))
        if not groups:
            return None
        groups.sort()
        reaching = sum(1 for a, b in itertools.pairwise(groups) if a[1] > b[0])
        values = groups[-1][1] - groups[0][0] + 1
        if reaching > _OVERLAP * len(groups) or values < 1000:
            return None
        return Clustering(column, _merged(groups))

    def key_range(self, name: str, path: str) -> tuple[int, int] | None:
        """The lowest and highest value of an integer column in a file without NULLs there; None if unknown."""
        zones = [zone for zone in (self.zones(name) or {}).get(path, ()) if zone.rows > 0]
        low = [zone.low for zone in zones if isinstance(zone.low, int)]
        high = [zone.high for zone in zones if isinstance(zone.high, int)]
        # Rows with a NULL key belong to the first range, wherever they are: such a file must not be left out.
        if not zones or any(zone.nulls != 0 for zone in zones) or len(low) + len(high) < 2 * len(zones):
            return None
        return min(low), max(high)


def _nothing(raw: object) -> Bound | None:
    return None


def _keeps_order(type_: str, kinds: set[Kind]) -> bool:
    """Whether bounds as the files store them bound a column of DuckDB's ``type_``, which may be a wider one."""
    families = {kind.family for kind in kinds}
    if type_ in (*INTEGERS, "UBIGINT"):
        return families == {"integer"}
    if type_.startswith("DECIMAL(") and type_.endswith(")"):
        scale = int(type_[:-1].partition(",")[2])
        return families <= {"integer", "decimal"} and all(
            kind.family == "integer" or kind.detail <= scale for kind in kinds
        )
    if type_ in ("FLOAT", "DOUBLE"):
        return families <= {"integer", "decimal", "float"}
    if type_ == "DATE":
        return families == {"date"}
    if type_.startswith("TIMESTAMP"):
        return families == {"timestamp"} and len({kind.utc for kind in kinds}) == 1
    return type_ == "VARCHAR" and families == {"string"}


def _merged(groups: list[tuple[int, int, int]]) -> tuple[tuple[int, int, int], ...]:
    step = -(-len(groups) // _ROW_GROUPS_LIMIT)
    parts = [groups[start : start + step] for start in range(0, len(groups), step)]
    return tuple((part[0][0], max(g[1] for g in part), sum(g[2] for g in part)) for part in parts)
