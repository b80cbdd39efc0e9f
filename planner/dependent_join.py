"""Any correlated subquery, by a join with the distinct outer values it depends on.

Neumann and Kemper, "Unnesting Arbitrary Queries" (BTW 2015): the subquery is computed for every distinct combination
of the outer columns that it uses, by pushing a join with those down to where they are no longer needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlglot import exp

from sord.planner.catalog import Unsupported
from sord.planner.context import Context
from sord.planner.correlation import (
    Unnested,
    grouped_also,
    limited_by_number,
    partitioned,
    value_of_nothing,
)
from sord.planner.expressions import column, substitute
from sord.planner.logical import (
    ONE_ROW,
    Aggregate,
    AssertOneRow,
    Filter,
    Join,
    Output,
    Plan,
    Project,
    Scan,
    SetOperation,
    SharedRef,
    Sort,
    Unnest,
    Values,
    Window,
)
from sord.planner.proofs import never_null
from sord.planner.walk import free_columns

_MANY = (
    "More than one row returned by a subquery used as an expression - "
    "scalar subqueries can only return a single row."
)


def depend(subquery: Plan, left: Plan, outer: set[str], context: Context) -> tuple[Unnested, Plan]:
    """The subquery joined with the distinct values of the ``outer`` columns of ``left``, and ``left`` to be used then.

    Both read the rows of ``left``, which are therefore shared where they are costly or may differ from time to time.
    """
    names = sorted(outer)
    if not _is_cheap(left):
        if not free_columns(left):
            left = context.share(left)
        elif not _is_stable(left):
            raise Unsupported("a subquery in a correlated subquery over rows that LIMIT chooses")
    plan, ids = _Push(_source(left, outer), names, context)(subquery)
    pairs = [(name, ids[name]) for name in names]
    return Unnested(plan, null_safe(pairs, left)), left


def null_safe(pairs: list[tuple[str, str]], left: Plan) -> tuple[exp.Expr, ...]:
    """That columns of ``left`` are the same as others of equal types, where NULL is the same as NULL."""
    condition: list[exp.Expr] = []
    for a, b in pairs:
        if never_null(column(a), left):
            condition.append(exp.EQ(this=column(a), expression=column(b)))
            continue
        # Rows can be moved by an equality, so there is one that holds for NULLs too.
        condition.append(exp.EQ(this=_hash(a), expression=_hash(b)))
        condition.append(exp.NullSafeEQ(this=column(a), expression=column(b)))
    return tuple(condition)


def one_row_each(plan: Plan, value: str, keys: list[Output], context: Context) -> tuple[Plan, exp.Expr]:
    """One row for each value of the keys, and the expression above a left join that raises if there were several."""
    only = context.fresh(value, context.types.get(value))
    rows = context.fresh("rows", "BIGINT")
    calls: list[Output] = [(only, exp.AnyValue(this=column(value))), (rows, exp.Count(this=exp.Star()))]
    several = exp.GT(this=column(rows), expression=exp.Literal.number(1))
    failure = exp.Anonymous(this="error", expressions=[exp.Literal.string(_MANY)])
    checked = exp.Case(ifs=[exp.If(this=several, true=failure)], default=column(only))
    return Aggregate(plan, tuple(keys), tuple(calls)), checked


def _is_cheap(plan: Plan) -> bool:
    """Whether reading a plan's rows twice costs no more than keeping them."""
    return isinstance(plan, (Scan, SharedRef, Values)) or (
        isinstance(plan, (Filter, Project)) and _is_cheap(plan.input)
    )


def _is_stable(plan: Plan) -> bool:
    """Whether a plan has the same rows every time. False when in doubt."""
    if not isinstance(plan, (Scan, SharedRef, Values, Filter, Project, Join)):
        return False
    return all(map(_is_stable, plan.children))


def _source(left: Plan, outer: set[str]) -> Plan:
    """The least part of ``left`` with the same values of the ``outer`` columns."""
    while True:
        if isinstance(left, Join) and left.kind == "left" and outer <= set(left.left.columns):
            left = left.left
        elif isinstance(left, Project) and outer <= set(left.input.columns):
            left = left.input
        else:
            return left


def _hash(id_: str) -> exp.Expr:
    return exp.Anonymous(this="hash", expressions=[column(id_)])


Ids = dict[str, str]
"""The outer values' ids in a plan by what they are called outside."""


@dataclass(slots=True)
class _Push:
    """Pushes the join with the outer values down."""

    left: Plan
    names: list[str]
    context: Context

    def __call__(self, plan: Plan) -> tuple[Plan, Ids]:
        """The plan for each outer value: with the outer values' columns besides its own."""
        if not free_columns(plan) & set(self.names):
            domain, ids = self.domain()
            return domain if plan is ONE_ROW else Join("inner", plan, domain), ids
        if isinstance(plan, Filter):
            source, ids = self(plan.input)
            return Filter(source, self.inside(plan.predicates, ids)), ids
        if isinstance(plan, Project):
            source, ids = self(plan.input)
            outputs = self.outputs(plan.outputs, ids)
            return Project(source, _distinct(outputs + self.passed(ids))), ids
        if isinstance(plan, Unnest):
            source, ids = self(plan.input)
            return Unnest(source, self.outputs(plan.lists, ids)), ids
        if isinstance(plan, Join):
            return self.join(plan)
        if isinstance(plan, Aggregate):
            return self.aggregate(plan)
        if isinstance(plan, Window):
            source, ids = self(plan.input)
            partition, calls = self.inside(plan.partition, ids), self.outputs(plan.calls, ids)
            window = Window(source, partition, calls)
            return partitioned(window, self.columns(ids)), ids
        if isinstance(plan, Sort):
            source, ids = self(plan.input)
            if plan.limit is None and not plan.offset:
                return source, ids
            sort = replace(plan, input=source, order=self.inside(plan.order, ids))
            return limited_by_number(sort, self.columns(ids), self.context), ids
        if isinstance(plan, SetOperation):
            return self.set_operation(plan)
        if isinstance(plan, AssertOneRow):
            return self.assert_one_row(plan)
        raise Unsupported(f"a correlated column below {type(plan).__name__.lower()}")

    def domain(self) -> tuple[Plan, Ids]:
        """The distinct outer values, under new ids."""
        ids = {name: self.context.fresh(name, self.context.type_of(name, self.left)) for name in self.names}
        keys = tuple((ids[name], column(name)) for name in self.names)
        return Aggregate(self.left, keys, ()), ids

    def join(self, plan: Join) -> tuple[Plan, Ids]:
        condition = (*(exp.EQ(this=a, expression=b) for a, b in plan.keys), *plan.residual)
        outer = set(self.names)
        to_left, to_right = (bool(free_columns(side) & outer) for side in plan.children)
        if plan.kind == "inner" and to_right and not to_left:
            right, ids = self(plan.right)
            return Join("inner", plan.left, right, residual=self.inside(condition, ids)), ids
        left, ids = self(plan.left)
        if plan.kind != "full" and not to_right:
            return Join(plan.kind, left, plan.right, residual=self.inside(condition, ids)), ids
        right, others = self(plan.right)
        same = null_safe([(ids[name], others[name]) for name in self.names], left)
        joined = Join(plan.kind, left, right, residual=(*same, *self.inside(condition, ids)))
        if plan.kind != "full":
            return joined, ids
        both = {name: self.context.fresh(name, self.context.types.get(ids[name])) for name in self.names}
        outputs: list[Output] = [(id_, column(id_)) for id_ in plan.columns]
        for name in self.names:
            either = exp.Coalesce(this=column(ids[name]), expressions=[column(others[name])])
            outputs.append((both[name], either))
        return Project(joined, tuple(outputs)), both

    def aggregate(self, plan: Aggregate) -> tuple[Plan, Ids]:
        if plan.keys and plan.is_never_empty:
            raise Unsupported("a correlated subquery with grouping sets")
        source, ids = self(plan.input)
        keys, calls = self.outputs(plan.keys, ids), self.outputs(plan.calls, ids)
        grouped = grouped_also(replace(plan, input=source, keys=keys, calls=calls), list(self.passed(ids)))
        if plan.keys:
            return grouped, ids
        # Without keys there is a row for every outer value, also for those without any rows.
        joined, others = self.with_all(grouped, ids)
        values = tuple((id_, value_of_nothing(id_, call)) for id_, call in plan.calls)
        return Project(joined, values + self.passed(others)), others

    def with_all(self, plan: Plan, ids: Ids) -> tuple[Plan, Ids]:
        """The rows of the plan, and one of NULLs for each outer value that has none."""
        domain, others = self.domain()
        same = null_safe([(others[name], ids[name]) for name in self.names], domain)
        return Join("left", domain, plan, residual=same), others

    def assert_one_row(self, plan: AssertOneRow) -> tuple[Plan, Ids]:
        source, ids = self(plan.input)
        (value,) = plan.columns
        grouped, checked = one_row_each(source, value, list(self.passed(ids)), self.context)
        joined, others = self.with_all(grouped, ids)
        return Project(joined, ((value, checked), *self.passed(others))), others

    def set_operation(self, plan: SetOperation) -> tuple[Plan, Ids]:
        sides: list[Plan] = []
        for side in plan.inputs:
            pushed, ids = self(side)
            wanted = (*side.columns, *(ids[name] for name in self.names))
            sides.append(Project(pushed, tuple((id_, column(id_)) for id_ in wanted)))
        types = [self.context.type_of(name, self.left) for name in self.names]
        known = tuple(type_ for type_ in types if type_ is not None)
        if len(known) != len(types):
            raise Unsupported("a correlated set operation")
        result = {
            name: self.context.fresh(name, type_) for name, type_ in zip(self.names, known, strict=True)
        }
        outputs = plan.outputs + tuple(result[name] for name in self.names)
        return SetOperation(plan.kind, plan.all, tuple(sides), outputs, plan.types + known), result

    def inside(self, expressions: tuple[exp.Expr, ...], ids: Ids) -> tuple[exp.Expr, ...]:
        return tuple(substitute(expression, self.mapping(ids)) for expression in expressions)

    def outputs(self, outputs: tuple[Output, ...], ids: Ids) -> tuple[Output, ...]:
        return tuple((id_, substitute(expression, self.mapping(ids))) for id_, expression in outputs)

    def mapping(self, ids: Ids) -> Mapping[str, exp.Expr]:
        return {name: column(id_) for name, id_ in ids.items()}

    def columns(self, ids: Ids) -> list[exp.Expr]:
        return [column(ids[name]) for name in self.names]

    def passed(self, ids: Ids) -> tuple[Output, ...]:
        return tuple((ids[name], column(ids[name])) for name in self.names)


def _distinct(outputs: tuple[Output, ...]) -> tuple[Output, ...]:
    return tuple(dict(outputs).items())
