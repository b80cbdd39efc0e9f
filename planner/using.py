"""USING and NATURAL: which table's column the common name means.

sqlglot expands them, and calls the common column COALESCE of all tables' columns. DuckDB takes the left one in inner
and left joins and the right one in right joins, which matters where their types differ; only a full join has both.
The next join compares with what the name means by then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlglot import exp

from sord.planner.catalog import Catalog, Unsupported
from sord.planner.expand_columns import described
from sord.planner.expressions import conjunction, conjuncts

_WRITTEN = "written"
_USING = "using"
_WIDTH = "width"


@dataclass(frozen=True, slots=True)
class _Common:
    """A common column: the tables that have it, and the one that it is taken from. None: the first that isn't NULL."""

    tables: tuple[str, ...]
    taken: str | None

    def joined(self, table: str, join: exp.Join) -> _Common:
        """What it is after a join with one more table."""
        if join.kind.upper() in ("SEMI", "ANTI"):
            return self
        side = join.side.upper()
        taken = table if side == "RIGHT" else None if side == "FULL" else self.taken
        return replace(self, tables=(*self.tables, table), taken=taken)

    def column(self, name: str) -> exp.Expr:
        """The column as an expression."""
        if self.taken is not None:
            return exp.column(name, self.taken, quoted=True)
        first, *others = (exp.column(name, table, quoted=True) for table in self.tables)
        result = exp.Coalesce(this=first, expressions=others)
        result.meta[_WRITTEN] = True
        return result


def mark_using(tree: exp.Expr, catalog: Catalog) -> None:
    """Before names are resolved: tell what people wrote from what sqlglot is going to write."""
    for node in tree.find_all(exp.Coalesce):
        node.meta[_WRITTEN] = True
    for join in tree.find_all(exp.Join):
        if join.method.upper() != "NATURAL" and not join.args.get("using"):
            continue
        select = join.parent
        if not isinstance(select, exp.Select):
            raise Unsupported("USING in a parenthesised join")
        joins = select.args["joins"]
        if any(_is_parenthesised(source.this) for source in [select.args["from_"], *joins]):
            raise Unsupported("USING over a parenthesised join")
        if any(map(_is_comma, joins)):
            raise Unsupported("USING beside a comma")
        join.meta[_USING] = True
        stars = [item for item in select.expressions if isinstance(item, exp.Star)]
        if stars and len(joins) > 1:
            # sqlglot leaves out columns of other tables that are called like a common one.
            others = len(select.expressions) - len(stars)
            select.meta[_WIDTH] = others + sum(len(described([star], select, catalog)) for star in stars)


def resolve_using(tree: exp.Expr) -> None:
    """After names are resolved: change ``tree`` in place to what DuckDB means by common columns."""
    commons: dict[int, dict[str, _Common]] = {}
    for select in tree.find_all(exp.Select):
        joins = select.args.get("joins") or []
        if select.meta.get(_WIDTH, len(select.expressions)) != len(select.expressions):
            raise Unsupported("a star over USING and other joins")
        if any(join.meta.get(_USING) for join in joins):
            commons[id(select)] = _resolve_joins(joins)
    for node in list(tree.find_all(exp.Coalesce)):
        if not node.meta.get(_WRITTEN):
            _resolve(node, commons)


def _resolve_joins(joins: list[exp.Join]) -> dict[str, _Common]:
    """Rewrite the conditions of a SELECT's joins; returns its common columns."""
    found: dict[str, _Common] = {}
    for join in joins:
        on, table = join.args.get("on"), join.this.alias_or_name
        if not join.meta.get(_USING):
            for node in list(on.find_all(exp.Coalesce)) if on is not None else []:
                if (
                    not node.meta.get(_WRITTEN)
                    and node.find_ancestor(exp.Join) is join
                    and node.this.name in found
                ):
                    node.replace(found[node.this.name].column(node.this.name))
            continue
        condition: list[exp.Expr] = []
        for equality in conjuncts(on):
            if not isinstance(equality, exp.EQ) or not isinstance(equality.expression, exp.Column):
                raise Unsupported("a condition of USING")
            name, left = equality.expression.name, equality.this
            if name not in found:
                if not isinstance(left, exp.Column):
                    raise Unsupported("a condition of USING")
                found[name] = _Common((left.table,), left.table)
            right = exp.column(name, table, quoted=True)
            condition.append(exp.EQ(this=found[name].column(name), expression=right))
            found[name] = found[name].joined(table, join)
        join.set("on", conjunction(condition))
    return found


def _resolve(node: exp.Coalesce, commons: dict[int, dict[str, _Common]]) -> None:
    columns = [node.this, *node.expressions]
    tables, name = {column.table for column in columns}, node.this.name
    select = node.find_ancestor(exp.Select)
    while select is not None:
        sources = [select.args.get("from_"), *(select.args.get("joins") or [])]
        names = {source.this.alias_or_name for source in sources if source is not None}
        if tables <= names and name in commons.get(id(select), {}):
            node.replace(commons[id(select)][name].column(name))
            return
        select = select.find_ancestor(exp.Select)
    raise Unsupported("a common column of USING")


def _is_comma(join: exp.Join) -> bool:
    return not any(join.args.get(part) for part in ("side", "kind", "on", "using", "method"))


def _is_parenthesised(source: exp.Expr) -> bool:
    return isinstance(source, exp.Subquery) and not isinstance(source.this, exp.Query)
