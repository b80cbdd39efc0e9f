"""FROM: tables, derived tables, common table expressions and joins to plans."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from sord.planner.bind_expressions import ExpressionBinder
from sord.planner.bind_unnest import unnested
from sord.planner.catalog import Unsupported
from sord.planner.context import Context
from sord.planner.expressions import column, conjuncts
from sord.planner.functions import check_expression
from sord.planner.logical import ONE_ROW, Filter, Join, Plan, Project, Scan, SharedRef, Values
from sord.planner.parse import Statement
from sord.planner.render import expression_sql
from sord.planner.scope import Query, Scope, Select, attached
from sord.planner.walk import free_columns


class FromBinder:
    """Binds FROM and adds its columns to the scope. ``query`` binds derived tables."""

    def __init__(
        self,
        context: Context,
        expressions: ExpressionBinder,
        query: Callable[[exp.Expr, Scope], Query],
        statement: Statement,
        uses: dict[str, int],
    ) -> None:
        self.context = context
        self.expressions = expressions
        self.query = query
        self.tables = statement.tables
        self.capitals = statement.capitals
        self.uses = uses
        self.definitions: dict[str, Plan] = {}
        """Common table expressions that are computed once."""
        self.shared: dict[int, tuple[str, Query]] = {}

    def bind(self, tree: exp.Select, scope: Scope) -> Plan:
        """The plan of a SELECT's FROM clause."""
        from_ = tree.args.get("from_")
        if from_ is None:
            return ONE_ROW
        # A comma binds less than JOIN, which matters to outer joins: a, b RIGHT JOIN c is a, (b RIGHT JOIN c).
        items = self._joined(from_.this, tree.args.get("joins") or [], scope)
        plan = items[0]
        for item in items[1:]:
            plan = Join("inner", plan, item)
        if tree.args.get("laterals") or free_columns(plan) & set(scope.columns.values()):
            raise Unsupported("a lateral join with a table that stands after it")
        return plan

    def _joined(self, first: exp.Expr, joins: list[exp.Join], scope: Scope) -> list[Plan]:
        """What stands between commas."""
        items = [self._source(first, scope)]
        for join in joins:
            if _is_comma(join):
                items.append(self._source(join.this, scope))
            else:
                items[-1] = self._join(items[-1], join, scope)
        return items

    def values(self, node: exp.Values) -> Query:
        """Literal rows."""
        for cell in node.expressions:
            check_expression(cell, self.context.catalog)
            if cell.find(exp.Column, exp.Query):
                raise Unsupported("VALUES of columns or subqueries")
        bare = exp.Values(expressions=[row.copy() for row in node.expressions])
        described = self.context.catalog.describe(expression_sql(bare))
        outputs = [(name, self.context.fresh(name, type_)) for name, type_ in described]
        rows = tuple(tuple(row.expressions) for row in node.expressions)
        plan = Values(tuple(id_ for _, id_ in outputs), tuple(type_ for _, type_ in described), rows)
        return Query(plan, outputs)

    def _source(self, node: exp.Expr, scope: Scope) -> Plan:
        plan = self._bound(node, scope)
        scope.sources.append(plan)
        return plan

    def _bound(self, node: exp.Expr, scope: Scope) -> Plan:
        if isinstance(node, exp.Values):
            query = self.values(node)
            self._expose(scope, node.alias.lower(), query, [part.name for part in node.args["alias"].columns])
            return query.plan
        if isinstance(node, exp.Unnest):
            return unnested(node, scope, self.expressions, self.context)
        if isinstance(node, exp.Table):
            alias = node.alias_or_name.lower()
            found = None if node.args.get("db") else scope.cte(node.name.lower())
            if found is not None:
                return self._common_table(alias, *found, scope)
            table = self.tables.get(node.name)
            if table is None:
                raise Unsupported(f"{node.sql('duckdb')} in FROM")
            outputs = tuple((self.context.fresh(name, type_), name) for name, type_ in table.columns)
            self._expose(
                scope, alias, Query(Scan(table, outputs), [(n, id_) for id_, n in outputs]), _renames(node)
            )
            return Scan(table, outputs)
        if isinstance(node, exp.Lateral) and isinstance(node.this, exp.Subquery):
            if node.args.get("view") or node.args.get("outer") or node.args.get("ordinality"):
                raise Unsupported("LATERAL VIEW")
            lateral = node.this.copy()
            lateral.set("alias", node.args.get("alias"))
            return self._source(lateral, scope)
        if isinstance(node, exp.Subquery):
            if node.args.get("joins") or node.args.get("pivots") or node.args.get("sample"):
                raise Unsupported("PIVOT or TABLESAMPLE")
            inner = node.this
            if isinstance(inner, exp.Table) or (isinstance(inner, exp.Subquery) and inner.args.get("joins")):
                return self._parenthesised(node, inner, scope)
            # As in DuckDB, a derived table sees the tables before it, with the word LATERAL or without.
            query = self._own(self.query(inner, scope))
            self._expose(scope, node.alias.lower(), query, _renames(node))
            return query.plan
        raise Unsupported(f"{node.key.upper()} in FROM")

    def _own(self, query: Query) -> Query:
        """A derived table that selects a column of a table before it has that under an id of its own."""
        foreign = free_columns(query.plan) & {id_ for _, id_ in query.outputs}
        if not foreign:
            return query
        new = {id_: self.context.fresh(id_, self.context.types.get(id_)) for id_ in foreign}
        outputs = [(name, new.get(id_, id_)) for name, id_ in query.outputs]
        plan = Project(query.plan, tuple((new.get(id_, id_), column(id_)) for id_ in query.plan.columns))
        return Query(plan, outputs)

    def _parenthesised(self, node: exp.Subquery, inner: exp.Expr, scope: Scope) -> Plan:
        """A join in parentheses: its tables are seen outside."""
        if node.args.get("alias"):
            raise Unsupported("a parenthesised join with a name")
        first = inner.copy()
        first.set("joins", None)
        items = self._joined(first, inner.args.get("joins") or [], scope)
        if len(items) > 1:
            raise Unsupported("a comma in a parenthesised join")
        return items[0]

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
                # It differs from outer row to outer row, so each use has its own.
                self._expose(scope, alias, query, renames)
                return query.plan
            name = self.context.fresh(cte.alias)
            self.shared[key] = (name, query)
            self.definitions[name] = self.context.shared[name] = query.plan
        name, query = self.shared[key]
        fresh = {id_: self.context.fresh(id_, self.context.types.get(id_)) for _, id_ in query.outputs}
        outputs = [(output, fresh[id_]) for output, id_ in query.outputs]
        self._expose(scope, alias, Query(query.plan, outputs), renames)
        return SharedRef(name, tuple((new, old) for old, new in fresh.items()))

    def _expose(self, scope: Scope, alias: str, query: Query, renames: list[str]) -> None:
        names = [*renames, *(name for name, _ in query.outputs[len(renames) :])]
        columns = [(name, id_) for name, (_, id_) in zip(names, query.outputs, strict=True)]
        if not self.capitals or (isinstance(query.plan, Scan) and not renames):
            scope.rows[alias] = columns
        for name, id_ in columns:
            scope.columns.setdefault((alias, name.lower()), id_)

    def _join(self, left: Plan, join: exp.Join, scope: Scope) -> Plan:
        if join.args.get("method") or join.args.get("using"):
            raise Unsupported(f"{join.args.get('method') or 'USING'} join")
        side, kind = (join.side or "").upper(), (join.kind or "").upper()
        right = self._source(join.this, scope)
        on = join.args.get("on")
        select = Select(scope, left)
        condition = tuple(conjuncts(self.expressions.bind(on, select))) if on is not None else ()
        if select.applies and not side and kind in ("", "INNER"):
            return Filter(attached(Join("inner", left, right), select.applies), condition)
        for apply in select.applies:
            used = free_columns(attached(Values((), (), ()), [apply]))
            if used & set(left.columns) and used & set(right.columns):
                raise Unsupported("a subquery over both sides in the condition of an outer join")
            if used & set(left.columns):
                left = attached(left, [apply])
            else:
                right = attached(right, [apply])
        if kind in ("SEMI", "ANTI"):
            return Join(kind.lower(), left, right, residual=condition)
        if kind not in ("", "INNER", "OUTER", "CROSS") or side not in ("", "LEFT", "RIGHT", "FULL"):
            raise Unsupported(f"{side} {kind} JOIN")
        if side == "RIGHT":
            return Join("left", right, left, residual=condition)
        return Join(side.lower() or "inner", left, right, residual=condition)


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


def _renames(node: exp.Expr) -> list[str]:
    alias = node.args.get("alias")
    return [part.name for part in alias.columns] if isinstance(alias, exp.TableAlias) else []


def _is_comma(join: exp.Join) -> bool:
    return not any(join.args.get(part) for part in ("side", "kind", "on", "using", "method"))
