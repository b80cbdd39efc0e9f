"""Macros that users have defined, replaced in a query's text by what they stand for: workers know none of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import duckdb

if TYPE_CHECKING:
    from sqlglot.tokenizer_core import Token

_CALLS = 200
"""So many are replaced at most: a macro may call others."""


class Macro(NamedTuple):
    """One overload of a macro."""

    name: str
    parameters: tuple[str, ...]
    body: str
    """As DuckDB writes it."""


def macros(database: duckdb.DuckDBPyConnection) -> list[Macro]:
    """The macros that users have defined."""
    rows = database.execute(
        "SELECT lower(function_name), parameters, macro_definition "
        "FROM duckdb_functions() WHERE NOT internal AND function_type LIKE '%macro%'"
    ).fetchall()
    return [Macro(name, tuple(map(str.lower, parameters)), body) for name, parameters, body in rows]


def inlined(text: str, known: Sequence[Macro]) -> str | None:
    """The text without calls of macros, as DuckDB itself replaces them; None if that isn't sure.

    DuckDB knows nothing of hygiene: a name in an argument means what it means where the macro's body has it. Whoever
    asks has to compare the plans of both texts, which tells whether they are the same query.
    """
    for _ in range(_CALLS):
        tokens = _tokens(text)
        place = next((p for p in range(len(tokens)) if _is_call(tokens, p, known)), None)
        if place is None:
            return text
        end = _closing(tokens, place + 1)
        if end is None or (place and tokens[place - 1].text == "."):
            return None
        arguments = _arguments(text, tokens, place + 2, end)
        named = [one for one in known if one.name == tokens[place].text.lower()]
        fitting = [one for one in named if len(one.parameters) == len(arguments)]
        if len(fitting) != 1:
            return None
        body = _body(fitting[0], arguments)
        if body is None:
            return None
        text = f"{text[: tokens[place].start]}({body}){text[tokens[end].end + 1 :]}"
    return None


def _is_call(tokens: list[Token], place: int, known: Sequence[Macro]) -> bool:
    following = tokens[place + 1].text if place + 1 < len(tokens) else ""
    return following == "(" and _is_word(tokens[place]) and any(
        macro.name == tokens[place].text.lower() for macro in known
    )  # fmt: skip


def _arguments(text: str, tokens: list[Token], start: int, end: int) -> list[tuple[str, str]]:
    """The (name or nothing, text) of each argument between two places."""
    found: list[tuple[str, str]] = []
    depth, first = 0, start
    for place in range(start, end + 1):
        depth += (tokens[place].text in ("(", "[", "{")) - (tokens[place].text in (")", "]", "}"))
        if (depth == 0 and tokens[place].text == "," and _is_mark(tokens[place])) or place == end:
            if place == first:
                break
            named = tokens[first + 1].text == ":=" if first + 1 < place else False
            name = tokens[first].text.lower() if named else ""
            begin = tokens[first + 2 if named else first].start
            found.append((name, text[begin : tokens[place - 1].end + 1]))
            first = place + 1
    return found


def _body(macro: Macro, arguments: list[tuple[str, str]]) -> str | None:
    """The macro's body with arguments for parameters."""
    values: dict[str, str] = {}
    for position, (name, value) in enumerate(arguments):
        parameter = name or macro.parameters[position]
        if parameter not in macro.parameters or parameter in values:
            return None
        values[parameter] = value
    tokens = _tokens(macro.body)
    pieces: list[str] = []
    done = 0
    for place, token in enumerate(tokens):
        word = token.text.lower()
        if word in ("lambda", "->"):
            # Its parameters may hide the macro's.
            return None
        if word not in values or not _is_word(token):
            continue
        before = tokens[place - 1].text if place else ""
        after = tokens[place + 1].text if place + 1 < len(tokens) else ""
        if "." in (before, after):
            return None
        if after in ("(", ":=") or before.upper() == "AS":
            continue
        pieces += [macro.body[done : token.start], f"({values[word]})"]
        done = token.end + 1
    return "".join((*pieces, macro.body[done:]))


def _closing(tokens: list[Token], place: int) -> int | None:
    """Where the parenthesis at ``place`` is closed."""
    depth = 0
    for position in range(place, len(tokens)):
        if _is_mark(tokens[position]):
            depth += (tokens[position].text == "(") - (tokens[position].text == ")")
        if depth == 0:
            return position
    return None


def _is_mark(token: Token) -> bool:
    return token.token_type.name not in ("STRING", "IDENTIFIER")


def _is_word(token: Token) -> bool:
    return token.token_type.name != "STRING"


def _tokens(text: str) -> list[Token]:
    from sqlglot import tokenize
    from sqlglot.errors import SqlglotError

    try:
        return tokenize(text, read="duckdb")
    except SqlglotError:
        return []
