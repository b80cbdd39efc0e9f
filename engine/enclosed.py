"""Statements around a query: where it begins and ends in CREATE TABLE … AS, INSERT INTO …, COPY … TO, SUMMARIZE.

Texts are cut, not rendered: all but the query stays as the user wrote it. What isn't surely understood gives None,
and DuckDB executes the statement as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sqlglot.tokenizer_core import Token

_QUERIES = ("SELECT", "WITH", "FROM", "(", "PIVOT", "UNPIVOT")
"""How a query begins that is worth a fleet."""


class Enclosed(NamedTuple):
    """A statement, cut where its query stands."""

    before: str
    query: str
    after: str
    creates: str = ""
    """The table that must not exist yet."""


class Copy(NamedTuple):
    """COPY … TO a path."""

    query: str
    path: str
    options: Mapping[str, str]
    """As they are written, by lower-case name; the value may be empty."""
    tail: str = ""
    """From TO on."""


def enclosed(text: str) -> Enclosed | None:
    """The query in a CREATE TABLE … AS, an INSERT or a SUMMARIZE."""
    tokens = _tokens(text)
    words = _words(tokens)
    if not words:
        return None
    if words[0] == "SUMMARIZE":
        return _cut(text, tokens, 1, len(tokens)) if words[1:2] and words[1] in _QUERIES else None
    creates = ""
    if words[0] == "CREATE":
        table = _created(words)
        start = None if table is None else _after_table(tokens, words, table)
        if table is not None and start is not None and words[1] != "OR":
            last = _table(tokens, words, table)
            assert last is not None
            creates = text[tokens[table].start : tokens[last - 1].end + 1]
    elif words[0] == "INSERT":
        start = _after_insert(tokens, words)
    else:
        return None
    if start is None or start >= len(tokens) or words[start] not in _QUERIES:
        return None
    end = len(tokens)
    if words[-2:] == ["WITH", "DATA"]:
        end -= 2
    elif words[-3:] == ["WITH", "NO", "DATA"]:
        # Nothing to compute.
        return None
    if words[0] == "INSERT":
        depth = 0
        for position in range(start, len(tokens)):
            depth += (words[position] == "(") - (words[position] == ")")
            conflict = words[position : position + 2] == ["ON", "CONFLICT"]
            if depth == 0 and (conflict or words[position] == "RETURNING"):
                end = position
                break
    return _cut(text, tokens, start, end)._replace(creates=creates)


def copy_to(text: str) -> Copy | None:
    """What a COPY … TO 'path' says."""
    tokens = _tokens(text)
    words = _words(tokens)
    if len(tokens) < 4 or words[0] != "COPY":
        return None
    if words[1] == "(":
        end = _closing(words, 1)
        if end is None or words[2] not in (*_QUERIES, "VALUES", "DESCRIBE", "SHOW", "SUMMARIZE"):
            return None
        query = text[tokens[2].start : tokens[end - 1].end + 1]
        position = end + 1
    else:
        found = _table(tokens, words, 1)
        if found is None:
            return None
        name, position = text[tokens[1].start : tokens[found - 1].end + 1], found
        columns = "*"
        if words[position : position + 1] == ["("]:
            end = _closing(words, position)
            if end is None:
                return None
            columns = text[tokens[position].end + 1 : tokens[end].start]
            position = end + 1
        query = f"SELECT {columns} FROM {name}"
    if words[position : position + 1] != ["TO"] or position + 1 >= len(tokens):
        return None
    target = tokens[position + 1]
    if target.token_type.name != "STRING":
        return None
    options = _options(text, tokens, words, position + 2)
    return None if options is None else Copy(query, target.text, options, text[tokens[position].start :])


def _options(text: str, tokens: list[Token], words: list[str], position: int) -> dict[str, str] | None:
    if words[position : position + 1] == ["WITH"]:
        position += 1
    if position == len(tokens):
        return {}
    if words[position] != "(" or _closing(words, position) != len(tokens) - 1:
        return None
    options: dict[str, str] = {}
    start, depth = position + 1, 0
    for place in range(start, len(tokens)):
        depth += (words[place] in ("(", "[", "{")) - (words[place] in (")", "]", "}"))
        if (words[place] == "," and depth == 0) or depth < 0:
            if start == place:
                return None
            name = tokens[start].text.lower()
            value = text[tokens[start].end + 1 : tokens[place].start].strip()
            if name in options:
                return None
            options[name] = value
            start = place + 1
    return options


def _created(words: list[str]) -> int | None:
    """Where the name of the table in a CREATE TABLE begins."""
    position = 1
    if words[position : position + 2] == ["OR", "REPLACE"]:
        position += 2
    if words[position : position + 1] in (["TEMP"], ["TEMPORARY"]):
        position += 1
    if words[position : position + 1] != ["TABLE"]:
        return None
    position += 1
    if words[position : position + 3] == ["IF", "NOT", "EXISTS"]:
        position += 3
    return position


def _after_table(tokens: list[Token], words: list[str], position: int) -> int | None:
    """Where the query of a CREATE TABLE … AS begins, given where the table's name does."""
    found = _table(tokens, words, position)
    if found is not None and words[found : found + 1] == ["("]:
        end = _closing(words, found)
        found = None if end is None else end + 1
    return found + 1 if found is not None and words[found : found + 1] == ["AS"] else None


def _after_insert(tokens: list[Token], words: list[str]) -> int | None:
    """Where the query of an INSERT begins."""
    position = 1
    if words[position : position + 1] == ["OR"]:
        position += 2
    if words[position : position + 1] != ["INTO"]:
        return None
    found = _table(tokens, words, position + 1)
    if found is None:
        return None
    if words[found : found + 1] == ["AS"]:
        found += 2
    if (
        words[found : found + 1] == ["("]
        and words[found + 1 : found + 2]
        and words[found + 1] not in _QUERIES
    ):
        end = _closing(words, found)
        if end is None:
            return None
        found = end + 1
    if words[found : found + 1] == ["BY"]:
        found += 2
    return found


def _table(tokens: list[Token], words: list[str], position: int) -> int | None:
    """The position after a table's name of one to three parts; a path in quotes isn't one."""
    for _ in range(3):
        if position >= len(tokens) or not _is_name(tokens[position]):
            return None
        position += 1
        if words[position : position + 1] != ["."]:
            return position
        position += 1
    return None


def _is_name(token: Token) -> bool:
    return token.token_type.name == "IDENTIFIER" or (token.text[:1].isalpha() or token.text[:1] == "_")


def _plain(token: Token) -> bool:
    return token.token_type.name not in ("IDENTIFIER", "STRING")


def _closing(words: list[str], position: int) -> int | None:
    """Where the parenthesis at ``position`` is closed."""
    depth = 0
    for place in range(position, len(words)):
        depth += (words[place] == "(") - (words[place] == ")")
        if depth == 0:
            return place
    return None


def _cut(text: str, tokens: list[Token], start: int, end: int) -> Enclosed:
    # To the end of the last token: a comment behind it could hide what follows the query.
    first, last = tokens[start].start, tokens[end - 1].end + 1
    return Enclosed(text[:first], text[first:last], "\n" + text[last:])


def _words(tokens: list[Token]) -> list[str]:
    """What tokens say, in upper case; strings and quoted names say nothing."""
    return [token.text.upper() if _plain(token) else "" for token in tokens]


def _tokens(text: str) -> list[Token]:
    from sqlglot import tokenize
    from sqlglot.errors import SqlglotError

    try:
        return tokenize(text, read="duckdb")
    except SqlglotError:
        return []
