"""Random FROM clauses: tables, views, CTEs, derived tables, VALUES, UNNEST, and all kinds of joins between them."""

from __future__ import annotations

import random
from abc import abstractmethod

from sord.fuzzing.databases import Database
from sord.fuzzing.expressions import Source
from sord.fuzzing.kinds import COMMON, NUMBERS, Column, comparable, kind_of
from sord.fuzzing.lists import Lists


class Sources(Lists):
    """FROM clauses over a database."""

    def __init__(self, rng: random.Random, database: Database) -> None:
        super().__init__(rng)
        self.database = database
        self.names = 0
        self.ctes: dict[str, list[Column]] = {}
        self.with_ = ""

    @abstractmethod
    def query(self, depth: int, outer: list[Source]) -> str:
        """A query."""

    def described(self, text: str) -> list[Column]:
        """The columns of a query, by DuckDB; raises duckdb.Error when it is none."""
        relation = self.database.shapes.sql(self.with_ + text)
        return [
            (name, kind_of(str(type_))) for name, type_ in zip(relation.columns, relation.types, strict=True)
        ]

    def alias(self) -> str:
        """A new one."""
        self.names += 1
        return f"r{self.names}"

    def from_(self, depth: int, outer: list[Source]) -> tuple[list[Source], str]:
        """The sources that the clause makes visible, and its text."""
        rng = self.rng
        if rng.random() < 0.02:
            return [Source("", [])], ""
        lists = [source for source in outer if source.columns]
        first, source = self.rows_of_list(lists) if lists and self.rare(0.1) else self.relation(depth)
        sources = [source]
        text = f" FROM {first}"
        visible = 0  # ON sees what stands after the last comma
        for _ in range(rng.choice((0, 0, 1, 1, 1, 2, 2, 3))):
            if self.rare(0.12):
                item, source, comma = self.joined_list(sources, visible)
                text += item
                visible = len(sources) if comma else visible
                sources.append(source)
                continue
            if self.rare(0.02):
                item, source = self.lateral(sources)
                text += f", {item}"
                visible = len(sources)
                sources.append(source)
                continue
            item, source = self.relation(depth)
            kind = rng.choice(("JOIN", "JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "SEMI JOIN",
                               "ANTI JOIN", ",", ",", "CROSS JOIN"))  # fmt: skip
            if kind == "," and " JOIN " in text and rng.random() < 0.5:
                kind = "JOIN"
            if kind in (",", "CROSS JOIN"):
                if len(sources) > 1 and kind == "CROSS JOIN":
                    kind = "JOIN"
                else:
                    visible = len(sources) if kind == "," else visible
                    text += f"{kind} {item}" if kind == "," else f" CROSS JOIN {item}"
                    sources.append(source)
                    continue
            shared = _numeric(source.columns) & _numeric([column for s in sources for column in s.columns])
            common = text.count(" USING (k)") == len(sources) - 1 and rng.random() < 0.06 * len(sources)
            if common and "k" in shared:
                text += f" {kind} {item} USING (k)"
            elif self.rare(0.02) and len(sources) == 1:
                text += f" NATURAL {rng.choice(('', 'LEFT ', 'RIGHT '))}JOIN {item}"
            elif self.rare(0.02):
                kind = rng.choice(("ASOF JOIN", "ASOF LEFT JOIN"))
                text += f" {kind} {item} ON {sources[-1].alias}.k >= {source.alias}.k"
            else:
                text += f" {kind} {item} ON {self.condition(sources[visible:], source)}"
            if kind not in ("SEMI JOIN", "ANTI JOIN"):
                sources.append(source)
        return sources, text

    def relation(self, depth: int) -> tuple[str, Source]:
        """An item of FROM."""
        rng = self.rng
        alias = self.alias()
        choice = rng.random()
        if depth > 0 and choice < 0.2:
            text = self.query(depth - 1, [])
            columns = [column for column in self.described(text) if column[0].isidentifier()]
            return f"({text}) AS {alias}", Source(alias, columns)
        if choice > 0.97 and not self.plain:
            return self.values(alias)
        if choice > 0.96 and not self.plain:
            return f"range({rng.randint(0, 5)}) AS {alias}(k)", Source(alias, [("k", "big")])
        if choice > 0.95 and not self.plain:
            text = rng.choice(
                ("(SELECT unnest([1, 2, NULL, 97]) AS k) AS {}", "unnest([1, 97, NULL, 97, 194]) AS {}(k)")
            )
            return text.format(alias), Source(alias, [("k", "int")])
        if self.ctes and rng.random() < 0.5:
            name = rng.choice(list(self.ctes))
            return f"{name} AS {alias}", Source(alias, self.ctes[name])
        files = [name for name in self.database.tables if name[0] == "t" and name != "temporary"]
        name = rng.choice([*files * 3, *self.database.tables])
        return f"{name} AS {alias}", Source(alias, self.database.tables[name])

    def values(self, alias: str) -> tuple[str, Source]:
        """Rows in the query's text."""
        rng = self.rng
        kinds = ["int", *rng.choices(COMMON, k=rng.randint(0, 2))]
        rows = ", ".join(
            f"({', '.join(self.literal(kind) for kind in kinds)})" for _ in range(rng.randint(1, 4))
        )
        columns = [("k" if i == 0 else f"v{i}", kind) for i, kind in enumerate(kinds)]
        names = ", ".join(name for name, _ in columns)
        return f"(VALUES {rows}) AS {alias}({names})", Source(alias, columns)

    def lateral(self, sources: list[Source]) -> tuple[str, Source]:
        """A row of one column, computed from the items before it."""
        alias = self.alias()
        text, kind = self.column(sources)
        return f"LATERAL (SELECT {text} AS e) AS {alias}", Source(alias, [("e", kind)])

    def condition(self, left: list[Source], right: Source) -> str:
        """What stands after ON."""
        rng = self.rng
        parts = [self.equality(left, right) for _ in range(rng.choice((0, 1, 1, 1, 1, 2, 2, 3)))]
        if rng.random() < 0.3:
            parts.append(self.predicate([*left, right]))
        if rng.random() < 0.1:
            parts.append(rng.choice((self.predicate([right]), self.predicate(left))))
        return " AND ".join(parts) or rng.choice(("true", self.equality(left, right), "1 = 1"))

    def equality(self, left: list[Source], right: Source) -> str:
        """A join condition, mostly an equality of keys."""
        rng = self.rng
        pairs = [
            (f"{a.alias}.{name}", f"{right.alias}.{other}")
            for a in left
            for name, kind in a.columns
            for other, second in right.columns
            if comparable(kind, second)
        ]
        keyed = [pair for pair in pairs if pair[0].endswith(".k") and pair[1].endswith(".k")]
        if keyed and rng.random() < 0.7:
            a, b = rng.choice(keyed)
        elif pairs:
            a, b = rng.choice(pairs)
        else:
            return "true"
        choice = rng.random()
        if choice < 0.04:
            return f"{a} IS NOT DISTINCT FROM {b}"
        if choice < 0.08:
            return f"{a} {rng.choice(('<', '>=', '<>'))} {b}"
        if rng.random() < 0.12 and a.endswith(".k") and b.endswith(".k"):
            a = f"{a} + 97"
        return f"{a} = {b}" if rng.random() < 0.8 else f"{b} = {a}"


def _numeric(columns: list[Column]) -> set[str]:
    return {name for name, kind in columns if kind in NUMBERS}
