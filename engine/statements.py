"""SQL texts: the statements in them, and texts in other dialects."""

from __future__ import annotations

import re
from typing import NamedTuple

import duckdb

from sord.errors import Error

NAME = r'(?:"(?:[^"]|"")+"|\w+)'
"""One part of a name, quoted or not."""
_ANALYZE = re.compile(
    rf"(?:VACUUM\s+)?ANALYZE(?:\s+(?P<table>{NAME}(?:\.{NAME})*)\s*(?:\((?P<columns>[^()]*)\))?)?\s*",
    re.IGNORECASE,
)


class Statement(NamedTuple):
    """One statement, without the semicolon at its end and the comments around it."""

    kind: duckdb.StatementType
    text: str


def split(text: str) -> list[Statement]:
    """The statements of a text. Raises DuckDB's error for what it can't parse."""
    return [Statement(one.type, _trimmed(one.query)) for one in duckdb.extract_statements(text)]


def analyzed(statement: Statement) -> tuple[tuple[str, ...], list[str]] | None:
    """The table's name (empty: all of them) and the columns of an ANALYZE; None if it is another statement."""
    match = _ANALYZE.fullmatch(statement.text) if statement.kind == duckdb.StatementType.VACUUM else None
    if match is None:
        return None
    name = tuple(map(unquoted, re.findall(NAME, match["table"] or "")))
    return name, [unquoted(column) for column in re.findall(NAME, match["columns"] or "")]


def unquoted(name: str) -> str:
    """A part of a name without quotes."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


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
    query = _after_as(create_view)
    if not isinstance(tree, exp.Create) or query is None:
        return None
    columns = tree.this.expressions if isinstance(tree.this, exp.Schema) else []
    return query, tuple(column.name for column in columns)


def _after_as(text: str) -> str | None:
    """What follows the first AS outside of parentheses: the query of a view, as it is written."""
    from sqlglot import TokenType, tokenize

    depth = 0
    for token in (tokens := tokenize(text, read="duckdb")):
        depth += (token.token_type == TokenType.L_PAREN) - (token.token_type == TokenType.R_PAREN)
        if token.token_type == TokenType.ALIAS and depth == 0:
            last = tokens[-2] if tokens[-1].token_type == TokenType.SEMICOLON else tokens[-1]
            return text[token.end + 1 : last.end + 1].strip()
    return None


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
