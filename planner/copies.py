"""Copies of plans that may stand beside the original, since all their columns have new ids."""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from sord.planner.context import Context
from sord.planner.expressions import column, substitute
from sord.planner.logical import (
    Aggregate,
    AssertOneRow,
    Filter,
    Join,
    Output,
    Plan,
    Project,
    Scan,
    SetOperation,
    SharedRef,
    Sort,
    Values,
    Window,
)
from sord.planner.walk import with_expressions


class NotCopied(Exception):
    """A plan has a node of which copies can't be made."""


def copied(plan: Plan, context: Context) -> tuple[Plan, dict[str, str]]:
    """The plan under new ids, and the new id of every column that any of its nodes makes."""
    copy = _Copy(context)
    return copy(plan), copy.names


class _Copy:
    def __init__(self, context: Context) -> None:
        self.context = context
        self.names: dict[str, str] = {}

    def __call__(self, plan: Plan) -> Plan:
        children = tuple(self(child) for child in plan.children)
        if isinstance(plan, SetOperation):
            return replace(plan, inputs=children, outputs=tuple(map(self.fresh, plan.outputs)))
        plan = plan.with_children(children)
        mapping: dict[str, exp.Expr] = {old: column(new) for old, new in self.names.items()}
        plan = with_expressions(plan, lambda expression: substitute(expression, mapping))
        if isinstance(plan, (Filter, Join, Sort)):
            return plan
        if isinstance(plan, (Scan, SharedRef)):
            return replace(plan, outputs=tuple((self.fresh(id_), name) for id_, name in plan.outputs))
        if isinstance(plan, Values):
            return replace(plan, outputs=tuple(map(self.fresh, plan.outputs)))
        if isinstance(plan, Project):
            return replace(plan, outputs=self.outputs(plan.outputs))
        if isinstance(plan, Aggregate) and not plan.phase:
            return replace(plan, keys=self.outputs(plan.keys), calls=self.outputs(plan.calls))
        if isinstance(plan, Window):
            return replace(plan, calls=self.outputs(plan.calls))
        if isinstance(plan, AssertOneRow):
            return plan
        raise NotCopied(type(plan).__name__)

    def outputs(self, outputs: tuple[Output, ...]) -> tuple[Output, ...]:
        return tuple((self.fresh(id_), expression) for id_, expression in outputs)

    def fresh(self, id_: str) -> str:
        """The new id of a column that a node makes; one that passes several nodes keeps being called alike."""
        self.names[id_] = self.context.fresh(id_, self.context.types.get(id_))
        return self.names[id_]
