"""Random subqueries in expressions: correlated or not, by equalities or by anything else, under OR, quantified."""

from __future__ import annotations

from sord.fuzzing.expressions import Source
from sord.fuzzing.kinds import NUMBERS
from sord.fuzzing.sources import Sources


class Subqueries(Sources):
    """Predicates and values with subqueries."""

    def where(self, sources: list[Source], depth: int, outer: list[Source]) -> str:
        """A WHERE clause, correlated with the outer sources if there are any."""
        rng = self.rng
        parts: list[str] = []
        inner = [source for source in sources if source.columns]
        if outer and inner:
            parts += [self.equality(outer, rng.choice(inner)) for _ in range(rng.choice((1, 1, 2)))]
            if rng.random() < 0.15:
                parts.append(self.predicate([*inner, *outer]))
            if rng.random() < 0.1:
                (a, kind), b = self.column(outer), rng.choice(inner).alias
                same = [f"{s.alias}.{n}" for s in inner for n, k in s.columns if k == kind]
                parts.append(
                    f"{a} {rng.choice(('<', '>=', '<>'))} {rng.choice(same)}" if same else f"{b} = {b}"
                )
        if len(sources) > 1 and rng.random() < 0.7:
            parts += [self.equality(sources[:-1], sources[-1]) for _ in range(rng.choice((1, 1, 1, 2)))]
        parts += [self.predicate(sources) for _ in range(rng.choice((0, 0, 1, 1, 2)))]
        if depth > 0 and rng.random() < 0.3:
            parts += [self.subquery(sources, depth, outer) for _ in range(rng.choice((1, 1, 2)))]
        rng.shuffle(parts)
        return " WHERE " + " AND ".join(parts) if parts else ""

    def subquery(self, sources: list[Source], depth: int, outer: list[Source]) -> str:
        """A predicate with a subquery, that may stand under OR and NOT."""
        rng = self.rng
        visible = [source for source in sources if source.columns]
        if not visible:
            return "true"
        if self.rare(0.15):
            text = self.test_of_list(visible)
        else:
            text = self._subquery(visible, depth, visible if rng.random() < 0.9 else visible + outer)
        choice = rng.random()
        if choice < 0.08:
            return f"({text} OR {self.predicate(visible)})"
        if choice < 0.11:
            return f"({text} OR {self._subquery(visible, depth, visible)})"
        if choice < 0.14:
            return f"NOT ({text} AND {self.predicate(visible)})"
        if choice < 0.16:
            return f"CASE WHEN {text} THEN {self.predicate(visible)} ELSE {self.predicate(visible)} END"
        if choice < 0.18:
            return f"({text}) IS NOT TRUE"
        return text

    def _subquery(self, visible: list[Source], depth: int, reach: list[Source]) -> str:
        rng = self.rng
        kind = rng.choice(
            (
                "exists",
                "exists",
                "in",
                "in",
                "in",
                "scalar",
                "scalar",
                "exists" if self.plain else "quantified",
            )
        )
        negated = rng.choice(("", "NOT "))
        if kind == "exists":
            inner = self.select_from(depth - 1, reach if rng.random() < 0.85 else [], "1 AS one")
            return f"{negated}EXISTS ({inner})"
        if kind in ("in", "quantified"):
            column, of = self.column(visible)
            other = rng.choice(NUMBERS) if of in NUMBERS and rng.random() < 0.3 else of
            inner = self.select_from(depth - 1, reach if rng.random() < 0.3 else [], None, other)
            if kind == "in":
                if rng.random() < 0.08:
                    second, also = self.column(visible)
                    sources, from_ = self.from_(depth - 1, [])
                    pair = f"SELECT {self.value(sources, of)} AS a, {self.value(sources, also)} AS b{from_}"
                    return f"({column}, {second}) {negated}IN ({pair}{self.where(sources, depth - 1, [])})"
                return f"{column} {negated}IN ({inner})"
            return (
                f"{column} {rng.choice(('<', '>', '=', '<>', '>='))} {rng.choice(('ANY', 'ALL'))} ({inner})"
            )
        if rng.random() < 0.15:  # of whichever kind, and perhaps of several rows
            column, of = self.column(visible)
            return f"{column} = ({self.select_from(depth - 1, reach, None, of)})"
        value = self.value(visible, rng.choice(NUMBERS))
        return f"{value} {rng.choice(('<', '>', '=', '<>', '>='))} {self.scalar_subquery(reach, depth)}"

    def scalar_subquery(self, reach: list[Source], depth: int) -> str:
        """A subquery in parentheses whose value is, mostly, a number: an aggregate over all that it reads."""
        rng = self.rng
        reach = [source for source in reach if source.columns]
        correlated = reach if rng.random() < 0.6 else []
        sources, from_ = self.from_(min(depth - 1, 0), [])
        where = self.where(sources, depth - 1, correlated)
        if rng.random() < 0.06:
            value, _ = self.column(sources)
            return (
                f"(SELECT {value}{from_}{where}{rng.choice(('', ' LIMIT 1', f' ORDER BY {value} LIMIT 1'))})"
            )
        call, kind = self.aggregate_call(sources)
        while kind not in NUMBERS:
            call, kind = self.aggregate_call(sources)
        return f"(SELECT {rng.choice((call, call, f'coalesce({call}, 1)', f'{call} + 1'))}{from_}{where})"

    def select_from(self, depth: int, outer: list[Source], items: str | None, kind: str = "int") -> str:
        """A subquery of one column of a kind, or of given items."""
        rng = self.rng
        sources, from_ = self.from_(depth, outer)
        text = items or f"{self.value(sources, kind)} AS v"
        where = self.where(sources, depth, outer)
        end = ""
        if items is None and rng.random() < 0.12:
            end = rng.choice(
                (" GROUP BY 1", " GROUP BY ALL", " ORDER BY 1 LIMIT 3", " ORDER BY 1 DESC LIMIT 1")
            )
        elif items is not None and rng.random() < 0.06:
            end = rng.choice((" LIMIT 1", " LIMIT 0", " HAVING count(*) > 1"))
            text = "max(1) AS one" if "HAVING" in end and items == "1 AS one" else text
        distinct = "DISTINCT " if rng.random() < 0.06 and "LIMIT" not in end else ""
        return f"SELECT {distinct}{text}{from_}{where}{end}"
