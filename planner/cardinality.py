"""What an estimate is: rows and distinct values of an intermediate result."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

from sqlglot import exp

from sord.planner.catalog import Sample
from sord.planner.expressions import column_id, references, substitute
from sord.planner.render import expression_sql

_ENOUGH = 20
"""Rows of a sample from which distinct values are told."""
FEW = 0.5
"""The share of rows below which what is left may be only a part of the ranges of columns."""
_ALIKE = 10
"""Rows of a sample that have to be like others to be believed."""
_SATURATED = 0.9
"""The share of distinct rows in a sample from which on it can't tell many from very many."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a column was computed from: an expression over the columns of one scan of an analysed table."""

    scan: str
    """The same for all columns of a scan, and for no others."""
    sample: Sample
    where: tuple[str, ...]
    """What the scan's rows satisfy, over the table's columns."""
    matching: int
    """Rows of the sample that do."""
    rows: float
    """The scan's rows that do."""
    expression: exp.Expr
    distinct: float
    """Distinct values among them."""


class Lots(NamedTuple):
    """Rows that belong together, as the lines of one order do."""

    scan: str
    """Of which table; the same for all columns of a scan, and for no others."""
    number: float
    """How many there are of them among the rows."""

    def left(self, total: float, rows: float, by: str | None) -> Lots:
        """After ``rows`` of ``total`` rows are left: whole lots, if what chose them depends on the lot ``by`` alone."""
        number = self.number * rows / max(total, rows, 1e-9)
        return Lots(self.scan, max(number, 1.0) if self.scan == by else drawn(self.number, total, rows))


class ColumnEstimate(NamedTuple):
    """Of one column of an intermediate result. A tuple, as planning makes very many that differ in a field or two."""

    distinct: float
    minimum: float | None = None
    maximum: float | None = None
    width: float = 8.0
    known: bool = False
    """Whether ``distinct`` comes from statistics rather than from a guess."""
    common: Mapping[str, float] = MappingProxyType({})
    """Values that are much more frequent than the average, and their shares of the rows."""
    normal: tuple[float, float] | None = None
    """Mean and standard deviation of values that lie around a mean: counts and sums."""
    origin: Origin | None = None
    domain: float | None = None
    """Distinct values between minimum and maximum before rows were dropped for other reasons; None: ``distinct``."""
    partial: bool = False
    """Whether so many rows were dropped for other reasons that a part of that range may be all that is left."""
    part: float = 1.0
    """The share of that range in which all values lie; which part it is isn't known."""
    sorts: bool | None = None
    """Whether it is a column by whose values its table's rows lie; None if that isn't known of any."""
    nulls: float = 0.0
    """The share of rows in which it is NULL."""
    lots: Lots | None = None
    """Of which each has one value of this column."""
    filtered: str = ""
    """Which column this is of which table after which filter, the same in all places of a query."""
    joined: frozenset[str] = frozenset()
    """With which of those columns it has been joined, so that it has no other values."""
    elements: float | None = None
    """Elements of an average list."""

    @property
    def values(self) -> float:
        """The values that a key of this column is one of."""
        return max(self.distinct, self.domain or 1.0)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of a plan's result."""

    rows: float
    columns: Mapping[str, ColumnEstimate]

    def width(self, ids: Iterable[str] | None = None) -> float:
        """Bytes of an average row."""
        wanted = self.columns if ids is None else ids
        return max(4.0, sum(self.columns[id_].width if id_ in self.columns else 8.0 for id_ in wanted))

    def distinct(self, expressions: Iterable[exp.Expr]) -> float:
        """Distinct combinations of expressions, at most the rows.

        Those of one analysed table are counted in its sample, as columns of one table depend on each other, and
        multiplied with those of others. Otherwise it is a product with exponents 1, ½, ¼, …
        """
        expressions = list(expressions)
        alone: list[float] = []
        tables: list[float] = []
        together: dict[str, list[exp.Expr]] = {}
        for expression in expressions:
            origin = self.origin(expression)
            if origin is None:
                alone.append(self._distinct(expression))
            else:
                together.setdefault(origin.scan, []).append(expression)
        for members in together.values():
            if len(members) == 1 and column_id(members[0]) is not None:
                tables.append(self._distinct(members[0]))
            else:
                tables.append(self._combinations(members))
        number = math.prod(tables) * _product(alone)
        if len(tables) + len(alone) > 1 and max(*tables, *alone) < _SATURATED * self.rows:
            number = drawn(number, max(self.rows, number), self.rows)
        lots = self.lots_of(references(*expressions))
        return max(1.0, min(number, self.rows, self.rows if lots is None else lots.number))

    def lots_of(self, ids: Iterable[str]) -> Lots | None:
        """The lots of which each has one value of all the columns; None if there are none."""
        result = None
        for id_ in ids:
            column = self.columns.get(id_)
            if column is None or column.lots is None or (result and result.scan != column.lots.scan):
                return None
            result = column.lots
        return result

    def origin(self, expression: exp.Expr) -> Origin | None:
        """Where the values come from, if that is one scan of an analysed table."""
        id_ = column_id(expression)
        if id_ is not None:
            return self.columns[id_].origin if id_ in self.columns else None
        used = references(expression)
        origins = {id_: self.columns[id_].origin for id_ in used if id_ in self.columns}
        first = next(iter(origins.values()), None)
        if first is None or len(origins) < len(used):
            return None
        changes: dict[str, exp.Expr] = {}
        for id_, origin in origins.items():
            if origin is None or origin.scan != first.scan:
                return None
            changes[id_] = origin.expression
        return replace(first, expression=substitute(expression, changes))

    def _combinations(self, members: list[exp.Expr]) -> float:
        """Of expressions over one scan."""
        origins = [origin for member in members if (origin := self.origin(member)) is not None]
        first = origins[0]
        texts = tuple(expression_sql(origin.expression) for origin in origins)
        found = first.sample.combinations(texts, first.where)
        numbers = [self._distinct(member) for member in members]
        if found is None or (first.matching < _ENOUGH and not first.sample.complete):
            return _product(numbers)
        if first.sample.complete:
            number = float(found)
        elif found < _SATURATED * first.matching:
            number = total_distinct(float(found), float(first.matching), first.rows)
        else:
            # Hardly two rows are alike: how many are tells how many combinations there are (as of birthdays).
            alike = first.matching - found
            most = math.prod(origin.distinct for origin in origins)
            number = first.matching**2 / (2 * alike) if alike >= _ALIKE else most
            number = max(float(found), min(number, most, first.rows))
        # Joins and filters further up have left only some of the rows, as the columns with most values show.
        left = 1.0
        for member in members:
            for id_ in references(member):
                source = self.columns[id_].origin
                assert source is not None
                left = min(left, self.columns[id_].distinct / max(source.distinct, 1.0))
        plain = [n for member, n in zip(members, numbers, strict=True) if column_id(member) is not None]
        return max(1.0, drawn(number, first.rows, first.rows * left), *plain)

    def _distinct(self, expression: exp.Expr) -> float:
        id_ = column_id(expression)
        if id_ is not None and id_ in self.columns:
            return max(1.0, min(self.columns[id_].distinct, self.rows))
        used = [self.columns[id_].distinct for id_ in references(expression) if id_ in self.columns]
        if isinstance(expression, exp.Extract):
            column = self.columns.get(next(iter(references(expression)), ""))
            if column and column.minimum is not None and column.maximum is not None:
                days = column.maximum - column.minimum
                per = {"YEAR": 365.25, "MONTH": 12, "DAY": 31}.get(expression.name.upper(), 1)
                return max(1.0, days / per + 1 if expression.name.upper() == "YEAR" else float(per))
        most = 1e4
        if isinstance(expression, exp.Substring) and isinstance(expression.args.get("length"), exp.Literal):
            most = 10.0 ** min(max(int(expression.args["length"].name) - 1, 1), 5)
        return max(1.0, min(max(used, default=1.0), self.rows, most if used else 1.0))


def _product(numbers: Iterable[float]) -> float:
    """Exponential back-off: numbers of distinct values are multiplied as if they depended on each other somewhat."""
    product, exponent = 1.0, 1.0
    for number in sorted(numbers, reverse=True):
        product *= number**exponent
        exponent = max(exponent / 2, 0.125)
    return product


def scaled(source: Estimate, rows: float, by: str | None = None) -> Estimate:
    """Fewer rows have fewer distinct values: Yao's formula, in Cardenas's approximation.

    ``by``: the scan of lots that are dropped or left as a whole.
    """
    if rows >= source.rows:
        return Estimate(rows, source.columns)
    few = rows < FEW * source.rows
    columns = {}
    for id_, column in source.columns.items():
        lots = column.lots
        if lots is None:
            distinct = drawn(column.distinct, source.rows, rows)
        else:
            fewer = lots.left(source.rows, rows, by)
            distinct = drawn(column.distinct, lots.number, fewer.number)
            column = column._replace(lots=fewer)
        if distinct != column.distinct or few > column.partial:
            column = column._replace(distinct=distinct, partial=few or column.partial)
        columns[id_] = column
    return Estimate(rows, columns)


def drawn(distinct: float, total: float, rows: float) -> float:
    """Distinct values among ``rows`` drawn from ``total`` rows that have ``distinct`` ones."""
    if distinct <= 1 or total <= 0:
        return 1.0
    if distinct >= total * 0.99:
        return max(1.0, min(distinct, rows))
    per_value = total / distinct
    missing = max(0.0, 1 - rows / total) ** per_value
    return float(max(1.0, min(rows, distinct * (1 - missing))))


def total_distinct(found: float, rows: float, total: float) -> float:
    """Distinct values of ``total`` rows of which ``rows`` have ``found`` ones: the inverse of :func:`drawn`."""
    if found >= rows * 0.98:
        return total
    low, high = found, total
    for _ in range(40):
        middle = (low + high) / 2
        if middle * -math.expm1(-rows / middle) < found:
            low = middle
        else:
            high = middle
    return high
