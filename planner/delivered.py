"""``delivered``: how the rows of a plan lie whose exchanges are placed already."""

from __future__ import annotations

from sord.planner.distribution import Distribution, Replicated, Single, Spread
from sord.planner.expressions import column_id
from sord.planner.logical import (
    Aggregate,
    Exchange,
    Filter,
    Join,
    Plan,
    Project,
    Scan,
    Stage,
    Unnest,
    Values,
    Window,
)


def delivered(plan: Plan) -> Distribution | None:
    """The distribution of a placed plan's rows; None if that can't be told from the plan alone."""
    if isinstance(plan, (Exchange, Stage)):
        return plan.target
    if isinstance(plan, Scan):
        return plan.split or Single()
    if isinstance(plan, Values):
        return Single()
    if isinstance(plan, (Filter, Unnest, Window)):
        return delivered(plan.input)
    if isinstance(plan, (Project, Aggregate)):
        below = delivered(plan.input)
        if below is None:
            return None
        names: dict[str, set[str]] = {}
        for new, expression in plan.outputs if isinstance(plan, Project) else plan.common:
            old = column_id(expression)
            if old is not None:
                names.setdefault(old, set()).add(new)
        return below.visible(names)
    if isinstance(plan, Join):
        return _join(plan, delivered(plan.left), delivered(plan.right))
    return None


def _join(plan: Join, left: Distribution | None, right: Distribution | None) -> Distribution | None:
    if left is None or right is None:
        return None
    if isinstance(left, Single) or isinstance(right, Single):
        return Single() if left == right else None
    if plan.kind == "full":
        return left if left == right == Replicated() else Spread()
    pairs = []
    if plan.kind == "inner":
        ids = ((column_id(a), column_id(b)) for a, b in plan.keys)
        pairs = [(a, b) for a, b in ids if a is not None and b is not None]
    if isinstance(left, Replicated):
        # Where only the left side is everywhere, the rows of an inner join are where the right side's are.
        return right.equated(pairs) if plan.kind == "inner" or isinstance(right, Replicated) else None
    return left.equated(pairs)
