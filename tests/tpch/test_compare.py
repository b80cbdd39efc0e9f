"""A wrong answer is found, whatever is wrong about it, and a right one is not suspected."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest

from sord.tpch.compare import Answer, differences, reference_differences, within_specification


def answer(rows: list[tuple[Any, ...]], columns: str = "name total", types: str = "VARCHAR DOUBLE") -> Answer:
    return Answer(tuple(columns.split()), tuple(types.split()), rows)


RIGHT = answer([("a", 1.0), ("b", 2.0), ("c", math.nan), ("d", None)])


def test_the_same_answer_is_right() -> None:
    assert differences(RIGHT, answer(list(RIGHT.rows)), ["name"]) == []


def test_rows_may_come_in_any_order_without_an_order() -> None:
    assert differences(answer(RIGHT.rows[::-1]), RIGHT) == []


def test_the_last_digits_of_a_float_may_differ() -> None:
    rows = [("a", 1.0 + 1e-12), *RIGHT.rows[1:]]
    assert differences(answer(rows), RIGHT, ["name"]) == []


def test_ties_may_come_in_any_order() -> None:
    expected = answer([("a", 1.0), ("a", 2.0), ("b", 3.0)])
    assert differences(answer([("a", 2.0), ("a", 1.0), ("b", 3.0)]), expected, ["name"]) == []


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (answer([("a", 1.0 + 1e-7), *RIGHT.rows[1:]]), "row 0"),
        (answer([("A", 1.0), *RIGHT.rows[1:]]), "row 0"),
        (answer([("a", None), *RIGHT.rows[1:]]), "row 0"),
        (answer(RIGHT.rows[:3]), "3 rows, expected 4"),
        (answer([*RIGHT.rows, ("d", None)]), "5 rows, expected 4"),
        (answer([RIGHT.rows[0], RIGHT.rows[0], *RIGHT.rows[2:]]), "row 1"),
        (answer(RIGHT.rows[::-1]), "the order is wrong"),
        (answer(RIGHT.rows, columns="name sum"), "the columns are"),
        (answer(RIGHT.rows, types="VARCHAR FLOAT"), "the types are"),
    ],
    ids=["value", "string", "null", "missing", "extra", "doubled", "order", "name", "type"],
)
def test_a_fault_is_found(wrong: Answer, fault: str) -> None:
    (found,) = differences(wrong, RIGHT, ["name"])
    assert fault in found


def test_decimals_and_integers_are_exact() -> None:
    expected = answer([(1, Decimal("1.0000000001"))], types="BIGINT DECIMAL(38,10)")
    assert differences(answer([(1, Decimal("1.0000000002"))], types="BIGINT DECIMAL(38,10)"), expected)


@pytest.mark.parametrize(
    ("kind", "value", "valid", "within"),
    [
        ("exact", 5, 5, True),
        ("exact", 5, 6, False),
        ("exact", "a", "a", True),
        ("sum", Decimal("1100.00"), Decimal("1000.00"), True),
        ("sum", Decimal("1100.01"), Decimal("1000.00"), False),
        ("average", 25.52, 25.522005853257337, True),
        ("average", 25.78, 25.522005853257337, False),
        ("average", 0.0499, 0.049985295838397614, True),
        ("ratio", 16.54, 16.380778626395539, True),
        ("ratio", 16.55, 16.380778626395539, False),
        ("ratio", -16.54, -16.380778626395539, True),
        ("ratio", None, 1.0, False),
        ("sum", None, None, True),
    ],
)
def test_the_rounding_rules_of_the_specification(kind: Any, value: Any, valid: Any, within: bool) -> None:
    assert within_specification(kind, value, valid) is within


def test_reference_answers_follow_the_rounding_rules_column_by_column() -> None:
    reference = answer([("a", 1000.0), ("b", 2000.0)])
    near = answer([("a", 1050.0), ("b", 1950.0)])
    assert reference_differences(near, reference, {"total": "sum"}, ["name"]) == []
    (fault,) = reference_differences(near, reference, {}, ["name"])
    assert "row 0: total is 1050.0" in fault
    assert reference_differences(answer(near.rows[::-1]), reference, {"total": "sum"}, ["name"])
