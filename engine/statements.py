"""SQL texts: the statements in them, and texts in other dialects."""

from __future__ import annotations

from typing import NamedTuple

import duckdb

from sord.errors import Error


class Statement(NamedTuple):
    """One statement, without the semicolon at its end and the comments around it."""

    kind: duckdb.StatementType
    text: str


def split(text: str) -> list[Statement]:
    """The statements of a text. Raises DuckDB's error for what it can't parse."""
    return [Statement(one.type, _trimmed(one.query)) for one in duckdb.extract_statements(text)]


def translated(text: str, read: str) -> str:
    """A text of another dialect in DuckDB's. Raises :class:`sord.Error`."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        return ";\n".join(sqlglot.transpile(text, read=read, write="duckdb"))
    except (SqlglotError, ValueError) as error:
        raise Error(f"cannot read this as {read}: {str(error).splitlines()[0]}") from error


def view_body(create_view: str) -> tuple[str, tuple[str, ...]] | None:
    """The query and the renamed columns of a CREATE VIEW."""
    from sqlglot import exp, parse_one
    from sqlglot.errors import SqlglotError

    try:
        tree = parse_one(create_view, read="duckdb")
    except SqlglotError:
        return None
    query = tree.args.get("expression")
    if not isinstance(tree, exp.Create) or query is None:
        return None
    columns = tree.this.expressions if isinstance(tree.this, exp.Schema) else []
    return query.sql("duckdb"), tuple(column.name for column in columns)


def _trimmed(text: str) -> str:
    encoded = text.encode()
    tokens = duckdb.tokenize(text)
    # Where tokens begin is counted in bytes; where they end isn't said.
    ends = [start for start, _ in tokens[1:]] + [len(encoded)]
    places = [
        (start, end)
        for (start, kind), end in zip(tokens, ends, strict=True)
        if kind != duckdb.token_type.comment
    ]
    while places and encoded[places[-1][0] : places[-1][1]].strip() == b";":
        places.pop()
    if not places:
        return text
    return encoded[places[0][0] : places[-1][1]].decode().strip()
