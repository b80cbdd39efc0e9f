"""``inline_shared``: a common table expression whose readers each want a small part of it is computed in parts.

Readers' filters are pushed into a copy of the definition for each of them; where that is less work than computing
all of it once and keeping the rows, the copies stand (TPC-DS 4: six readers of a union want one branch and one year
each).
Otherwise the definition makes only what at least one reader wants.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from sord.planner.context import Context
from sord.planner.copies import NotCopied, copied
from sord.planner.estimate import Estimator
from sord.planner.expressions import column, conjunction, disjunction, substitute
from sord.planner.logical import (
    Aggregate,
    Filter,
    Join,
    Plan,
    Project,
    Scan,
    SetOperation,
    SharedRef,
    With,
)
from sord.planner.push_filters import push_filters
from sord.planner.without_false import without_false

_KEEP = 4.0
"""Work of making, keeping and moving a shared row, in rows read from a file."""
_JOIN = 2.0
_AGGREGATE = 3.0


def inline_shared(plan: Plan, context: Context) -> Plan:
    """Decide for each shared definition whether its readers get copies, and filter those that stay shared."""
    if not isinstance(plan, With):
        return plan
    names, definitions = list(plan.names), list(plan.definitions)
    body = plan.body
    for position in reversed(range(len(names))):
        name, definition = names[position], definitions[position]
        readers = [reader for part in [*definitions[position + 1 :], body] for reader in _readers(part, name)]
        copies = _copies(definition, readers, context)
        if copies is not None and _is_less_work(definition, copies, plan, context):
            replaced = {id(old): new for (old, _), new in zip(readers, copies, strict=True)}
            body = _replaced(body, replaced)
            for later in range(position + 1, len(definitions)):
                definitions[later] = _replaced(definitions[later], replaced)
            del names[position], definitions[position]
        elif readers and all(predicates for _, predicates in readers):
            wanted = dict.fromkeys(
                conjunction(_inside(predicate, reader) for predicate in predicates)
                for (_, predicates), reader in zip(readers, map(_reference, readers), strict=True)
            )
            definitions[position] = push_filters(Filter(definition, (disjunction(wanted),)), context)
    return With(tuple(names), tuple(definitions), body) if names else body


Reader = tuple[Plan, tuple[exp.Expr, ...]]
"""A reference, with the filter on it, and the filter's predicates."""


def _readers(plan: Plan, name: str) -> Iterator[Reader]:
    if isinstance(plan, Filter) and isinstance(plan.input, SharedRef) and plan.input.name == name:
        yield plan, plan.predicates
    elif isinstance(plan, SharedRef) and plan.name == name:
        yield plan, ()
    else:
        for child in plan.children:
            yield from _readers(child, name)


def _reference(reader: Reader) -> SharedRef:
    found = reader[0].input if isinstance(reader[0], Filter) else reader[0]
    assert isinstance(found, SharedRef)
    return found


def _inside(predicate: exp.Expr, reference: SharedRef) -> exp.Expr:
    return substitute(predicate, {new: column(old) for new, old in reference.outputs})


def _copies(definition: Plan, readers: list[Reader], context: Context) -> list[Plan] | None:
    """The definition with each reader's filter inside; None if a reader wants all of it."""
    if not readers or not all(predicates for _, predicates in readers):
        return None
    result: list[Plan] = []
    for reader in readers:
        try:
            plan, names = copied(definition, context)
        except NotCopied:
            return None
        reference = _reference(reader)
        outputs = tuple((new, column(names.get(old, old))) for new, old in reference.outputs)
        filtered = push_filters(Filter(Project(plan, outputs), reader[1]), context)
        result.append(without_false(filtered, context))
    return result


def _is_less_work(definition: Plan, copies: list[Plan], plan: With, context: Context) -> bool:
    estimate = Estimator()
    estimate(With(plan.names, plan.definitions, plan.body))
    kept = estimate(definition).rows * _KEEP + estimate(definition).rows * len(copies)
    return sum(_work(copy, estimate) for copy in copies) < _work(definition, estimate) + kept


def _work(plan: Plan, estimate: Estimator) -> float:
    """Rows that a plan's operators handle, weighted by what handling them takes."""
    own = 0.0
    if isinstance(plan, Scan):
        own = plan.table.rows
    elif isinstance(plan, Join):
        own = _JOIN * (estimate(plan).rows + min(estimate(plan.left).rows, estimate(plan.right).rows))
    elif isinstance(plan, Aggregate):
        own = _AGGREGATE * estimate(plan.input).rows
    elif isinstance(plan, SetOperation) and not (plan.kind == "union" and plan.all):
        own = _AGGREGATE * sum(estimate(side).rows for side in plan.inputs)
    return own + sum(_work(child, estimate) for child in plan.children)


def _replaced(plan: Plan, replaced: dict[int, Plan]) -> Plan:
    found = replaced.get(id(plan))
    if found is not None:
        return found
    return plan.with_children(tuple(_replaced(child, replaced) for child in plan.children))
