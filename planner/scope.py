"""What binding keeps while it walks a query: scopes of names, and SELECTs in the making."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sqlglot import exp

from sord.planner.catalog import Unsupported
from sord.planner.expressions import column, references, replace
from sord.planner.logical import Apply, Output, Plan
from sord.planner.walk import free_columns, with_expressions


@dataclass(slots=True)
class Query:
    """A bound query."""

    plan: Plan
    outputs: list[tuple[str, str]]
    """(name, id) in order."""


@dataclass(slots=True)
class Scope:
    """The names that a query sees: its own FROM's and CTEs, then those of the queries around it."""

    parent: Scope | None
    columns: dict[tuple[str, str], str] = field(default_factory=dict)
    ctes: dict[str, tuple[exp.CTE, Scope]] = field(default_factory=dict)
    sources: list[Plan] = field(default_factory=list)
    """What makes the columns."""
    rows: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """Of each table of FROM the columns, (name, id) in order."""

    def column(self, node: exp.Column) -> str:
        """The id of a column; an outer query's too."""
        scope: Scope | None = self
        while scope is not None:
            found = scope.columns.get((node.table.lower(), node.name.lower()))
            if found is not None:
                return found
            scope = scope.parent
        found = None if node.table or _may_be_alias(node) else self._outer(node.name.lower())
        if found is None:
            raise Unsupported(f"the column {node.sql('duckdb')} could not be resolved")
        return found

    def _outer(self, name: str) -> str | None:
        """The column of that name among those of the queries around, if it is the only one in the next that has any.

        sqlglot resolves a name without a table where a query has it itself, but doesn't know of lateral tables.
        """
        scope: Scope | None = self
        while scope is not None:
            found = [id_ for (_, column), id_ in scope.columns.items() if column == name]
            if found:
                return found[0] if len(found) == 1 and scope is not self else None
            scope = scope.parent
        return None

    def source(self, id_: str) -> Plan | None:
        """The item of a FROM clause that makes a column; an outer query's too."""
        found = next((plan for plan in self.sources if id_ in plan.columns), None)
        return self.parent.source(id_) if found is None and self.parent is not None else found

    def row(self, table: str) -> exp.Struct:
        """What the name of a table means among expressions: a struct of its columns."""
        scope: Scope | None = self
        while scope is not None and table.lower() not in scope.rows:
            scope = scope.parent
        if scope is None:
            raise Unsupported(f"the row {table}, or names in capital letters in it")
        columns = scope.rows[table.lower()]
        if len({name.lower() for name, _ in columns}) < len(columns):
            raise Unsupported(f"the row {table} with one name twice")
        if any(re.fullmatch(r"_col_\d+", name) for name, _ in columns):
            raise Unsupported(f"the row {table} with a column that nobody named")
        return exp.Struct(
            expressions=[
                exp.PropertyEQ(this=exp.to_identifier(name, quoted=True), expression=column(id_))
                for name, id_ in columns
            ]
        )

    def cte(self, name: str) -> tuple[exp.CTE, Scope] | None:
        """The definition that a table name means, and the scope that it is to be bound in."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.ctes:
                return scope.ctes[name]
            scope = scope.parent
        return None


def _may_be_alias(node: exp.Column) -> bool:
    """Whether an item of a SELECT list around has the name, and is seen from there."""
    inner: exp.Expr = node
    while inner.parent is not None:
        around = inner.parent
        if isinstance(around, exp.Select) and inner.arg_key not in ("from_", "joins", "with_"):
            names = {item.alias_or_name.lower() for item in around.expressions if isinstance(item, exp.Alias)}
            if node.name.lower() in names:
                return True
        inner = around
    return False


@dataclass(slots=True)
class Select:
    """One SELECT in the making: the plan grows, and aggregates and windows are collected from its expressions."""

    scope: Scope
    plan: Plan
    calls: list[Output] = field(default_factory=list)
    windows: list[tuple[str, exp.Window]] = field(default_factory=list)
    applies: list[tuple[str, Plan, str, exp.Expr | None]] = field(default_factory=list)
    lists: list[list[Output]] = field(default_factory=list)
    """What the SELECT list unnests: first the lists whose elements it has, then the lists that those are in, …"""


@dataclass(slots=True)
class Rewrite:
    """Expressions over the input of an aggregate to expressions over its output."""

    keys: list[Output]
    calls: set[str]
    subqueries: set[str]
    select: Select
    number: str = ""
    """The id of the number of the grouping set; "" if there are no grouping sets."""

    def __call__(self, expression: exp.Expr) -> exp.Expr:
        def change(node: exp.Expr) -> exp.Expr | None:
            if isinstance(node, (exp.Grouping, exp.GroupingId)):
                return self.grouping(node)
            return next((column(id_) for id_, key in self.keys if key == node), None)

        result = replace(expression, change)
        allowed = self.calls | self.subqueries | {id_ for id_, _ in self.keys}
        allowed |= {id_ for outputs in self.select.lists for id_, _ in outputs}
        allowed |= {id_ for id_, _ in self.select.windows} | {self.number}
        unknown = references(result) - allowed
        if unknown & set(self.select.scope.columns.values()):
            raise Unsupported("a column that is neither grouped nor aggregated")
        return result

    def grouping(self, node: exp.Expr) -> exp.Expr:
        """GROUPING(a, b): for each key, from the last on, whether it is left out of the row's set, as bits."""
        keys = [key for _, key in self.keys]
        if not node.expressions or any(argument not in keys for argument in node.expressions):
            raise Unsupported("GROUPING of something that is not a key")
        result: exp.Expr = exp.Literal.number(0)
        for place, argument in enumerate(reversed(node.expressions)) if self.number else ():
            span = exp.Literal.number(1 << (len(keys) - 1 - keys.index(argument)))
            bit = exp.Paren(this=exp.IntDiv(this=column(self.number), expression=span))
            bit = exp.Paren(this=exp.Mod(this=bit, expression=exp.Literal.number(2)))
            shifted = exp.Mul(this=bit, expression=exp.Literal.number(1 << place))
            result = shifted if place == 0 else exp.Add(this=result, expression=shifted)
        return exp.cast(result, "BIGINT", dialect="duckdb")

    def subquery(self, plan: Plan) -> Plan:
        """The subquery over the aggregate's output: its keys stand for what they are computed from."""
        inner = set(self.select.scope.columns.values()) - {id_ for id_, _ in self.keys}
        if not free_columns(plan) & inner:
            return plan
        plan = self._over_keys(plan)
        if free_columns(plan) & inner:
            raise Unsupported("a subquery over columns that are not grouped by")
        return plan

    def _over_keys(self, plan: Plan) -> Plan:
        def change(node: exp.Expr) -> exp.Expr | None:
            return next((column(id_) for id_, key in self.keys if key == node), None)

        inner = tuple(self._over_keys(child) for child in plan.children)
        return with_expressions(plan.with_children(inner), lambda expression: replace(expression, change))


def unique(outputs: list[Output]) -> tuple[Output, ...]:
    """Each id once."""
    return tuple(dict(outputs).items())


def attached(plan: Plan, applies: list[tuple[str, Plan, str, exp.Expr | None]]) -> Plan:
    """The plan with a column for each subquery."""
    for kind, subquery, output, operand in applies:
        plan = Apply(kind, plan, subquery, output, operand)
    return plan
