"""Cardinality estimation: rows and distinct values of every plan, from the statistics of tables.

Uniform values, independent predicates with exponential back-off, containment of join keys (as in System R and
its successors). Estimates are remembered per node, which is safe because nodes are immutable.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from sqlglot import exp

from sord.planner.expressions import column_id, conjuncts, disjuncts, references
from sord.planner.logical import (
    Aggregate,
    AssertOneRow,
    Filter,
    Join,
    Plan,
    Project,
    Scan,
    SetOperation,
    SharedRef,
    Sort,
    Stage,
    Values,
    Window,
    With,
)

_GUESS = {"equal": 0.1, "range": 0.3, "like": 0.1, "prefix": 0.05, "other": 0.3}


@dataclass(frozen=True, slots=True)
class ColumnEstimate:
    """Of one column of an intermediate result."""

    distinct: float
    minimum: float | None = None
    maximum: float | None = None
    width: float = 8.0
    known: bool = False
    """Whether ``distinct`` comes from statistics rather than from a guess."""


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


class Estimator:
    """Estimates plans of one query."""

    def __init__(self) -> None:
        self.memo: dict[int, tuple[Plan, Estimate]] = {}
        self.shared: dict[str, Estimate] = {}

    def __call__(self, plan: Plan) -> Estimate:
        """The estimate of a plan."""
        found = self.memo.get(id(plan))
        if found is not None:
            return found[1]
        result = self._estimate(plan)
        self.memo[id(plan)] = (plan, result)  # the plan is kept so that its id is not used again
        return result

    def _estimate(self, plan: Plan) -> Estimate:
        if isinstance(plan, Scan):
            return _scan(plan)
        if isinstance(plan, Filter):
            return filtered(self(plan.input), plan.predicates)
        if isinstance(plan, Project):
            return _project(self(plan.input), plan)
        if isinstance(plan, Join):
            return join(plan.kind, self(plan.left), self(plan.right), plan.keys, plan.residual)
        if isinstance(plan, Aggregate):
            return _aggregate(self(plan.input), plan)
        if isinstance(plan, Window):
            source = self(plan.input)
            added = {id_: ColumnEstimate(source.rows) for id_, _ in plan.calls}
            return Estimate(source.rows, {**source.columns, **added})
        if isinstance(plan, SetOperation):
            return self._set_operation(plan)
        if isinstance(plan, Sort):
            source = self(plan.input)
            return source if plan.limit is None else _scaled(source, min(source.rows, plan.limit))
        if isinstance(plan, AssertOneRow):
            return _scaled(self(plan.input), 1.0)
        if isinstance(plan, Values):
            rows = float(len(plan.rows))
            return Estimate(rows, {id_: ColumnEstimate(max(rows, 1)) for id_ in plan.outputs})
        if isinstance(plan, With):
            for name, definition in zip(plan.names, plan.definitions, strict=True):
                self.shared[name] = self(definition)
            return self(plan.body)
        if isinstance(plan, SharedRef):
            source = self.shared.get(plan.name, Estimate(1000.0, {}))
            columns = {new: source.columns.get(old, ColumnEstimate(source.rows)) for new, old in plan.outputs}
            return Estimate(source.rows, columns)
        if isinstance(plan, Stage):
            return _scaled(self(plan.source), plan.rows)
        return self(plan.children[0])

    def _set_operation(self, plan: SetOperation) -> Estimate:
        sides = [self(side) for side in plan.inputs]
        rows = sum(side.rows for side in sides) if plan.kind == "union" else sides[0].rows
        columns = {}
        for position, id_ in enumerate(plan.outputs):
            parts = [
                estimate.columns.get(side.columns[position], ColumnEstimate(estimate.rows))
                for side, estimate in zip(plan.inputs, sides, strict=True)
            ]
            columns[id_] = ColumnEstimate(
                max(part.distinct for part in parts), width=max(part.width for part in parts)
            )
        return Estimate(rows, columns)


def _scan(plan: Scan) -> Estimate:
    rows = max(plan.table.rows, 0.0)
    columns = {}
    for id_, name in plan.outputs:
        known = plan.table.statistics.get(name)
        if known is None:
            columns[id_] = ColumnEstimate(_unknown(rows))
            continue
        distinct = known.distinct
        if distinct is None and known.minimum is not None and known.maximum is not None:
            distinct = min(rows, known.maximum - known.minimum + 1)
        columns[id_] = ColumnEstimate(
            max(1.0, distinct if distinct is not None else _unknown(rows)),
            known.minimum,
            known.maximum,
            known.width,
            distinct is not None,
        )
    return Estimate(rows, columns)


def _unknown(rows: float) -> float:
    """Distinct values of a column that nothing is known of: small tables tend to be lists of names."""
    return max(1.0, rows if rows < 1000 else rows / 10)


def _scaled(source: Estimate, rows: float) -> Estimate:
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


def filtered(source: Estimate, predicates: Iterable[exp.Expr]) -> Estimate:
    """The rows for which the predicates hold."""
    columns = dict(source.columns)
    fractions: list[float] = []
    for predicate in predicates:
        fractions.append(_selectivity(predicate, source))
        _narrow(predicate, columns)
    fraction, exponent = 1.0, 1.0
    for part in sorted(_ranges_merged(fractions, predicates, source)):
        fraction *= part**exponent
        exponent = max(exponent * 0.75, 0.3)
    return _scaled(Estimate(source.rows, columns), source.rows * fraction)


def _ranges_merged(fractions: list[float], predicates: Iterable[exp.Expr], source: Estimate) -> list[float]:
    """Bounds on the same column are one range, not two independent predicates."""
    merged: dict[str, list[float]] = {}
    rest: list[float] = []
    for fraction, predicate in zip(fractions, predicates, strict=True):
        bound = _comparison(predicate)
        if bound is not None and bound[1] in ("<", ">") and _known_range(source, bound[0]):
            merged.setdefault(bound[0], []).append(fraction)
        else:
            rest.append(fraction)
    for parts in merged.values():
        rest.append(max(1.0 - sum(1.0 - part for part in parts), 1e-4) if len(parts) > 1 else parts[0])
    return rest


def _known_range(source: Estimate, id_: str) -> bool:
    column = source.columns.get(id_)
    return column is not None and column.minimum is not None and column.maximum is not None


def _selectivity(predicate: exp.Expr, source: Estimate) -> float:
    if isinstance(predicate, exp.Paren):
        return _selectivity(predicate.this, source)
    if isinstance(predicate, exp.And):
        result = 1.0
        for part in conjuncts(predicate):
            result *= _selectivity(part, source)
        return result
    if isinstance(predicate, exp.Or):
        missing = 1.0
        for part in disjuncts(predicate):
            missing *= 1 - _selectivity(part, source)
        return 1 - missing
    if isinstance(predicate, exp.Not):
        return max(0.0, 1 - _selectivity(predicate.this, source))
    if isinstance(predicate, exp.Between):
        low = _range_fraction(predicate.this, ">", predicate.args["low"], source)
        high = _range_fraction(predicate.this, "<", predicate.args["high"], source)
        return _GUESS["range"] / 2 if low is None or high is None else max(low + high - 1, 1e-4)
    if isinstance(predicate, exp.In):
        number = len(predicate.expressions)
        return min(1.0, number * _equal_fraction(predicate.this, source))
    if isinstance(predicate, (exp.Like, exp.ILike)) and predicate.args.get("negate"):
        positive = predicate.copy()
        positive.set("negate", None)
        return 1 - _selectivity(positive, source)
    if isinstance(predicate, (exp.Like, exp.ILike)):
        pattern = predicate.expression
        text = pattern.name if isinstance(pattern, exp.Literal) else "%"
        # Every further constant piece makes a match rarer; a leading constant is a range.
        pieces = len([piece for piece in text.split("%") if piece])
        guess = _GUESS["like" if text.startswith("%") else "prefix"]
        return math.pow(guess, max(1.0, 0.5 + pieces / 2))
    if isinstance(predicate, exp.Is):
        return 0.02
    if isinstance(predicate, exp.Boolean):
        return 1.0 if predicate.this else 0.0
    if isinstance(predicate, exp.EQ):
        if references(predicate.this) and references(predicate.expression):
            return min(_equal_fraction(predicate.this, source), _equal_fraction(predicate.expression, source))
        return _equal_fraction(predicate.this if references(predicate.this) else predicate.expression, source)
    if isinstance(predicate, exp.NEQ):
        return 1 - _equal_fraction(predicate.this, source)
    bound = _comparison(predicate)
    if bound is not None:
        column = exp.column(bound[0], quoted=True)
        fraction = _range_fraction(column, bound[1], bound[2], source)
        return _GUESS["range"] if fraction is None else fraction
    return _GUESS["other"]


def _comparison(predicate: exp.Expr) -> tuple[str, str, exp.Expr] | None:
    """(column id, "<" or ">", constant) of a comparison with a constant."""
    if not isinstance(predicate, (exp.LT, exp.LTE, exp.GT, exp.GTE)):
        return None
    sign = "<" if isinstance(predicate, (exp.LT, exp.LTE)) else ">"
    left, right = column_id(predicate.this), column_id(predicate.expression)
    if left is not None and not references(predicate.expression):
        return left, sign, predicate.expression
    if right is not None and not references(predicate.this):
        return right, "<" if sign == ">" else ">", predicate.this
    return None


def _equal_fraction(expression: exp.Expr, source: Estimate) -> float:
    id_ = column_id(expression)
    column = source.columns.get(id_) if id_ is not None else None
    if column is None or not column.known:
        return _GUESS["equal"] if column is None else max(_GUESS["equal"] / 10, 1 / max(column.distinct, 2.0))
    return 1 / max(column.distinct, 1.0)


def _range_fraction(expression: exp.Expr, sign: str, constant: exp.Expr, source: Estimate) -> float | None:
    id_ = column_id(expression)
    column = source.columns.get(id_) if id_ is not None else None
    value = constant_value(constant)
    if column is None or value is None or column.minimum is None or column.maximum is None:
        return None
    span = column.maximum - column.minimum
    if span <= 0:
        return 1.0
    below = min(max((value - column.minimum) / span, 0.0), 1.0)
    return max(below if sign == "<" else 1 - below, 1e-4)


def _narrow(predicate: exp.Expr, columns: dict[str, ColumnEstimate]) -> None:
    """An equality leaves one value of its column; an IN list as many as it has."""
    if isinstance(predicate, exp.EQ):
        for side, other in ((predicate.this, predicate.expression), (predicate.expression, predicate.this)):
            id_ = column_id(side)
            if id_ in columns and not references(other):
                columns[id_] = replace(columns[id_], distinct=1.0, known=True)
    elif isinstance(predicate, exp.In):
        id_ = column_id(predicate.this)
        if id_ in columns and predicate.expressions:
            number = min(columns[id_].distinct, float(len(predicate.expressions)))
            columns[id_] = replace(columns[id_], distinct=number, known=True)


def constant_value(expression: exp.Expr) -> float | None:
    """The number behind a constant: dates are days since 1970. None if it isn't that simple."""
    if isinstance(expression, exp.Paren):
        return constant_value(expression.this)
    if isinstance(expression, exp.Literal):
        try:
            if expression.is_string:
                return float((datetime.date.fromisoformat(expression.name) - datetime.date(1970, 1, 1)).days)
            return float(expression.name)
        except ValueError:
            return None
    if isinstance(expression, exp.Neg):
        value = constant_value(expression.this)
        return None if value is None else -value
    if isinstance(expression, exp.Cast):
        return constant_value(expression.this)
    if isinstance(expression, exp.Interval):
        amount = constant_value(_number(expression.this))
        days = {"DAY": 1.0, "WEEK": 7.0, "MONTH": 30.44, "YEAR": 365.25}.get(
            str(expression.unit).upper().rstrip("S")
        )
        return None if amount is None or days is None else amount * days
    if isinstance(expression, (exp.Add, exp.Sub, exp.Mul, exp.Div)):
        left, right = constant_value(expression.this), constant_value(expression.expression)
        if left is None or right is None:
            return None
        if isinstance(expression, exp.Add):
            return left + right
        if isinstance(expression, exp.Sub):
            return left - right
        if isinstance(expression, exp.Mul):
            return left * right
        return left / right if right else None
    return None


def _number(expression: exp.Expr) -> exp.Expr:
    return exp.Literal.number(expression.name) if isinstance(expression, exp.Literal) else expression


def join(
    kind: str,
    left: Estimate,
    right: Estimate,
    keys: Iterable[tuple[exp.Expr, exp.Expr]],
    residual: Iterable[exp.Expr],
) -> Estimate:
    """The rows of a join: containment of the smaller key domain in the larger."""
    keys, residual = list(keys), list(residual)
    domain_left = left.distinct(a for a, _ in keys) if keys else 1.0
    domain_right = right.distinct(b for _, b in keys) if keys else 1.0
    if kind in ("semi", "anti"):
        matched = min(1.0, domain_right / max(domain_left, 1.0)) if keys else 1.0
        matched *= 0.7 ** len(residual)
        fraction = matched if kind == "semi" else max(1 - matched, 0.1)
        result = _scaled(left, left.rows * fraction)
        id_ = column_id(keys[0][0]) if len(keys) == 1 else None
        if kind == "anti" or id_ is None or id_ not in result.columns:
            return result
        narrowed = replace(result.columns[id_], distinct=min(result.columns[id_].distinct, domain_right))
        return Estimate(result.rows, {**result.columns, id_: narrowed})
    both = Estimate(
        left.rows * right.rows / max(domain_left, domain_right, 1.0), {**left.columns, **right.columns}
    )
    columns = dict(both.columns)
    for a, b in keys:
        # The key's values are those that both sides have.
        for side in (column_id(a), column_id(b)):
            if side in columns:
                fewest = min(domain_left, domain_right) if len(keys) == 1 else columns[side].distinct
                columns[side] = replace(columns[side], distinct=min(columns[side].distinct, fewest))
    capped = {
        id_: column if column.distinct <= both.rows else replace(column, distinct=max(both.rows, 1.0))
        for id_, column in columns.items()
    }
    result = Estimate(both.rows, capped)
    if residual:
        result = (
            filtered(result, residual)
            if kind == "inner"
            else _scaled(result, result.rows * 0.5 ** len(residual))
        )
    if kind in ("left", "full") and result.rows < left.rows:
        result = Estimate(left.rows, result.columns)
    if kind == "full":
        result = Estimate(max(result.rows, left.rows + right.rows * 0.1), result.columns)
    return result


def _project(source: Estimate, plan: Project) -> Estimate:
    columns = {}
    for id_, expression in plan.outputs:
        known = source.columns.get(column_id(expression) or "")
        columns[id_] = known or ColumnEstimate(source.distinct([expression]))
    return Estimate(source.rows, columns)


def _aggregate(source: Estimate, plan: Aggregate) -> Estimate:
    if not plan.keys:
        return Estimate(1.0, {id_: ColumnEstimate(1.0) for id_, _ in plan.calls})
    rows = source.distinct(expression for _, expression in plan.keys)
    columns = {}
    for id_, expression in plan.keys:
        known = source.columns.get(column_id(expression) or "")
        columns[id_] = replace(known, distinct=min(known.distinct, rows)) if known else ColumnEstimate(rows)
    for id_, call in plan.calls:
        # Counts (and sums of partial counts, which are cast) lie around their average: few of them are different.
        counts = isinstance(call, (exp.Count, exp.Cast))
        most = 10 * max(source.rows / max(rows, 1.0), 10.0) if counts else rows
        columns[id_] = ColumnEstimate(max(1.0, min(rows / 2, most)), width=16.0)
    return Estimate(rows, columns)
