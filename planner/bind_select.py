"""SELECT: its expressions, WHERE, GROUP BY and HAVING, windows, DISTINCT, ORDER BY and LIMIT to a plan."""

from __future__ import annotations

from sqlglot import exp

from sord.planner.bind_expressions import ExpressionBinder
from sord.planner.bind_from import FromBinder
from sord.planner.bind_groups import aggregate
from sord.planner.catalog import Unsupported
from sord.planner.context import Context
from sord.planner.expressions import column, column_id, conjuncts
from sord.planner.logical import Aggregate, Filter, Output, Project, Sort, Window
from sord.planner.scope import (
    Query,
    Scope,
    Select,
    attached,
    limit_and_offset,
    order_items,
    ordered_by,
    unique,
    with_aliases,
)


class SelectBinder:
    """Binds one SELECT at a time."""

    def __init__(self, context: Context, expressions: ExpressionBinder, sources: FromBinder) -> None:
        self.context = context
        self.expressions = expressions
        self.sources = sources

    def bind(self, tree: exp.Select, scope: Scope) -> Query:
        """The plan of a SELECT and its output columns."""
        for part in (
            "qualify",
            "cluster",
            "distribute",
            "sort",
            "sample",
            "match",
            "into",
            "windows",
            "pivots",
        ):
            if tree.args.get(part):
                raise Unsupported(part.upper())
        select = Select(scope, self.sources.bind(tree, scope))
        where = tree.args.get("where")
        if where is not None:
            predicates = conjuncts(self.expressions.bind(where.this, select))
            self._attach(select)
            select.plan = Filter(select.plan, tuple(predicates))
        items = [
            (item.alias_or_name, self.expressions.bind(item.unalias(), select)) for item in tree.expressions
        ]
        having = tree.args.get("having")
        kept = self.expressions.bind(having.this, select) if having is not None else None
        names = {name.lower(): index for index, (name, _) in reversed(list(enumerate(items)))}
        order = [self._order_item(item, names, tree, select) for item in order_items(tree)]
        group = tree.args.get("group")
        if group is not None or select.calls or having is not None:
            rewrite = aggregate(self.context, self.expressions, group, select, items)
            items = [(name, rewrite(expression)) for name, expression in items]
            kept = rewrite(kept) if kept is not None else None
            order = [(item, at, rewrite(e) if e is not None else None) for item, at, e in order]
            select.applies = [
                (kind, rewrite.subquery(plan), output, rewrite(operand) if operand is not None else None)
                for kind, plan, output, operand in select.applies
            ]
            select.windows = [(id_, rewrite(call)) for id_, call in select.windows]  # type: ignore[misc]
        self._attach(select)
        if kept is not None:
            select.plan = Filter(select.plan, tuple(conjuncts(kept)))
        for id_, call in select.windows:
            partition = tuple(call.args.get("partition_by") or ())
            select.plan = Window(select.plan, partition, ((id_, call),))
        return self._finish(tree, select, items, order)

    def _finish(
        self,
        tree: exp.Select,
        select: Select,
        items: list[tuple[str, exp.Expr]],
        order: list[tuple[exp.Ordered, int | None, exp.Expr | None]],
    ) -> Query:
        outputs: list[Output] = []
        for name, expression in items:
            outputs.append((self._output_id(name, expression, outputs), expression))
        ids = [id_ for id_, _ in outputs]
        hidden: list[Output] = []
        sort: list[exp.Expr] = []
        for item, position, by in order:
            if position is None:
                assert by is not None
                match = next((id_ for id_, e in outputs + hidden if e == by), None)
                if match is None:
                    match = self.context.fresh("order_key")
                    hidden.append((match, by))
            else:
                match = ids[position]
            sort.append(ordered_by(item, match))
        distinct = tree.args.get("distinct")
        if distinct is not None:
            if distinct.args.get("on") or hidden:
                raise Unsupported("DISTINCT ON")
            select.plan = Project(select.plan, unique(outputs))
            select.plan = Aggregate(select.plan, tuple((id_, column(id_)) for id_, _ in unique(outputs)), ())
        else:
            select.plan = Project(select.plan, unique(outputs + hidden))
        limit, offset = limit_and_offset(tree)
        if sort or limit is not None or offset:
            select.plan = Sort(select.plan, tuple(sort), limit, offset)
        if hidden:
            select.plan = Project(select.plan, tuple((id_, column(id_)) for id_, _ in unique(outputs)))
        return Query(select.plan, [(name, id_) for (name, _), id_ in zip(items, ids, strict=True)])

    def _output_id(self, name: str, expression: exp.Expr, outputs: list[Output]) -> str:
        known = column_id(expression)
        if known is not None:
            return known
        same = next((id_ for id_, other in outputs if other == expression), None)
        return same or self.context.fresh(name, self.context.infer(expression))

    def _order_item(
        self, item: exp.Ordered, names: dict[str, int], tree: exp.Select, select: Select
    ) -> tuple[exp.Ordered, int | None, exp.Expr | None]:
        by = item.this
        if isinstance(by, exp.Column) and not by.table:
            position = names.get(by.name.lower())
            if position is None:
                raise Unsupported(f"ORDER BY {by.name}")
            return item, position, None
        if isinstance(by, exp.Literal) and not by.is_string:
            return item, int(by.this) - 1, None
        return item, None, self.expressions.bind(with_aliases(by, names, tree, select.scope), select)

    def _attach(self, select: Select) -> None:
        select.plan = attached(select.plan, select.applies)
        select.applies.clear()
