"""SELECT: its expressions, WHERE, GROUP BY and HAVING, windows, DISTINCT, ORDER BY and LIMIT to a plan."""

from __future__ import annotations

from sqlglot import exp

from sord.planner.bind_expressions import ExpressionBinder
from sord.planner.bind_from import FromBinder
from sord.planner.bind_groups import aggregate
from sord.planner.bind_limit import limited
from sord.planner.bind_order import is_all, order_items, ordered_by, with_aliases
from sord.planner.bind_unnest import listed_elements
from sord.planner.catalog import Unsupported
from sord.planner.context import Context
from sord.planner.expressions import column, column_id, conjuncts, references, replace
from sord.planner.logical import Aggregate, Filter, Output, Plan, Project, Window
from sord.planner.scope import Query, Scope, Select, attached, unique

_OrderItem = tuple[exp.Ordered, int | None, exp.Expr | None]
"""What ORDER BY says, and the position of an output or an expression."""


class SelectBinder:
    """Binds one SELECT at a time."""

    def __init__(self, context: Context, expressions: ExpressionBinder, sources: FromBinder) -> None:
        self.context = context
        self.expressions = expressions
        self.sources = sources

    def bind(self, tree: exp.Select, scope: Scope) -> Query:
        """The plan of a SELECT and its output columns."""
        for part in ("cluster", "distribute", "sort", "sample", "match", "into", "pivots"):
            if tree.args.get(part):
                raise Unsupported(part.upper())
        select = Select(scope, self.sources.bind(tree, scope))
        where = tree.args.get("where")
        if where is not None:
            predicates = conjuncts(self.expressions.bind(where.this, select))
            self._attach(select)
            select.plan = Filter(select.plan, tuple(predicates))
        items = [
            (item.alias_or_name, self.expressions.bind(item.unalias().unnest(), select))
            for item in tree.expressions
        ]
        having = tree.args.get("having")
        kept = self.expressions.bind(having.this, select) if having is not None else None
        names = {name.lower(): index for index, (name, _) in reversed(list(enumerate(items)))}
        qualify = tree.args.get("qualify")
        qualified = self.expressions.bind(qualify.this, select) if qualify is not None else None
        order: list[_OrderItem] = []
        for item in order_items(tree):
            if is_all(item):
                order += [(item, position, None) for position in range(len(items))]
            else:
                order.append(self._order_item(item, names, tree, select))
        on = [self._order_item(exp.Ordered(this=key), names, tree, select) for key in _distinct_on(tree)]
        group = tree.args.get("group")
        if group is not None or select.calls or having is not None:
            rewrite = aggregate(self.context, self.expressions, group, select, items)
            items = [(name, rewrite(expression)) for name, expression in items]
            kept = rewrite(kept) if kept is not None else None
            qualified = rewrite(qualified) if qualified is not None else None
            order = [(item, at, rewrite(e) if e is not None else None) for item, at, e in order]
            on = [(item, at, rewrite(e) if e is not None else None) for item, at, e in on]
            select.applies = [
                (kind, rewrite.subquery(plan), output, rewrite(operand) if operand is not None else None)
                for kind, plan, output, operand in select.applies
            ]
            select.windows = [(id_, rewrite(call)) for id_, call in select.windows]  # type: ignore[misc]
            select.lists = [[(id_, rewrite(list_)) for id_, list_ in lists] for lists in select.lists]
        self._attach(select)
        if kept is not None:
            select.plan = Filter(select.plan, tuple(conjuncts(kept)))
        for id_, call in select.windows:
            partition = tuple(call.args.get("partition_by") or ())
            select.plan = Window(select.plan, partition, ((id_, call),))
        if qualified is not None:
            select.plan = Filter(select.plan, tuple(conjuncts(qualified)))
        listed_elements(select, self.context)
        return self._finish(tree, select, items, order, on)

    def _finish(
        self,
        tree: exp.Select,
        select: Select,
        items: list[tuple[str, exp.Expr]],
        order: list[_OrderItem],
        on: list[_OrderItem],
    ) -> Query:
        outputs: list[Output] = []
        for name, expression in items:
            outputs.append((self._output_id(name, expression, outputs), expression))
        ids = [id_ for id_, _ in outputs]
        hidden: list[Output] = []

        def key(item: _OrderItem) -> str:
            """The id of the column that holds what to sort by; if need be one more than the query has."""
            _, position, by = item
            if position is not None:
                return ids[position]
            assert by is not None
            match = next((id_ for id_, e in outputs + hidden if e == by), None)
            if match is None:
                match = self.context.fresh("order_key")
                hidden.append((match, by))
            return match

        sort = [ordered_by(item[0], key(item)) for item in order]
        keys = [column(key(item)) for item in on]
        if tree.args.get("distinct") is None or on:
            select.plan = Project(select.plan, unique(outputs + hidden))
            if on:
                select.plan = self._first(select.plan, keys, sort)
        else:
            select.plan = Project(select.plan, unique(outputs))
            passed = tuple((id_, column(id_)) for id_, _ in unique(outputs))
            select.plan = Aggregate(select.plan, passed, ())
            if hidden:
                above = [(id_, _over(by, outputs)) for id_, by in hidden]
                select.plan = Project(select.plan, passed + tuple(above))
        select.plan = limited(select.plan, sort, tree, select.scope, self.context, self.expressions.bind)
        if len(select.plan.columns) != len(unique(outputs)):
            select.plan = Project(select.plan, tuple((id_, column(id_)) for id_, _ in unique(outputs)))
        return Query(select.plan, [(name, id_) for (name, _), id_ in zip(items, ids, strict=True)])

    def _first(self, plan: Plan, keys: list[exp.Column], sort: list[exp.Ordered]) -> Plan:
        """DISTINCT ON: of the rows with the same keys the first one in the query's order."""
        call = exp.Window(this=exp.RowNumber(), partition_by=keys, over="OVER")
        if sort:
            call.set("order", exp.Order(expressions=[item.copy() for item in sort]))
        number = self.context.fresh("number", "BIGINT")
        numbered = Window(plan, tuple(keys), ((number, call),))
        return Filter(numbered, (exp.EQ(this=column(number), expression=exp.Literal.number(1)),))

    def _output_id(self, name: str, expression: exp.Expr, outputs: list[Output]) -> str:
        known = column_id(expression)
        if known is not None:
            return known
        same = next((id_ for id_, other in outputs if other == expression), None)
        return same or self.context.fresh(name, self.context.infer(expression))

    def _order_item(
        self, item: exp.Ordered, names: dict[str, int], tree: exp.Select, select: Select
    ) -> _OrderItem:
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


def _distinct_on(tree: exp.Select) -> list[exp.Expr]:
    distinct = tree.args.get("distinct")
    on = distinct.args.get("on") if distinct is not None else None
    if on is None:
        return []
    return list(on.expressions) if isinstance(on, exp.Tuple) else [on]


def _over(expression: exp.Expr, outputs: list[Output]) -> exp.Expr:
    """An expression in terms of the outputs of a SELECT DISTINCT."""

    def change(node: exp.Expr) -> exp.Expr | None:
        return next((column(id_) for id_, output in outputs if output == node), None)

    result = replace(expression, change)
    if references(result) - {id_ for id_, _ in outputs}:
        raise Unsupported("SELECT DISTINCT ordered by what isn't selected")
    return result
