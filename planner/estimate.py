"""Cardinality estimation: rows and distinct values of every plan, from the statistics of tables.

Uniform values, independent predicates with exponential back-off, containment of join keys (as in System R and
its successors). Estimates are remembered per node, which is safe because nodes are immutable.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sqlglot import exp

from sord.planner.cardinality import ColumnEstimate, Estimate, scaled
from sord.planner.expressions import column_id
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
from sord.planner.sampled import sampled
from sord.planner.selectivity import filtered


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
            source = self(plan.input)
            return sampled(plan, source) or filtered(source, plan.predicates)
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
            return source if plan.limit is None else scaled(source, min(source.rows, plan.limit))
        if isinstance(plan, AssertOneRow):
            return scaled(self(plan.input), 1.0)
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
            return scaled(self(plan.source), plan.rows)
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
            dict(known.common),
        )
    return Estimate(rows, columns)


def _unknown(rows: float) -> float:
    """Distinct values of a column that nothing is known of: small tables tend to be lists of names."""
    return max(1.0, rows if rows < 1000 else rows / 10)


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
        result = scaled(left, left.rows * fraction)
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
            else scaled(result, result.rows * 0.5 ** len(residual))
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
