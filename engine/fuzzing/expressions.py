"""Random scalar expressions, predicates, aggregate calls and window calls over sources of known columns."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sord.fuzzing.calls import AGGREGATES, ANY, COMMON_AGGREGATES, FUNCTIONS, KEY, Call
from sord.fuzzing.kinds import COMMON, KINDS, NUMBERS, OTHER, Column, comparable, literal

_PATTERNS: Final = ("'a%'", "'%b'", "'_'", "'%'", "''", "'A%'")
_BOUNDS: Final = ("UNBOUNDED PRECEDING", "2 PRECEDING", "1 PRECEDING", "CURRENT ROW", "1 FOLLOWING", "3 FOLLOWING",
                  "UNBOUNDED FOLLOWING")  # fmt: skip


@dataclass(slots=True)
class Source:
    """An item of FROM under its alias."""

    alias: str
    columns: list[Column]


class Expressions(ABC):
    """Expressions; ``rng`` decides all."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        # Every part of a query is planned or none is: half of the queries have none of the rare parts.
        self.plain = rng.random() < 0.5

    @abstractmethod
    def subquery(self, sources: list[Source], depth: int, outer: list[Source]) -> str:
        """A predicate with a subquery."""

    def rare(self, probability: float) -> bool:
        """Whether something happens that a plain query doesn't have."""
        return not self.plain and self.rng.random() < probability

    def literal(self, kind: str) -> str:
        """A constant."""
        return literal(self.rng, kind)

    def column(self, sources: list[Source]) -> tuple[str, str]:
        """A column (qualified where that is needed, and often where it isn't) and its kind."""
        rng = self.rng
        found = [(source, column) for source in sources for column in source.columns]
        if not found:
            kind = rng.choice(("int", "str"))
            return self.literal(kind), kind
        source, (name, kind) = rng.choice(found)
        if rng.random() < 0.15 and sum(other == name for _, (other, _) in found) == 1:
            return name, kind
        return f"{source.alias}.{name}", kind

    def any_value(self, sources: list[Source]) -> tuple[str, str]:
        """A value of whichever kind, and that kind."""
        choice = self.rng.random()
        if choice < 0.6:
            return self.column(sources)
        kind = self.rng.choice(COMMON if choice < 0.9 else tuple(KINDS))
        return self.value(sources, kind), kind

    def value(self, sources: list[Source], kind: str, level: int = 0) -> str:
        """An expression of a kind."""
        rng = self.rng
        mine = [f"{s.alias}.{name}" for s in sources for name, other in s.columns if other == kind]
        if mine and rng.random() < (0.75 if level == 0 else 0.9):
            return rng.choice(mine)
        if level > 2 or kind == OTHER:
            return rng.choice(mine) if mine else self.literal(kind)
        choice = rng.random()
        if choice < 0.12:
            return self.literal(kind)
        if choice < 0.25 and mine:
            return f"coalesce({rng.choice(mine)}, {self.literal(kind)})"
        if choice < 0.38:
            other = rng.choice(mine) if mine else self.literal(kind)
            default = rng.choice(("", f" ELSE {self.literal(kind)}", f" ELSE {other}"))
            return f"CASE WHEN {self.predicate(sources)} THEN {other}{default} END"
        if choice < 0.55 and mine and kind in ("int", "big", "dec", "dbl", "flt", "huge"):
            base = rng.choice(mine)
            return f"({base} {rng.choice('+-')} {rng.choice([self.literal(kind), base, '1'])})"
        if kind == "bool" and rng.random() < 0.6:
            return f"({self.predicate(sources)})"
        present = {other for source in sources for _, other in source.columns}
        calls = [
            call
            for call in FUNCTIONS.get(kind, ())
            if all(present & set(kinds.split()) for kinds in call.arguments)
        ]
        if calls:
            return self.call(rng.choice(calls), sources, level + 1)
        return rng.choice(mine) if mine else self.literal(kind)

    def call(self, call: Call, sources: list[Source], level: int) -> str:
        """A function's call, with arguments of kinds that the sources have where there is a choice."""
        return call.text.format(
            *(self.value(sources, self._one_of(kinds.split(), sources), level) for kinds in call.arguments)
        )

    def _one_of(self, kinds: Sequence[str], sources: list[Source]) -> str:
        present = {kind for source in sources for _, kind in source.columns}
        return self.rng.choice([kind for kind in kinds if kind in present] or list(kinds))

    def aggregate_call(self, sources: list[Source]) -> tuple[str, str]:
        """An aggregate call and its kind."""
        rng = self.rng
        result, call = rng.choice(COMMON_AGGREGATES if self.plain or rng.random() < 0.6 else AGGREGATES)
        same = OTHER
        arguments = []
        for kinds in call.arguments:
            if kinds == ANY:
                text, same = self.any_value(sources)
            elif kinds == KEY:
                same = self._one_of(("int", "str", "date", "big", "dec", "dbl", "bool"), sources)
                text = self.value(sources, same)
            else:
                same = self._one_of(kinds.split(), sources)
                text = self.value(sources, same)
            arguments.append(text)
        text = call.text.format(*arguments)
        if rng.random() < 0.12:
            text += f" FILTER (WHERE {self.predicate(sources)})"
        return text, same if result == "same" else result

    # Windows

    def window(self, sources: list[Source], total: bool = False) -> tuple[str, str]:
        """A window call and its kind. What depends on the order of peers comes with an order of all columns."""
        rng = self.rng
        keys = [self.column(sources)[0] for _ in range(rng.choice((0, 1, 1, 2)))]
        partition = f"PARTITION BY {', '.join(keys)} " if keys else ""
        some = [
            f"{self.column(sources)[0]}{rng.choice(('', ' DESC', ' NULLS FIRST', ' DESC NULLS LAST'))}"
            for _ in range(rng.choice((1, 1, 2)))
        ]
        everything = [f"{source.alias}.{name}" for source in sources for name, _ in source.columns]
        in_total = f"ORDER BY {', '.join([*some, *everything])}"
        choice = rng.random()
        if total or choice < 0.3:
            value, kind = self.any_value(sources)
            call, kind = rng.choice(
                (
                    ("row_number()", "big"),
                    ("row_number()", "big"),
                    (f"lag({value})", kind),
                    (f"lead({value}, 2)", kind),
                    (f"lag({value}, 1, {self.literal(kind)})", kind),
                    (f"first_value({value})", kind),
                    (f"last_value({value})", kind),
                    (f"nth_value({value}, 2)", kind),
                    (f"last_value({value} IGNORE NULLS)" if self.rare(0.5) else f"lead({value})", kind),
                    ("ntile(3)", "big"),
                )
            )
            if total:
                call, kind = "row_number()", "big"
            frame = self._frame("ROWS") if "_value" in call and rng.random() < 0.5 else ""
            return f"{call} OVER ({partition}{in_total}{frame})", kind
        if choice < 0.5:
            call = rng.choice(("rank()", "dense_rank()", "percent_rank()", "cume_dist()"))
            kind = "dbl" if call[0] in "pc" else "big"
            return f"{call} OVER ({partition}ORDER BY {', '.join(some)})", kind
        call, kind = rng.choice(
            (
                ("count(*)", "big"),
                (f"count({self.any_value(sources)[0]})", "big"),
                (f"sum({self.value(sources, 'int')})", "huge"),
                (f"avg({self.value(sources, 'dec')})", "dbl"),
                (f"max({self.value(sources, 'str')})", "str"),
                (f"min({self.value(sources, 'date')})", "date"),
                (f"count(DISTINCT {self.value(sources, 'int')})", "big"),
            )
        )
        if rng.random() < 0.1:
            call += f" FILTER (WHERE {self.predicate(sources)})"
        order = frame = ""
        if choice < 0.65:
            order = f"ORDER BY {', '.join(some)}"
            frame = rng.choice(("", self._frame("GROUPS"), self._frame("RANGE")))
        elif choice < 0.8:
            order, frame = in_total, self._frame("ROWS")
        return f"{call} OVER ({partition}{order}{frame})", kind

    def _frame(self, mode: str) -> str:
        bounds = [_BOUNDS[0], "CURRENT ROW", _BOUNDS[-1]] if mode == "RANGE" else list(_BOUNDS)
        first, last = sorted(self.rng.choices(bounds, k=2), key=_BOUNDS.index)
        if first == _BOUNDS[-1] or last == _BOUNDS[0]:
            first, last = _BOUNDS[0], "CURRENT ROW"
        exclude = self.rng.choice(("", "", "", " EXCLUDE CURRENT ROW", " EXCLUDE GROUP", " EXCLUDE TIES"))
        return f" {mode} BETWEEN {first} AND {last}{exclude}"

    # Predicates

    def compare(self, a: str, b: str) -> str:
        """A comparison."""
        return f"{a} {self.rng.choice(('=', '<', '>', '<=', '>=', '<>'))} {b}"

    def test(self, text: str, kind: str) -> str:
        """A condition on one value."""
        rng = self.rng
        choice = rng.random()
        if choice < 0.15 or kind == OTHER:
            return f"{text} IS {rng.choice(('', 'NOT '))}NULL"
        if choice < 0.3:
            listed = ", ".join(self.literal(kind) for _ in range(rng.randint(1, 3)))
            return f"{text} {rng.choice(('', '', 'NOT '))}IN ({listed})"
        if choice < 0.4 and kind in (*NUMBERS, "date", "str"):
            return (
                f"{text} {rng.choice(('', '', 'NOT '))}BETWEEN {self.literal(kind)} AND {self.literal(kind)}"
            )
        if choice < 0.5 and kind == "str":
            return f"{text} {rng.choice(('LIKE', 'NOT LIKE', 'ILIKE'))} {rng.choice(_PATTERNS)}"
        if choice < 0.55 and kind == "bool":
            return text
        if choice < 0.6:
            return f"{text} IS {rng.choice(('', 'NOT '))}DISTINCT FROM {self.literal(kind)}"
        return self.compare(text, self.literal(kind))

    def predicate(self, sources: list[Source], level: int = 0) -> str:
        """A condition on the sources."""
        rng = self.rng
        choice = rng.random()
        if choice < 0.03:
            return rng.choice(("true", "false", "NULL", "1 = 0", "NULL::BOOLEAN"))
        if choice < 0.2 and level < 2:
            a, b = self.predicate(sources, level + 1), self.predicate(sources, level + 1)
            shared = self.predicate(sources, level + 1)
            return rng.choice(
                (f"({a} OR {b})", f"({a} AND {b})", f"(({shared} AND {a}) OR ({shared} AND {b}))")
            )
        if choice < 0.25 and level < 2:
            return f"NOT ({self.predicate(sources, level + 1)})"
        if choice < 0.32 and level < 1:
            kind = self._one_of(("str", "int", "list", "struct", "date", "dbl", "map"), sources)
            return self.test(self.value(sources, kind, 1), kind)
        text, kind = self.column(sources)
        if choice < 0.4:
            other, second = self.column(sources)
            if comparable(kind, second):
                return self.compare(text, other)
        return self.test(text, kind)
