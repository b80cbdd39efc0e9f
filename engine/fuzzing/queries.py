"""Random queries: SELECT in all of its shapes, set operations, CTEs."""

from __future__ import annotations

import random

import duckdb

from sord.fuzzing.checking import BROKEN
from sord.fuzzing.databases import Database
from sord.fuzzing.expressions import Source
from sord.fuzzing.kinds import COMMON, KINDS, NUMBERS
from sord.fuzzing.subqueries import Subqueries

_ATTEMPTS = 8


def statement(number: int, database: Database) -> str | None:
    """The query of a number over its database; None when even DuckDB could make nothing of several drafts.

    Raises one of BROKEN like ``check``.
    """
    for attempt in range(_ATTEMPTS):
        queries = Queries(random.Random(f"query {number}.{attempt}"), database)
        try:
            text = queries.statement()
            database.shapes.sql(text)
        except BROKEN:
            raise
        except duckdb.Error:
            continue
        return text
    return None


class Queries(Subqueries):
    """Whole queries."""

    def statement(self) -> str:
        """A query as a user would send it."""
        rng = self.rng
        for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
            name = f"cte{len(self.ctes)}"
            text = self.query(1, [])
            columns = [column for column in self.described(text) if column[0].isidentifier()]
            materialized = rng.choice(("", "", "", "MATERIALIZED ", "NOT MATERIALIZED "))
            before = self.with_.removesuffix(" ") + ", " if self.with_ else "WITH "
            self.with_ = f"{before}{name} AS {materialized}({text}) "
            self.ctes[name] = columns
        return self.with_ + self.query(2, [], top=True)

    def query(self, depth: int, outer: list[Source], top: bool = False) -> str:
        """A SELECT or a set operation, perhaps with an order."""
        if depth > 0 and self.rng.random() < 0.15:
            text, width = self.set_operation(depth, outer)
        else:
            text, width = self.select(depth, outer)
        if width and (top or self.rng.random() < 0.12):
            text += self.order(width)
        return text

    def order(self, width: int) -> str:
        """ORDER BY and LIMIT. A limit comes with a total order, or else several answers would be right."""
        rng = self.rng
        if rng.random() < 0.45:
            return ""
        positions = rng.sample(range(1, width + 1), width)
        items = [
            f"{position}{rng.choice(('', '', ' DESC', ' ASC'))}{rng.choice(('', '', ' NULLS FIRST', ' NULLS LAST'))}"
            for position in positions
        ]
        limit = rng.random() < 0.5
        if not limit:
            items = items[: rng.randint(1, len(items))]
        elif self.rare(0.1):
            items = [f"ALL{rng.choice(('', ' DESC'))}"]
        text = " ORDER BY " + ", ".join(items)
        if limit:
            computed = self.rare(0.15)
            numbers = ("20%", "1 + 2", "(SELECT 3)") if computed else ("0", "1", "2", "5", "10", "1000")
            text += f" LIMIT {rng.choice(numbers)}"
            text += rng.choice(("", "", f" OFFSET {rng.randint(0, 6)}"))
        elif rng.random() < 0.05:
            text = " ORDER BY " + ", ".join(map(str, positions)) + f" OFFSET {rng.randint(0, 6)}"
        return text

    def set_operation(self, depth: int, outer: list[Source]) -> tuple[str, int]:
        """Two SELECTs, or three, of as many columns; and the number of these."""
        rng = self.rng
        words = ("UNION", "UNION ALL", "UNION ALL", "INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL")
        kinds = [rng.choice(COMMON if rng.random() < 0.8 else tuple(KINDS)) for _ in range(rng.randint(1, 3))]
        sides = []
        for _ in range(2):
            sources, from_ = self.from_(depth - 1, outer)
            mine = [rng.choice(NUMBERS) if kind in NUMBERS and rng.random() < 0.2 else kind for kind in kinds]
            items = ", ".join(f"{self.value(sources, kind)} AS c{i}" for i, kind in enumerate(mine))
            where = self.where(sources, depth - 1, outer)
            distinct = rng.choice(("", "", "", "DISTINCT "))
            sides.append(f"SELECT {distinct}{items}{from_}{where}")
        word = rng.choice(("UNION BY NAME", "UNION ALL BY NAME") if self.rare(0.08) else words)
        text = f"{sides[0]} {word} {sides[1]}"
        if rng.random() < 0.2:
            items = ", ".join(
                f"NULL::{KINDS[kind].type}" if rng.random() < 0.3 else self.literal(kind) for kind in kinds
            )
            text = f"({text}) {rng.choice(('UNION ALL', 'UNION', 'EXCEPT'))} SELECT {items}"
        return text, len(kinds)

    def select(self, depth: int, outer: list[Source]) -> tuple[str, int]:
        """A SELECT and its number of columns; 0 where that is not known."""
        rng = self.rng
        sources, from_ = self.from_(depth, outer)
        rest = from_ + self.where(sources, depth, outer)
        if rng.random() < 0.4:
            return self.aggregate(sources, rest, depth)
        if not outer and sources[0].columns and self.rare(0.12):
            return self.star(sources, rest), 0
        items: list[str] = []
        names: list[str] = []
        for _ in range(rng.randint(1, 4)):
            items.append(self.any_value(sources)[0])
        if rng.random() < 0.15:
            items.append(self.window(sources)[0])
        if self.rare(0.06):
            items.append(self.odd_item(sources, rest, depth))
        if depth > 0 and rng.random() < 0.08:
            items.append(
                self.scalar_subquery(sources, depth)
                if rng.random() < 0.6
                else f"({self.subquery(sources, depth, outer)})"
            )
        known = True
        if self.rare(0.12):
            more, known = self.unnested_items(sources)
            items += more
        for _ in items:
            names.append(self.output_name(names))
        distinct = rng.uniform(0.03 if self.plain else 0.0, 1.0)
        listed = ", ".join(f"{text} AS {name}" for text, name in zip(items, names, strict=True))
        if distinct < 0.03 and sources[0].columns:
            keys = [self.column(sources)[0] for _ in range(rng.choice((1, 1, 2)))]
            order = [*keys, *(f"{source.alias}.{name}" for source in sources for name, _ in source.columns)]
            return f"SELECT DISTINCT ON ({', '.join(keys)}) {listed}{rest} ORDER BY {', '.join(order)}", 0
        if distinct < 0.15:
            listed = f"DISTINCT {listed}"
        if self.rare(0.08):
            call, kind = self.window(sources, total=rng.random() < 0.5)
            bound = f"{call} <= {rng.randint(1, 3)}" if kind in NUMBERS else self.test(call, kind)
            rest += f" QUALIFY {bound}"
        return f"SELECT {listed}{rest}", len(items) if known else 0

    def odd_item(self, sources: list[Source], rest: str, depth: int) -> str:
        """What few other systems have among expressions: a whole row, an array of a subquery, a common column."""
        visible = [source for source in sources if source.columns]
        if " USING (k)" in rest and self.rng.random() < 0.7:
            return "k"
        if not visible or self.rng.random() < 0.5:
            kind = self.rng.choice(("int", "str"))
            inner, from_ = self.from_(min(depth - 1, 0), [])
            where = self.where(inner, depth - 1, visible)
            return f"ARRAY(SELECT {self.value(inner, kind)} AS v{from_}{where} ORDER BY 1)"
        row = self.rng.choice(visible).alias
        return self.rng.choice((row, f"to_json({row})", f"{row} IS NULL"))

    def star(self, sources: list[Source], rest: str) -> str:
        """SELECT * with all that may follow it."""
        rng = self.rng
        name, kind = rng.choice(sources[0].columns)
        choice = rng.random()
        if choice < 0.3:
            return f"SELECT *{rest}"
        if choice < 0.45:
            return f"SELECT * EXCLUDE ({name}){rest}"
        if choice < 0.6:
            return f"SELECT * REPLACE ({self.value(sources[:1], kind)} AS {name}){rest}"
        if choice < 0.7:
            return f"SELECT COLUMNS('^[a-k]'){rest}"
        if choice < 0.8:
            return f"SELECT * RENAME ({name} AS renamed){rest}"
        if choice < 0.85:
            return f"SELECT * LIKE '%{name[0]}%'{rest}"
        return f"SELECT {sources[0].alias}.*, {self.any_value(sources)[0]} AS extra{rest}"

    def output_name(self, taken: list[str]) -> str:
        """Mostly a new name, sometimes one that a column has."""
        name = self.rng.choice(("a", "b", "k", "s", "n")) if self.rng.random() < 0.25 else f"c{len(taken)}"
        return name if name not in taken else f"c{len(taken)}"

    def aggregate(self, sources: list[Source], rest: str, depth: int) -> tuple[str, int]:
        """A SELECT with groups and its number of columns."""
        rng = self.rng
        keys = [
            self.column(sources) if rng.random() < 0.75 else self.any_value(sources)
            for _ in range(rng.choice((0, 1, 1, 1, 2, 2)))
        ]
        keys = [key for i, key in enumerate(keys) if key not in keys[:i]]
        unnested = self.a_list(sources) if self.rare(0.06) else None
        items = [text for text, _ in keys if rng.random() < 0.9]
        sets = self.grouping_sets([text for text, _ in keys]) if rng.random() < 0.12 else ""
        if sets and rng.random() < 0.5:
            item = f"{rng.choice(('grouping', 'grouping_id'))}({keys[-1][0]})"
            items.append("grouping_id()" if self.rare(0.3) else item)
        for _ in range(rng.randint(0 if items else 1, 3)):
            call, kind = self.aggregate_call(sources)
            if kind in NUMBERS and rng.random() < 0.1:
                second, _ = self.aggregate_call(sources)
                call = rng.choice((f"coalesce({call}, 0)", f"{call} + count(*)", f"({call} > {second})"))
            items.append(call)
        if keys and rng.random() < 0.08:
            first = ", ".join(text for text, _ in keys)
            call, _ = self.aggregate_call(sources)
            number = "rank" if sets else "row_number"  # of several sets some rows have the same keys
            items.append(
                rng.choice(
                    (
                        f"{number}() OVER (ORDER BY {first})",
                        f"rank() OVER (ORDER BY {call})",
                        f"sum(count(*)) OVER (PARTITION BY {keys[0][0]})",
                    )
                )
            )
        names: list[str] = []
        for _ in items:
            names.append(self.output_name(names))
        if unnested is not None and not sets:
            items.append(f"unnest({unnested[0]})")
            names.append("element")
            keys.append(("element", unnested[1]))
        elif self.rare(0.05):
            value, _ = self.any_value(sources)
            items.append(f"unnest(list({value} ORDER BY {value}))")
            names.append("listed")
        text = (
            "SELECT " + ", ".join(f"{item} AS {name}" for item, name in zip(items, names, strict=True)) + rest
        )
        if sets:
            text += f" GROUP BY {sets}"
        elif keys and all(key in items for key, _ in keys) and rng.random() < 0.15:
            text += " GROUP BY ALL"
        elif keys:
            text += " GROUP BY " + ", ".join(key for key, _ in keys)
        return text + self.having(sources, keys, depth), len(items)

    def grouping_sets(self, keys: list[str]) -> str:
        """What stands after GROUP BY, or nothing."""
        listed = ", ".join(keys)
        if not keys:
            return ""
        return self.rng.choice(
            (
                f"ROLLUP ({listed})",
                f"CUBE ({listed})",
                f"GROUPING SETS (({listed}), ())",
                f"GROUPING SETS ({listed})",
                f"GROUPING SETS (({listed}), ({keys[0]}), ({listed}))",
                f"{keys[0]}, ROLLUP ({keys[-1]})",
            )
        )

    def having(self, sources: list[Source], keys: list[tuple[str, str]], depth: int) -> str:
        """A HAVING clause, or nothing."""
        rng = self.rng
        if rng.random() < 0.8:
            return ""
        call, kind = self.aggregate_call(sources)
        if depth > 0 and kind in NUMBERS and rng.random() < 0.25:
            return f" HAVING {call} > {self.scalar_subquery([], depth)}"
        text = f" HAVING {self.test(call, kind)}"
        if keys and rng.random() < 0.3:
            text += f" AND {self.test(*keys[0])}"
        elif keys and depth > 0 and rng.random() < 0.2:
            text += f" AND {keys[0][0]} IN ({self.select_from(depth - 1, [], None, keys[0][1])})"
        return text
