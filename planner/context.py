"""What all passes of one query share: options, the catalog, fresh column ids and the types of columns."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlglot import exp

from sord.planner.catalog import Catalog
from sord.planner.estimate import Estimator
from sord.planner.expressions import column, column_id, substitute, typed
from sord.planner.logical import Plan, Project, SharedRef, Stage
from sord.planner.render import render
from sord.planner.sink import Sink
from sord.planner.walk import free_columns, with_expressions

NUMERIC = (
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
)


@dataclass(frozen=True, slots=True)
class Options:
    """Of a fleet, as far as plans depend on them."""

    workers: int = 1
    bytes_per_second: float = 2e9
    """That a worker sends or receives."""
    adapt: bool = True
    """Plan the rest of a query anew once actual sizes are known; without it neither of the next two happens."""
    runtime_filters: bool = True
    """Drop rows before they are moved whose keys the other side of a join doesn't have."""
    split_skew: bool = True
    """Spread the rows of frequent keys over all workers."""
    sort_ranges: bool = True
    """Sort many rows by ranges; not where the client wouldn't read ordered parts in their order."""


PARTITION = "__partition"
"""The column that numbers the worker that gets a row."""
BOUNDARIES = "__boundaries"
BOUND = "__bound"
"""Names beside columns in what moves rows by sort ranges."""


@dataclass(slots=True)
class Context:
    """Made for each query; passes take it beside the plan."""

    catalog: Catalog
    options: Options
    sink: Sink | None = None
    """What becomes of the rows, if they aren't for a reader."""
    types: dict[str, str] = field(default_factory=dict)
    """DuckDB types by column id, as far as they are known without asking."""
    taken: set[str] = field(default_factory=lambda: {PARTITION, BOUNDARIES, BOUND})
    shared: dict[str, Plan] = field(default_factory=dict)
    """What is behind each SharedRef, as it was bound."""
    estimate: Estimator = field(default_factory=Estimator)
    """Of the logical passes, who share what they know of nodes that they leave alone."""
    samples: dict[tuple[tuple[str, ...], tuple[str, ...]], Plan] = field(default_factory=dict)
    """What finds the frequent hashes of columns cast to types."""
    frequent: dict[str, Stage] = field(default_factory=dict)
    """Of these, what has begun, by its column."""
    pending: dict[str, Plan] = field(default_factory=dict)
    """Of these, what a pass has yet to put into the plan's With."""

    def fresh(self, name: str, type_: str | None = None) -> str:
        """A new column id that reads like ``name``."""
        base = name.lower() or "column"
        result, suffix = base, 2
        while result in self.taken:
            result = f"{base}_{suffix}"
            suffix += 1
        self.taken.add(result)
        if type_ is not None:
            self.types[result] = type_
        return result

    def share(self, plan: Plan) -> SharedRef:
        """A reference to the plan, which is computed once however often its rows are read."""
        name = self.fresh("shared")
        self.pending[name] = self.shared[name] = plan
        return SharedRef(name, tuple((id_, id_) for id_ in plan.columns))

    def type_of(self, id_: str, plan: Plan) -> str | None:
        """The DuckDB type of a column that ``plan`` delivers, asking DuckDB if need be. None: it can't tell."""
        if id_ not in self.types:
            try:
                described = self.catalog.describe(self.rendered(plan))
            except Exception:
                return None
            self.types.update(described)
        return self.types.get(id_)

    def rendered(self, plan: Plan) -> str:
        """The plan as a statement over tables alone, which DuckDB can describe: for columns of outer queries NULLs."""
        plan = self._from_scratch(plan)
        free = {id_: self.types[id_] for id_ in free_columns(plan)}
        if free:
            nulls: dict[str, exp.Expr] = {id_: typed(exp.null(), type_) for id_, type_ in free.items()}
            plan = _substituted(plan, nulls)
        return render(plan)

    def _from_scratch(self, plan: Plan) -> Plan:
        if isinstance(plan, Stage):
            return self._from_scratch(plan.source)
        if isinstance(plan, SharedRef):
            outputs = tuple((new, column(old)) for new, old in plan.outputs)
            return Project(self._from_scratch(self.shared[plan.name]), outputs)
        return plan.with_children(tuple(self._from_scratch(child) for child in plan.children))

    def infer(self, expression: exp.Expr) -> str | None:
        """The DuckDB type of an expression, where that is obvious; None otherwise."""
        known = column_id(expression)
        if known is not None:
            return self.types.get(known)
        if isinstance(expression, exp.Paren):
            return self.infer(expression.this)
        if isinstance(expression, (exp.Min, exp.Max)) and not any(
            argument for name, argument in expression.args.items() if name != "this"
        ):
            return self.infer(expression.this)  # of the first few values it is a list
        if isinstance(expression, exp.Count):
            return "BIGINT"
        if isinstance(expression, exp.Extract):
            return "BIGINT"
        return None

    def is_numeric(self, expression: exp.Expr) -> bool:
        """Whether the expression is surely a number. False when in doubt."""
        known = column_id(expression)
        if known is not None:
            return is_number(self.types.get(known, ""))
        if isinstance(expression, exp.Literal):
            return not expression.is_string
        if isinstance(expression, (exp.Paren, exp.Neg)):
            return self.is_numeric(expression.this)
        if isinstance(expression, exp.Cast):
            return is_number(expression.to.sql("duckdb"))
        if isinstance(expression, (exp.Add, exp.Sub, exp.Mul, exp.Div)):
            return self.is_numeric(expression.this) and self.is_numeric(expression.expression)
        if isinstance(expression, (exp.Sum, exp.Count, exp.Length, exp.Extract)):
            return True
        if isinstance(expression, exp.Case):
            results = [branch.args["true"] for branch in expression.args["ifs"]]
            default = expression.args.get("default")
            return all(self.is_numeric(part) for part in results + ([default] if default else []))
        return False


def _substituted(plan: Plan, mapping: dict[str, exp.Expr]) -> Plan:
    inner = tuple(_substituted(child, mapping) for child in plan.children)
    return with_expressions(plan.with_children(inner), lambda expression: substitute(expression, mapping))


def is_number(type_: str) -> bool:
    """Whether a DuckDB type is numeric."""
    return is_integer(type_) or type_.startswith("DECIMAL") or type_ in ("DOUBLE", "FLOAT")


def is_integer(type_: str) -> bool:
    """Whether a DuckDB type is an integer of any width."""
    return type_ in NUMERIC
