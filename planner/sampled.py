"""What a filter leaves of an analysed table, by evaluating its predicates on the sample.

That knows of skew, of correlated predicates and of expressions that no formula fits. Where hardly a row of the
sample is left, the formulas of ``selectivity`` decide within what the sample allows.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from sord.planner.cardinality import ColumnEstimate, Estimate, Origin, drawn, total_distinct
from sord.planner.catalog import Matches, Sample
from sord.planner.expressions import column, references, substitute
from sord.planner.logical import Filter, Scan
from sord.planner.render import expression_sql
from sord.planner.selectivity import combined, filtered, selectivity, within

_SURE = 5
"""Rows of the sample that have to be left to be believed."""
_ENOUGH = 20
"""Rows of the sample from which distinct values are told."""


def sampled(plan: Filter, source: Estimate) -> Estimate | None:
    """The estimate of a filter over a scan; None if there is no sample, or it can't evaluate the predicates."""
    scan = plan.input
    if not isinstance(scan, Scan) or scan.table.sample is None or not plan.predicates:
        return None
    sample = scan.table.sample
    names = dict(scan.outputs)
    if not all(references(predicate) <= names.keys() for predicate in plan.predicates):
        return None
    renamed = {id_: column(name) for id_, name in scan.outputs}
    texts = tuple(expression_sql(substitute(predicate, renamed)) for predicate in plan.predicates)
    matches = sample.matches(texts, tuple(dict.fromkeys(names.values())))
    if matches is None or not sample.rows:
        return None
    rows = source.rows * _fraction(plan, source, sample, texts, matches)
    # Which values equalities and lists leave is known without looking.
    narrowed = filtered(source, plan.predicates).columns
    columns = _columns(source, narrowed, plan.predicates, names, sample, matches, rows)
    return Estimate(rows, with_origins(scan, sample, columns, texts, matches.rows, rows))


def with_origins(
    scan: Scan,
    sample: Sample,
    columns: Mapping[str, ColumnEstimate],
    where: tuple[str, ...],
    matching: int,
    rows: float,
) -> dict[str, ColumnEstimate]:
    """The columns of an analysed table's scan, remembering that they are."""
    name = scan.outputs[0][0] if scan.outputs else ""
    return {
        id_: columns[id_]._replace(
            origin=Origin(name, sample, where, matching, rows, column(stored), columns[id_].distinct)
        )
        for id_, stored in scan.outputs
    }


def _fraction(
    plan: Filter, source: Estimate, sample: Sample, texts: tuple[str, ...], matches: Matches
) -> float:
    if sample.complete or matches.rows >= _SURE:
        return max(matches.rows, 0.5) / sample.rows
    most = (matches.rows + 1.0) / sample.rows
    fractions = []
    each = (sample.each(texts) if len(texts) > 1 else None) or (matches.rows,) * len(texts)
    for predicate, rows in zip(plan.predicates, each, strict=True):
        if rows >= _SURE:
            fractions.append(rows / sample.rows)
        else:
            guess = selectivity(predicate, source)
            fractions.append(min(max(guess, rows / sample.rows / 2), (rows + 1.0) / sample.rows))
    return min(max(combined(fractions), matches.rows / sample.rows / 2), most)


def _columns(
    source: Estimate,
    narrowed: Mapping[str, ColumnEstimate],
    predicates: tuple[exp.Expr, ...],
    names: Mapping[str, str],
    sample: Sample,
    matches: Matches,
    rows: float,
) -> dict[str, ColumnEstimate]:
    """Distinct values among the rows that are left, from those of the sample."""
    result = {}
    used = source.lots_of(references(*predicates))
    by = used.scan if used else None
    for id_, before in source.columns.items():
        found = float(matches.distinct.get(names.get(id_, ""), 0))
        if sample.complete:
            distinct = found
        elif matches.rows < _ENOUGH:
            distinct = drawn(min(before.distinct, narrowed[id_].distinct), source.rows, rows)
        else:
            distinct = min(total_distinct(found, float(matches.rows), rows), before.distinct)
            if found > 0.9 * matches.rows:
                # Hardly a value was seen twice: the sample can't tell many from very many.
                distinct = max(found, min(drawn(before.distinct, source.rows, rows), rows))
        column_ = narrowed[id_]
        low, high = matches.ranges.get(names.get(id_, ""), (None, None))
        # Of very many values a sample that isn't complete hardly has the lowest and the highest.
        if sample.complete or (before.distinct < source.rows / 2 and matches.rows >= _ENOUGH):
            column_ = within(before, low, high)
        if column_.lots is not None and before.lots is not None:
            column_ = column_._replace(lots=before.lots.left(source.rows, rows, by))
        result[id_] = column_._replace(
            distinct=max(1.0, min(distinct, rows)), nulls=before.nulls, known=True, common={}
        )
    return result
