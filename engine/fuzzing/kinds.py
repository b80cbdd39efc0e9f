"""The kinds of values that random tables have: a type of DuckDB, some values, and what may be done with them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Kind:
    """A type with values as text that DuckDB casts to it; extreme ones are drawn for few columns only."""

    type: str
    values: tuple[str, ...]
    extremes: tuple[str, ...] = ()


Column = tuple[str, str]
"""A name, and the name of a kind."""

_SMALL: Final = ("0", "1", "2", "3", "4", "5", "7")
_SIGNED: Final = (*_SMALL, "-1", "-3", "97")
_STRINGS: Final = ("", "a", "b", "ab", "A", "abc", "b%", "1", "2", "é", "it's")

# Fractions are multiples of a quarter, so that sums of floats don't depend on their order. Intervals that compare
# equal are equal, for the same reason. Extremes have one sign: a sum overflows in every order or in none.
KINDS: Final[dict[str, Kind]] = {
    "int": Kind("INTEGER", (*_SIGNED, "194", "970"), ("2147483647",)),
    "big": Kind("BIGINT", (*_SIGNED, "-97", "194", "1000000000000"), ("9223372036854775807",)),
    "tiny": Kind("TINYINT", _SIGNED, ("127",)),
    "small": Kind("SMALLINT", (*_SIGNED, "194"), ("32767",)),
    "utiny": Kind("UTINYINT", (*_SMALL, "97"), ("255",)),
    "usmall": Kind("USMALLINT", (*_SMALL, "97"), ("65535",)),
    "uint": Kind("UINTEGER", (*_SMALL, "97"), ("4294967295",)),
    "ubig": Kind("UBIGINT", (*_SMALL, "97"), ("18446744073709551615",)),
    "huge": Kind("HUGEINT", (*_SIGNED, "20000000000000000000"), ("170141183460469231731687303715884105727",)),
    "dec": Kind("DECIMAL(9,2)", ("0", "1", "2", "2.50", "-1.25", "3", "97", "194"), ("9999999.99",)),
    "dec18": Kind("DECIMAL(18,4)", ("0", "1", "2.5", "-1.25", "97", "0.0001"), ("99999999999999.9999",)),
    "dec38": Kind(
        "DECIMAL(38,10)", ("0", "1", "2.5", "-1.25", "97"), ("9999999999999999999999999999.9999999999",)
    ),
    "flt": Kind("FLOAT", ("0", "-0.0", "1", "2.5", "-1.25", "NaN", "97", "0.25"), ("Infinity",)),
    "dbl": Kind("DOUBLE", ("0", "-0.0", "1", "2", "2.5", "-1.25", "3", "97", "NaN", "0.25"), ("Infinity",)),
    "bool": Kind("BOOLEAN", ("true", "false")),
    "str": Kind("VARCHAR", _STRINGS, ("x" * 200, "\U0001f986", " a")),
    "blob": Kind("BLOB", ("", "a", "\\x00", "\\xFF\\x00b", "ab")),
    "date": Kind(
        "DATE",
        ("1995-01-01", "1995-01-02", "1995-01-31", "1995-02-01", "1996-01-01", "1996-02-05"),
        ("0001-01-01", "9999-12-31"),
    ),
    "time": Kind("TIME", ("00:00:00", "01:30:00", "10:00:00.000001", "23:59:59")),
    "ts": Kind(
        "TIMESTAMP",
        ("1995-01-01 00:00:00", "1995-01-01 01:00:00", "1995-01-30 04:00:00", "1996-01-11 00:00:00.000001"),
    ),
    "tz": Kind(
        "TIMESTAMP WITH TIME ZONE",
        ("1995-01-01 00:00:00+00", "1995-01-01 01:00:00+02", "1995-07-01 12:00:00+00"),
    ),
    "ns": Kind(
        "TIMESTAMP_NS",
        ("1995-01-01 00:00:00.000000001", "1995-01-01 00:00:00.000000002", "1995-01-02 00:00:00"),
    ),
    "interval": Kind("INTERVAL", ("1 month", "2 days", "3 hours", "1 year 2 days", "0 days", "-5 days")),
    "uuid": Kind(
        "UUID",
        (
            "00000000-0000-0000-0000-000000000000",
            "00000000-0000-0000-0000-000000000001",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
        ),
    ),
    "enum": Kind("ENUM('a', 'b', 'abc', 'A')", ("a", "b", "abc", "A")),
    "list": Kind("INTEGER[]", ("[]", "[1]", "[1, 2]", "[2, 1]", "[1, NULL, 3]", "[NULL]", "[97, 97]")),
    "strlist": Kind("VARCHAR[]", ("[]", "[a]", "[a, b]", "[b, NULL]", "[abc]")),
    "struct": Kind(
        "STRUCT(a INTEGER, b VARCHAR)",
        ("{'a': 1, 'b': x}", "{'a': 1, 'b': y}", "{'a': NULL, 'b': x}", "{'a': 2, 'b': NULL}"),
    ),
    "map": Kind("MAP(VARCHAR, INTEGER)", ("{}", "{a=1}", "{a=1, b=2}", "{b=NULL}", "{a=2}")),
    "structs": Kind(
        "STRUCT(a INTEGER, b VARCHAR)[]",
        (
            "[]",
            "[NULL]",
            "[{'a': 1, 'b': x}]",
            "[{'a': NULL, 'b': y}, NULL]",
            "[{'a': 2, 'b': x}, {'a': 2, 'b': x}]",
        ),
    ),
    "lists": Kind("INTEGER[][]", ("[]", "[[]]", "[[1], [2, 3]]", "[NULL, [NULL, 97]]", "[[1, 1], NULL, []]")),
}

OTHER: Final = "other"
"""The kind of a column that is only handed on."""

INTEGERS: Final = ("int", "big", "tiny", "small", "utiny", "usmall", "uint", "ubig", "huge")
DECIMALS: Final = ("dec", "dec18", "dec38")
FLOATS: Final = ("flt", "dbl")
NUMBERS: Final = (*INTEGERS, *DECIMALS, *FLOATS)
COMMON: Final = ("int", "int", "big", "dec", "dbl", "str", "date", "bool")
"""The kinds that most expressions are of."""

FRAMES_ONLY: Final = ("huge", "interval", "enum")
"""Kinds that a Parquet file doesn't carry, or not as what they are."""

_BY_TYPE: Final = {kind.type: name for name, kind in KINDS.items()}


def kind_of(type_: str) -> str:
    """The kind of values of one of DuckDB's types; decimals of other widths count as one that is not smaller."""
    if type_.startswith("DECIMAL("):
        width = int(type_.removeprefix("DECIMAL(").partition(",")[0])
        return "dec" if width <= 9 else "dec18" if width <= 18 else "dec38"
    return _BY_TYPE.get(type_, OTHER)


def literal(rng: random.Random, kind: str) -> str:
    """A constant of a kind, now and then NULL."""
    if kind == OTHER or rng.random() < 0.02:
        return "NULL"
    known = KINDS[kind]
    if rng.random() < 0.03:
        return f"NULL::{known.type}"
    text = rng.choice(known.values)
    if kind in ("int", "big"):
        return text
    if kind == "bool":
        return text
    if kind == "dec" and "." in text:
        return text
    quoted = "'" + text.replace("'", "''") + "'"
    return quoted if kind == "str" else f"{quoted}::{known.type}"


def comparable(a: str, b: str) -> bool:
    """Whether `=` between the kinds is worth drawing."""
    if a in NUMBERS and b in NUMBERS:
        return True
    times = ("date", "ts", "ns")
    return a == b or (a in times and b in times) or {a, b} == {"str", "enum"}
