"""``bind``: a qualified sqlglot tree to a logical plan over unique column ids.

Subqueries in expressions become Apply nodes; what is not on the whitelist raises Unsupported.
"""

from __future__ import annotations

from sqlglot import exp

from sord.planner.bind_expressions import ExpressionBinder
from sord.planner.catalog import Table, Unsupported
from sord.planner.context import Context
from sord.planner.decorrelate import free_columns
from sord.planner.expressions import column, column_id, conjuncts, references
from sord.planner.logical import (
    Aggregate,
    Apply,
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
    With,
)
from sord.planner.parse import Statement
from sord.planner.scope import (
    Query,
    Rewrite,
    Scope,
    Select,
    limit_and_offset,
    order_items,
    ordered_by,
    unique,
    with_aliases,
    without_columns,
)


def bind(statement: Statement, context: Context) -> tuple[Plan, tuple[str, ...]]:
    """The logical plan and the ids of the result's columns (an id may stand there twice)."""
    binder = _Binder(context, statement.tables, _count_references(statement.tree))
    query = binder.query(statement.tree, Scope(None))
    plan = query.plan
    if binder.definitions:
        plan = With(tuple(binder.definitions), tuple(binder.definitions.values()), plan)
    return plan, tuple(id_ for _, id_ in query.outputs)


class _Binder:
    def __init__(self, context: Context, tables: dict[str, Table], uses: dict[str, int]) -> None:
        self.context = context
        self.expressions = ExpressionBinder(context, self.query)
        self.tables = tables
        self.uses = uses
        self.definitions: dict[str, Plan] = {}
        self.shared: dict[int, tuple[str, Query]] = {}

    def query(self, tree: exp.Expr, parent: Scope) -> Query:
        scope = Scope(parent)
        with_ = tree.args.get("with_")
        if with_ is not None:
            if with_.args.get("recursive"):
                raise Unsupported("WITH RECURSIVE")
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
            return self._select(tree, scope)
        if isinstance(tree, exp.SetOperation):
            return self._ordered(self._set_operation(tree, scope), tree, scope)
        raise Unsupported(f"{tree.key.upper()} as a query")

    # FROM

    def _source(self, node: exp.Expr, scope: Scope) -> Plan:
        if isinstance(node, exp.Table):
            if node.args.get("joins"):
                raise Unsupported("a parenthesised join")
            alias = node.alias_or_name.lower()
            found = None if node.args.get("db") else scope.cte(node.name.lower())
            if found is not None:
                return self._common_table(alias, *found, scope)
            table = self.tables.get(node.name)
            if table is None:
                raise Unsupported(f"{node.sql('duckdb')} in FROM")
            outputs = tuple((self.context.fresh(name, type_), name) for name, type_ in table.columns)
            for id_, name in outputs:
                scope.columns[alias, name.lower()] = id_
            return Scan(table, outputs)
        if isinstance(node, exp.Subquery):
            query = self.query(node.this, without_columns(scope))
            if node.args.get("joins") or node.args.get("pivots") or node.args.get("sample"):
                raise Unsupported("a parenthesised join, PIVOT or TABLESAMPLE")
            alias_node = node.args.get("alias")
            renames = [part.name for part in alias_node.columns] if alias_node else []
            self._expose(scope, node.alias.lower(), query, renames)
            return query.plan
        raise Unsupported(f"{node.key.upper()} in FROM")

    def _common_table(self, alias: str, cte: exp.CTE, cte_scope: Scope, scope: Scope) -> Plan:
        renames = [part.name for part in cte.args["alias"].columns]
        key = id(cte)
        if self.uses.get(cte.alias.lower(), 0) < 2 or not _is_costly(cte.this):
            query = self.query(cte.this, cte_scope)
            self._expose(scope, alias, query, renames)
            return query.plan
        if key not in self.shared:
            query = self.query(cte.this, cte_scope)
            if free_columns(query.plan):
                raise Unsupported("a correlated WITH")
            name = self.context.fresh(cte.alias)
            self.shared[key] = (name, query)
            self.definitions[name] = self.context.shared[name] = query.plan
        name, query = self.shared[key]
        fresh = {id_: self.context.fresh(id_, self.context.types.get(id_)) for _, id_ in query.outputs}
        outputs = [(output, fresh[id_]) for output, id_ in query.outputs]
        self._expose(scope, alias, Query(query.plan, outputs), renames)
        return SharedRef(name, tuple((new, old) for old, new in fresh.items()))

    def _expose(self, scope: Scope, alias: str, query: Query, renames: list[str]) -> None:
        for position, (name, id_) in enumerate(query.outputs):
            visible = renames[position] if position < len(renames) else name
            scope.columns.setdefault((alias, visible.lower()), id_)

    def _from(self, tree: exp.Select, scope: Scope) -> Plan:
        from_ = tree.args.get("from_")
        if from_ is None:
            return Values((), (), ((),))
        # A comma binds less than JOIN, which matters to outer joins: a, b RIGHT JOIN c is a, (b RIGHT JOIN c).
        items = [self._source(from_.this, scope)]
        for join in tree.args.get("joins") or []:
            if _is_comma(join):
                items.append(self._source(join.this, scope))
            else:
                items[-1] = self._join(items[-1], join, scope)
        plan = items[0]
        if len(items) > 1 and any(free_columns(item) & set(scope.columns.values()) for item in items):
            raise Unsupported("a join condition over a table before the comma")
        for item in items[1:]:
            plan = Join("inner", plan, item)
        if tree.args.get("laterals"):
            raise Unsupported("LATERAL")
        return plan

    def _join(self, left: Plan, join: exp.Join, scope: Scope) -> Plan:
        if join.args.get("method") or join.args.get("using"):
            raise Unsupported(f"{join.args.get('method') or 'USING'} join")
        side, kind = (join.side or "").upper(), (join.kind or "").upper()
        right = self._source(join.this, scope)
        on = join.args.get("on")
        select = Select(scope, left)
        condition = tuple(conjuncts(self.expressions.bind(on, select))) if on is not None else ()
        if select.applies:
            raise Unsupported("a subquery in a join condition")
        if kind in ("SEMI", "ANTI"):
            return Join(kind.lower(), left, right, residual=condition)
        if kind not in ("", "INNER", "OUTER", "CROSS") or side not in ("", "LEFT", "RIGHT", "FULL"):
            raise Unsupported(f"{side} {kind} JOIN")
        if side == "RIGHT":
            return Join("left", right, left, residual=condition)
        return Join(side.lower() or "inner", left, right, residual=condition)

    # SELECT

    def _select(self, tree: exp.Select, scope: Scope) -> Query:
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
        select = Select(scope, self._from(tree, scope))
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
            rewrite = self._aggregate(group, select, items)
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

    def _ordered(self, query: Query, tree: exp.Expr, scope: Scope) -> Query:
        """ORDER BY, LIMIT and OFFSET of a set operation or a parenthesised query: over its output names."""
        names = {name.lower(): id_ for name, id_ in reversed(query.outputs)}
        sort: list[exp.Expr] = []
        for item in order_items(tree):
            by = item.this
            if isinstance(by, exp.Literal) and not by.is_string:
                sort.append(ordered_by(item, query.outputs[int(by.this) - 1][1]))
            elif isinstance(by, exp.Column) and by.name.lower() in names:
                sort.append(ordered_by(item, names[by.name.lower()]))
            else:
                raise Unsupported("ORDER BY an expression over a set operation")
        limit, offset = limit_and_offset(tree)
        if sort or limit is not None or offset:
            query.plan = Sort(query.plan, tuple(sort), limit, offset)
        return query

    def _aggregate(
        self, group: exp.Group | None, select: Select, items: list[tuple[str, exp.Expr]]
    ) -> Rewrite:
        calls, subqueries = {id_ for id_, _ in select.calls}, {apply[2] for apply in select.applies}
        keys: list[Output] = []
        for expression in self._group_keys(group, select, items) if group is not None else []:
            if references(expression) & (subqueries | {id_ for id_, _ in select.calls}):
                raise Unsupported("an aggregate or a subquery in GROUP BY")
            known = column_id(expression)
            keys.append((known or self.context.fresh("key", self.context.infer(expression)), expression))
        select.plan = Aggregate(select.plan, unique(keys), tuple(select.calls))
        return Rewrite(keys, calls, subqueries, select)

    def _group_keys(
        self, group: exp.Group, select: Select, items: list[tuple[str, exp.Expr]]
    ) -> list[exp.Expr]:
        if any(group.args.get(part) for part in ("grouping_sets", "cube", "rollup", "totals")):
            raise Unsupported("GROUPING SETS, ROLLUP or CUBE")
        if not group.args.get("all"):
            return [self.expressions.bind(node, select) for node in group.expressions]
        computed = {id_ for id_, _ in select.calls + select.windows} | {apply[2] for apply in select.applies}
        keys = [expression for _, expression in items if references(expression) - computed]
        if any(references(key) & computed for key in keys):
            raise Unsupported("GROUP BY ALL with a column beside an aggregate in one expression")
        return keys

    def _attach(self, select: Select) -> None:
        for kind, subquery, output, operand in select.applies:
            select.plan = Apply(kind, select.plan, subquery, output, operand)
        select.applies.clear()

    # Set operations

    def _set_operation(self, tree: exp.SetOperation, scope: Scope) -> Query:
        if tree.args.get("by_name") or tree.args.get("on") or tree.side or tree.kind:
            raise Unsupported("a set operation BY NAME")
        sides = [self.query(tree.left, scope), self.query(tree.right, scope)]
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


def _count_references(tree: exp.Expr) -> dict[str, int]:
    counts: dict[str, int] = {}
    for node in tree.find_all(exp.Table):
        counts[node.name.lower()] = counts.get(node.name.lower(), 0) + 1
    return counts


def _is_costly(tree: exp.Expr) -> bool:
    """Whether computing a CTE once and reading it twice beats computing it twice."""
    return (
        bool(
            tree.args.get("joins")
            or tree.args.get("group")
            or tree.args.get("distinct")
            or tree.args.get("limit")
        )
        or isinstance(tree, exp.SetOperation)
        or tree.find(exp.AggFunc, exp.Window) is not None
    )


def _is_comma(join: exp.Join) -> bool:
    return not any(join.args.get(part) for part in ("side", "kind", "on", "using", "method"))
