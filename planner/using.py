"""USING and NATURAL: which table's column the common name means.

sqlglot expands them, and calls the common column COALESCE of all tables' columns. DuckDB takes the left one in inner
and left joins and the right one in right joins, which matters where their types differ; only a full join has both.
"""

from __future__ import annotations

from sqlglot import exp

from sord.planner.catalog import Unsupported

_WRITTEN = "written"
_COMMON = "common"


def mark_using(tree: exp.Expr) -> None:
    """Before names are resolved: tell what people wrote from what sqlglot is going to write."""
    for node in tree.find_all(exp.Coalesce):
        node.meta[_WRITTEN] = True
    for join in tree.find_all(exp.Join):
        natural = join.method.upper() == "NATURAL"
        if not natural and not join.args.get("using"):
            continue
        select = join.parent
        if not isinstance(select, exp.Select):
            raise Unsupported("USING in a parenthesised join")
        joins = select.args["joins"]
        if any(_is_parenthesised(source.this) for source in [select.args["from_"], *joins]):
            raise Unsupported("USING over a parenthesised join")
        if any(_is_comma(other) or isinstance(other.this, exp.Unnest) for other in joins):
            raise Unsupported("USING beside a comma")
        if len(joins) > 1 and (natural or join.side.upper() in ("RIGHT", "FULL")):
            raise Unsupported("NATURAL, right or full joins with USING beside other joins")
        select.meta[_COMMON] = join.side.upper()


def resolve_using(tree: exp.Expr) -> None:
    """After names are resolved: change ``tree`` in place to what DuckDB means by common columns."""
    for node in list(tree.find_all(exp.Coalesce)):
        if node.meta.get(_WRITTEN):
            continue
        columns = [node.this, *node.expressions]
        side = _side(node, {column.table for column in columns})
        if side == "FULL":
            continue
        node.replace(columns[-1 if side == "RIGHT" else 0])


def _side(node: exp.Expr, tables: set[str]) -> str:
    """The kind of join that common columns are of."""
    select = node.find_ancestor(exp.Select)
    while select is not None:
        sources = [select.args.get("from_"), *(select.args.get("joins") or [])]
        names = {source.this.alias_or_name for source in sources if source is not None}
        if _COMMON in select.meta and tables <= names:
            return str(select.meta[_COMMON])
        select = select.find_ancestor(exp.Select)
    raise Unsupported("a common column of USING")


def _is_comma(join: exp.Join) -> bool:
    return not any(join.args.get(part) for part in ("side", "kind", "on", "using", "method"))


def _is_parenthesised(source: exp.Expr) -> bool:
    return isinstance(source, exp.Subquery) and not isinstance(source.this, exp.Query)
