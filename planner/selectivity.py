"""How many rows a predicate leaves: uniform values, independent predicates with exponential back-off."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterable, Set

from sqlglot import exp

from sord.planner.cardinality import ColumnEstimate, Estimate, scaled
from sord.planner.expressions import column_id, conjuncts, disjuncts, references

_GUESS = {"equal": 0.1, "range": 0.3, "positive": 0.9, "like": 0.1, "prefix": 0.05, "other": 0.3}


def filtered(source: Estimate, predicates: Iterable[exp.Expr]) -> Estimate:
    """The rows for which the predicates hold."""
    predicates = list(predicates)
    columns = dict(source.columns)
    fractions: list[float] = []
    for predicate in predicates:
        fractions.append(selectivity(predicate, source))
        _narrow(predicate, columns)
    fraction = combined(_ranges_merged(fractions, predicates, source))
    lots = source.lots_of(references(*predicates))
    result = scaled(Estimate(source.rows, columns), source.rows * fraction, lots.scan if lots else None)
    left = dict(result.columns)
    for id_ in references(*predicates):
        narrowed = columns.get(id_)
        if narrowed is not None and narrowed is not source.columns[id_]:
            # What a predicate leaves of its own column is known.
            distinct = min(narrowed.distinct, max(result.rows, 1.0))
            left[id_] = left[id_]._replace(distinct=distinct, partial=narrowed.partial)
    return Estimate(result.rows, left)


def combined(fractions: Iterable[float]) -> float:
    """The share of rows for which all of several predicates hold: independent ones, but less so the more there are."""
    result, exponent = 1.0, 1.0
    for part in sorted(fractions):
        result *= part**exponent
        exponent = max(exponent * 0.75, 0.3)
    return result


def _ranges_merged(fractions: list[float], predicates: Iterable[exp.Expr], source: Estimate) -> list[float]:
    """Bounds on the same column are one range, not two independent predicates; of several lists the shortest counts."""
    merged: dict[str, list[float]] = {}
    listed: dict[exp.Expr, float] = {}
    rest: list[float] = []
    for fraction, predicate in zip(fractions, predicates, strict=True):
        bound = _comparison(predicate)
        if bound is not None and bound[1] in ("<", ">") and _known_range(source, bound[0]):
            merged.setdefault(bound[0], []).append(fraction)
        elif isinstance(predicate, (exp.EQ, exp.In)) and isinstance(predicate.this, exp.Column):
            listed[predicate.this] = min(fraction, listed.get(predicate.this, 1.0))
        else:
            rest.append(fraction)
    rest.extend(listed.values())
    for parts in merged.values():
        rest.append(max(1.0 - sum(1.0 - part for part in parts), 1e-4) if len(parts) > 1 else parts[0])
    return rest


def _known_range(source: Estimate, id_: str) -> bool:
    column = source.columns.get(id_)
    return column is not None and column.minimum is not None and column.maximum is not None


def residual(source: Estimate, predicates: Iterable[exp.Expr], sides: Iterable[Set[str]]) -> float:
    """The share of pairs of rows for which conditions over both sides of a join hold.

    What an OR of conditions says about one side alone holds already: that side has been filtered by it.
    """
    return combined(
        _given_sides(disjuncts(predicate), source, sides)
        if isinstance(predicate, exp.Or)
        else selectivity(predicate, source)
        for predicate in predicates
    )


def _given_sides(alternatives: list[exp.Expr], source: Estimate, sides: Iterable[Set[str]]) -> float:
    chosen = [[1.0] * len(alternatives)]
    for side in sides:
        shares = []
        for alternative in alternatives:
            mine = [part for part in conjuncts(alternative) if references(part) <= side]
            shares.append(combined(selectivity(part, source) for part in mine))
        any_ = min(sum(shares), 1.0)
        chosen.append([share / max(any_, 1e-9) for share in shares])
    between = [
        combined(
            selectivity(part, source)
            for part in conjuncts(alternative)
            if not any(references(part) <= side for side in sides)
        )
        for alternative in alternatives
    ]
    shares_of_all = [math.prod(parts) for parts in zip(between, *chosen, strict=True)]
    return float(min(sum(shares_of_all), 1.0))


def selectivity(predicate: exp.Expr, source: Estimate) -> float:
    """The share of rows for which one predicate holds."""
    if isinstance(predicate, exp.Paren):
        return selectivity(predicate.this, source)
    if isinstance(predicate, exp.And):
        return combined(selectivity(part, source) for part in conjuncts(predicate))
    if isinstance(predicate, exp.Or):
        missing = 1.0
        for part in disjuncts(predicate):
            missing *= 1 - selectivity(part, source)
        return 1 - missing
    if isinstance(predicate, exp.Not):
        return max(0.0, 1 - selectivity(predicate.this, source))
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
        return 1 - selectivity(positive, source)
    if isinstance(predicate, (exp.Like, exp.ILike)):
        pattern = predicate.expression
        text = pattern.name if isinstance(pattern, exp.Literal) else "%"
        # Every further constant piece makes a match rarer; a leading constant is a range.
        pieces = len([piece for piece in text.split("%") if piece])
        guess = _GUESS["like" if text.startswith("%") else "prefix"]
        return math.pow(guess, max(1.0, 0.5 + pieces / 2))
    if isinstance(predicate, exp.Is):
        tested = source.columns.get(column_id(predicate.this) or "")
        return 0.02 if tested is None else max(tested.nulls, 1e-4)
    if isinstance(predicate, exp.Boolean):
        return 1.0 if predicate.this else 0.0
    if isinstance(predicate, exp.EQ):
        constants = _literal(predicate.this), _literal(predicate.expression)
        if constants[0] is not None and constants[1] is not None:
            return float(constants[0] == constants[1])
        if references(predicate.this) and references(predicate.expression):
            return min(_equal_fraction(predicate.this, source), _equal_fraction(predicate.expression, source))
        return _equal_fraction(predicate.this if references(predicate.this) else predicate.expression, source)
    if isinstance(predicate, exp.NEQ):
        return 1 - _equal_fraction(predicate.this, source)
    bound = _comparison(predicate)
    if bound is not None:
        column = exp.column(bound[0], quoted=True)
        fraction = _range_fraction(column, bound[1], bound[2], source)
        if fraction is None and bound[1] == ">" and constant_value(bound[2]) == 0:
            return _GUESS["positive"]
        return _GUESS["range"] if fraction is None else fraction
    return _GUESS["other"]


def _literal(expression: exp.Expr) -> str | None:
    while isinstance(expression, (exp.Paren, exp.Cast)):
        expression = expression.this
    return expression.name if isinstance(expression, exp.Literal) else None


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
    if column is None:
        return (
            min(_GUESS["equal"], 1 / source.distinct([expression]))
            if references(expression)
            else _GUESS["equal"]
        )
    if not column.known:
        return max(_GUESS["equal"] / 10, 1 / max(column.distinct, 2.0))
    return 1 / max(column.distinct, 1.0)


def _range_fraction(expression: exp.Expr, sign: str, constant: exp.Expr, source: Estimate) -> float | None:
    id_ = column_id(expression)
    column = source.columns.get(id_) if id_ is not None else None
    value = constant_value(constant)
    if column is not None and column.normal is not None and value is not None:
        mean, deviation = column.normal
        below = 0.5 * math.erfc((mean - value) / max(deviation, 1e-9) / math.sqrt(2))
        return max(below if sign == "<" else 1 - below, 1e-4)
    if column is None or value is None or column.minimum is None or column.maximum is None:
        return None
    span = column.maximum - column.minimum
    if span <= 0:
        return 1.0
    below = min(max((value - column.minimum) / span, 0.0), 1.0)
    return max(below if sign == "<" else 1 - below, 1e-4)


def _narrow(predicate: exp.Expr, columns: dict[str, ColumnEstimate]) -> None:
    """An equality leaves one value of its column, an IN list as many as it has, a comparison a part of the range."""
    if isinstance(predicate, exp.EQ):
        for side, other in ((predicate.this, predicate.expression), (predicate.expression, predicate.this)):
            id_ = column_id(side)
            if id_ in columns and not references(other):
                columns[id_] = columns[id_]._replace(distinct=1.0, domain=1.0, nulls=0.0, known=True)
    elif isinstance(predicate, exp.In):
        id_ = column_id(predicate.this)
        if id_ in columns and predicate.expressions:
            number = min(columns[id_].distinct, float(len(predicate.expressions)))
            columns[id_] = columns[id_]._replace(distinct=number, domain=number, nulls=0.0, known=True)
    elif isinstance(predicate, exp.Between):
        id_ = column_id(predicate.this)
        if id_ in columns:
            columns[id_] = within(
                columns[id_], *(constant_value(predicate.args[end]) for end in ("low", "high"))
            )
    elif isinstance(predicate, exp.Or):
        _narrow_to_any(disjuncts(predicate), columns)
    else:
        bound = _comparison(predicate)
        if bound is not None and bound[0] in columns:
            value = constant_value(bound[2])
            low, high = (None, value) if bound[1] == "<" else (value, None)
            columns[bound[0]] = within(columns[bound[0]], low, high)


def _narrow_to_any(alternatives: list[exp.Expr], columns: dict[str, ColumnEstimate]) -> None:
    """Of a column that each alternative narrows the values of all of them are left."""
    cases: list[dict[str, ColumnEstimate]] = []
    for alternative in alternatives:
        narrowed = {id_: columns[id_] for id_ in references(alternative) if id_ in columns}
        for predicate in conjuncts(alternative):
            _narrow(predicate, narrowed)
        cases.append({id_: column for id_, column in narrowed.items() if column is not columns[id_]})
    for id_, first in cases[0].items():
        parts = [first, *(case[id_] for case in cases[1:] if id_ in case)]
        if len(parts) == len(cases):
            known = columns[id_]
            number = min(sum(part.distinct for part in parts), known.distinct)
            columns[id_] = known._replace(
                distinct=number,
                domain=max(min(sum(part.values for part in parts), known.values), number),
                minimum=_outermost(min, [part.minimum for part in parts]),
                maximum=_outermost(max, [part.maximum for part in parts]),
                nulls=max(part.nulls for part in parts),
                known=all(part.known for part in parts),
            )


def _outermost(choose: Callable[[list[float]], float], bounds: list[float | None]) -> float | None:
    known = [bound for bound in bounds if bound is not None]
    return choose(known) if len(known) == len(bounds) else None


def within(column: ColumnEstimate, low: float | None, high: float | None) -> ColumnEstimate:
    """A column of which only values between ``low`` and ``high`` are left (None: no bound), values being uniform."""
    if column.minimum is None or column.maximum is None or column.minimum > column.maximum:
        return column  # nothing is known, or there are no values at all
    low = column.minimum if low is None else min(max(low, column.minimum), column.maximum)
    high = column.maximum if high is None else max(min(high, column.maximum), low)
    share = min(1.0, (high - low + 1) / (column.maximum - column.minimum + 1))
    return column._replace(
        minimum=low,
        maximum=high,
        distinct=max(column.distinct * share, 1.0),
        domain=max(column.values * share, 1.0),
    )


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
