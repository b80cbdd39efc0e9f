"""``expand_unnests``: UNNEST of structs in SELECT lists to one item per field, and of nested lists to one per level.

A nested ``Explode(Explode(x))``, which no text has, then stands for the elements of the lists in a list.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlglot import exp

from sord.planner.catalog import Catalog, Unsupported
from sord.planner.expand_columns import described
from sord.planner.expressions import replace

_OPTIONS = ("recursive", "max_depth", "keep_parent_names")
_ALL_LEVELS = 1000
_LIST = re.compile(r"(.*)\[\d*\]", re.DOTALL)
_NULL = '"NULL"'

Typed = tuple[exp.Expr, str]
"""An expression and its DuckDB type."""


def expand_unnests(tree: exp.Expr, catalog: Catalog) -> None:
    """Change ``tree`` in place. Names aren't resolved yet."""
    # All are described before any is changed, for what is described are texts, and the changed ones are none.
    changes = [(select, _expanded(select, catalog)) for select in tree.find_all(exp.Select)]
    for select, items in changes:
        if items is not None:
            select.set("expressions", items)


def _expanded(select: exp.Select, catalog: Catalog) -> list[exp.Expr] | None:
    """The items of a SELECT list; None if they stay as they are."""
    result: list[exp.Expr] = []
    changed = False
    for item in select.expressions:
        found = [node for node in item.find_all(exp.Explode) if node.find_ancestor(exp.Select) is select]
        items = _expand(item, found, select, catalog) if found else None
        result += items or [item]
        changed = changed or items is not None
    return result if changed else None


def _expand(
    item: exp.Expr, found: Sequence[exp.Explode], select: exp.Select, catalog: Catalog
) -> list[exp.Expr] | None:
    """What an item stands for; None for itself."""
    levels: dict[exp.Expr, exp.Expr] = {}
    for node in found:
        depth = _depth(node)
        try:
            ((_, type_),) = described([node.this], select, catalog)
        except Unsupported:
            if not node.expressions:
                continue  # of the lists of an outer query: whether they are lists is asked once it is bound
            raise Unsupported("a recursive UNNEST in a correlated subquery") from None
        lists, element = _levels(type_, depth)
        if _is_struct(element) and depth > lists:
            if node is not item.unalias().unnest():
                raise Unsupported("fields of an UNNEST in an expression")
            if select.args.get("distinct") is not None:
                raise Unsupported("UNNEST of a struct in SELECT DISTINCT")  # which compares one of the fields
            return _fields(item, node, lists, element, depth, select, catalog)
        if lists != 1 or node.expressions:
            levels[node] = _exploded(node.this, lists)
    if not levels:
        return None
    return [replace(item, lambda node: levels.get(node) if isinstance(node, exp.Explode) else None)]


def _depth(node: exp.Explode) -> int:
    """How many levels of lists and structs are asked for."""
    depth = 1
    for option in node.expressions:
        name = option.this.name.lower() if isinstance(option, exp.PropertyEQ) else ""
        value = option.expression if name in _OPTIONS else None
        if name == "recursive" and isinstance(value, exp.Boolean):
            depth = _ALL_LEVELS if value.this else depth
        elif name == "max_depth" and isinstance(value, exp.Literal) and value.this.isdigit():
            depth = int(value.this)
        elif name != "keep_parent_names":
            raise Unsupported(f"UNNEST with {option.sql('duckdb')}")
    return depth


def _levels(type_: str, most: int) -> tuple[int, str]:
    """The levels of lists that are unnested, and the type of what is in the last."""
    levels = 0
    while levels < most and (match := _LIST.fullmatch(type_)):
        levels, type_ = levels + 1, match[1]
    return levels or int(type_ == _NULL), type_


def _is_struct(type_: str) -> bool:
    return type_.startswith(("STRUCT(", "TUPLE(")) and type_.endswith(")")


def _exploded(list_: exp.Expr, levels: int) -> exp.Expr:
    result = list_.copy()
    for _ in range(levels):
        result = exp.Explode(this=result)
    return result


def _fields(
    item: exp.Expr,
    node: exp.Explode,
    lists: int,
    type_: str,
    depth: int,
    select: exp.Select,
    catalog: Catalog,
) -> list[exp.Expr]:
    """An item for each field, called as DuckDB calls it."""
    parts: list[Typed] = [(_exploded(node.this, lists), type_)]
    for _ in range(depth - lists):
        if not any(_is_struct(type_) for _, type_ in parts):
            break
        parts = [
            field for part in parts for field in (_split(part, catalog) if _is_struct(part[1]) else [part])
        ]
    names = [name for name, _ in described([item], select, catalog)]
    if len(names) != len(parts):
        raise Unsupported("UNNEST of a struct")
    return [
        exp.alias_(part, exp.to_identifier(name, quoted=True))
        for name, (part, _) in zip(names, parts, strict=True)
    ]


def _split(struct: Typed, catalog: Catalog) -> list[Typed]:
    value, type_ = struct
    try:
        fields = catalog.describe(f"SELECT unnest(NULL::{type_}, max_depth := 1)")
    except Exception as error:
        raise Unsupported(f"UNNEST of a {type_}") from error
    return [
        (
            exp.Anonymous(this="struct_extract_at", expressions=[value.copy(), exp.Literal.number(place)]),
            field,
        )
        for place, (_, field) in enumerate(fields, start=1)
    ]
