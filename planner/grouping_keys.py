"""What GROUP BY's keys are, before names are resolved: positions and aliases too."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from sord.planner.catalog import Unsupported


def spell_grouping(select: exp.Select) -> None:
    """Give GROUPING_ID() without arguments all of the keys.

    Raises Unsupported where one key is written in two ways: DuckDB then groups by it twice, and what the SELECT list
    means is one of the two.
    """
    group = select.args.get("group")
    if group is None:
        return
    keys = [(key, _meant(key, select)) for part in group.expressions for key in _leaves(part)]
    if group.find(exp.Rollup, exp.Cube, exp.GroupingSets):
        spellings: dict[str, set[str]] = {}
        for key, meant in keys:
            spellings.setdefault(_without_tables(meant), set()).add(key.sql("duckdb").lower())
        if any(len(several) > 1 and not all(map(_is_qualified, several)) for several in spellings.values()):
            raise Unsupported("a key of grouping sets that is written in two ways")
    for node in list(select.find_all(exp.GroupingId)):
        if not node.expressions and node.find_ancestor(exp.Select) is select:
            node.set("expressions", [meant.copy() for meant in dict.fromkeys(meant for _, meant in keys)])


def _leaves(node: exp.Expr) -> Iterator[exp.Expr]:
    if isinstance(node, (exp.Rollup, exp.Cube, exp.GroupingSets, exp.Tuple)):
        for part in node.expressions:
            yield from _leaves(part)
    else:
        yield node.unnest()


def _meant(key: exp.Expr, select: exp.Select) -> exp.Expr:
    """The expression that a position or an alias stands for."""
    if isinstance(key, exp.Literal) and key.this.isdigit() and 0 < int(key.this) <= len(select.expressions):
        item: exp.Expr = select.expressions[int(key.this) - 1].unalias()
        return item
    if isinstance(key, exp.Column) and not key.table:
        aliased = (item.unalias() for item in select.expressions if item.alias.lower() == key.name.lower())
        return next(aliased, key)
    return key


def _without_tables(expression: exp.Expr) -> str:
    bare = expression.copy()
    for node in bare.find_all(exp.Column):
        node.set("table", None)
    return bare.sql("duckdb").lower()


def _is_qualified(written: str) -> bool:
    return "." in written
