"""``read``: a text to sqlglot's tree of it, by the tokens that it takes for what DuckDB does.

sqlglot's parser knows some functions by what they mean elsewhere, and some literals not at all. Its tokens are
changed before it parses: that needs no parser of our own. ``syntax.check_reading`` decides what is right.
"""

from __future__ import annotations

import re

from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.tokenizer_core import Token, TokenType

from sord.planner.catalog import Unsupported

_DIALECT = DuckDB()
_KEPT = frozenset((
    "date_add", "decode", "get_current_time", "jaro_winkler_similarity", "json_extract", "json_extract_path",
    "json_extract_path_text", "json_extract_string", "log10", "log2",
))  # fmt: skip
"""Functions that sqlglot would write as something else."""
_MARK = "\0"
"""What a name begins with that the parser shall not know."""
_PLAIN_INTERVAL = re.compile(r"\s*[+-]?\d+\s+[a-z]+\s*", re.IGNORECASE)


def read(sql: str) -> exp.Expr:
    """The tree of the first statement. Raises sqlglot's errors for what it can't parse."""
    tokens = _changed(_DIALECT.tokenize(sql))
    tree = next(iter(_DIALECT.parser().parse(tokens, sql)), None)
    if tree is None:
        raise Unsupported("sqlglot finds no statement")
    if any(token.text.startswith(_MARK) for token in tokens):
        for node in tree.find_all(exp.Anonymous, exp.Identifier):
            if node.this.startswith(_MARK):
                node.set("this", node.this[len(_MARK) :])
    return tree


def _changed(tokens: list[Token]) -> list[Token]:
    result: list[Token] = []
    for token, next_ in zip(tokens, [*tokens[1:], None], strict=True):
        last = result[-1] if result else None
        adjacent = last is not None and last.end + 1 == token.start
        kind = token.token_type
        if kind == TokenType.VAR and next_ is not None and next_.token_type == TokenType.L_PAREN:
            if token.text.lower() in _KEPT:
                token = _like(token, kind, _MARK + token.text)
        elif kind == TokenType.NUMBER and adjacent and _begins_number(result):
            # .5 has another type than 0.5.
            token = _like(token, kind, "." + token.text)
            result.pop()
        elif kind == TokenType.STRING and adjacent and last is not None and last.text.lower() in ("x", "b"):
            if last.token_type == TokenType.VAR:
                result.pop()
                bits = last.text.lower() == "b"
                text = token.text if bits else re.sub("..", lambda pair: rf"\x{pair[0]}", token.text)
                result += _cast(_like(token, kind, text), TokenType.BIT if bits else TokenType.VARBINARY)
                continue
        elif kind == TokenType.STRING and last is not None and last.token_type == TokenType.INTERVAL:
            # sqlglot takes other texts apart, and loses parts of them.
            alone = next_ is None or next_.token_type not in (TokenType.VAR, TokenType.IDENTIFIER)
            if alone and not _PLAIN_INTERVAL.fullmatch(token.text):
                result.pop()
                result += _cast(token, TokenType.INTERVAL)
                continue
        result.append(token)
    return result


def _begins_number(tokens: list[Token]) -> bool:
    """Whether a dot at the end belongs to the number after it: in t.1 and in 1..2 it doesn't."""
    if tokens[-1].token_type != TokenType.DOT:
        return False
    return len(tokens) == 1 or tokens[-2].end + 1 < tokens[-1].start or tokens[-2].text in (
        "(", ",", "[", ":", "+", "-", "*", "/", "<", ">", "=", "%", "<=", ">=",
    )  # fmt: skip


def _cast(token: Token, to: TokenType) -> list[Token]:
    """The tokens of ``token::type``."""
    return [token, _like(token, TokenType.DCOLON, "::"), _like(token, to, to.name)]


def _like(token: Token, kind: TokenType, text: str) -> Token:
    return Token(kind, text, token.line, token.col, token.start, token.end, token.comments)
