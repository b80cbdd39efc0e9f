"""What an estimate is: rows and distinct values of an intermediate result."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from sqlglot import exp

from sord.planner.expressions import column_id, references


@dataclass(frozen=True, slots=True)
class ColumnEstimate:
    """Of one column of an intermediate result."""

    distinct: float
    minimum: float | None = None
    maximum: float | None = None
    width: float = 8.0
    known: bool = False
    """Whether ``distinct`` comes from statistics rather than from a guess."""
    common: Mapping[str, float] = field(default_factory=dict)
    """Values that are much more frequent than the average, and their shares of the rows."""


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
        """Distinct combinations of expressions: a product with exponents 1, ½, ¼, … at most the rows."""
        numbers = sorted((self._distinct(expression) for expression in expressions), reverse=True)
        product, exponent = 1.0, 1.0
        for number in numbers:
            product *= number**exponent
            exponent = max(exponent / 2, 0.125)
        return max(1.0, min(product, self.rows))

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
        return max(1.0, min(max(used, default=1.0), self.rows, 1e4 if used else 1.0))


def scaled(source: Estimate, rows: float) -> Estimate:
    """Fewer rows have fewer distinct values: Yao's formula, in Cardenas's approximation."""
    if rows >= source.rows:
        return Estimate(rows, source.columns)
    columns = {
        id_: replace(column, distinct=drawn(column.distinct, source.rows, rows))
        for id_, column in source.columns.items()
    }
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
