"""Small questions about, and changes of, sqlglot expressions over column ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from sqlglot import exp


def column(name: str) -> exp.Column:
    """A reference to a column id."""
    return exp.Column(this=exp.Identifier(this=name, quoted=True))


def typed(expression: exp.Expr, type_: str) -> exp.Expr:
    """The expression cast to a DuckDB type; as it is where the type is that of NULL alone, which can't be written."""
    return expression if type_ == '"NULL"' else exp.cast(expression, type_, dialect="duckdb", copy=False)


def references(*expressions: exp.Expr) -> set[str]:
    """The column ids that expressions use."""
    found: set[str] = set()
    for expression in expressions:
        if type(expression) is exp.Column:
            found.add(expression.name)
        else:
            found.update(node.name for node in expression.find_all(exp.Column))
    return found


def column_id(expression: exp.Expr) -> str | None:
    """The id, if the expression is nothing but a column."""
    return expression.name if type(expression) is exp.Column else None


def replace(expression: exp.Expr, change: Callable[[exp.Expr], exp.Expr | None]) -> exp.Expr:
    """A copy in which every topmost node for which ``change`` gives something is replaced by that."""
    changed = change(expression)
    if changed is not None:
        return changed.copy()
    result = expression.copy()
    stack = [result]
    while stack:
        node = stack.pop()
        for child in list(node.iter_expressions()):
            changed = change(child)
            if changed is None:
                stack.append(child)
            else:
                child.replace(changed.copy())
    return result


_LOOSE = (exp.Binary, exp.Not, exp.Unary, exp.Between, exp.In, exp.AtTimeZone)
"""What binds less than what may stand around it."""


def operand_of(expression: exp.Expr) -> exp.Expr:
    """A copy that may stand beside any operator: in parentheses where precedence needs them."""
    return exp.Paren(this=expression.copy()) if isinstance(expression, _LOOSE) else expression.copy()


def substitute(expression: exp.Expr, mapping: Mapping[str, exp.Expr]) -> exp.Expr:
    """A copy with columns replaced by expressions, parenthesised where precedence needs it."""
    if not mapping:
        return expression

    def change(node: exp.Expr) -> exp.Expr | None:
        if type(node) is exp.Column and node.name in mapping:
            return operand_of(mapping[node.name])
        return None

    return replace(expression, change)


def conjuncts(expression: exp.Expr | None) -> list[exp.Expr]:
    """The operands of nested ANDs, without needless parentheses; none for TRUE."""
    if expression is None or (isinstance(expression, exp.Boolean) and expression.this is True):
        return []
    if isinstance(expression, exp.Paren):
        return conjuncts(expression.this)
    if isinstance(expression, exp.And):
        return conjuncts(expression.left) + conjuncts(expression.right)
    return [expression]


def disjuncts(expression: exp.Expr) -> list[exp.Expr]:
    """The operands of nested ORs."""
    if isinstance(expression, exp.Paren):
        return disjuncts(expression.this)
    if isinstance(expression, exp.Or):
        return disjuncts(expression.left) + disjuncts(expression.right)
    return [expression]


def conjunction(expressions: Iterable[exp.Expr]) -> exp.Expr:
    """All of them ANDed; TRUE for none."""
    return _chain(exp.And, expressions, exp.true())


def disjunction(expressions: Iterable[exp.Expr]) -> exp.Expr:
    """All of them ORed; FALSE for none."""
    return _chain(exp.Or, expressions, exp.false())


def _chain(operator: type[exp.Expr], expressions: Iterable[exp.Expr], empty: exp.Expr) -> exp.Expr:
    result: exp.Expr | None = None
    for item in expressions:
        operand = item.copy()
        if isinstance(operand, (exp.Or, exp.And)):
            operand = exp.Paren(this=operand)
        result = operand if result is None else operator(this=result, expression=operand)
    return empty if result is None else result


def rejects_null(predicate: exp.Expr, ids: set[str]) -> bool:
    """Whether the predicate can't be true if all columns ``ids`` are NULL. False when in doubt."""
    if isinstance(predicate, exp.Paren):
        return rejects_null(predicate.this, ids)
    if isinstance(predicate, exp.And):
        return rejects_null(predicate.left, ids) or rejects_null(predicate.right, ids)
    if isinstance(predicate, exp.Or):
        return rejects_null(predicate.left, ids) and rejects_null(predicate.right, ids)
    if isinstance(predicate, exp.Not) and isinstance(predicate.this, exp.Is):
        inner = predicate.this
        return isinstance(inner.expression, exp.Null) and strict(inner.this, ids)
    if isinstance(predicate, (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.Like)):
        return strict(predicate.this, ids) or strict(predicate.expression, ids)
    if isinstance(predicate, exp.Between):
        return strict(predicate.this, ids)
    if isinstance(predicate, exp.In) and not predicate.args.get("query"):
        return strict(predicate.this, ids)
    return False


def strict(expression: exp.Expr, ids: set[str]) -> bool:
    """Whether the expression is NULL if all columns ``ids`` are. False when in doubt."""
    if type(expression) is exp.Column:
        return expression.name in ids
    if isinstance(expression, (exp.Paren, exp.Neg, exp.Cast)):
        return strict(expression.this, ids)
    if isinstance(expression, (exp.Add, exp.Sub, exp.Mul, exp.Div)):
        return strict(expression.this, ids) or strict(expression.expression, ids)
    return False
