"""Plans to DuckDB SQL. Ids are unique in a plan, so no column needs a qualifier and ``*`` is safe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import ErrorLevel

from sord.planner.catalog import Table
from sord.planner.logical import (
    Aggregate,
    Apply,
    AssertOneRow,
    Exchange,
    Filter,
    Join,
    Output,
    Plan,
    Project,
    Scan,
    SetOperation,
    SharedRef,
    Sort,
    Stage,
    Unnest,
    Values,
    Window,
    With,
)

_DIALECT = DuckDB()


def render(
    plan: Plan,
    source: Callable[[Scan], str] | None = None,
    builds_left: Callable[[Join], bool] | None = None,
) -> str:
    """The plan as one SELECT. Exchanges are transparent.

    ``source`` gives the FROM item of a scan (the whole table by default). DuckDB builds its hash table on the
    right input of a join that it doesn't reorder; ``builds_left`` says for which semi and anti joins that
    would be the much larger one. Their right input is reduced to the left's keys first.
    """
    return _Renderer(source or whole_table, builds_left).select(plan)


def expression_sql(expression: exp.Expr) -> str:
    """An expression in DuckDB's dialect."""
    if type(expression) is exp.Column:
        return quote(expression.name)
    return _DIALECT.generate(expression, comments=False, unsupported_level=ErrorLevel.IGNORE)


def quote(name: str) -> str:
    """A quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string literal."""
    return "'" + text.replace("'", "''") + "'"


def whole_table(scan: Scan) -> str:
    """The FROM item that reads all of a table."""
    if scan.table.files is None:
        return scan.table.reference or quote(scan.table.name)
    return read_files(scan.table, [file.path for file in scan.table.files])


def read_files(table: Table, paths: Sequence[str], extra: str = "") -> str:
    """The FROM item that reads ``paths`` with the table's own options and ``extra`` ones.

    Files that are there only to say what the names and types are DuckDB leaves out before it reads any.
    """
    mine = set(paths)
    shown = [path for path in table.binding if path not in mine]
    first = set(table.binding)
    listed = [*table.binding, *(path for path in paths if path not in first)]
    source = f"{table.function}([{', '.join(map(literal, listed))}]{table.options}{extra})"
    if not shown:
        return source
    return (
        f"(SELECT * FROM {source} WHERE {quote(table.file_column)} NOT IN ({', '.join(map(literal, shown))}))"
    )


class _Renderer:
    def __init__(self, source: Callable[[Scan], str], builds_left: Callable[[Join], bool] | None) -> None:
        self.source = source
        self.builds_left = builds_left
        self.reduced = 0

    def select(self, plan: Plan) -> str:
        if isinstance(plan, With):
            parts = (
                f"{quote(name)} AS MATERIALIZED ({self.select(definition)})"
                for name, definition in zip(plan.names, plan.definitions, strict=True)
            )
            return f"WITH {', '.join(parts)} {self.select(plan.body)}"
        if isinstance(plan, Exchange):
            return self.select(plan.input)
        if isinstance(plan, Project):
            # Rows may be all that is asked for.
            return f"SELECT {_items(plan.outputs) or 'NULL'}{self.tail(plan.input)}"
        if isinstance(plan, Aggregate):
            return f"SELECT {_aggregate_items(plan)}{self.tail(plan.input)}{_group_by(plan)}"
        if isinstance(plan, Window):
            return f"SELECT {_passed(plan.input)}{_items(plan.calls)}{self.tail(plan.input)}"
        if isinstance(plan, Unnest):
            lists = ((id_, exp.Explode(this=list_)) for id_, list_ in plan.lists)
            return f"SELECT {_passed(plan.input)}{_items(lists)}{self.tail(plan.input)}"
        if isinstance(plan, Sort):
            order = ", ".join(map(expression_sql, plan.order))
            return (
                f"SELECT *{self.tail(plan.input)}"
                + (f" ORDER BY {order}" if order else "")
                + (f" LIMIT {plan.limit}" if plan.limit is not None else "")
                + (f" OFFSET {plan.offset}" if plan.offset else "")
            )
        if isinstance(plan, Apply):
            return f"SELECT *, {self.subquery(plan)} AS {quote(plan.output)}{self.tail(plan.input)}"
        if isinstance(plan, SetOperation):
            return self.set_operation(plan)
        if isinstance(plan, Values):
            return _values(plan)
        if isinstance(plan, AssertOneRow):
            (column,) = plan.columns
            return f"SELECT ({self.select(plan.input)}) AS {quote(column)}"
        if isinstance(plan, Scan):
            items = ", ".join(_aliased(quote(name), id_) for id_, name in plan.outputs)
            return f"SELECT {items} FROM {self.source(plan)}"
        if isinstance(plan, SharedRef):
            items = ", ".join(_aliased(quote(old), new) for new, old in plan.outputs)
            return f"SELECT {items} FROM {quote(plan.name)}"
        if isinstance(plan, Stage):
            return f"SELECT {', '.join(map(quote, plan.outputs)) or 'NULL'} FROM {stage_name(plan)}"
        return f"SELECT *{self.tail(plan)}"

    def tail(self, plan: Plan) -> str:
        """`` FROM … WHERE …`` that delivers the plan's columns."""
        predicates: list[exp.Expr] = []
        while isinstance(plan, (Filter, Exchange)):
            if isinstance(plan, Filter):
                predicates = list(plan.predicates) + predicates
            plan = plan.input
        source = f" FROM {self.join(plan) if isinstance(plan, Join) else self.operand(plan)}"
        return source + (f" WHERE {_conjunction(predicates)}" if predicates else "")

    def operand(self, plan: Plan) -> str:
        if isinstance(plan, Exchange):
            return self.operand(plan.input)
        if isinstance(plan, Stage):
            return stage_name(plan)
        if isinstance(plan, Join):
            return f"({self.join(plan)})"
        return f"({self.select(plan)})"

    def join(self, plan: Join) -> str:
        kind = plan.kind.upper()
        equal: list[exp.Expr] = [exp.EQ(this=a, expression=b) for a, b in plan.keys]
        condition = _conjunction([*equal, *plan.residual])
        if (
            plan.kind in ("semi", "anti")
            and equal
            and self.builds_left is not None
            and self.builds_left(plan)
        ):
            self.reduced += 1
            left = f"reduced_{self.reduced}"
            asked = f"SELECT * FROM {self.operand(plan.right)} SEMI JOIN {left} ON {_conjunction(equal)}"
            return (
                f"(WITH {left} AS MATERIALIZED ({self.select(plan.left)}) "
                f"SELECT * FROM {left} {kind} JOIN ({asked}) ON {condition})"
            )
        left = self.join(plan.left) if isinstance(plan.left, Join) else self.operand(plan.left)
        right = self.operand(plan.right)
        if condition == "":
            return f"{left} CROSS JOIN {right}" if kind == "INNER" else f"{left} {kind} JOIN {right} ON true"
        return f"{left} {kind} JOIN {right} ON {condition}"

    def subquery(self, plan: Apply) -> str:
        inner = f"({self.select(plan.subquery)})"
        if plan.kind == "exists":
            return f"EXISTS {inner}"
        if plan.kind == "in":
            assert plan.operand is not None
            return f"({expression_sql(plan.operand)}) IN {inner}"
        return inner

    def set_operation(self, plan: SetOperation) -> str:
        word = plan.kind.upper() + (" ALL" if plan.all else "")
        parts = []
        for side in plan.inputs:
            items = ", ".join(
                f"CAST({quote(column)} AS {type_}) AS {quote(output)}"
                for column, type_, output in zip(side.columns, plan.types, plan.outputs, strict=True)
            )
            parts.append(f"(SELECT {items}{self.tail(side)})")
        return f" {word} ".join(parts)


def _aggregate_items(plan: Aggregate) -> str:
    if not plan.grouping:
        return _items(plan.keys + plan.calls)
    number = f"GROUPING({', '.join(expression_sql(e) for _, e in plan.keys)}) AS {quote(plan.grouping)}"
    return ", ".join(filter(None, (_items(plan.keys), number, _items(plan.calls))))


def _group_by(plan: Aggregate) -> str:
    if plan.sets:
        sets = (
            "(" + ", ".join(expression_sql(e) for id_, e in plan.keys if id_ in set_) + ")"
            for set_ in plan.sets
        )
        return f" GROUP BY GROUPING SETS ({', '.join(sets)})"
    positions = ", ".join(str(position + 1) for position in range(len(plan.keys)))
    return f" GROUP BY {positions}" if positions else ""


def stage_name(plan: Stage) -> str:
    """The table name under which a fragment reads an exchange."""
    return f"exchange_{plan.exchange}"


def _values(plan: Values) -> str:
    if not plan.outputs:
        return "SELECT 1 AS _" + ("" if plan.rows else " WHERE false")
    typed = list(zip(plan.outputs, plan.types, strict=True))
    if not plan.rows:
        return (
            "SELECT " + ", ".join(f"NULL::{type_} AS {quote(id_)}" for id_, type_ in typed) + " WHERE false"
        )
    rows = ("(" + ", ".join(map(expression_sql, row)) + ")" for row in plan.rows)
    casts = ", ".join(f"CAST({quote(id_)} AS {type_}) AS {quote(id_)}" for id_, type_ in typed)
    return f"SELECT {casts} FROM (VALUES {', '.join(rows)}) AS _({', '.join(map(quote, plan.outputs))})"


def _passed(plan: Plan) -> str:
    """All columns of an input; a row of none has one of no name in SQL."""
    return "*, " if plan.columns else ""


def _items(outputs: Iterable[Output]) -> str:
    return ", ".join(_aliased(expression_sql(expression), id_) for id_, expression in outputs)


def _aliased(sql: str, id_: str) -> str:
    name = quote(id_)
    return name if sql == name else f"{sql} AS {name}"


def _conjunction(predicates: list[exp.Expr]) -> str:
    if len(predicates) == 1:
        return expression_sql(predicates[0])
    return " AND ".join(
        expression_sql(p)
        if isinstance(p, (exp.EQ, exp.LT, exp.GT, exp.LTE, exp.GTE))
        else f"({expression_sql(p)})"
        for p in predicates
    )
