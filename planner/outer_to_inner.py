"""``outer_to_inner``: an outer join whose NULL-extended rows a predicate above rejects anyway becomes stricter."""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from sord.planner.context import Context
from sord.planner.expressions import rejects_null
from sord.planner.logical import Filter, Join, Plan, Project

Predicates = tuple[exp.Expr, ...]


def outer_to_inner(plan: Plan, context: Context) -> Plan:
    """Turn left joins into inner, and full into left or inner, where a filter or join above allows it."""
    return _strengthen(plan, ())


def _strengthen(plan: Plan, above: Predicates) -> Plan:
    if isinstance(plan, Filter):
        return plan.with_children((_strengthen(plan.input, above + plan.predicates),))
    if isinstance(plan, Project):
        # Only predicates over columns that pass unchanged say something about the input.
        passed = tuple(p for p in above if _passes(p, plan))
        return plan.with_children((_strengthen(plan.input, passed),))
    if not isinstance(plan, Join):
        return plan.with_children(tuple(_strengthen(child, ()) for child in plan.children))
    left, right = set(plan.left.columns), set(plan.right.columns)
    kind = plan.kind
    rejects_right = any(rejects_null(predicate, right) for predicate in above)
    rejects_left = any(rejects_null(predicate, left) for predicate in above)
    if kind == "full" and rejects_left:
        return _strengthen(Join("left", plan.left, plan.right, plan.keys, plan.residual), above)
    if kind == "full" and rejects_right:
        return _strengthen(Join("left", plan.right, plan.left, _swapped(plan), plan.residual), above)
    if kind == "left" and rejects_right:
        kind = "inner"
    condition = tuple(exp.EQ(this=a, expression=b) for a, b in plan.keys) + plan.residual
    to_left = above + (condition if kind in ("inner", "semi") else ())
    to_right = condition + above if kind == "inner" else condition if kind in ("left", "semi", "anti") else ()
    changed = plan.with_children(
        (
            _strengthen(plan.left, to_left if kind != "full" else ()),
            _strengthen(plan.right, to_right),
        )
    )
    assert isinstance(changed, Join)
    return changed if kind == plan.kind else replace(changed, kind=kind)


def _swapped(plan: Join) -> tuple[tuple[exp.Expr, exp.Expr], ...]:
    return tuple((b, a) for a, b in plan.keys)


def _passes(predicate: exp.Expr, plan: Project) -> bool:
    outputs = dict(plan.outputs)
    for node in predicate.find_all(exp.Column):
        source = outputs.get(node.name)
        if not (isinstance(source, exp.Column) and source.name == node.name):
            return False
    return True
