"""Columns that DuckDB's readers of files have though no star stands for them: ``filename``, ``file_row_number``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sqlglot import exp

from sord.planner.catalog import Catalog, Table, Unsupported

_COLUMNS = {"filename": "", "file_row_number": "parquet"}
"""By name, what the name of a function that reads files must have in it. The argument that asks for it has its name."""


def with_virtual_columns(
    table: Table, called: str, arguments: list[str], tree: exp.Expr, catalog: Catalog
) -> Table:
    """The table that a path or function in FROM stands for, with those of its virtual columns that ``tree`` names.

    ``arguments`` are those of the function ``called``, rendered.
    """
    known = {name.lower() for name, _ in table.columns}
    written = {column.name.lower() for column in tree.find_all(exp.Column) if not _names_argument(column)}
    hidden = [
        name
        for name, needed in _COLUMNS.items()
        if name in written and name not in known and needed in called
    ]
    if not hidden:
        return table
    if _is_defined(tree, hidden):
        raise Unsupported(f"another column called {hidden[0]}")
    if any(join.method.upper() == "NATURAL" for join in tree.find_all(exp.Join)):
        raise Unsupported(f"the virtual column {hidden[0]} beside a NATURAL join")
    found = catalog.scan(called, [*arguments, *(f"{name} = TRUE" for name in hidden)])
    return replace(found, hidden=tuple(hidden))


def visible_columns(tables: Mapping[str, Table]) -> dict[str, object] | None:
    """What stars stand for, by table; None: all columns."""
    if not any(table.hidden for table in tables.values()):
        return None
    return {
        name: [column for column, _ in table.columns if column not in table.hidden]
        for name, table in tables.items()
    }


def _is_defined(tree: exp.Expr, names: list[str]) -> bool:
    """Whether something in the statement gives one of the names to what it makes."""
    given = {alias.alias.lower() for alias in tree.find_all(exp.Alias)}
    for table_alias in tree.find_all(exp.TableAlias):
        given |= {column.name.lower() for column in table_alias.columns}
    return not given.isdisjoint(names)


def _names_argument(column: exp.Column) -> bool:
    """Whether it is no column but stands for an argument of a function in FROM: ``filename = true``."""
    function = column.parent.parent if column.parent is not None else None
    return function is not None and isinstance(function.parent, exp.Table) and function.arg_key == "this"
