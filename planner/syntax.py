"""Whether sqlglot has read a text as DuckDB does.

sqlglot knows many dialects and loses details of each. So its tree is rendered again, and DuckDB's own parser is
asked for the syntax trees of both texts: if they aren't the same, nothing is built on sqlglot's reading.
"""

from __future__ import annotations

import json
import re
from typing import Any

from sqlglot import exp

from sord.planner.catalog import Catalog, Unsupported
from sord.planner.fix_context import CONTEXT
from sord.planner.render import expression_sql

_POSITIONS = re.compile(r'"query_location(?:_length)?":\d+,?')
_FUNCTION = re.compile(r'"function_name":"((?:[^"\\]|\\.)*)"')
_UNIT = re.compile(r"\s*([+-]?\d+)\s+([a-z]+?)s?\s*", re.IGNORECASE)

_UNCHANGED = ("query_location", "query_location_length", "qualified_name", "syntax_type")
"""Parts of a syntax tree that say nothing about what is meant: where it stands, and which arrow a lambda has."""
_SAME = {"&&": "list_has_any", "datediff": "date_diff", "datesub": "date_sub", "datetrunc": "date_trunc",
         "datepart": "date_part", "array_concat": "list_concat", "array_cat": "list_concat",
         "^@": "starts_with", "->": "json_extract", "->>": "json_extract_string", "array_append": "list_append",
         "array_prepend": "list_prepend", "today": "current_date", "current_localtime": "localtime",
         "current_localtimestamp": "localtimestamp"}  # fmt: skip
"""Names of one function that DuckDB's catalog doesn't call aliases."""
_TYPES = {
    "bitstring": "bit", "int128": "hugeint", "text": "varchar", "string": "varchar", "char": "varchar",
    "bpchar": "varchar", "int": "integer", "int4": "integer", "signed": "integer", "int8": "bigint", "long": "bigint",
    "int2": "smallint", "short": "smallint", "int1": "tinyint", "bool": "boolean", "logical": "boolean",
    "real": "float", "float4": "float", "float8": "double", "numeric": "decimal", "dec": "decimal", "bytea": "blob",
    "binary": "blob", "varbinary": "blob", "timestamptz": "timestamp with time zone", "datetime": "timestamp",
}  # fmt: skip
_UNITS = {"dow": "dayofweek", "doy": "dayofyear", "isodow": "dayofweekiso"}
_ZERO = {"class": "CONSTANT", "type": "VALUE_CONSTANT", "literal": {"kind": "INTEGER", "text": "0"}}
_COMMA = {"class": "CONSTANT", "type": "VALUE_CONSTANT", "literal": {"kind": "STRING", "text": ","}}
_DECIMAL = [
    {"class": "CONSTANT", "type": "VALUE_CONSTANT", "literal": {"kind": "INTEGER", "text": text}}
    for text in ("18", "3")
]
"""The width and scale that a DECIMAL has by default."""
_NEGATED = {"OPERATOR_IS_NULL": "OPERATOR_IS_NOT_NULL", "COMPARE_NOT_DISTINCT_FROM": "COMPARE_DISTINCT_FROM"}
_LITERAL_TYPES = {"HEX": "blob", "BIT": "bit"}
_WITH_SPECIFIER = ("date_trunc", "date_part", "date_diff", "date_sub")
"""Functions whose first argument is a unit in any case."""


def check_reading(sql: str, tree: exp.Expr, catalog: Catalog) -> set[str]:
    """The functions that a text calls, in lower case. Raises Unsupported if ``tree`` isn't what DuckDB reads in it."""
    rendered = expression_sql(_as_written(tree))
    original, again = catalog.syntax(sql, rendered)
    if _POSITIONS.sub("", original) != _POSITIONS.sub("", again):
        difference = _difference(_Tree(catalog)(json.loads(original)), _Tree(catalog)(json.loads(again)))
        if difference is not None:
            start = difference.get("query_location")
            length = difference.get("query_location_length")
            encoded = sql.encode()
            where = encoded[start : start + length].decode() if start is not None and length else sql
            raise Unsupported(f"sqlglot reads {_short(where)} otherwise than DuckDB")
    return {name.lower() for name in _FUNCTION.findall(original)}


def _as_written(tree: exp.Expr) -> exp.Expr:
    """The tree with UNNESTs after commas as calls of a function, or else sqlglot writes them as JOIN … ON TRUE."""
    if not any(map(_is_after_comma, tree.find_all(exp.Unnest))):
        return tree
    result = tree.copy()
    for node in list(result.find_all(exp.Unnest)):
        if _is_after_comma(node):
            alias, offset = node.args.get("alias"), node.args.get("offset")
            if alias is not None and isinstance(offset, exp.Identifier):
                alias.append("columns", offset)
            call = exp.Anonymous(this="unnest", expressions=node.expressions)
            node.replace(exp.Table(this=call, alias=alias, ordinality=bool(offset)))
    return result


def _is_after_comma(node: exp.Unnest) -> bool:
    join = node.parent
    return isinstance(join, exp.Join) and not any(
        join.args.get(part) for part in ("side", "kind", "on", "using")
    )


class _Tree:
    """A syntax tree with one way to write what can be written in several."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.defaults: list[str | None] | None = None

    def __call__(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self(part) for part in node]
        if not isinstance(node, dict):
            return node
        result = {key: self(value) for key, value in node.items()}
        kind = node.get("type")
        if (
            kind == "COLUMN_REF"
            and len(node["column_names"]) == 1
            and node["column_names"][0].lower() in CONTEXT
        ):
            name = result.pop("column_names")[0].lower()
            return self.function({**result, "class": "FUNCTION", "type": "FUNCTION", "function_name": name})
        if kind == "FUNCTION":
            return self.function(result)
        if "null_order" in node:
            return self.ordered(result)
        if kind is not None and kind.startswith("WINDOW_") and "function_name" in node:
            known = self.catalog.function(node["function_name"])
            return {**result, "function_name": known.name if known is not None else node["function_name"]}
        if kind == "LAMBDA" and node.get("syntax_type") == "SINGLE_ARROW":
            # Not a lambda: j -> 'a'.
            _json_path(result["expr"])
        if kind == "SUBQUERY":
            return _bare_values(result)
        if kind == "TYPE":
            name = node["type_name"].lower()
            name = result["type_name"] = _TYPES.get(name, name)
            if name == "varchar" and all("literal" in child for child in result.get("children", ())):
                result.pop("children", None)  # a length, which DuckDB ignores
            elif name == "decimal":
                result.setdefault("children", _DECIMAL)
        elif kind == "OPERATOR_NOT" and result["children"][0].get("type") in _NEGATED:
            child = result["children"][0]
            alias = {"alias": result["alias"]} if "alias" in result else {}
            return {**child, "type": _NEGATED[child["type"]], **alias}
        elif kind == "OPERATOR_CAST":
            return _interval(result) or result
        elif kind == "VALUE_CONSTANT" and node.get("literal", {}).get("kind") in _LITERAL_TYPES:
            return _cast_literal(result)
        elif kind == "VALUE_CONSTANT" and "literal" in node and node["literal"].get("kind") != "STRING":
            result["literal"] = {**node["literal"], "text": node["literal"].get("text", "").replace("_", "")}
        return result

    def ordered(self, item: dict[str, Any]) -> dict[str, Any]:
        """An item of ORDER BY: sqlglot leaves out what DuckDB does by default, if no setting says otherwise."""
        if self.defaults is None:
            asked = ("current_setting('default_order')", "current_setting('default_null_order')")
            self.defaults = [value for value, _ in self.catalog.evaluate(asked)]
        if item["type"] == "ORDER_DEFAULT" and self.defaults[0] == "ASCENDING":
            item["type"] = "ASCENDING"
        if item["null_order"] == "ORDER_DEFAULT" and self.defaults[1] == "NULLS_LAST":
            item["null_order"] = "NULLS LAST"
        return item

    def function(self, node: dict[str, Any]) -> dict[str, Any]:
        known = self.catalog.function(node["function_name"])
        name = known.name if known is not None else node["function_name"]
        name = _SAME.get(name, name)
        node["function_name"] = name
        node.pop("is_operator", None)
        if node.get("order_bys") == {"type": "ORDER_MODIFIER"}:
            del node["order_bys"]
        arguments = node.get("arguments", [])
        if name == "if" and len(arguments) == 3:
            when, then, other = (argument["expression"] for argument in arguments)
            return {
                "class": "CASE", "type": "CASE_EXPR", "case_checks": [{"when_expr": when, "then_expr": then}],
                "else_expr": other,
            }  # fmt: skip
        if name in _WITH_SPECIFIER and arguments:
            literal = arguments[0]["expression"].get("literal")
            if literal is not None:
                unit = literal["text"].lower()
                literal["text"] = _UNITS.get(unit, unit)
        if name in ("json_extract", "json_extract_string") and len(arguments) == 2:
            _json_path(arguments[1]["expression"])
        if name in ("bool_and", "bool_or") and arguments and _is_boolean(arguments[0]["expression"]):
            # sqlglot writes the cast that DuckDB makes by itself.
            arguments[0]["expression"] = arguments[0]["expression"]["child"]
        if name in ("range", "generate_series") and len(arguments) == 1:
            arguments.insert(0, {"expression": _ZERO})
        orders = node.get("order_bys", {}).get("orders", [])
        if name in ("quantile_cont", "quantile_disc") and len(arguments) == len(orders) == 1:
            # What WITHIN GROUP orders by is what sqlglot writes as the first argument.
            arguments.insert(0, {"expression": orders[0]["expression"]})
        if name == "string_agg" and len(arguments) == 1:
            arguments.append({"expression": _COMMA})
        if name.startswith("to_") and len(arguments) == 1:
            # INTERVAL '3' DAY is to_days(CAST(trunc(CAST('3' AS DOUBLE)) AS INTEGER)).
            amount = arguments[0]["expression"]
            while "child" in amount or amount.get("function_name") == "trunc":
                amount = amount.get("child") or amount["arguments"][0]["expression"]
            text = amount.get("literal", {}).get("text", "")
            if re.fullmatch(r"[+-]?\d+", text):
                return {"type": "INTERVAL", "amount": int(text), "unit": name[len("to_") :].rstrip("s")}
        return node


def _is_boolean(node: dict[str, Any]) -> bool:
    return node.get("type") == "OPERATOR_CAST" and node["type_expr"].get("type_name") == "boolean"


def _json_path(node: dict[str, Any]) -> None:
    """Write a key or an index as the path that it stands for."""
    literal = node.get("literal", {})
    text = str(literal.get("text", ""))
    if literal.get("kind") == "INTEGER":
        literal.update(kind="STRING", text=f"$[{text}]")
    elif literal.get("kind") == "STRING" and re.fullmatch(r"[\w .-]+", text, re.ASCII):
        literal["text"] = "$." + text if re.fullmatch(r"[^\W\d]\w*", text) else f'$."{text}"'


def _cast_literal(node: dict[str, Any]) -> dict[str, Any]:
    """x'AB' as '\\xAB'::BLOB, and B'01' as '01'::BIT."""
    kind, text = node["literal"]["kind"], node["literal"].get("text", "")
    if kind == "HEX":
        text = re.sub("..", lambda pair: rf"\x{pair[0]}", text)
    alias = {"alias": node["alias"]} if "alias" in node else {}
    constant = {"class": "CONSTANT", "type": "VALUE_CONSTANT", "literal": {"kind": "STRING", "text": text}}
    type_ = {"class": "TYPE", "type": "TYPE", "type_name": _LITERAL_TYPES[kind]}
    return {"class": "CAST", "type": "OPERATOR_CAST", "child": constant, "type_expr": type_, **alias}


def _bare_values(subquery: dict[str, Any]) -> dict[str, Any]:
    """VALUES, which sqlglot writes as a derived table of all of its columns."""
    inner = subquery["subquery"]["node"]
    source = inner.get("from_table", {})
    if subquery.get("alias") == "_values" and source.get("type") == "EXPRESSION_LIST":
        return dict(source)
    return subquery


def _interval(cast: dict[str, Any]) -> dict[str, Any] | None:
    """INTERVAL '3 days', as INTERVAL 3 DAY is written in the tree."""
    literal = cast["child"].get("literal", {})
    to = cast.get("type_expr", {}).get("type_name")
    match = (
        _UNIT.fullmatch(literal.get("text", ""))
        if to == "interval" and literal.get("kind") == "STRING"
        else None
    )
    if match is None:
        return None
    unit = match[2].lower().rstrip("s")
    return {"type": "INTERVAL", "amount": int(match[1]), "unit": {"century": "centurie"}.get(unit, unit)}


def _difference(ours: Any, theirs: Any) -> dict[str, Any] | None:
    """The smallest part of the first tree with a position that isn't in the second; None if they are the same."""
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = (_difference(*pair) for pair in zip(ours, theirs, strict=True))
        return next((found for found in pairs if found is not None), None)
    if not isinstance(ours, dict) or not isinstance(theirs, dict):
        return None if ours == theirs else {}
    for key in {**ours, **theirs}:
        found = None if key in _UNCHANGED else _difference(ours.get(key), theirs.get(key))
        if found is not None:
            return found if "query_location" in found else ours
    return None


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "..."
