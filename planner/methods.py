"""``methods``: ``x.f(y)`` to ``f(x, y)``, before names are resolved."""

from __future__ import annotations

from sqlglot import exp

from sord.planner.catalog import Unsupported

_SCHEMAS = frozenset(("main", "pg_catalog", "information_schema", "memory", "system", "temp"))
_AROUND = (
    exp.Func, exp.Binary, exp.Unary, exp.Bracket, exp.Case, exp.If, exp.Between, exp.In, exp.Slice, exp.Ordered,
    exp.Lambda, exp.Comprehension, exp.Window, exp.Where, exp.Distinct, exp.Tuple,
)  # fmt: skip
"""What operands stand in."""
_NAMES = ((exp.Lambda, "expressions"), (exp.Comprehension, "expression"), (exp.Comprehension, "position"),
          (exp.PropertyEQ, "this"), (exp.Window, "alias"))  # fmt: skip
"""Where in them a name isn't an operand."""


def methods(tree: exp.Expr) -> None:
    """Change ``tree`` in place. sqlglot makes bare identifiers of the columns that a method is called on."""
    found = [node for node in tree.find_all(exp.Dot) if isinstance(node.expression, exp.Func)]
    for dot in reversed(found):
        call = dot.expression
        if not isinstance(call, exp.Anonymous):
            raise Unsupported(f"the method {call.sql('duckdb')}")
        if isinstance(dot.this, exp.Identifier) and dot.this.name.lower() in _SCHEMAS:
            raise Unsupported(f"a function of the schema {dot.this.name}")
        for part in [part for part in dot.this.walk(prune=_is_name) if _is_name(part)]:
            if not _is_parameter(part):
                names = [identifier.copy() for identifier in part.find_all(exp.Identifier)]
                names = sorted(names, key=lambda name: name.meta.get("start", 0), reverse=True)
                part.replace(exp.Column(**dict(zip(("this", "table", "db", "catalog"), names, strict=False))))
        dot.replace(exp.Anonymous(this=call.this, expressions=[dot.this, *call.expressions]))


def _is_name(node: exp.Expr) -> bool:
    """Whether the node is an identifier, or several with dots between them, where an operand stands."""
    part = node
    while isinstance(part, exp.Dot) and isinstance(part.expression, exp.Identifier):
        part = part.this
    if not isinstance(part, exp.Identifier) or not isinstance(node.parent, _AROUND):
        return False
    return not any(isinstance(node.parent, kind) and node.arg_key == key for kind, key in _NAMES)


def _is_parameter(node: exp.Expr) -> bool:
    """Whether a lambda or a list comprehension around it calls its variable so."""
    first = next(iter(sorted(node.find_all(exp.Identifier), key=lambda name: name.meta.get("start", 0))))
    scope = node.find_ancestor(exp.Lambda, exp.Comprehension)
    while scope is not None:
        variables = [*scope.expressions, scope.args.get("expression"), scope.args.get("position")]
        if any(isinstance(v, exp.Identifier) and v.name.lower() == first.name.lower() for v in variables):
            return True
        scope = scope.find_ancestor(exp.Lambda, exp.Comprehension)
    return False
