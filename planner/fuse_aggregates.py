"""``fuse_aggregates``: aggregates over the same rows, or over parts of them, read those rows once.

Reports ask for many numbers of one table side by side: ``SELECT (SELECT count(*) … WHERE a), (SELECT avg(x) … WHERE
b)``, as TPC-DS 9 and 88 do. Aggregates of one row whose inputs are alike but for their filters become one aggregate
over the rows that any of the filters keeps, each call with a FILTER clause of its own (a case of the similar
subexpressions of Zhou et al., SIGMOD 2007).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from sqlglot import exp

from sord.planner.context import Context
from sord.planner.expressions import column, column_id, conjunction, disjunction, substitute
from sord.planner.logical import Aggregate, Filter, Join, Output, Plan, Project, Scan
from sord.planner.phases import splits


def fuse_aggregates(plan: Plan, context: Context) -> Plan:
    """Fuse one-row aggregates that are joined with each other, and that can be computed in two phases."""
    chain = list(_chain(plan))
    groups: dict[object, list[_Candidate]] = {}
    for join in chain:
        for side in join.children if join is chain[-1] else (join.right,):
            candidate = _candidate(side, context)
            if candidate is not None:
                groups.setdefault(candidate.shape, []).append(candidate)
    replaced: dict[int, Plan | None] = {}
    for group in groups.values():
        if len(group) > 1:
            # The one that is joined first delivers what all of them did, so that whatever stands above has it.
            replaced.update((id(candidate.plan), None) for candidate in group)
            replaced[id(group[-1].plan)] = _fused(group)
    if replaced:
        plan = _without(plan, replaced)
    return plan.with_children(tuple(fuse_aggregates(child, context) for child in plan.children))


def _chain(plan: Plan) -> Iterator[Join]:
    """The cross joins down the left side, filters in between passed by."""
    while isinstance(plan, (Join, Filter)):
        if isinstance(plan, Filter):
            plan = plan.input
            continue
        if plan.kind != "inner" or plan.keys or plan.residual:
            return
        yield plan
        plan = plan.left


def _without(plan: Plan, replaced: dict[int, Plan | None]) -> Plan:
    """The chain with some of its inputs replaced, or left out."""
    if isinstance(plan, Filter):
        return plan.with_children((_without(plan.input, replaced),))
    if not isinstance(plan, Join) or plan.kind != "inner" or plan.keys or plan.residual:
        return replaced.get(id(plan)) or plan
    right = replaced.get(id(plan.right), plan.right)
    if id(plan.left) in replaced and replaced[id(plan.left)] is None:
        assert right is not None
        return right
    left = _without(plan.left, replaced)
    return left if right is None else plan.with_children((left, right))


@dataclass(slots=True)
class _Candidate:
    """An aggregate of one row, with expressions over it, and what its input looks like without filters."""

    plan: Plan
    outputs: tuple[Output, ...]
    aggregate: Aggregate
    source: Plan
    predicates: list[exp.Expr]
    columns: list[str]
    """The ids of the input's columns, in an order that is the same for inputs of the same shape."""
    shape: object


def _candidate(plan: Plan, context: Context) -> _Candidate | None:
    outputs: tuple[Output, ...] = tuple((id_, column(id_)) for id_ in plan.columns)
    inner = plan
    while isinstance(inner, Project):
        below = dict(inner.outputs)
        outputs = tuple((id_, substitute(expression, below)) for id_, expression in outputs)
        inner = inner.input
    if not isinstance(inner, Aggregate) or inner.keys or inner.phase or not inner.calls:
        return None
    if not all(splits(call, context) for _, call in inner.calls):
        return None
    taken = _Apart()
    source = taken(inner.input)
    if source is None:
        return None
    return _Candidate(
        plan, outputs, inner, source, taken.predicates, taken.columns, tuple(map(str, taken.shape))
    )


@dataclass(slots=True)
class _Apart:
    """Takes an input apart: inner joins of filtered scans, whose filters may as well come last."""

    predicates: list[exp.Expr] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    shape: list[object] = field(default_factory=list)

    def __call__(self, plan: Plan) -> Plan | None:
        """The plan without its filters; None if it is something else. Columns are those that the shape names."""
        if isinstance(plan, Filter):
            self.predicates += plan.predicates
            return self(plan.input)
        if isinstance(plan, Scan) and plan.table.files is not None:
            used = sorted(plan.outputs, key=lambda output: output[1])
            self.shape.append(("scan", plan.table.name, tuple(name for _, name in used)))
            self.columns += [id_ for id_, _ in used]
            return plan
        if not isinstance(plan, Join) or plan.kind != "inner" or not plan.keys or plan.residual:
            return None
        self.shape.append("join")
        left = self(plan.left)
        right = self(plan.right) if left is not None else None
        if left is None or right is None:
            return None
        numbers = {id_: number for number, id_ in enumerate(self.columns)}
        keys = [(column_id(a), column_id(b)) for a, b in plan.keys]
        if any(a not in numbers or b not in numbers for a, b in keys):
            return None
        self.shape.append(tuple(sorted((numbers[a or ""], numbers[b or ""]) for a, b in keys)))
        return replace(plan, left=left, right=right)


def _fused(group: list[_Candidate]) -> Plan:
    first = group[0]
    calls: list[Output] = []
    outputs: list[Output] = []
    parts: list[list[exp.Expr]] = []
    for candidate in group:
        names: dict[str, exp.Expr] = {
            old: column(new) for old, new in zip(candidate.columns, first.columns, strict=True) if old != new
        }
        parts.append([substitute(predicate, names) for predicate in candidate.predicates])
        calls += [(id_, substitute(call, names)) for id_, call in candidate.aggregate.calls]
        outputs += candidate.outputs
    shared = [predicate for predicate in parts[0] if all(predicate in part for part in parts[1:])]
    rests = [[predicate for predicate in part if predicate not in shared] for part in parts]
    own = [rest for rest, candidate in zip(rests, group, strict=True) for _ in candidate.aggregate.calls]
    filtered = tuple((id_, _restricted(call, rest)) for (id_, call), rest in zip(calls, own, strict=True))
    kept = list(shared)
    if all(rests):
        kept.append(disjunction(dict.fromkeys(conjunction(rest) for rest in rests)))
    source = Filter(first.source, tuple(kept)) if kept else first.source
    merged, duplicates = _once(filtered)
    return Project(
        Aggregate(source, (), merged), tuple((id_, substitute(e, duplicates)) for id_, e in outputs)
    )


def _once(calls: tuple[Output, ...]) -> tuple[tuple[Output, ...], dict[str, exp.Expr]]:
    """Each call once, and what stands for the ids of the others."""
    first: dict[exp.Expr, str] = {}
    names: dict[str, exp.Expr] = {}
    for id_, call in calls:
        known = first.setdefault(call, id_)
        if known != id_:
            names[id_] = column(known)
    return tuple((id_, call) for call, id_ in first.items()), names


def _restricted(call: exp.Expr, predicates: list[exp.Expr]) -> exp.Expr:
    """The call over the rows for which the predicates hold."""
    if not predicates:
        return call
    if isinstance(call, exp.Filter):
        predicates = [*predicates, call.expression.this]
        call = call.this
    return exp.Filter(this=call.copy(), expression=exp.Where(this=conjunction(predicates)))
