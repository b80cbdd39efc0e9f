"""Statistics of columns, computed when somebody asks for them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from sord.planner.catalog import ColumnStatistics


class LazyStatistics(Mapping[str, ColumnStatistics]):
    """What ``read`` says of ``names``, each asked once."""

    def __init__(
        self,
        names: Collection[str],
        read: Callable[[str], ColumnStatistics],
        known: Mapping[str, ColumnStatistics] | None = None,
    ) -> None:
        self._names = dict.fromkeys((*names, *(known or {})))
        self._read = read
        self._known = dict(known or {})

    def __getitem__(self, name: str) -> ColumnStatistics:
        found = self._known.get(name)
        if found is None:
            if name not in self._names:
                raise KeyError(name)
            found = self._known[name] = self._read(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def overlaid(
    below: Mapping[str, ColumnStatistics], above: Mapping[str, ColumnStatistics]
) -> Mapping[str, ColumnStatistics]:
    """``above`` where it says something, else ``below``."""
    return LazyStatistics(below.keys(), below.__getitem__, above)
