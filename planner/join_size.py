"""How many rows a join has: containment of the smaller key domain in the larger, within the range of both."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from sqlglot import exp

from sord.planner.cardinality import FEW, ColumnEstimate, Estimate, scaled
from sord.planner.expressions import column_id, references
from sord.planner.render import expression_sql
from sord.planner.selectivity import filtered
from sord.planner.selectivity import residual as residual_share

_SURE = 10
"""Pairs of rows of two samples that have to be found to be believed."""
_UNIQUE = 0.9
"""The share of distinct values from which on a column is taken for a key that others refer to."""

_DAYS = 31.0
"""Of a month: what has no more values than this comes around in calendars."""
_ROUGHLY = 2.0
"""By how much an estimate is off easily."""
_ALONE = 0.02
"""The share of rows that an anti join leaves at least."""

Keys = list[tuple[exp.Expr, exp.Expr]]


@dataclass(frozen=True, slots=True)
class _Meeting:
    """How the keys of two sides meet."""

    pairs: float
    """The share of all pairs of rows that have equal keys."""
    left: float
    """The share of the left side's rows that have a partner."""
    right: float
    distinct: float
    """Distinct keys that both sides have."""
    left_range: float = 1.0
    """The share of the left side's range of keys that the right one has, if each of its rows has another key."""
    right_range: float = 1.0
    left_key: bool = False
    """Whether each row of the left side has another key."""
    right_key: bool = False


def join(
    kind: str,
    left: Estimate,
    right: Estimate,
    keys: Iterable[tuple[exp.Expr, exp.Expr]],
    residual: Iterable[exp.Expr],
) -> Estimate:
    """The rows of a join, and what is left of its columns."""
    keys, residual = list(keys), list(residual)
    meeting = _meet(left, right, keys)
    if kind in ("semi", "anti"):
        matched = meeting.left * 0.7 ** len(residual)
        if kind == "anti":
            return scaled(left, left.rows * max(1 - matched, _ALONE), _lot(left, keys, 0))
        kept = scaled(left, left.rows * matched, _lot(left, keys, 0))
        return Estimate(kept.rows, _joined_columns(kept, left, right, keys, meeting, kept.rows))
    rows = left.rows * right.rows * meeting.pairs
    inner = kind == "inner"
    one = _part(left, keys, 0, meeting.left, meeting.left_range) if inner else left
    other = _part(right, keys, 1, meeting.right, meeting.right_range)
    sides = {
        **_with_lots(one, other, keys, 0, meeting.left_key),
        **_with_lots(other, one, keys, 1, meeting.right_key),
    }
    result = Estimate(rows, _joined_columns(Estimate(rows, sides), left, right, keys, meeting, rows))
    if inner and residual:
        narrowed = filtered(result, residual)
        share = residual_share(result, residual, (left.columns.keys(), right.columns.keys()))
        result = Estimate(result.rows * share, scaled(narrowed, result.rows * share).columns)
    elif residual:
        result = scaled(result, rows * 0.5 ** len(residual))
    if kind in ("left", "full"):
        alone = left.rows * (1 - meeting.left)
        total = max(result.rows + alone, left.rows, 1e-9)
        columns = {
            id_: column._replace(nulls=1 - (1 - column.nulls) * result.rows / total)
            if id_ in right.columns
            else column
            for id_, column in result.columns.items()
        }
        result = Estimate(total, columns)
    if kind == "full":
        result = Estimate(
            max(result.rows + right.rows * (1 - meeting.right), left.rows + right.rows * 0.1), result.columns
        )
    return result


def _lot(side: Estimate, keys: Keys, number: int) -> str | None:
    """The scan of the lots that have one value of a side's keys each."""
    lots = side.lots_of(references(*(key[number] for key in keys)))
    return lots.scan if lots else None


def _with_lots(
    side: Estimate, other: Estimate, keys: Keys, number: int, is_key: bool
) -> Mapping[str, ColumnEstimate]:
    """The columns of a side. Where its key is what the other side's lots refer to, each lot has one value of them."""
    lots = other.lots_of(references(*(key[1 - number] for key in keys))) if is_key and keys else None
    if lots is None:
        return side.columns
    return {
        id_: column if column.lots is not None else column._replace(lots=lots)
        for id_, column in side.columns.items()
    }


def _part(side: Estimate, keys: Keys, number: int, share: float, of_range: float) -> Estimate:
    """What of a side has a partner. Of a calendar that reaches beyond the other side, the weeks are left too."""
    result = scaled(side, side.rows * share, _lot(side, keys, number))
    if of_range >= FEW:
        return result
    return Estimate(
        result.rows,
        {
            id_: _of_calendar(column, side.columns[id_].distinct, of_range)
            for id_, column in result.columns.items()
        },
    )


def _of_calendar(column: ColumnEstimate, distinct: float, share: float) -> ColumnEstimate:
    """A part of a calendar has few of its weeks and years, and all days of a week."""
    number = min(column.distinct, max(distinct * share, _DAYS))
    part = max(column.part * share, number / column.values)
    return column._replace(distinct=number, domain=max(number, 1.0), part=min(part, 1.0))


def _meet(left: Estimate, right: Estimate, keys: Keys) -> _Meeting:
    if not keys:
        return _Meeting(1.0, 1.0, 1.0, 1.0)
    if len(keys) == 1 and _met_before(_column(left, keys[0][0]), _column(right, keys[0][1])):
        distinct_left, distinct_right = left.distinct([keys[0][0]]), right.distinct([keys[0][1]])
        most, fewest = max(distinct_left, distinct_right), min(distinct_left, distinct_right)
        return _Meeting(
            1 / most,
            min(1.0, distinct_right / distinct_left),
            min(1.0, distinct_left / distinct_right),
            fewest,
        )
    share_left = share_right = range_left = range_right = 1.0
    for a, b in keys:
        one, other = _column(left, a), _column(right, b)
        shares = _overlap(one, other)
        range_left, range_right = range_left * shares[0], range_right * shares[1]
        share_left, share_right = (
            share_left * _inside(one, shares[0]),
            share_right * _inside(other, shares[1]),
        )
    distinct_left, distinct_right = left.distinct(a for a, _ in keys), right.distinct(b for _, b in keys)
    # What has been dropped of a side for other reasons than its key doesn't make its keys meet the other side's more.
    domain_left = max(_values(left, keys, 0, distinct_left) * range_left, 1.0)
    domain_right = max(_values(right, keys, 1, distinct_right) * range_right, 1.0)
    pairs = share_left * share_right / max(domain_left, domain_right)
    if len(keys) > 1 and not _is_reference(left, right, keys):
        pairs = min(pairs, share_left * share_right / _independent(left, right, keys))
    if len(keys) == 1:
        one, other = _column(left, keys[0][0]), _column(right, keys[0][1])
        # If only one side is skewed, its frequent keys meet as many rows as the others.
        if one is not None and other is not None and one.common and other.common:
            skewed = _skewed(one.common, other.common, domain_left, domain_right)
            pairs = max(pairs, share_left * share_right * skewed)
    counted = _counted(left, right, keys, pairs)
    pairs = pairs if counted is None else counted
    found_left, found_right = min(1.0, pairs * distinct_right), min(1.0, pairs * distinct_left)
    fewest = min(distinct_left * found_left, distinct_right * found_right)
    left_key, right_key = distinct_left >= _UNIQUE * left.rows, distinct_right >= _UNIQUE * right.rows
    return _Meeting(
        pairs,
        found_left,
        found_right,
        max(fewest, 1.0),
        range_left if left_key else 1.0,
        range_right if right_key else 1.0,
        left_key,
        right_key,
    )


def _is_reference(left: Estimate, right: Estimate, keys: Keys) -> bool:
    """Whether several columns may be the key of one side: a table that is sorted is sorted by a part of its key."""
    columns = [_column(side, key[number]) for key in keys for number, side in enumerate((left, right))]
    return any(column is None or column.sorts is not False for column in columns)


def _independent(left: Estimate, right: Estimate, keys: Keys) -> float:
    number = 1.0
    for a, b in keys:
        one, other = _column(left, a), _column(right, b)
        number *= max(one.values if one else 1.0, other.values if other else 1.0)
    return number


def _met_before(a: ColumnEstimate | None, b: ColumnEstimate | None) -> bool:
    """Whether one column has been joined with the other one's filtered table already, as ``reduce_aggregates`` does."""
    if a is None or b is None:
        return False
    return (bool(a.filtered) and a.filtered in b.joined) or (bool(b.filtered) and b.filtered in a.joined)


def _values(side: Estimate, keys: Keys, number: int, distinct: float) -> float:
    column = _column(side, keys[0][number]) if len(keys) == 1 else None
    return distinct if column is None else max(column.values, distinct)


def _counted(left: Estimate, right: Estimate, keys: Keys, guess: float) -> float | None:
    """The share of pairs with equal keys by a join of two samples, whose rows are independent of each other.

    That knows how filters of the two sides depend on each other, of keys that are not uniform, and whether keys of
    several columns refer to each other. Few pairs only say how many there are at most. None: nothing to be learnt.
    """
    origins = [(left.origin(a), right.origin(b)) for a, b in keys]
    first, second = origins[0]
    if (
        first is None
        or second is None
        or any(a is None or b is None or a.scan != first.scan or b.scan != second.scan for a, b in origins)
    ):
        return None
    of_all = first.matching * second.matching
    is_reference = not first.where and not second.where and len(keys) == 1
    if not of_all or (
        is_reference
        and max(first.distinct / max(first.rows, 1.0), second.distinct / max(second.rows, 1.0)) > _UNIQUE
    ):
        return None
    texts = [
        tuple(expression_sql(side.expression) for side in sides if side is not None)
        for sides in zip(*origins, strict=True)
    ]
    found = first.sample.pairs(texts[0], first.where, second.sample, texts[1], second.where)
    if found is None:
        return None
    if found >= _SURE or (first.sample.complete and second.sample.complete):
        return max(found, 0.5) / of_all
    independent = 1.0
    for sides in origins:
        independent /= max(max(side.distinct for side in sides if side is not None), 1.0)
    if len(keys) > 1 and guess * of_all > _SURE and found < 2:
        guess = independent
    return min(max(guess, found / of_all), (found + 2 * math.sqrt(found) + 1) / of_all)


def _column(side: Estimate, expression: exp.Expr) -> ColumnEstimate | None:
    return side.columns.get(column_id(expression) or "")


def _overlap(a: ColumnEstimate | None, b: ColumnEstimate | None) -> tuple[float, float]:
    """The shares of two columns' values that lie in the range of the other one, values being uniform."""
    if a is None or b is None:
        return 1.0, 1.0
    if a.minimum is None or a.maximum is None or b.minimum is None or b.maximum is None:
        return 1.0, 1.0
    values = min(a.maximum, b.maximum) - max(a.minimum, b.minimum) + 1
    # Where the ranges don't meet, there are no rows; if they are still true, that is. Keys that meet nowhere leave
    # ranges that end before they begin.
    first = (max(a.maximum - a.minimum, 0) + 1) * a.part
    second = (max(b.maximum - b.minimum, 0) + 1) * b.part
    values = min(values, first, second)
    return (
        min(1.0, max(values / first, 1 / max(a.distinct, 1.0))),
        min(1.0, max(values / second, 1 / max(b.distinct, 1.0))),
    )


def _inside(column: ColumnEstimate | None, share: float) -> float:
    """The share of a column's rows that lie where a share of its range is.

    A predicate that leaves fewer rows of a calendar than the other table has days is about those days: people ask
    for what there is. One that leaves more (a month of every year) isn't.
    """
    if column is not None and column.partial and column.distinct <= _ROUGHLY * column.values * share:
        return 1.0
    return share


def _skewed(a: Mapping[str, float], b: Mapping[str, float], distinct_a: float, distinct_b: float) -> float:
    """The share of pairs of rows with equal keys, where some keys are much more frequent than others."""
    rest_a, rest_b = max(1 - sum(a.values()), 0.0), max(1 - sum(b.values()), 0.0)
    others_a, others_b = max(distinct_a - len(a), 1.0), max(distinct_b - len(b), 1.0)
    values = a.keys() | b.keys()
    # A value that isn't known as common is as frequent as the average of the others, if it occurs at all.
    result = sum(
        a.get(value, rest_a / others_a * min(1.0, distinct_a / distinct_b))
        * b.get(value, rest_b / others_b * min(1.0, distinct_b / distinct_a))
        for value in values
    )
    return result + rest_a * rest_b / max(others_a, others_b)


def _joined_columns(
    result: Estimate, left: Estimate, right: Estimate, keys: Keys, meeting: _Meeting, rows: float
) -> dict[str, ColumnEstimate]:
    """The key's values are those that both sides have; nothing has more values than there are rows."""
    columns = dict(result.columns)
    for a, b in keys:
        first, second = _column(left, a), _column(right, b)
        for side in (column_id(a), column_id(b)):
            if side is None or side not in columns:
                continue
            known = columns[side]
            if len(keys) == 1:
                known = known._replace(distinct=min(known.distinct, meeting.distinct))
            if first is not None and second is not None:
                known = known._replace(
                    minimum=_tighter(max, first.minimum, second.minimum),
                    maximum=_tighter(min, first.maximum, second.maximum),
                    common=_common(first.common, second.common),
                    domain=min(first.values, second.values),
                    partial=first.partial or second.partial,
                    part=min(first.part, second.part),
                    nulls=0.0,
                    joined=first.joined | second.joined | {first.filtered, second.filtered},
                )
            columns[side] = known
    most = max(rows, 1.0)
    return {
        id_: column if column.distinct <= most else column._replace(distinct=most)
        for id_, column in columns.items()
    }


def _tighter(choose: Callable[[float, float], float], a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else choose(a, b)


def _common(a: Mapping[str, float], b: Mapping[str, float]) -> Mapping[str, float]:
    """A join multiplies frequencies; where only one side has common values, theirs are as common afterwards."""
    if not a or not b:
        return a or b
    return {value: share for value, share in a.items() if value in b}
