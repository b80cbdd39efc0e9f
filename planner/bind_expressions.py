"""Expressions over names to expressions over column ids."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from sord.planner.aggregates import is_aggregate, take_apart
from sord.planner.catalog import Unsupported
from sord.planner.context import Context
from sord.planner.expressions import column, references, replace
from sord.planner.functions import check_expression
from sord.planner.logical import Apply, Project
from sord.planner.quantified import is_quantified, quantified
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
            if isinstance(part, exp.TableColumn):
                return select.scope.row(part.name)
            if isinstance(part, exp.Window):
                call = replace(part, lambda inner: None if inner is part else change(inner))
                check_expression(call, self.context.catalog)
                return self._collected(select.windows, call, "window")
            if is_aggregate(part):
                nested, applies = len(select.calls), select.applies
                select.applies = []
                call = replace(part, lambda inner: None if inner is part else change(inner))
                if len(select.calls) != nested:
                    raise Unsupported("an aggregate in an aggregate")
                used = references(call)
                own = {output for _, _, output, _ in select.applies} | set(select.scope.columns.values())
                if used and not used & own:
                    raise Unsupported("an aggregate of an outer query's columns")
                # The subqueries in it are computed for each row that is aggregated.
                for kind, plan, output, operand in select.applies:
                    select.plan = Apply(kind, select.plan, plan, output, operand)
                select.applies = applies
                check_expression(call, self.context.catalog)
                return self._collected(select.calls, call, _readable(part))
            if isinstance(part, exp.Explode):
                return self._element(part, select, 0)
            if isinstance(part, exp.Exists):
                return self._subquery("exists", part.this, select, None)
            if isinstance(part, exp.In) and part.args.get("query"):
                operand = self.bind(part.this, select)
                return self._subquery("in", part.args["query"], select, operand)
            if is_quantified(part):
                return self._quantified(part, select)
            if isinstance(part, (exp.Any, exp.All, exp.Array)) and any(
                isinstance(item, exp.Select | exp.SetOperation) for item in [part.this, *part.expressions]
            ):
                raise Unsupported(f"{part.key.upper()} of a subquery")
            if isinstance(part, (exp.Subquery, exp.Query)):
                return self._subquery("scalar", part, select, None)
            return None

        bound = replace(node, change)
        check_expression(bound, self.context.catalog)
        return bound

    def _element(self, part: exp.Explode, select: Select, level: int) -> exp.Column:
        """The column of a list's elements."""
        if part.expressions:
            raise Unsupported("a recursive UNNEST")
        inner = part.this
        list_ = (
            self._element(inner, select, level + 1)
            if isinstance(inner, exp.Explode)
            else self.bind(inner, select)
        )
        while len(select.lists) <= level:
            select.lists.append([])
        return self._collected(select.lists[level], list_, "unnest")

    def _collected(
        self,
        found: list[tuple[str, exp.Expr]] | list[tuple[str, exp.Window]],
        call: exp.Expr,
        name: str,
    ) -> exp.Column:
        for id_, other in found:
            if other == call:
                return column(id_)
        id_ = self.context.fresh(name, None if name == "unnest" else self.context.infer(call))
        found.append((id_, call))  # type: ignore[arg-type]
        return column(id_)

    def _quantified(self, part: exp.Expr, select: Select) -> exp.Expr:
        operand, tree = self.bind(part.this, select), part.expression.this
        all_ = isinstance(part.expression, exp.All)
        if not all_ and isinstance(part, exp.EQ):
            return self._subquery("in", tree, select, operand)
        if all_ and isinstance(part, exp.NEQ):
            return exp.Not(this=self._subquery("in", tree, select, operand))
        if isinstance(operand, exp.Tuple):
            raise Unsupported("a row compared with ANY or ALL of a subquery")
        query = self.query(tree.this if isinstance(tree, exp.Subquery) else tree, select.scope)
        plan = quantified(part, operand, query.plan, query.outputs[0][1], self.context)
        output = self.context.fresh("subquery", "BOOLEAN")
        select.applies.append(("scalar", plan, output, None))
        return column(output)

    def _subquery(self, kind: str, tree: exp.Expr, select: Select, operand: exp.Expr | None) -> exp.Column:
        query = self.query(tree.this if isinstance(tree, exp.Subquery) else tree, select.scope)
        if kind != "exists":
            width = len(operand.expressions) if isinstance(operand, exp.Tuple) else 1
            if len(query.outputs) != width:
                raise Unsupported("a subquery with several columns")
            ids = tuple(id_ for _, id_ in query.outputs)
            if query.plan.columns != ids:
                outputs: dict[str, exp.Expr] = {}
                for id_ in ids:
                    new = self.context.fresh(id_, self.context.types.get(id_)) if id_ in outputs else id_
                    outputs[new] = column(id_)
                query.plan = Project(query.plan, tuple(outputs.items()))
        type_ = self.context.types.get(query.outputs[0][1]) if kind == "scalar" else "BOOLEAN"
        output = self.context.fresh("subquery", type_)
        select.applies.append((kind, query.plan, output, operand))
        return column(output)


def _readable(call: exp.Expr) -> str:
    """What the column of an aggregate is called."""
    function = take_apart(call).function
    return str(function.this).lower() if isinstance(function, exp.Anonymous) else function.key
