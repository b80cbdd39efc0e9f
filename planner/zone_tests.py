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
from typing import Any

from sqlglot import exp

from sord.planner.catalog import Bound, Catalog, Table, Zone
from sord.planner.context import is_integer
from sord.planner.expressions import column_id, conjuncts, disjuncts, references
from sord.planner.render import expression_sql

May = list[bool]
"""For each row group, file by file, whether it may have a matching row."""

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
        assert table.files is not None
        self._footers = table.footers
        self._files = table.files
        self._zones: dict[str, list[Zone] | None] = {}
        self._names = names
        self._types = dict(table.columns)
        self._partitions = frozenset(table.partitions)
        self._catalog = catalog
        self._asked: dict[str, tuple[str | None, str] | None] = {}
        self._has_texts = False

    def test(self, predicates: Sequence[exp.Expr]) -> May | None:
        """Of all predicates together; None if no row group can fail them."""
        found = self._all(predicates)
        unknown = [text for text, value in self._asked.items() if value is None]
        if unknown:
            # Once more, with the values of constants that DuckDB has to compute.
            try:
                self._asked.update(zip(unknown, self._catalog.evaluate(unknown), strict=True))
            except Exception:
                return found
            found = self._all(predicates)
        if found is not None and self._has_texts and not all(found):
            ((collation, _),) = self._catalog.evaluate(["current_setting('default_collation')"])
            return None if collation else found
        return found

    def _all(self, predicates: Sequence[exp.Expr]) -> May | None:
        tests = [found for one in predicates if (found := self._test(one)) is not None]
        if len(tests) < 2:
            return tests[0] if tests else None
        return list(map(all, zip(*tests, strict=True)))

    def _any(self, predicates: Sequence[exp.Expr]) -> May | None:
        tests = [found for one in predicates if (found := self._test(one)) is not None]
        return list(map(any, zip(*tests, strict=True))) if len(tests) == len(predicates) else None

    def _test(self, predicate: exp.Expr) -> May | None:
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
            return self._all(
                [exp.GTE(this=predicate.this, expression=low), exp.LTE(this=predicate.this, expression=high)]
            )
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

    def _column(self, expression: exp.Expr) -> tuple[str, list[Zone]] | None:
        """The DuckDB type and zones of a column of files."""
        name = self._names.get(column_id(expression) or "")
        if name is None or name in self._partitions:
            return None
        if name not in self._zones:
            found = self._footers.zones(name)
            flat = None if found is None else [zone for file in self._files for zone in found[file.path]]
            self._zones[name] = flat
        zones = self._zones[name]
        return None if zones is None else (self._types[name], zones)

    def _nulls(self, expression: exp.Expr, wanted: bool) -> May | None:
        found = self._column(expression)
        if found is None:
            return None
        if wanted:
            return [zone.nulls is None or zone.nulls > 0 for zone in found[1]]
        return [zone.nulls is None or zone.nulls < zone.rows for zone in found[1]]

    def _comparison(self, expression: exp.Expr, sign: str, constants: Sequence[exp.Expr]) -> May | None:
        """With one constant, or equality with any one of several."""
        found = self._column(expression)
        if found is None:
            return None
        type_, zones = found
        given = [self._constant(constant, type_) for constant in constants]
        values = sorted(value for value in given if value is not None)
        if len(values) < len(given):
            return None
        # NaN is greater than all numbers, and no bound says whether it is there.
        has_nan = type_ in ("FLOAT", "DOUBLE")
        may = _TESTS[sign]
        if sign[0] == ">" and has_nan:
            return [zone.nulls != zone.rows for zone in zones]
        self._has_texts = self._has_texts or type_ == "VARCHAR"
        if has_nan or any(isinstance(value, float) for value in values):
            return [
                zone.nulls != zone.rows and may(_rounded(zone.low, -1), _rounded(zone.high, 1), values)
                for zone in zones
            ]
        if type_ == "TIMESTAMP_NS":
            # Be it compared with values of microseconds.
            return [
                zone.nulls != zone.rows and may(_moved(zone.low, -1000), _moved(zone.high, 1000), values)
                for zone in zones
            ]
        return [zone.nulls != zone.rows and may(zone.low, zone.high, values) for zone in zones]

    def _prefix(self, predicate: exp.Like) -> May | None:
        """LIKE with constant first characters."""
        found = self._column(predicate.this)
        pattern = predicate.expression
        if found is None or found[0] != "VARCHAR":
            return None
        if not isinstance(pattern, exp.Literal) or not pattern.is_string:
            return None
        prefix = re.split("[%_]", pattern.this, maxsplit=1)[0].encode()
        self._has_texts = True
        return [
            zone.nulls != zone.rows
            and not (isinstance(zone.high, bytes) and zone.high < prefix)
            and not (isinstance(zone.low, bytes) and zone.low[: len(prefix)] > prefix)
            for zone in found[1]
        ]

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


def _may_equal(low: Any, high: Any, values: list[Any]) -> bool:
    if low is None or high is None:
        return True
    place = bisect_left(values, low)
    return place < len(values) and not values[place] > high


_TESTS: Mapping[str, Callable[[Any, Any, list[Any]], bool]] = {
    "=": _may_equal,
    "<": lambda low, _, values: low is None or not low >= values[-1],
    "<=": lambda low, _, values: low is None or not low > values[-1],
    ">": lambda _, high, values: high is None or not high <= values[0],
    ">=": lambda _, high, values: high is None or not high < values[0],
}
"""Whether a value between two bounds (None: unknown) may compare so with one of some, ascending."""


def _rounded(bound: Bound | None, sign: int) -> float | None:
    """A bound as a floating point number, a bit less or more."""
    if bound is None or isinstance(bound, bytes):
        return None
    value = float(bound)
    return value if math.isinf(value) else value + sign * abs(value) * _ROUNDED


def _moved(bound: Bound | None, by: int) -> Bound | None:
    return bound + by if isinstance(bound, int) else None
