"""``fix_context``: what depends on the moment, the user and the session, once for all workers."""

from __future__ import annotations

import re

from sqlglot import exp

from sord.planner.catalog import Catalog, Unsupported
from sord.planner.expressions import references
from sord.planner.render import expression_sql, literal

CONTEXT = frozenset((
    "current_catalog", "current_database", "current_date", "current_localtime", "current_localtimestamp",
    "current_role", "current_schema", "current_schemas", "current_setting", "current_time", "current_timestamp",
    "current_user", "get_current_time", "get_current_timestamp", "getvariable", "localtime", "localtimestamp", "now",
    "session_user", "today", "transaction_timestamp", "txid_current", "user",
))  # fmt: skip
"""Functions whose value is one during a statement, and names that stand for such functions."""

WITHOUT_PARENTHESES = frozenset(
    name for name in CONTEXT if name.startswith(("current_", "local", "session_"))
)
"""Of these DuckDB first looks for a column of the name, and sqlglot doesn't."""

_NODES = (
    exp.CurrentCatalog, exp.CurrentDatabase, exp.CurrentDate, exp.CurrentRole, exp.CurrentSchema, exp.CurrentSchemas,
    exp.CurrentTime, exp.CurrentTimestamp, exp.CurrentUser, exp.Localtime, exp.Localtimestamp, exp.SessionUser,
)  # fmt: skip


def fix_context(tree: exp.Expr, catalog: Catalog) -> None:
    """Replace such functions by their values, evaluated together in the user's session."""
    found = [node for node in tree.find_all(*_NODES, exp.Anonymous) if _is_context(node)]
    if not found:
        return
    texts = [expression_sql(node) for node in found]
    asked = list(dict.fromkeys(texts))
    values = dict(zip(asked, catalog.evaluate(asked), strict=True))
    for node, text in zip(found, texts, strict=True):
        value, type_ = values[text]
        if type_ == '"NULL"':
            node.replace(exp.null())
            continue
        if not re.fullmatch(r"[A-Z_ ]+(\(\d+, ?\d+\))?(\[\])?", type_):
            raise Unsupported(f"{text} is a {type_}")
        shown = "NULL" if value is None else literal(value)
        node.replace(exp.maybe_parse(f"CAST({shown} AS {type_})", dialect="duckdb"))


def _is_context(node: exp.Expr) -> bool:
    if isinstance(node, exp.Anonymous):
        if node.name.lower() not in CONTEXT:
            return False
        if references(node) or node.find(exp.Query):
            raise Unsupported(f"{node.name}() of a column")
    return True
