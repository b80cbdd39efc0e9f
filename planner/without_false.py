"""``without_false``: what no row can come of is left out."""

from __future__ import annotations

from sqlglot import exp

from sord.planner.context import Context
from sord.planner.expressions import conjuncts
from sord.planner.logical import Aggregate, Filter, Join, Plan, Project, SetOperation, Sort, Window
from sord.planner.push_filters import cast_to


def without_false(plan: Plan, context: Context) -> Plan:
    """The plan without the branches of UNION ALL whose filters compare constants that differ."""
    plan = plan.with_children(tuple(without_false(child, context) for child in plan.children))
    if isinstance(plan, Filter):
        kept = tuple(p for p in plan.predicates if constant_truth(p) is not True)
        if len(kept) < len(plan.predicates):
            return Filter(plan.input, kept) if kept else plan.input
    if isinstance(plan, SetOperation) and plan.kind == "union" and plan.all:
        sides = [side for side in plan.inputs if not is_empty(side)]
        if sides and len(sides) < len(plan.inputs):
            if len(sides) > 1:
                return SetOperation(plan.kind, plan.all, tuple(sides), plan.outputs, plan.types)
            outputs = tuple(
                (id_, cast_to(old, type_, context.types))
                for id_, old, type_ in zip(plan.outputs, sides[0].columns, plan.types, strict=True)
            )
            return Project(sides[0], outputs)
    return plan


def is_empty(plan: Plan) -> bool:
    """Whether the plan surely has no rows. False when in doubt."""
    if isinstance(plan, Filter):
        return any(constant_truth(predicate) is False for predicate in plan.predicates) or is_empty(
            plan.input
        )
    if isinstance(plan, (Project, Window, Sort)) or (isinstance(plan, Aggregate) and plan.keys):
        return is_empty(plan.children[0])
    if isinstance(plan, SetOperation):
        needed = plan.inputs if plan.kind == "union" else plan.inputs[:1]
        return all(map(is_empty, needed))
    if isinstance(plan, Join):
        gone_left = is_empty(plan.left) and plan.kind != "full"
        return gone_left or (plan.kind in ("inner", "semi") and is_empty(plan.right))
    return False


def constant_truth(predicate: exp.Expr) -> bool | None:
    """Whether a comparison of literals holds; None for everything else."""
    if isinstance(predicate, exp.Paren):
        return constant_truth(predicate.this)
    if isinstance(predicate, exp.Boolean):
        return bool(predicate.this)
    if isinstance(predicate, exp.And):
        parts = [constant_truth(part) for part in conjuncts(predicate)]
        return False if False in parts else None if None in parts else True
    if isinstance(predicate, (exp.EQ, exp.NEQ)):
        a, b = _text(predicate.this), _text(predicate.expression)
        if a is not None and b is not None and (a == b or _surely_differ(a, b)):
            return (a == b) == isinstance(predicate, exp.EQ)
    return None


def _surely_differ(a: str, b: str) -> bool:
    """Whether texts differ under every collation that a session may have set."""
    return a.isascii() and b.isascii() and a.lower() != b.lower()


def _text(expression: exp.Expr) -> str | None:
    """A string literal's text, also below a cast to VARCHAR."""
    while isinstance(expression, exp.Paren) or (
        isinstance(expression, exp.Cast) and expression.to.sql("duckdb") in ("TEXT", "VARCHAR")
    ):
        expression = expression.this
    if isinstance(expression, exp.Literal) and expression.is_string:
        return str(expression.this)
    return None
