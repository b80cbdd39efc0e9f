"""Expressions over names to expressions over column ids."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from sord.planner.catalog import Unsupported
from sord.planner.context import Context
from sord.planner.expressions import column, replace
from sord.planner.functions import check_expression, is_aggregate
from sord.planner.logical import Project
from sord.planner.scope import Query, Scope, Select


class ExpressionBinder:
    """Binds expressions of a SELECT. ``query`` binds the subqueries in them."""

    def __init__(self, context: Context, query: Callable[[exp.Expr, Scope], Query]) -> None:
        self.context = context
        self.query = query

    def bind(self, node: exp.Expr, select: Select) -> exp.Expr:
        """The expression over column ids; its aggregates, windows and subqueries are collected in ``select``."""

        def change(part: exp.Expr) -> exp.Expr | None:
            if isinstance(part, exp.Column):
                return column(select.scope.column(part))
            if isinstance(part, exp.Window):
                call = replace(part, lambda inner: None if inner is part else change(inner))
                check_expression(call, self.context.catalog)
                return self._collected(select.windows, call, "window")
            if is_aggregate(part):
                if part.find(exp.Query):
                    raise Unsupported("a subquery in an aggregate")
                nested = len(select.calls)
                call = replace(part, lambda inner: None if inner is part else change(inner))
                if len(select.calls) != nested:
                    raise Unsupported("an aggregate in an aggregate")
                check_expression(call, self.context.catalog)
                aggregate = part.this if isinstance(part, exp.Filter) else part
                return self._collected(select.calls, call, aggregate.key)
            if isinstance(part, exp.Exists):
                return self._subquery("exists", part.this, select, None)
            if isinstance(part, exp.In) and part.args.get("query"):
                operand = self.bind(part.this, select)
                return self._subquery("in", part.args["query"], select, operand)
            if isinstance(part, (exp.Any, exp.All)) and part.find(exp.Query):
                raise Unsupported("a quantified comparison (ANY, ALL)")
            if isinstance(part, (exp.Subquery, exp.Query)):
                return self._subquery("scalar", part, select, None)
            return None

        bound = replace(node, change)
        check_expression(bound, self.context.catalog)
        return bound

    def _collected(
        self,
        found: list[tuple[str, exp.Expr]] | list[tuple[str, exp.Window]],
        call: exp.Expr,
        name: str,
    ) -> exp.Column:
        for id_, other in found:
            if other == call:
                return column(id_)
        id_ = self.context.fresh(name, self.context.infer(call))
        found.append((id_, call))  # type: ignore[arg-type]
        return column(id_)

    def _subquery(self, kind: str, tree: exp.Expr, select: Select, operand: exp.Expr | None) -> exp.Column:
        query = self.query(tree.this if isinstance(tree, exp.Subquery) else tree, select.scope)
        if kind != "exists":
            if len(query.outputs) != 1:
                raise Unsupported("a subquery with several columns")
            id_ = query.outputs[0][1]
            if query.plan.columns != (id_,):
                query.plan = Project(query.plan, ((id_, column(id_)),))
        type_ = self.context.types.get(query.outputs[0][1]) if kind == "scalar" else "BOOLEAN"
        output = self.context.fresh("subquery", type_)
        select.applies.append((kind, query.plan, output, operand))
        return column(output)
