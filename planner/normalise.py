"""``normalise``: one way to write what DuckDB lets people write in several, before names are resolved."""

from __future__ import annotations

from sqlglot import exp

from sord.planner.catalog import Unsupported
from sord.planner.grouping_keys import spell_grouping


def normalise(tree: exp.Expr) -> None:
    """Change ``tree`` in place."""
    for node in list(tree.find_all(exp.Anonymous, exp.ApproxTopK, exp.Select, exp.Values)):
        if isinstance(node, exp.Anonymous | exp.ApproxTopK):
            _spell_function(node)
        elif isinstance(node, exp.Select):
            _hoist_joins(node)
            _inline_windows(node)
            spell_grouping(node)
        elif isinstance(node, exp.Values):
            if isinstance(node.parent, exp.In):
                node.parent.set("query", exp.Subquery(this=selected(node)))
                node.parent.set("expressions", None)
            elif isinstance(node.parent, exp.Subquery):
                node.replace(selected(node))
            if isinstance(node.parent, (exp.From, exp.Join)):
                width = len(node.expressions[0].expressions)
                _name(node, "valueslist", [f"col{position}" for position in range(width)])


def selected(values: exp.Values) -> exp.Select:
    """VALUES as a SELECT of all of its columns; what stands around it is that SELECT's."""
    around = {part: values.args.get(part) for part in ("with_", "order", "limit", "offset")}
    bare = exp.Values(expressions=values.expressions, alias=values.args.get("alias"))
    return exp.Select(expressions=[exp.Star()], from_=exp.From(this=bare), **around)


def _hoist_joins(select: exp.Select) -> None:
    """FROM t JOIN u SELECT …: sqlglot hangs these joins on the first table, as if they were in parentheses."""
    from_ = select.args.get("from_")
    if (
        from_ is not None
        and isinstance(from_.this, (exp.Table, exp.Subquery))
        and from_.this.args.get("joins")
    ):
        select.set("joins", from_.this.args["joins"] + (select.args.get("joins") or []))
        from_.this.set("joins", None)


def _inline_windows(select: exp.Select) -> None:
    """Windows by name become windows by definition."""
    named: dict[str, exp.Window] = {}
    for window in select.args.get("windows") or []:
        name = window.name.lower()
        _inherit(window, named)
        named[name] = window
    if not named:
        return
    select.set("windows", None)
    for window in list(select.find_all(exp.Window)):
        if window.find_ancestor(exp.Select) is select:
            _inherit(window, named)


def _inherit(window: exp.Window, named: dict[str, exp.Window]) -> None:
    alias = window.args.get("alias")
    if alias is None:
        return
    base = named.get(alias.name.lower())
    if base is None:
        raise Unsupported(f"the window {alias.name}")
    for part in ("partition_by", "order", "spec"):
        inherited = base.args.get(part)
        if inherited and not window.args.get(part):
            copied = [one.copy() for one in inherited] if isinstance(inherited, list) else inherited.copy()
            window.set(part, copied)
    window.set("alias", None)


def _name(node: exp.Expr, table: str, columns: list[str]) -> None:
    """Give a relation the names that it has where nobody has given it others."""
    alias = node.args.get("alias") or exp.TableAlias(this=exp.to_identifier(table, quoted=True))
    given = list(alias.args.get("columns") or [])
    if alias.this is None:
        alias.set("this", exp.to_identifier(table, quoted=True))
    alias.set("columns", given + [exp.to_identifier(name, quoted=True) for name in columns[len(given) :]])
    node.set("alias", alias)


def _spell_function(node: exp.Anonymous | exp.ApproxTopK) -> None:
    """Write functions as people do: DuckDB says count_star() in the text of a view, and some are its macros."""
    arguments = node.expressions
    if isinstance(node, exp.ApproxTopK):
        # sqlglot's own node warns of other dialects whenever it is rendered.
        node.replace(exp.Anonymous(this="approx_top_k", expressions=list(node.iter_expressions())))
    elif isinstance(node.parent, exp.Window):
        return
    elif node.name.lower() == "count_star" and not arguments:
        node.replace(exp.Count(this=exp.Star()))
    elif node.name.lower() == "generate_subscripts" and len(arguments) == 2:
        length = exp.Anonymous(this="array_length", expressions=arguments)
        one = exp.Literal.number(1)
        node.replace(exp.Explode(this=exp.Anonymous(this="generate_series", expressions=[one, length])))
    elif node.name.lower() == "regexp_split_to_table" and len(arguments) == 2:
        node.replace(exp.Explode(this=exp.Anonymous(this="string_split_regex", expressions=arguments)))
    elif node.name.lower() in ("geomean", "geometric_mean") and len(arguments) == 1:
        node.replace(exp.Exp(this=exp.Avg(this=exp.Ln(this=arguments[0]))))
    elif node.name.lower() in ("wavg", "weighted_avg") and len(arguments) == 2:
        node.replace(_weighted_average(*arguments))


def _weighted_average(value: exp.Expr, weight: exp.Expr) -> exp.Expr:
    known = exp.Not(this=exp.Is(this=exp.Paren(this=value.copy()), expression=exp.Null()))
    weights = exp.Case(ifs=[exp.If(this=known, true=weight.copy())], default=exp.Literal.number(0))
    product = exp.Mul(this=exp.Paren(this=value), expression=exp.Paren(this=weight))
    return exp.Paren(this=exp.Div(this=exp.Sum(this=product), expression=exp.Sum(this=weights)))
