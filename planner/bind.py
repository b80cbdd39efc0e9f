"""``bind``: a qualified sqlglot tree to a logical plan over unique column ids.

Here: queries, WITH and set operations. What is not on the whitelist raises Unsupported.
"""

from __future__ import annotations

from sqlglot import exp

from sord.planner.bind_expressions import ExpressionBinder
from sord.planner.bind_from import FromBinder
from sord.planner.bind_limit import limited
from sord.planner.bind_order import is_all, order_items, ordered_by
from sord.planner.bind_select import SelectBinder
from sord.planner.catalog import Unsupported
from sord.planner.context import Context
from sord.planner.expressions import column
from sord.planner.logical import Output, Plan, Project, SetOperation, With
from sord.planner.parse import Statement
from sord.planner.scope import Query, Scope, Select


def bind(statement: Statement, context: Context) -> tuple[Plan, tuple[str, ...]]:
    """The logical plan and the ids of the result's columns (an id may stand there twice)."""
    # Ids must not be what lambdas and list comprehensions call their parameters.
    for each in statement.tree.find_all(exp.Lambda, exp.Comprehension):
        parts = [*each.expressions, each.args.get("expression"), each.args.get("position")]
        context.taken |= {part.name.lower() for part in parts if isinstance(part, exp.Identifier)}
    binder = _Binder(context, statement, _count_references(statement.tree))
    query = binder.query(statement.tree, Scope(None))
    plan = query.plan
    if binder.sources.definitions:
        plan = With(tuple(binder.sources.definitions), tuple(binder.sources.definitions.values()), plan)
    return plan, tuple(id_ for _, id_ in query.outputs)


class _Binder:
    def __init__(self, context: Context, statement: Statement, uses: dict[str, int]) -> None:
        self.context = context
        self.expressions = ExpressionBinder(context, self.query)
        self.sources = FromBinder(context, self.expressions, self.query, statement, uses)
        self.selects = SelectBinder(context, self.expressions, self.sources)

    def query(self, tree: exp.Expr, parent: Scope) -> Query:
        scope = Scope(parent)
        with_ = tree.args.get("with_")
        if with_ is not None:
            for cte in with_.expressions:
                inner = scope
                scope = Scope(inner)
                scope.ctes[cte.alias.lower()] = (cte, inner)
        if isinstance(tree, exp.Subquery):
            if tree.args.get("joins"):
                raise Unsupported("a parenthesised join")
            query = self.query(tree.this, scope)
            return self._ordered(query, tree, scope)
        if isinstance(tree, exp.Select):
            return self.selects.bind(tree, scope)
        if isinstance(tree, exp.SetOperation):
            return self._ordered(self._set_operation(tree, scope), tree, scope)
        if isinstance(tree, exp.Values):
            return self._ordered(self.sources.values(tree), tree, scope)
        raise Unsupported(f"{tree.key.upper()} as a query")

    def _ordered(self, query: Query, tree: exp.Expr, scope: Scope) -> Query:
        """ORDER BY, LIMIT and OFFSET of a set operation or a parenthesised query: over its output names."""
        names = {name.lower(): id_ for name, id_ in reversed(query.outputs)}
        select = Select(Scope(scope, {("", name): id_ for name, id_ in names.items()}), query.plan)
        sort: list[exp.Ordered] = []
        hidden: list[Output] = []
        for item in order_items(tree):
            by = item.this
            if is_all(item):
                sort += [ordered_by(item, id_) for _, id_ in query.outputs]
            elif isinstance(by, exp.Literal) and not by.is_string:
                sort.append(ordered_by(item, query.outputs[int(by.this) - 1][1]))
            elif isinstance(by, exp.Column) and by.name.lower() in names:
                sort.append(ordered_by(item, names[by.name.lower()]))
            else:
                hidden.append((self.context.fresh("order_key"), self.expressions.bind(by, select)))
                sort.append(ordered_by(item, hidden[-1][0]))
        if select.calls or select.windows or select.applies or select.lists:
            raise Unsupported("more than an expression of the outputs in ORDER BY over a set operation")
        passed = tuple((id_, column(id_)) for id_ in query.plan.columns)
        if hidden:
            query.plan = Project(query.plan, passed + tuple(hidden))
        query.plan = limited(query.plan, sort, tree, scope, self.context, self.expressions.bind)
        if len(query.plan.columns) != len(passed):
            query.plan = Project(query.plan, passed)
        return query

    def _set_operation(self, tree: exp.SetOperation, scope: Scope) -> Query:
        if tree.args.get("on") or tree.side or tree.kind:
            raise Unsupported("a set operation ON some columns")
        sides = [self.query(tree.left, scope), self.query(tree.right, scope)]
        if tree.args.get("by_name"):
            sides = self._by_name(*sides)
        plans: list[Plan] = []
        for side in sides:
            ids = [id_ for _, id_ in side.outputs]
            if list(side.plan.columns) != ids:
                # A column selected twice needs two ids here, since set operations go by position.
                fresh = [(self.context.fresh(id_, self.context.types.get(id_)), column(id_)) for id_ in ids]
                side.plan = Project(side.plan, tuple(fresh))
            plans.append(side.plan)
        kind = type(tree).__name__.lower()
        all_ = not tree.args.get("distinct", True)
        try:
            left, right = map(self.context.rendered, plans)
            described = self.context.catalog.describe(f"({left}) UNION ALL ({right})")
        except Exception as error:
            raise Unsupported("a correlated set operation") from error
        types = tuple(type_ for _, type_ in described)
        outputs = [
            (name, self.context.fresh(name, type_))
            for (name, _), type_ in zip(sides[0].outputs, types, strict=True)
        ]
        plan = SetOperation(kind, all_, tuple(plans), tuple(id_ for _, id_ in outputs), types)
        return Query(plan, outputs)

    def _by_name(self, left: Query, right: Query) -> list[Query]:
        """Both sides with the columns of both, in the order of their first appearance."""
        names: dict[str, str] = {}
        for name, _ in left.outputs + right.outputs:
            names.setdefault(name.lower(), name)
        sides = []
        for side in (left, right):
            has = {name.lower(): id_ for name, id_ in side.outputs}
            if len(has) < len(side.outputs):
                raise Unsupported("BY NAME with one name twice")
            added = {key: self.context.fresh(key) for key in names if key not in has}
            if added:
                nulls = tuple((id_, exp.null()) for id_ in added.values())
                side.plan = Project(side.plan, tuple((id_, column(id_)) for id_ in side.plan.columns) + nulls)
            sides.append(Query(side.plan, [(name, (has | added)[key]) for key, name in names.items()]))
        return sides


def _count_references(tree: exp.Expr) -> dict[str, int]:
    counts: dict[str, int] = {}
    for node in tree.find_all(exp.Table):
        counts[node.name.lower()] = counts.get(node.name.lower(), 0) + 1
    return counts
