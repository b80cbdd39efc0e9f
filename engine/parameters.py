"""Values for the placeholders of a query."""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Mapping, Sequence

from sord.errors import Error


def with_parameters(text: str, params: Sequence[object] | Mapping[str, object]) -> str:
    """The text with ``?``, ``$1`` and ``$name`` replaced by literals, since fragments don't share a connection.

    Raises :class:`sord.Error` for a missing, unused or unsupported value.
    """
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        tree = sqlglot.parse_one(text, read="duckdb")
    except SqlglotError as error:
        raise Error(f"parameters need SQL that sqlglot can parse: {str(error).splitlines()[0]}") from error
    used: set[object] = set()
    position = 0
    for node in list(tree.find_all(exp.Placeholder, exp.Parameter, bfs=False)):
        name = node.name
        key: object
        if isinstance(params, Mapping):
            key = name
        elif name:
            key = int(name) - 1 if name.isdigit() else name
        else:
            key, position = position, position + 1
        used.add(key)
        try:
            value = params[key]  # type: ignore[index, call-overload]
        except (KeyError, IndexError, TypeError):
            raise Error(f"the query has a placeholder {node.sql('duckdb')} that params has no value for") from None
        node.replace(sqlglot.parse_one(_literal(value), read="duckdb"))
    given = set(params) if isinstance(params, Mapping) else set(range(len(params)))
    if given - used:
        raise Error(f"params has {len(given)} values, but the query uses {len(used)} of them")
    return tree.sql("duckdb")


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"CAST('{value!r}' AS DOUBLE)"
    if isinstance(value, decimal.Decimal):
        return f"{value:f}"
    if isinstance(value, bytes):
        return f"from_hex('{value.hex()}')"
    quoted = "'" + str(value).replace("'", "''") + "'"
    if isinstance(value, str):
        return quoted
    for kind, name in (
        (datetime.datetime, "TIMESTAMP"),
        (datetime.date, "DATE"),
        (datetime.time, "TIME"),
        (uuid.UUID, "UUID"),
    ):
        if isinstance(value, kind):
            zone = getattr(value, "tzinfo", None) is not None
            return f"CAST({quoted} AS {name}{'TZ' if zone else ''})"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_literal, value)) + "]"
    raise Error(f"a parameter of type {type(value).__name__} is not supported")
