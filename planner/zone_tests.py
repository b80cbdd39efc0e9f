"""Predicates as tests of zones: whether a row group may have a row for which they hold.

That is asked of the lowest and highest value of a column in each row group (small materialized aggregates, Moerkotte
1998; zone maps). A test says no only where that is sure, so what isn't understood says yes.
"""

from __future__ import annotations

import datetime
import math
import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from sqlglot import exp

from sord.planner.catalog import Bound, Catalog, Table, Zone
from sord.planner.context import is_integer
from sord.planner.expressions import column_id, conjuncts, disjuncts, references
from sord.planner.render import expression_sql

Test = Callable[[str, int], bool]
"""Whether a row group of a file (its path and the row group's number) may have a matching row."""

_SIGNS: Mapping[type[exp.Expr], str] = {exp.EQ: "=", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">="}
_ROUNDED = 1e-6
"""Relative error that is allowed for where values are compared as floating point numbers, be it 32 bits."""
_EPOCH = datetime.datetime(1970, 1, 1)
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_TIMES = {
    "DATE": ("DATE", "TIMESTAMP"),
    "TIMESTAMP": ("DATE", "TIMESTAMP"),
    "TIMESTAMP_NS": ("DATE", "TIMESTAMP", "TIMESTAMP_NS"),
    "TIMESTAMP WITH TIME ZONE": ("TIMESTAMP WITH TIME ZONE",),
}
"""Types of constants that are compared with a column without a time zone in between."""


class ZoneTests:
    """Makes tests of the predicates on one scan."""

    def __init__(self, table: Table, names: Mapping[str, str], catalog: Catalog) -> None:
        """``names`` are the table's columns by id."""
        assert table.footers is not None
        self._footers = table.footers
        self._names = names
        self._types = dict(table.columns)
        self._partitions = frozenset(table.partitions)
        self._catalog = catalog
        self._asked: dict[str, tuple[str | None, str] | None] = {}
        self._has_texts = False

    def test(self, predicates: Sequence[exp.Expr]) -> Test | None:
        """Of all predicates together; None if no row group can fail it."""
        found = self._all(predicates)
        unknown = [text for text, value in self._asked.items() if value is None]
        if unknown:
            # Once more, with the values of constants that DuckDB has to compute.
            try:
                self._asked.update(zip(unknown, self._catalog.evaluate(unknown), strict=True))
            except Exception:
                return found
            found = self._all(predicates)
        if found is not None and self._has_texts:
            ((collation, _),) = self._catalog.evaluate(["current_setting('default_collation')"])
            return None if collation else found
        return found

    def _all(self, predicates: Sequence[exp.Expr]) -> Test | None:
        tests = [found for one in predicates if (found := self._test(one)) is not None]
        if len(tests) < 2:
            return tests[0] if tests else None
        return lambda path, number: all(test(path, number) for test in tests)

    def _any(self, predicates: Sequence[exp.Expr]) -> Test | None:
        tests = [found for one in predicates if (found := self._test(one)) is not None]
        if len(tests) < len(predicates):
            return None
        return lambda path, number: any(test(path, number) for test in tests)

    def _test(self, predicate: exp.Expr) -> Test | None:
        if isinstance(predicate, exp.Paren):
            return self._test(predicate.this)
        if isinstance(predicate, exp.And):
            return self._all(conjuncts(predicate))
        if isinstance(predicate, exp.Or):
            return self._any(disjuncts(predicate))
        if isinstance(predicate, exp.Is) and isinstance(predicate.expression, exp.Null):
            return self._nulls(predicate.this, wanted=not predicate.args.get("negate"))
        if isinstance(predicate, exp.Not):
            inner = predicate.this.unnest()
            if isinstance(inner, exp.Is) and isinstance(inner.expression, exp.Null):
                return self._nulls(inner.this, wanted=bool(inner.args.get("negate")))
            return None
        if isinstance(predicate, exp.Between) and not predicate.args.get("symmetric"):
            low, high = predicate.args["low"], predicate.args["high"]
            tests = [
                found
                for sign, bound in ((">=", low), ("<=", high))
                if (found := self._comparison(predicate.this, sign, [bound])) is not None
            ]
            return (lambda path, number: all(test(path, number) for test in tests)) if tests else None
        if isinstance(predicate, exp.In) and predicate.expressions:
            return self._comparison(predicate.this, "=", predicate.expressions)
        if isinstance(predicate, exp.Like) and not predicate.args.get("negate"):
            return self._prefix(predicate)
        sign = _SIGNS.get(type(predicate))
        if sign is None:
            return None
        assert isinstance(predicate, exp.Binary)
        if column_id(predicate.this) in self._names:
            return self._comparison(predicate.this, sign, [predicate.expression])
        turned = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(sign, sign)
        return self._comparison(predicate.expression, turned, [predicate.this])

    def _column(self, expression: exp.Expr) -> tuple[str, Mapping[str, Sequence[Zone]]] | None:
        """The DuckDB type and zones of a column of files."""
        name = self._names.get(column_id(expression) or "")
        zones = None if name is None or name in self._partitions else self._footers.zones(name)
        return None if name is None or zones is None else (self._types[name], zones)

    def _nulls(self, expression: exp.Expr, wanted: bool) -> Test | None:
        found = self._column(expression)
        if found is None:
            return None
        zones = found[1]

        def test(path: str, number: int) -> bool:
            zone = zones[path][number]
            return zone.nulls is None or (zone.nulls > 0 if wanted else zone.nulls < zone.rows)

        return test

    def _comparison(self, expression: exp.Expr, sign: str, constants: Sequence[exp.Expr]) -> Test | None:
        """With one constant, or equality with any one of several."""
        found = self._column(expression)
        if found is None:
            return None
        type_, zones = found
        given = [self._constant(constant, type_) for constant in constants]
        values = sorted(value for value in given if value is not None)
        if len(values) < len(given):
            return None
        rounded = type_ in ("FLOAT", "DOUBLE") or any(isinstance(value, float) for value in values)
        least, most = values[0], values[-1]
        margin = 1000 if type_ == "TIMESTAMP_NS" else 0
        # NaN is greater than all numbers, and no bound says whether it is there.
        is_bounded = type_ not in ("FLOAT", "DOUBLE")

        def test(path: str, number: int) -> bool:
            zone = zones[path][number]
            if zone.nulls == zone.rows:
                return False
            low, high = zone.low, zone.high
            if rounded:
                low, high = _rounded(low, -1), _rounded(high, 1)
            elif margin:
                low, high = _moved(low, -margin), _moved(high, margin)
            if sign == "=":
                if low is None or high is None:
                    return True
                place = bisect_left(values, low)
                return place < len(values) and not values[place] > high  # type: ignore[operator]
            if sign[0] == "<":
                return low is None or not (low > most or (sign == "<" and low == most))  # type: ignore[operator]
            return high is None or not is_bounded or not (high < least or (sign == ">" and high == least))  # type: ignore[operator]

        self._has_texts = self._has_texts or type_ == "VARCHAR"
        return test

    def _prefix(self, predicate: exp.Like) -> Test | None:
        """LIKE with constant first characters."""
        found = self._column(predicate.this)
        pattern = predicate.expression
        if found is None or found[0] != "VARCHAR":
            return None
        if not isinstance(pattern, exp.Literal) or not pattern.is_string:
            return None
        prefix = re.split("[%_]", pattern.this, maxsplit=1)[0].encode()
        zones = found[1]

        def test(path: str, number: int) -> bool:
            zone = zones[path][number]
            if zone.nulls == zone.rows:
                return False
            if isinstance(zone.high, bytes) and zone.high < prefix:
                return False
            return not (isinstance(zone.low, bytes) and zone.low[: len(prefix)] > prefix)

        self._has_texts = True
        return test

    def _constant(self, expression: exp.Expr, type_: str) -> Bound | None:
        """The value with which a column of this type is compared; None if that isn't certain, or not known yet."""
        if references(expression) or expression.find(exp.Query) is not None:
            return None
        literal = expression if isinstance(expression, exp.Literal) else None
        if type_ == "VARCHAR":
            return literal.this.encode() if literal is not None and literal.is_string else None
        if type_ in _TIMES:
            text = _date_text(expression)
            if text is not None and type_ != "TIMESTAMP WITH TIME ZONE":
                return _nanoseconds(text)
            is_text = literal is not None and literal.is_string
            sql = expression_sql(expression)
            # DuckDB reads a string literal as a value of the column's type.
            known = self._value(f"CAST({sql} AS {type_})" if is_text else sql)
            if known is None or known[0] is None or known[1] not in _TIMES[type_]:
                return None
            return _nanoseconds(known[0])
        if literal is not None:
            return None if literal.is_string else _number(literal.this)
        if isinstance(expression, exp.Neg) and isinstance(expression.this, exp.Literal):
            value = self._constant(expression.this, type_)
            return None if value is None or isinstance(value, bytes) else -value
        known = self._value(expression_sql(expression))
        if known is None or known[0] is None or not _is_number(known[1]) or not _is_number(type_):
            return None
        if known[1] in ("FLOAT", "DOUBLE"):
            return None if math.isnan(float(known[0])) else float(known[0])
        return int(known[0]) if is_integer(known[1]) else Decimal(known[0])

    def _value(self, sql: str) -> tuple[str | None, str] | None:
        return self._asked.setdefault(sql, None)


def _is_number(type_: str) -> bool:
    return (
        is_integer(type_) or type_ in ("FLOAT", "DOUBLE") or re.fullmatch(r"DECIMAL\(.*\)", type_) is not None
    )


def _number(text: str) -> Bound | None:
    """A number as DuckDB reads it: with an exponent it is a double, and so is one of very many digits."""
    try:
        if text.isdigit() and len(text) <= 18:
            return int(text)
        if "e" in text.lower() or len(text) > 30:
            return float(text)
        return Decimal(text)
    except (ValueError, ArithmeticError):
        return None


def _date_text(expression: exp.Expr) -> str | None:
    """``1995-01-01`` of ``CAST('1995-01-01' AS DATE)`` and of the text alone."""
    if isinstance(expression, exp.Cast):
        if type(expression) is not exp.Cast or expression.to.sql("duckdb") != "DATE":
            return None
        expression = expression.this
    if isinstance(expression, exp.Literal) and expression.is_string and _DATE.fullmatch(expression.this):
        return str(expression.this)
    return None


def _nanoseconds(text: str) -> int | None:
    """Since 1970, of a date or time as DuckDB writes it."""
    try:
        value = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    if value.tzinfo is not None:
        value = value.astimezone(datetime.UTC).replace(tzinfo=None)
    return (value - _EPOCH) // datetime.timedelta(microseconds=1) * 1000


def _rounded(bound: Bound | None, sign: int) -> float | None:
    """A bound as a floating point number, a bit less or more."""
    if bound is None or isinstance(bound, bytes):
        return None
    value = float(bound)
    return value if math.isinf(value) else value + sign * abs(value) * _ROUNDED


def _moved(bound: Bound | None, by: int) -> Bound | None:
    return bound + by if isinstance(bound, int) else None
