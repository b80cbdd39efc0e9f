"""``prune_columns``: every node delivers only what is used above it."""

from __future__ import annotations

from dataclasses import replace

from sord.planner.context import Context
from sord.planner.distribution import partition_keys
from sord.planner.expressions import column, column_id, references
from sord.planner.logical import (
    Aggregate,
    AssertOneRow,
    Exchange,
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
    Window,
    With,
)


def prune_columns(plan: Plan, context: Context) -> Plan:
    """Drop columns that nothing uses; a node keeps at least one column, so that its rows can be counted."""
    return _Pruner().prune(plan, set(plan.columns))


class _Pruner:
    def __init__(self) -> None:
        self.shared: dict[str, set[str]] = {}
        """Columns that references to a definition use: known once everything above the definition is pruned."""

    def prune(self, plan: Plan, needed: set[str]) -> Plan:
        if isinstance(plan, With):
            body = self.prune(plan.body, needed)
            definitions: list[Plan] = []
            for name, definition in reversed(list(zip(plan.names, plan.definitions, strict=True))):
                if isinstance(definition, Stage):
                    definitions.append(definition)  # its rows are made already
                    continue
                used = self.shared.get(name) or set(definition.columns[:1])
                definitions.append(_only(self.prune(definition, used), used))
            return With(plan.names, tuple(reversed(definitions)), body)
        if isinstance(plan, Scan):
            # Which rows a worker reads may depend on a column that nothing else uses.
            keys = set().union(*partition_keys(plan.split)) if plan.split is not None else set()
            kept = tuple(output for output in plan.outputs if output[0] in needed | keys)
            return replace(plan, outputs=kept or (_narrowest(plan),))
        if isinstance(plan, SharedRef):
            kept = tuple(output for output in plan.outputs if output[0] in needed) or plan.outputs[:1]
            self.shared.setdefault(plan.name, set()).update(old for _, old in kept)
            return replace(plan, outputs=kept)
        if isinstance(plan, Filter):
            return plan.with_children((self.prune(plan.input, needed | references(*plan.predicates)),))
        if isinstance(plan, Project):
            outputs = tuple(output for output in plan.outputs if output[0] in needed) or plan.outputs[:1]
            below = self.prune(plan.input, references(*(expression for _, expression in outputs)))
            if below.columns == tuple(column_id(e) for _, e in outputs) == tuple(id_ for id_, _ in outputs):
                return below
            return replace(plan, input=below, outputs=outputs)
        if isinstance(plan, Aggregate):
            calls = tuple(call for call in plan.calls if call[0] in needed)
            if not calls and not plan.keys:
                calls = plan.calls[:1]
            used = references(*(expression for _, expression in plan.keys + calls))
            grouping = plan.grouping if plan.grouping in needed else ""
            return replace(plan, input=self.prune(plan.input, used), calls=calls, grouping=grouping)
        if isinstance(plan, Unnest):
            used = references(*(list_ for _, list_ in plan.lists))
            return plan.with_children((self.prune(plan.input, (needed | used) & set(plan.input.columns)),))
        if isinstance(plan, Window):
            calls = tuple(call for call in plan.calls if call[0] in needed)
            if not calls:
                return self.prune(plan.input, needed)
            used = references(*plan.partition, *(call for _, call in calls))
            return replace(plan, input=self.prune(plan.input, needed | used), calls=calls)
        if isinstance(plan, Join):
            used = references(*(side for key in plan.keys for side in key), *plan.residual) | needed
            return plan.with_children((self.prune(plan.left, used), self.prune(plan.right, used)))
        if isinstance(plan, SetOperation):
            return self.prune_set_operation(plan, needed)
        if isinstance(plan, Sort):
            return plan.with_children((self.prune(plan.input, needed | references(*plan.order)),))
        if isinstance(plan, Exchange):
            keys = {id_ for key in partition_keys(plan.target) for id_ in key & set(plan.input.columns)}
            used = (needed | keys) & set(plan.columns) or set(plan.columns[:1])
            samples = (self.prune(sample, set(sample.columns)) for sample in plan.samples)
            return plan.with_children((_only(self.prune(plan.input, used), used), *samples))
        if isinstance(plan, AssertOneRow):
            return plan.with_children((self.prune(plan.input, set(plan.columns)),))
        return plan.with_children(tuple(self.prune(child, set(child.columns)) for child in plan.children))

    def prune_set_operation(self, plan: SetOperation, needed: set[str]) -> Plan:
        kept = list(range(len(plan.outputs)))
        if plan.kind == "union" and plan.all:
            kept = [i for i in kept if plan.outputs[i] in needed] or [0]
        sides = []
        for side in plan.inputs:
            wanted = [side.columns[i] for i in kept]
            sides.append(_only(self.prune(side, set(wanted)), set(wanted), wanted))
        return SetOperation(
            plan.kind,
            plan.all,
            tuple(sides),
            tuple(plan.outputs[i] for i in kept),
            tuple(plan.types[i] for i in kept),
        )


def _only(plan: Plan, needed: set[str], order: list[str] | None = None) -> Plan:
    """The plan delivering exactly ``needed``, for readers that go by position or want nothing more."""
    wanted = order or [id_ for id_ in plan.columns if id_ in needed]
    if list(plan.columns) == wanted:
        return plan
    return Project(plan, tuple((id_, column(id_)) for id_ in wanted))


def _narrowest(scan: Scan) -> tuple[str, str]:
    def width(output: tuple[str, str]) -> float:
        statistics = scan.table.statistics.get(output[1])
        return statistics.width if statistics is not None else 16.0

    return min(scan.outputs, key=width)
