"""``arrays``: ``ARRAY(SELECT …)`` to a list aggregate, as DuckDB's parser does, before names are resolved."""

from __future__ import annotations

from sqlglot import exp

from sord.planner.catalog import Unsupported

_WHOLE = ("group", "having", "distinct", "limit", "offset", "qualify", "with_")
"""Clauses after which a SELECT's rows are no longer those of its FROM and WHERE."""
_SEVERAL = (exp.AggFunc, exp.Window, exp.Explode, exp.Unnest, exp.Subquery)
_TABLE = "array rows"


def arrays(tree: exp.Expr) -> None:
    """Change ``tree`` in place."""
    for array in reversed(list(tree.find_all(exp.Array))):
        query = array.expressions[0].unnest() if len(array.expressions) == 1 else None
        if isinstance(query, exp.Query):
            listed = exp.Subquery(this=_listed(query.copy()))
            array.replace(exp.Coalesce(this=listed, expressions=[exp.Array(expressions=[])]))


def _listed(query: exp.Query) -> exp.Select:
    first: exp.Expr = query
    while isinstance(first, exp.SetOperation):
        first = first.left.unnest()
    if not isinstance(first, exp.Select) or _is_star(first.expressions[0]):
        raise Unsupported("ARRAY of a subquery with a star, or without SELECT")
    order = query.args.get("order")
    keys = [key.copy() for key in order.expressions] if order is not None else []
    if any(isinstance(key.this, exp.Var) for key in keys):
        raise Unsupported("ARRAY of a subquery with ORDER BY ALL")
    query.set("order", None)
    item = first.expressions[0]
    by_alias = any(_is_named(key, item.alias) for key in keys)
    is_plain = not any(query.args.get(part) for part in _WHOLE) and item.find(*_SEVERAL) is None
    if isinstance(query, exp.Select) and is_plain and not by_alias:
        element = item.unalias()
        if element.find(exp.Column) is None:  # DuckDB refuses to order a list by a literal
            keys = [key for key in keys if not _is_position(key)]
        for key in keys:
            if _is_position(key):
                key.set("this", element.copy())
        query.set("expressions", [_list(element, keys)])
        return query
    return _over(query, first, keys, by_alias)


def _over(query: exp.Query, first: exp.Select, keys: list[exp.Ordered], by_alias: bool) -> exp.Select:
    """A SELECT over the query, which has the keys of ORDER BY as further columns."""
    item = first.expressions[0]
    if not item.alias_or_name:
        item = exp.alias_(item.copy(), "array element", quoted=True)
        first.set("expressions", [item])
    cut = bool(query.args.get("limit") or query.args.get("offset"))
    distinct = query.args.get("distinct")
    if (cut and by_alias) or (isinstance(distinct, exp.Distinct) and distinct.args.get("on")):
        raise Unsupported("ARRAY of a subquery that is cut by its alias")
    names, positions = [], []
    for number, key in enumerate(keys):
        if _is_position(key) or (query is not first and _is_named(key, item.alias_or_name)):
            names.append(item.alias_or_name)
            positions.append(1)
        elif query is first:
            names.append(f"array key {number}")
            first.append("expressions", exp.alias_(key.this.copy(), names[-1], quoted=True))
            positions.append(len(first.expressions))
        else:
            raise Unsupported("ARRAY of a set operation that is ordered by an expression")
    if cut and keys:
        within = [key.copy() for key in keys]
        for key, position in zip(within, positions, strict=True):
            key.set("this", exp.Literal.number(position))
        query.set("order", exp.Order(expressions=within))
    for key, name in zip(keys, names, strict=True):
        key.set("this", exp.column(name, _TABLE, quoted=True))
    source = exp.Subquery(this=query, alias=exp.TableAlias(this=exp.to_identifier(_TABLE, quoted=True)))
    element = exp.column(item.alias_or_name, _TABLE, quoted=True)
    return exp.Select(expressions=[_list(element, keys)], from_=exp.From(this=source))


def _list(element: exp.Expr, keys: list[exp.Ordered]) -> exp.Expr:
    element = element.copy()
    return exp.ArrayAgg(this=exp.Order(this=element, expressions=keys) if keys else element)


def _is_position(key: exp.Ordered) -> bool:
    return isinstance(key.this, exp.Literal) and not key.this.is_string


def _is_named(key: exp.Ordered, name: str) -> bool:
    """Whether a bare name stands in the key."""
    return bool(name) and any(
        not node.table and node.name.lower() == name.lower() for node in key.find_all(exp.Column)
    )


def _is_star(item: exp.Expr) -> bool:
    return item.find(exp.Star, exp.Columns) is not None and item.find(exp.Count) is None
