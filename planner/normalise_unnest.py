"""``normalise_unnests``: one node for UNNEST, range() and generate_series() in FROM, before names are resolved."""

from __future__ import annotations

from sqlglot import exp

from sord.planner.catalog import Unsupported

_LONG = 1_000_000
"""Numbers of a range() in FROM from which on it isn't made as a list."""
_ORDINALITY = "ordinality"


def normalise_unnests(tree: exp.Expr) -> None:
    """Change ``tree`` in place: what makes rows of a list is an Unnest of one expression with names for its columns.

    LATERAL is left out: as in DuckDB an UNNEST sees the tables before it.
    """
    for node in list(tree.find_all(exp.Unnest, exp.Table, exp.Lateral)):
        lateral = node if isinstance(node, exp.Lateral) else None
        source = node.this if lateral is not None else node
        if isinstance(source, exp.Unnest):
            if lateral is None and isinstance(node.parent, exp.Lateral):
                continue
            offset = source.args.get("offset")
            _replace(node, "unnest", source.expressions, offset if offset is not None else False)
        elif lateral is not None and isinstance(source, exp.GenerateSeries):
            _replace(node, _series(source), [source], bool(node.args.get("ordinality")))
        elif isinstance(node, exp.Table) and isinstance(node.this, exp.GenerateSeries):
            _replace(node, _series(node.this), [node.this], bool(node.args.get("ordinality")))
    for node in list(tree.find_all(exp.Any, exp.Anonymous)):
        _list_as_query(node)


def _series(series: exp.GenerateSeries) -> str:
    bounds = [series.args.get("start"), series.args.get("end")]
    if any(
        isinstance(bound, exp.Literal) and (not bound.this.isdigit() or int(bound.this) > _LONG)
        for bound in bounds
    ):
        raise Unsupported("a long range() in FROM")
    return "range" if series.args.get("is_end_exclusive") else "generate_series"


def _replace(node: exp.Expr, function: str, arguments: list[exp.Expr], offset: exp.Expr | bool) -> None:
    if node.args.get("joins") or node.args.get("sample") or node.args.get("pivots"):
        raise Unsupported(f"a parenthesised join or TABLESAMPLE on {function}()")
    alias = node.args.get("alias") or exp.TableAlias()
    if isinstance(node, exp.Lateral) and isinstance(node.this, exp.Unnest):
        alias = alias if alias.this is not None else node.this.args.get("alias") or alias
    written = [column.copy() for column in alias.columns]
    if isinstance(offset, exp.Expr):
        written.append(offset.copy())  # sqlglot takes the last of the names for it
    table = alias.this
    # Where only the table is named, its column is called so too.
    names = [table.copy() if table is not None else _identifier(function), _identifier(_ORDINALITY)]
    names[: len(written)] = written
    if table is not None and not written:
        _spell_columns(node, table.name, function, bool(offset))
    unnest = exp.Unnest(
        expressions=[argument.copy() for argument in arguments],
        alias=exp.TableAlias(
            this=table.copy() if table is not None else _identifier(function), columns=[names[0]]
        ),
        offset=names[1] if offset else False,
    )
    node.replace(unnest)


def _spell_columns(node: exp.Expr, table: str, function: str, ordinality: bool) -> None:
    """DuckDB knows the one column by the function's name too, and the fields of a struct in it like other columns."""
    root = node.root()
    aliases = [alias for alias in root.find_all(exp.TableAlias) if alias.name.lower() == table.lower()]
    for column in list(root.find_all(exp.Column)):
        name = column.name.lower()
        if ordinality and not column.table and name == table.lower():
            raise Unsupported("a row of UNNEST WITH ORDINALITY as a value")
        if not column.table and name == function:
            raise Unsupported(f"a column called {function} that has got another name")
        if column.table.lower() != table.lower() or name in (table.lower(), _ORDINALITY) or column.is_star:
            continue
        if len(aliases) > 1:
            return  # whose column that is sqlglot has to find out
        element = exp.column(_identifier(table), _identifier(table))
        column.replace(element if name == function else exp.Dot(this=element, expression=column.this.copy()))


def _list_as_query(node: exp.Expr) -> None:
    """``= ANY(list)`` is ``= ANY (SELECT unnest(list))``, and ALL likewise, which sqlglot takes for a function."""
    if isinstance(node, exp.Any):
        list_ = node.this.unnest()
    elif node.name.lower() == "all" and len(node.expressions) == 1:
        list_ = node.expressions[0]
    else:
        return
    if not isinstance(list_, exp.Query):
        elements = exp.Subquery(this=exp.Select(expressions=[exp.Explode(this=list_.copy())]))
        node.replace((exp.Any if isinstance(node, exp.Any) else exp.All)(this=elements))


def _identifier(name: str) -> exp.Identifier:
    return exp.to_identifier(name, quoted=True)
