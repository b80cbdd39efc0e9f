"""ORDER BY: its items, and what stands in them."""

from __future__ import annotations

from sqlglot import exp

from sord.planner.catalog import Unsupported
from sord.planner.expressions import column, replace
from sord.planner.scope import Scope


def order_items(tree: exp.Expr) -> list[exp.Ordered]:
    """The items of ORDER BY."""
    order = tree.args.get("order")
    if order is None:
        return []
    if any(item.args.get("with_fill") for item in order.expressions):
        raise Unsupported("ORDER BY WITH FILL")
    return list(order.expressions)


def is_all(item: exp.Ordered) -> bool:
    """Whether the item is ORDER BY ALL: every output in turn."""
    return isinstance(item.this, exp.Var) and item.this.name.upper() == "ALL"


def ordered_by(item: exp.Ordered, id_: str) -> exp.Ordered:
    """The item over a column id."""
    result = item.copy()
    result.set("this", column(id_))
    return result


def with_aliases(by: exp.Expr, names: dict[str, int], tree: exp.Select, scope: Scope) -> exp.Expr:
    """An ORDER BY expression without bare names: as in DuckDB, columns of FROM go before aliases there."""

    def change(node: exp.Expr) -> exp.Expr | None:
        if not isinstance(node, exp.Column) or node.table:
            return None
        name = node.name.lower()
        tables = [table for table, column in scope.columns if column == name]
        if len(tables) == 1:
            return exp.column(node.name, tables[0], quoted=True)
        if tables or name not in names:
            raise Unsupported(f"ORDER BY {node.name}")
        return exp.Paren(this=tree.expressions[names[name]].unalias())

    return replace(by, change)
