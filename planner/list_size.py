"""How many elements lists have: the estimate of an Unnest."""

from __future__ import annotations

from sqlglot import exp

from sord.planner.cardinality import ColumnEstimate, Estimate, scaled
from sord.planner.expressions import column_id
from sord.planner.logical import Unnest

_UNKNOWN = 4.0
"""Elements of a list that nothing is known of."""
_SERIES = ("range", "generate_series")


def unnested(source: Estimate, plan: Unnest) -> Estimate:
    """The rows of an Unnest: those of its input times the elements of its longest list."""
    sizes = [_elements(list_, source) for _, list_ in plan.lists]
    made = scaled(source, source.rows * max(sizes))
    added: dict[str, ColumnEstimate] = {}
    for (id_, list_), size in zip(plan.lists, sizes, strict=True):
        # The same list in every row has the same elements in every row.
        distinct = made.rows if list_.find(exp.Column) is not None else size
        added[id_] = ColumnEstimate(max(1.0, min(distinct, made.rows)))
    return Estimate(made.rows, {**made.columns, **added})


def _elements(list_: exp.Expr, source: Estimate) -> float:
    """Elements of an average list."""
    id_ = column_id(list_)
    if id_ is not None:
        known = source.columns.get(id_)
        return _UNKNOWN if known is None or known.elements is None else known.elements
    if isinstance(list_, exp.Paren):
        return _elements(list_.this, source)
    if isinstance(list_, exp.Array) and not any(isinstance(part, exp.Query) for part in list_.expressions):
        return float(len(list_.expressions))
    if isinstance(list_, exp.Case):
        return max(_elements(branch.args["true"], source) for branch in list_.args["ifs"])
    if isinstance(list_, exp.GenerateSeries):
        return _of_series(list_.args.get("start"), list_.args.get("end"), list_.args.get("step"))
    if isinstance(list_, exp.Anonymous) and list_.name.lower() in _SERIES and len(list_.expressions) == 2:
        return _numbered(list_, source)
    return _UNKNOWN


def _numbered(series: exp.Anonymous, source: Estimate) -> float:
    """Of 1, 2, …, len(list): what numbers the elements of a list beside it."""
    end = series.expressions[1]
    if isinstance(end, exp.Anonymous) and end.name.lower() in ("len", "array_length") and end.expressions:
        return _elements(end.expressions[0], source)
    return _of_series(series.expressions[0], end, None)


def _of_series(start: exp.Expr | None, end: exp.Expr | None, step: exp.Expr | None) -> float:
    first, last, by = (_number(bound) for bound in (start, end, step))
    by = 1.0 if step is None else by
    if first is None or last is None or not by:
        return _UNKNOWN
    return max((last - first) / by, 0.0)


def _number(bound: exp.Expr | None) -> float | None:
    if isinstance(bound, exp.Neg):
        inner = _number(bound.this)
        return None if inner is None else -inner
    if isinstance(bound, exp.Literal) and not bound.is_string:
        return float(bound.this)
    return None
