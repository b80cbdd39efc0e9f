"""Cardinality estimation: rows and distinct values of every plan, from the statistics of tables.

Uniform values, independent predicates with exponential back-off, containment of join keys (as in System R and
its successors). Estimates are remembered per node, which is safe because nodes are immutable.
"""

from __future__ import annotations

import math
from dataclasses import replace

from sqlglot import exp

from sord.planner.cardinality import ColumnEstimate, Estimate, Lots, scaled
from sord.planner.expressions import column, column_id, substitute
from sord.planner.join_size import join
from sord.planner.list_size import unnested
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
    Unnest,
    Values,
    Window,
    With,
)
from sord.planner.render import expression_sql
from sord.planner.sampled import sampled, with_origins
from sord.planner.selectivity import filtered


class Estimator:
    """Estimates plans of one query."""

    def __init__(self) -> None:
        self.memo: dict[int, tuple[Plan, Estimate]] = {}
        self.shared: dict[str, Estimate] = {}
        self.texts: dict[int, tuple[exp.Expr, str]] = {}
        """Predicates over columns of tables as SQL, by the ``id()`` of the predicate over column ids."""

    def __call__(self, plan: Plan) -> Estimate:
        """The estimate of a plan."""
        found = self.memo.get(id(plan))
        if found is not None:
            return found[1]
        result = self._estimate(plan)
        self.memo[id(plan)] = (plan, result)  # the plan is kept so that its id is not used again
        return result

    def define(self, plan: With) -> None:
        """Estimate common table expressions, so that what refers to them can be."""
        for name, definition in zip(plan.names, plan.definitions, strict=True):
            self.shared[name] = self(definition)

    def _estimate(self, plan: Plan) -> Estimate:
        if isinstance(plan, Scan):
            return _scan(plan)
        if isinstance(plan, Filter):
            return self._filter(self(plan.input), plan)
        if isinstance(plan, Project):
            return _project(self(plan.input), plan)
        if isinstance(plan, Join):
            return join(plan.kind, self(plan.left), self(plan.right), plan.keys, plan.residual)
        if isinstance(plan, Aggregate):
            return _aggregate(self(plan.input), plan)
        if isinstance(plan, Window):
            source = self(plan.input)
            added = {id_: _window_call(call, source, plan.partition) for id_, call in plan.calls}
            return Estimate(source.rows, {**source.columns, **added})
        if isinstance(plan, Unnest):
            return unnested(self(plan.input), plan)
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
            self.define(plan)
            return self(plan.body)
        if isinstance(plan, SharedRef):
            source = self.shared.get(plan.name, Estimate(1000.0, {}))
            columns = {new: source.columns.get(old, ColumnEstimate(source.rows)) for new, old in plan.outputs}
            return Estimate(source.rows, columns)
        if isinstance(plan, Stage):
            return scaled(self(plan.source), plan.rows)
        return self(plan.children[0])

    def _filter(self, source: Estimate, plan: Filter) -> Estimate:
        if not isinstance(plan.input, Scan):
            return filtered(source, plan.predicates)
        if plan.input.table.whole is not None:
            # What row groups were left out for: statistics, and the sample, are of all of them.
            whole = self(replace(plan, input=replace(plan.input, table=plan.input.table.whole)))
            return scaled(whole, min(whole.rows, source.rows))
        estimate = sampled(plan, source)
        if estimate is None:
            estimate = filtered(source, plan.predicates)
        names = {id_: column(name) for id_, name in plan.input.outputs}
        where = sorted(self._text(predicate, names) for predicate in plan.predicates)
        base = f"{plan.input.table.name} {where} "
        columns = {
            id_: known._replace(filtered=base + names[id_].name) for id_, known in estimate.columns.items()
        }
        return Estimate(estimate.rows, columns)

    def _text(self, predicate: exp.Expr, names: dict[str, exp.Column]) -> str:
        known = self.texts.get(id(predicate))
        if known is None:
            known = predicate, expression_sql(substitute(predicate, names))
            self.texts[id(predicate)] = known  # the predicate is kept so that its id is not used again
        return known[1]

    def _set_operation(self, plan: SetOperation) -> Estimate:
        sides = [self(side) for side in plan.inputs]
        rows = sum(side.rows for side in sides) if plan.kind == "union" else sides[0].rows
        columns = {}
        for position, id_ in enumerate(plan.outputs):
            parts = [
                estimate.columns.get(side.columns[position], ColumnEstimate(estimate.rows))
                for side, estimate in zip(plan.inputs, sides, strict=True)
            ]
            columns[id_] = _union(parts)
        if not plan.all:
            outputs = [column(id_) for id_ in plan.outputs]
            rows = Estimate(rows, columns).distinct(outputs)
            if plan.kind == "intersect":
                rows = min(rows, *(side.rows for side in sides))
        return Estimate(rows, columns)


def _union(parts: list[ColumnEstimate]) -> ColumnEstimate:
    """A column of rows from several inputs: the values of one are taken to be among those of another."""
    low = [part.minimum for part in parts if part.minimum is not None]
    high = [part.maximum for part in parts if part.maximum is not None]
    return ColumnEstimate(
        max(part.distinct for part in parts),
        min(low) if len(low) == len(parts) else None,
        max(high) if len(high) == len(parts) else None,
        max(part.width for part in parts),
        all(part.known for part in parts),
        domain=max(part.values for part in parts),
        partial=any(part.partial for part in parts),
    )


def _scan(plan: Scan) -> Estimate:
    rows = max(plan.table.rows, 0.0)
    if plan.table.whole is not None:
        return scaled(_scan(replace(plan, table=plan.table.whole)), rows)
    sorting = {one.column for one in plan.table.clusterings if len(one.row_groups) > 1}
    columns = {}
    for id_, name in plan.outputs:
        known = plan.table.statistics.get(name)
        if known is None:
            columns[id_] = ColumnEstimate(_unknown(rows))
            continue
        distinct, low, high = known.distinct, known.minimum, known.maximum
        if low is not None and high is not None and not math.isfinite(high - low):
            low = high = None
        if distinct is None and low is not None and high is not None:
            distinct = min(rows, high - low + 1)
        number = max(1.0, distinct if distinct is not None else _unknown(rows))
        columns[id_] = ColumnEstimate(
            number,
            low,
            high,
            known.width,
            distinct is not None,
            dict(known.common),
            domain=number,
            sorts=name in sorting if sorting else None,
            nulls=known.null_fraction or 0.0,
            elements=known.elements,
            lots=None if known.lots is None else Lots(plan.outputs[0][0], known.lots),
        )
    if plan.table.sample is not None:
        sample = plan.table.sample
        return Estimate(rows, with_origins(plan, sample, columns, (), sample.rows, rows))
    return Estimate(rows, columns)


def _unknown(rows: float) -> float:
    """Distinct values of a column that nothing is known of: small tables tend to be lists of names."""
    return max(1.0, rows if rows < 1000 else rows / 10)


def _project(source: Estimate, plan: Project) -> Estimate:
    columns = {}
    for id_, expression in plan.outputs:
        known = source.columns.get(column_id(_uncast(expression)) or "")
        if known is None:
            known = ColumnEstimate(source.distinct([expression]), origin=source.origin(expression))
        elif isinstance(expression, exp.Cast):
            known = known._replace(
                common={}, origin=source.origin(expression), filtered="", joined=frozenset()
            )
        columns[id_] = known
    return Estimate(source.rows, columns)


def _uncast(expression: exp.Expr) -> exp.Expr:
    """What is cast to a number, as sides of unions are: that changes no value much."""
    if isinstance(expression, exp.Cast) and expression.to.this in exp.DataType.NUMERIC_TYPES:
        return _uncast(expression.this)
    return expression


def _aggregate(source: Estimate, plan: Aggregate) -> Estimate:
    if not plan.keys:
        return Estimate(1.0, {id_: ColumnEstimate(1.0) for id_, _ in plan.calls})
    rows = sum(source.distinct(e for id_, e in plan.keys if id_ in set_) for set_ in plan.sets)
    rows = rows or source.distinct(expression for _, expression in plan.keys)
    columns = {plan.grouping: ColumnEstimate(float(len(plan.sets)))} if plan.grouping else {}
    for id_, expression in plan.keys:
        known = source.columns.get(column_id(expression) or "")
        # Every value is there once, which a sample of the input doesn't tell of.
        columns[id_] = (
            known._replace(
                distinct=min(known.distinct, rows), common={}, origin=None, filtered="", sorts=None, lots=None
            )
            if known
            else ColumnEstimate(rows)
        )
    for id_, call in plan.calls:
        # Counts (and sums of partial counts, which are cast) lie around their average: few of them are different.
        counts = isinstance(call, (exp.Count, exp.Cast))
        most = 10 * max(source.rows / max(rows, 1.0), 10.0) if counts else rows
        normal = _normal(call, source, max(source.rows / max(rows, 1.0), 1.0))
        columns[id_] = ColumnEstimate(max(1.0, min(rows / 2, most)), width=16.0, normal=normal)
    return Estimate(rows, columns)


def _normal(call: exp.Expr, source: Estimate, group: float) -> tuple[float, float] | None:
    """Mean and deviation of an aggregate over groups whose sizes are Poisson distributed around ``group``."""
    spread = max(group - 1, 0.1)
    if isinstance(call, exp.Count) and not isinstance(call.this, exp.Distinct):
        return group, math.sqrt(spread)
    if not isinstance(call, (exp.Sum, exp.Avg)):
        return None
    column = source.columns.get(column_id(call.this) or "")
    if column is None or column.minimum is None or column.maximum is None:
        return None
    mean = (column.minimum + column.maximum) / 2
    variance = (column.maximum - column.minimum) ** 2 / 12
    if isinstance(call, exp.Avg):
        return mean, math.sqrt(variance / group)
    return group * mean, math.sqrt(group * variance + spread * mean**2)


def _window_call(call: exp.Expr, source: Estimate, partition: tuple[exp.Expr, ...]) -> ColumnEstimate:
    partitions = source.distinct(partition) if partition else 1.0
    function = call.this if isinstance(call, exp.Window) else call
    if isinstance(function, (exp.RowNumber, exp.Rank, exp.DenseRank)):
        size = max(source.rows / partitions, 1.0)
        return ColumnEstimate(size, 1.0, size, known=True)
    ordered = isinstance(call, exp.Window) and call.args.get("order") is not None
    return ColumnEstimate(source.rows if ordered else partitions)
