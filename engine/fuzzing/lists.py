"""Random lists, and what makes rows of them: UNNEST and series, in FROM, in SELECT lists and in subqueries."""

from __future__ import annotations

from abc import abstractmethod
from typing import Final

from sord.fuzzing.expressions import Expressions, Source
from sord.fuzzing.kinds import INTEGERS

_ELEMENTS: Final = {"list": "int", "strlist": "str", "structs": "struct", "lists": "list"}
"""Kinds of lists, and of what is in them."""


class Lists(Expressions):
    """Rows of lists."""

    @abstractmethod
    def alias(self) -> str:
        """A new name for an item of FROM."""

    @abstractmethod
    def condition(self, left: list[Source], right: Source) -> str:
        """What stands after ON."""

    def a_list(self, sources: list[Source]) -> tuple[str, str]:
        """A list, of columns if there are any, and the kind of its elements."""
        rng = self.rng
        columns = [(f"{source.alias}.{name}", kind) for source in sources for name, kind in source.columns]
        lists = [(text, _ELEMENTS[kind]) for text, kind in columns if kind in _ELEMENTS]
        if lists and rng.random() < 0.6:
            return rng.choice(lists)
        choice = rng.random()
        integers = [text for text, kind in columns if kind in INTEGERS]
        if choice < 0.35 and integers:
            number = f"({rng.choice(integers)} % 4)::BIGINT"
            return rng.choice(
                (f"range({number})", f"generate_series(1, {number})", f"range(3, {number}, -1)")
            ), "big"
        if choice < 0.5:
            return f"string_split({self.value(sources, 'str')}, 'b')", "str"
        kind = rng.choice(("int", "str", "date"))
        elements = ", ".join(self.value(sources, kind) for _ in range(rng.randint(1, 3)))
        return rng.choice((f"[{elements}]", f"[{elements}]", f"list_distinct([{elements}])")), kind

    def rows_of_list(self, sources: list[Source]) -> tuple[str, Source]:
        """An item of FROM with the elements of a list, perhaps of the items before it."""
        rng = self.rng
        alias = self.alias()
        text, kind = self.a_list(sources)
        call = (
            text
            if text.startswith(("range(", "generate_series(")) and rng.random() < 0.8
            else f"unnest({text})"
        )
        lateral = rng.choice(("", "", "LATERAL "))
        if rng.random() < 0.25:
            return f"{lateral}{call} WITH ORDINALITY AS {alias}(e, o)", Source(
                alias, [("e", kind), ("o", "big")]
            )
        name = alias if rng.random() < 0.15 else "e"
        names = alias if name == alias else f"{alias}(e)"
        return f"{lateral}{call} AS {names}", Source(alias, [(name, kind)])

    def joined_list(self, sources: list[Source], visible: int) -> tuple[str, Source, bool]:
        """The same after its join's word, and whether that is a comma; ON sees the sources from ``visible`` on."""
        rng = self.rng
        item, source = self.rows_of_list(sources)
        word = rng.choice((", ", ", ", " CROSS JOIN ", " JOIN ", " LEFT JOIN ", " LEFT JOIN "))
        on = ""
        if word.endswith(("LEFT JOIN ", " JOIN ")) and "CROSS" not in word:
            on = " ON true" if rng.random() < 0.5 else f" ON {self.condition(sources[visible:], source)}"
        return word + item + on, source, word == ", "

    def unnested_items(self, sources: list[Source]) -> tuple[list[str], bool]:
        """Items of a SELECT list that make rows, and whether each is one column."""
        rng = self.rng
        columns = [(f"{source.alias}.{name}", kind) for source in sources for name, kind in source.columns]
        wide = [text for text, kind in columns if kind in ("struct", "structs")]
        if wide and rng.random() < 0.3:
            return [
                f"unnest({rng.choice(wide)}{rng.choice(('', ', recursive := true', ', max_depth := 2'))})"
            ], False
        deep = [text for text, kind in columns if kind == "lists"]
        if deep and rng.random() < 0.5:
            items = [f"unnest({rng.choice(deep)}, recursive := true)"]
        else:
            text, _ = self.a_list(sources)
            items = [rng.choice((f"unnest({text})", f"unnest({text})", f"generate_subscripts({text}, 1)"))]
        if rng.random() < 0.3:
            items.append(f"unnest({self.a_list(sources)[0]})")
        return items, True

    def test_of_list(self, sources: list[Source]) -> str:
        """A condition on the elements of a list."""
        rng = self.rng
        list_, kind = self.a_list(sources)
        value = self.value(sources, kind)
        alias = self.alias()
        elements = Source(alias, [("e", kind)])
        where = f" WHERE {self.predicate([elements, *sources])}" if rng.random() < 0.6 else ""
        return rng.choice(
            (
                f"{value} {rng.choice(('=', '<>'))} {rng.choice(('ANY', 'ALL'))} ({list_})",
                f"{value} {rng.choice(('', 'NOT '))}IN (SELECT unnest({list_}))",
                f"{rng.choice(('', 'NOT '))}EXISTS (SELECT 1 FROM unnest({list_}) AS {alias}(e){where})",
                f"(SELECT count(*) FROM unnest({list_}) AS {alias}(e){where}) {rng.choice('<>=')} 1",
                f"(SELECT max(e) FROM unnest({list_}) AS {alias}(e){where}) {rng.choice('<>=')} {value}",
            )
        )
