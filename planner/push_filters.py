"""``push_filters``: every predicate as far down as it can go, and equalities between two sides into join keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlglot import exp

from sord.planner.context import Context
from sord.planner.expressions import (
    column,
    conjunction,
    conjuncts,
    disjunction,
    disjuncts,
    references,
    substitute,
    typed,
)
from sord.planner.logical import (
    Aggregate,
    Apply,
    AssertOneRow,
    Filter,
    Join,
    Plan,
    Project,
    SetOperation,
    Sort,
    Unnest,
    Window,
)

Predicates = list[exp.Expr]
Types = Mapping[str, str]
"""Of columns, as far as they are known."""


def push_filters(plan: Plan, context: Context) -> Plan:
    """Push predicates down, factor what all branches of an OR share, and find the keys of joins."""
    return _push(plan, [], context.types)


def _push(plan: Plan, predicates: Predicates, types: Types) -> Plan:
    if isinstance(plan, Filter):
        return _push(plan.input, predicates + _normalised(plan.predicates), types)
    if isinstance(plan, Project):
        outputs = dict(plan.outputs)
        below = [substitute(predicate, _used(outputs, predicate)) for predicate in predicates]
        return plan.with_children((_push(plan.input, below, types),))
    if isinstance(plan, Join):
        return _push_join(plan, predicates, types)
    if isinstance(plan, Aggregate):
        keys = dict(plan.common)
        below, above = _split(predicates, set(keys) if keys else None)
        below = [substitute(predicate, _used(keys, predicate)) for predicate in below]
        return _filter(plan.with_children((_push(plan.input, below, types),)), above)
    if isinstance(plan, Unnest):
        below, above = _split(predicates, set(plan.input.columns))
        return _filter(plan.with_children((_push(plan.input, below, types),)), above)
    if isinstance(plan, Window):
        partition = {key.name for key in plan.partition if isinstance(key, exp.Column)}
        below, above = _split(predicates, partition)
        return _filter(plan.with_children((_push(plan.input, below, types),)), above)
    if isinstance(plan, Apply):
        below, above = _split(predicates, set(plan.input.columns))
        return _filter(
            plan.with_children((_push(plan.input, below, types), _push(plan.subquery, [], types))), above
        )
    if isinstance(plan, SetOperation):
        return plan.with_children(
            tuple(_push(side, _for_side(plan, side, predicates, types), types) for side in plan.inputs)
        )
    if isinstance(plan, Sort) and plan.limit is None and not plan.offset:
        return plan.with_children((_push(plan.input, predicates, types),))
    return _filter(plan.with_children(tuple(_push(child, [], types) for child in plan.children)), predicates)


def _push_join(plan: Join, predicates: Predicates, types: Types) -> Plan:
    left_ids, right_ids = set(plan.left.columns), set(plan.right.columns)
    inner = plan.kind == "inner"
    condition = _normalised(plan.residual)
    above: Predicates = []
    left: Predicates = []
    right: Predicates = []
    if inner:
        condition += predicates
    elif plan.kind == "full":
        above = predicates
    else:
        left, above = _split(predicates, left_ids)
    keys = list(plan.keys)
    residual: Predicates = []
    for predicate in condition:
        used = references(predicate)
        # An outer or anti join keeps left rows that fail the condition, a full join keeps both sides' rows.
        if used <= left_ids and used and plan.kind in ("inner", "semi"):
            left.append(predicate)
        elif used <= right_ids and used and plan.kind != "full":
            right.append(predicate)
        else:
            key = _key(predicate, left_ids, right_ids)
            if key is not None:
                keys.append(key)
                continue
            residual.append(predicate)
            if plan.kind in ("inner", "semi"):
                left += _implied(predicate, left_ids)
            if plan.kind != "full":
                right += _implied(predicate, right_ids)
    joined = Join(
        plan.kind,
        _push(plan.left, left, types),
        _push(plan.right, right, types),
        tuple(keys),
        tuple(residual),
    )
    return _filter(joined, above)


def _filter(plan: Plan, predicates: Predicates) -> Plan:
    if not predicates:
        return plan
    if isinstance(plan, Filter):
        predicates = list(plan.predicates) + predicates
        plan = plan.input
    if isinstance(plan, AssertOneRow):
        return Filter(plan, tuple(predicates))
    return Filter(plan, tuple(dict.fromkeys(predicates)))


def _split(predicates: Predicates, ids: set[str] | None) -> tuple[Predicates, Predicates]:
    """Those that use only ``ids`` (and at least one), and the rest. None: nothing may pass."""
    below: Predicates = []
    above: Predicates = []
    for predicate in predicates:
        used = references(predicate)
        (below if ids is not None and used and used <= ids else above).append(predicate)
    return below, above


def _used(outputs: dict[str, exp.Expr], predicate: exp.Expr) -> dict[str, exp.Expr]:
    return {
        id_: outputs[id_]
        for id_ in references(predicate)
        if id_ in outputs and not (isinstance(outputs[id_], exp.Column) and outputs[id_].name == id_)
    }


def cast_to(id_: str, type_: str, types: Types) -> exp.Expr:
    """A column in a type, without a cast where it has that already: of a cast column less is known."""
    if types.get(id_) == type_:
        return column(id_)
    return typed(column(id_), type_)


def _for_side(plan: SetOperation, side: Plan, predicates: Predicates, types: Types) -> Predicates:
    casts: dict[str, exp.Expr] = {
        output: cast_to(input_, type_, types)
        for output, input_, type_ in zip(plan.outputs, side.columns, plan.types, strict=True)
    }
    return [substitute(predicate, casts) for predicate in predicates]


def _key(predicate: exp.Expr, left: set[str], right: set[str]) -> tuple[exp.Expr, exp.Expr] | None:
    if not isinstance(predicate, exp.EQ):
        return None
    a, b = predicate.this, predicate.expression
    used_a, used_b = references(a), references(b)
    if not used_a or not used_b:
        return None
    if used_a <= left and used_b <= right:
        return a, b
    if used_b <= left and used_a <= right:
        return b, a
    return None


def _implied(predicate: exp.Expr, ids: set[str]) -> Predicates:
    """What an OR says about one side alone: the OR of each branch's conjuncts over that side."""
    branches = disjuncts(predicate)
    if len(branches) < 2:
        return []
    parts = []
    for branch in branches:
        mine = [part for part in conjuncts(branch) if references(part) and references(part) <= ids]
        if not mine:
            return []
        parts.append(conjunction(mine))
    return [disjunction(dict.fromkeys(parts))]


def _normalised(predicates: Iterable[exp.Expr]) -> Predicates:
    """Conjuncts, with what all branches of an OR share factored out: (a AND b) OR (a AND c) = a AND (b OR c)."""
    result: Predicates = []
    for predicate in (part for whole in predicates for part in conjuncts(whole)):
        branches = [conjuncts(branch) for branch in disjuncts(predicate)]
        shared = [part for part in branches[0] if all(part in branch for branch in branches[1:])]
        if len(branches) < 2 or not shared:
            result.append(predicate)
            continue
        result += shared
        rests = [[part for part in branch if part not in shared] for branch in branches]
        if all(rests):
            result.append(disjunction(conjunction(rest) for rest in rests))
    return result
