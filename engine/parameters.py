"""Values for the placeholders of a query."""

from __future__ import annotations

import decimal
import math
import re
from collections.abc import Mapping, Sequence

import duckdb

from sord.errors import Error

_LINE = re.compile(r"^LINE (\d+):", re.MULTILINE)


def bind(
    database: duckdb.DuckDBPyConnection, text: str, params: Sequence[object] | Mapping[str, object]
) -> tuple[str, list[tuple[str, str]]]:
    """The text with ``?``, ``$1`` and ``$name`` replaced by literals, since fragments don't share a connection.

    Beside it the names and types of the result's columns, in which DuckDB shows the placeholders. Raises DuckDB's
    errors for values that are missing, too many, or of a type that it doesn't know.
    """
    described = database.execute(f"DESCRIBE {text}", params).fetchall()
    return _replaced(database, text, params), [(row[0], row[1]) for row in described]


def checked(
    database: duckdb.DuckDBPyConnection,
    text: str,
    params: Sequence[object] | Mapping[str, object] | None,
) -> str:
    """The text of a statement other than a query with its placeholders replaced, after DuckDB has bound it.

    Raises DuckDB's errors for a wrong statement or wrong values.
    """
    try:
        database.execute(f"EXPLAIN\n{text}", params).fetchall()
    except duckdb.Error as error:
        raise type(error)(_LINE.sub(lambda line: f"LINE {int(line[1]) - 1}:", str(error))) from None
    return text if params is None else _replaced(database, text, params)


def _replaced(
    database: duckdb.DuckDBPyConnection, text: str, params: Sequence[object] | Mapping[str, object]
) -> str:
    from sqlglot import TokenType, tokenize
    from sqlglot.errors import SqlglotError

    try:
        tokens = tokenize(text, read="duckdb")
    except SqlglotError as error:
        raise Error(f"cannot find the placeholders of this query: {str(error).splitlines()[0]}") from error
    pieces: list[str] = []
    done = position = 0
    for token, name in zip(tokens, [*tokens[1:], None], strict=True):
        if token.token_type == TokenType.PARAMETER and name is not None and name.start == token.end + 1:
            key, end = name.text, name.end + 1
        elif token.token_type in (TokenType.PLACEHOLDER, TokenType.QDCOLON):
            # "?::" is one token.
            position += 1
            key, end = str(position), token.start + 1
        else:
            continue
        value = params[key] if isinstance(params, Mapping) else params[int(key) - 1]
        pieces += [text[done : token.start], _literal(database, value)]
        done = end
    return "".join([*pieces, text[done:]])


def _literal(database: duckdb.DuckDBPyConnection, value: object) -> str:
    """SQL for a value, with spaces around it: it may stand between letters."""
    if value is None:
        return " NULL "
    if isinstance(value, bool):
        return f" {value!s} ".upper()
    if type(value) is int:
        return f" {value} " if value >= 0 else f" ({value}) "
    if type(value) is float and math.isfinite(value):
        # With an exponent, since DuckDB takes 1.5 for a DECIMAL.
        shown = repr(value) if "e" in repr(value) else f"{value!r}e0"
        return f" {shown} " if math.copysign(1, value) > 0 else f" ({shown}) "
    if isinstance(value, decimal.Decimal) and value.is_finite():
        return f" {value:f} " if value >= 0 else f" ({value:f}) "
    if type(value) is str:
        return f" {_quoted(value)} "
    if isinstance(value, (list, tuple)):
        return f" [{','.join(_literal(database, one) for one in value)}] "
    # DuckDB knows best what its types look like.
    shown, type_ = database.execute("SELECT CAST($1 AS VARCHAR), typeof($1)", [value]).fetchall()[0]
    return f" CAST({'NULL' if shown is None else _quoted(shown)} AS {type_}) "


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
