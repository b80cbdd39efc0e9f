"""``expand_columns``: COLUMNS(…) in SELECT lists to one item per column that DuckDB says it stands for."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from sord.planner.catalog import Catalog, Unsupported
from sord.planner.expressions import replace
from sord.planner.render import expression_sql

_PATTERNS = (exp.Like, exp.ILike, exp.SimilarTo, exp.Glob)


def expand_columns(tree: exp.Expr, catalog: Catalog) -> None:
    """Change ``tree`` in place. Names aren't resolved yet."""
    for select in list(tree.find_all(exp.Select)):
        expanded: list[exp.Expr] = []
        for item in select.expressions:
            found = _of(select, item)
            if found:
                expanded += _expand(item, found, select, catalog)
            elif _is_pattern(item) or _is_struct(item, select):
                expanded += _matching(item, select, catalog)
            elif not isinstance(item, exp.Star) and any(
                not isinstance(star.parent, (exp.Count, exp.Column)) for star in item.find_all(exp.Star)
                if star.find_ancestor(exp.Select) is select
            ):  # fmt: skip
                raise Unsupported("a star in an expression")
            else:
                expanded.append(item)
        if len(expanded) != len(select.expressions) or expanded != select.expressions:
            select.set("expressions", expanded)
        where = select.args.get("where")
        if where is not None and (found := _of(select, where)):
            # The condition holds for every column.
            columns = _columns(found, select, catalog)
            where.set("this", exp.and_(*(_with(where.this, column) for column in columns)))


def _of(select: exp.Select, item: exp.Expr) -> list[exp.Columns]:
    return [node for node in item.find_all(exp.Columns) if node.find_ancestor(exp.Select) is select]


def _expand(item: exp.Expr, found: list[exp.Columns], select: exp.Select, catalog: Catalog) -> list[exp.Expr]:
    names = [name for name, _ in described([item], select, catalog)]
    columns = _columns(found, select, catalog)
    if all(node.args.get("unpack") for node in found):
        result = item.unalias().copy()
        for node in list(result.find_all(exp.Columns)):
            _unpack(node, columns)
        return [exp.alias_(result, exp.to_identifier(names[0], quoted=True))]
    if len(names) != len(columns) or any(node.args.get("unpack") for node in found):
        raise Unsupported("COLUMNS over columns of one name")
    return [
        exp.alias_(_with(item.unalias(), column), exp.to_identifier(output, quoted=True))
        for column, output in zip(columns, names, strict=True)
    ]


def _columns(found: list[exp.Columns], select: exp.Select, catalog: Catalog) -> list[exp.Column]:
    """The columns that all of them stand for."""
    inner = found[0].this
    if any(node.this != inner for node in found):
        raise Unsupported("several COLUMNS in one expression")
    if isinstance(inner, exp.Star) and inner.args.get("replace"):
        raise Unsupported("COLUMNS of a star with REPLACE")
    return _named([exp.Columns(this=inner.copy())], inner, select, catalog)


def _named(items: list[exp.Expr], star: exp.Expr, select: exp.Select, catalog: Catalog) -> list[exp.Column]:
    """The columns that a star, or COLUMNS, stands for."""
    names = [name for name, _ in described(items, select, catalog)]
    if len(set(map(str.lower, names))) < len(names):
        raise Unsupported("COLUMNS over columns of one name")
    table = star.args.get("table") if isinstance(star, exp.Column) else None
    return [exp.column(exp.to_identifier(name, quoted=True), table=table and table.copy()) for name in names]


def _with(expression: exp.Expr, column: exp.Column) -> exp.Expr:
    return replace(expression, lambda node: column if isinstance(node, exp.Columns) else None)


def _unpack(node: exp.Columns, columns: list[exp.Column]) -> None:
    """*COLUMNS(…) as several arguments of a function."""
    call = node.parent
    if not isinstance(call, exp.Func) or isinstance(call, exp.Struct) or "expressions" not in call.arg_types:
        raise Unsupported("*COLUMNS in an expression")
    rest = list(call.expressions)
    if node.arg_key == "this":
        call.set("this", columns[0].copy())
        call.set("expressions", [column.copy() for column in columns[1:]] + rest)
    elif node.arg_key == "expressions":
        place = next(place for place, other in enumerate(rest) if other is node)
        call.set("expressions", rest[:place] + [column.copy() for column in columns] + rest[place + 1 :])
    else:
        raise Unsupported("*COLUMNS in an expression")


def _is_pattern(item: exp.Expr) -> bool:
    """Whether the item is ``* LIKE 'pattern'`` or one of its kin."""
    inner = item.this if isinstance(item, exp.Not) else item
    if isinstance(item, exp.Star):
        return item.args.get("ilike") is not None
    return isinstance(inner, _PATTERNS) and _is_star(inner.this)


def _is_star(node: exp.Expr) -> bool:
    return isinstance(node, exp.Star) or (isinstance(node, exp.Column) and isinstance(node.this, exp.Star))


def _is_struct(item: exp.Expr, select: exp.Select) -> bool:
    """Whether the item is a star of what is no table."""
    if not isinstance(item, exp.Column) or not isinstance(item.this, exp.Star):
        return False
    sources = [select.args.get("from_"), *(select.args.get("joins") or [])]
    return item.table.lower() not in {source.this.alias_or_name.lower() for source in sources if source}


def _matching(item: exp.Expr, select: exp.Select, catalog: Catalog) -> list[exp.Expr]:
    inner = item.this if isinstance(item, exp.Not) else item
    star = inner.this if isinstance(inner, _PATTERNS) else inner
    changed = star.this if isinstance(star, exp.Column) else star
    if changed.args.get("replace") or changed.args.get("rename"):
        raise Unsupported("a star that changes columns, with a pattern or of a struct")
    return list(_named([item], star, select, catalog))


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
