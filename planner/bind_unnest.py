"""UNNEST, in FROM and in a SELECT list, to a plan."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from sord.planner.bind_expressions import ExpressionBinder
from sord.planner.catalog import Unsupported
from sord.planner.context import Context
from sord.planner.expressions import references
from sord.planner.logical import ONE_ROW, Output, Plan, Project, Unnest
from sord.planner.scope import Scope, Select, attached
from sord.planner.walk import free_columns


def unnested(node: exp.Unnest, scope: Scope, expressions: ExpressionBinder, context: Context) -> Plan:
    """An UNNEST in FROM, whose list may be computed from the tables before it; its columns are added to the scope."""
    alias, ordinality = node.args["alias"], node.args.get("offset")
    if len(node.expressions) != 1:
        raise Unsupported("UNNEST of several lists in FROM")
    select = Select(scope, ONE_ROW)
    list_ = expressions.bind(node.expressions[0], select)
    if select.calls or select.windows or select.lists:
        raise Unsupported("UNNEST of an aggregate, a window or an UNNEST in FROM")
    (name,) = alias.columns
    lists = [(context.fresh(name.name), list_)]
    scope.columns[alias.name.lower(), name.name.lower()] = lists[0][0]
    plan = elements(attached(ONE_ROW, select.applies), lists, scope, context)
    if not isinstance(ordinality, exp.Identifier):
        return plan
    number = context.fresh(ordinality.name, "BIGINT")
    scope.columns[alias.name.lower(), ordinality.name.lower()] = number
    length = exp.Anonymous(this="len", expressions=[list_])
    numbers = exp.Anonymous(this="generate_series", expressions=[exp.Literal.number(1), length])
    return Unnest(plan.input, (*plan.lists, (number, numbers)))


def elements(plan: Plan, lists: Sequence[Output], scope: Scope, context: Context) -> Unnest:
    """The elements of lists beside the rows of a plan. Raises Unsupported for what isn't surely a list."""
    probes = [(context.fresh("list"), list_) for _, list_ in lists]
    probe = Project(plan, tuple(probes))
    for id_ in free_columns(probe):
        source = scope.source(id_)
        if source is not None:
            context.type_of(id_, source)
    for (id_, _), (list_, _) in zip(lists, probes, strict=True):
        type_ = context.type_of(list_, probe) or ""
        if not type_.endswith("]") and type_ != '"NULL"':
            raise Unsupported(f"UNNEST of {'a struct' if type_.endswith(')') else 'what may be no list'}")
        context.types[id_] = type_.rpartition("[")[0] or type_
    return Unnest(plan, tuple(lists))


def grouped_elements(select: Select, keys: Sequence[exp.Expr], context: Context) -> None:
    """Unnest what is grouped by below the aggregate: that of a SELECT stands above it."""
    used = references(*keys)
    below = [output for output in (select.lists[0] if select.lists else []) if output[0] in used]
    if not below:
        return
    if len(select.lists) > 1:
        raise Unsupported("GROUP BY with a recursive UNNEST")
    select.plan = elements(select.plan, below, select.scope, context)
    select.lists[0] = [output for output in select.lists[0] if output not in below]


def listed_elements(select: Select, context: Context) -> None:
    """Unnest what a SELECT list does, lists in lists first."""
    for lists in reversed(select.lists):
        if lists:
            select.plan = elements(select.plan, lists, select.scope, context)
