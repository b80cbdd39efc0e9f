"""``expand_columns``: COLUMNS(…) in SELECT lists to one item per column that DuckDB says it stands for."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from sord.planner.catalog import Catalog, Unsupported
from sord.planner.expressions import replace
from sord.planner.render import expression_sql


def expand_columns(tree: exp.Expr, catalog: Catalog) -> None:
    """Change ``tree`` in place. Names aren't resolved yet."""
    for select in list(tree.find_all(exp.Select)):
        expanded: list[exp.Expr] = []
        for item in select.expressions:
            found = [node for node in item.find_all(exp.Columns) if node.find_ancestor(exp.Select) is select]
            if found:
                expanded += _expand(item, found, select, catalog)
            elif not isinstance(item, exp.Star) and any(
                not isinstance(star.parent, (exp.Count, exp.Column)) for star in item.find_all(exp.Star)
                if star.find_ancestor(exp.Select) is select
            ):  # fmt: skip
                raise Unsupported("a star in an expression")
            else:
                expanded.append(item)
        if len(expanded) != len(select.expressions) or expanded != select.expressions:
            select.set("expressions", expanded)


def _expand(item: exp.Expr, found: list[exp.Columns], select: exp.Select, catalog: Catalog) -> list[exp.Expr]:
    if any(node != found[0] or node.args.get("unpack") for node in found):
        raise Unsupported("several COLUMNS in one expression")
    if any(isinstance(node.this, exp.Star) and node.this.args.get("replace") for node in found):
        raise Unsupported("COLUMNS of a star with REPLACE")
    columns = [name for name, _ in described([found[0]], select, catalog)]
    names = [name for name, _ in described([item], select, catalog)]
    if len(set(map(str.lower, columns))) < len(columns) or len(names) != len(columns):
        raise Unsupported("COLUMNS over columns of one name")
    result: list[exp.Expr] = []
    for name, output in zip(columns, names, strict=True):
        column = exp.column(exp.to_identifier(name, quoted=True))
        one = replace(item.unalias(), lambda node: column if isinstance(node, exp.Columns) else None)  # noqa: B023
        result.append(exp.alias_(one, exp.to_identifier(output, quoted=True)))
    return result


def described(items: Sequence[exp.Expr], select: exp.Select, catalog: Catalog) -> list[tuple[str, str]]:
    """The names and types of what items of a SELECT list stand for. Raises Unsupported if DuckDB can't tell."""
    alone = exp.Select(expressions=[item.copy() for item in items])
    if select.args.get("from_") is not None:
        alone.set("from_", select.args["from_"].copy())
    alone.set("joins", [join.copy() for join in select.args.get("joins") or []])
    definitions: list[str] = []
    scope: exp.Expr | None = select
    while scope is not None:
        with_ = scope.args.get("with_")
        if isinstance(with_, exp.With):
            definitions = [expression_sql(cte) for cte in with_.expressions] + definitions
        scope = scope.parent
    prefix = f"WITH {', '.join(definitions)} " if definitions else ""
    try:
        return catalog.describe(prefix + expression_sql(alone))
    except Exception as error:
        raise Unsupported(f"COLUMNS or UNNEST in a subquery: {str(error).splitlines()[0]}") from error
