"""The algebra: immutable nodes. Columns are unique ids; expressions are sqlglot expressions over those ids.

Sharing an expression between nodes is fine as long as nobody mutates it; passes build new ones.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlglot import exp

from sord.planner.catalog import Table
from sord.planner.expressions import column

if TYPE_CHECKING:
    from sord.planner.distribution import Distribution

Output = tuple[str, exp.Expr]
"""A column id and the expression that computes it."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A node. ``columns`` are the ids it delivers, in order."""

    @property
    def columns(self) -> tuple[str, ...]:
        return self.children[0].columns

    @property
    def children(self) -> tuple[Plan, ...]:
        found: list[Plan] = []
        for name in _input_fields(self):
            value = getattr(self, name)
            if isinstance(value, Plan):
                found.append(value)
            else:
                found.extend(value)
        return tuple(found)

    def with_children(self, children: tuple[Plan, ...]) -> Plan:
        """This node over other inputs; itself if they are the same objects."""
        if all(a is b for a, b in zip(children, self.children, strict=True)):
            return self
        rest = iter(children)
        changes: dict[str, Plan | tuple[Plan, ...]] = {}
        for name in _input_fields(self):
            value = getattr(self, name)
            changes[name] = next(rest) if isinstance(value, Plan) else tuple(next(rest) for _ in value)
        return dataclasses.replace(self, **changes)


_INPUT_FIELDS: dict[str, tuple[str, ...]] = {}


def _input_fields(node: Plan) -> tuple[str, ...]:
    """The fields of a kind of node that hold its inputs, looked up once."""
    kind = type(node).__name__
    if kind not in _INPUT_FIELDS:
        inputs = (item.name for item in dataclasses.fields(node) if item.type in ("Plan", "tuple[Plan, ...]"))
        _INPUT_FIELDS[kind] = tuple(inputs)
    return _INPUT_FIELDS[kind]


@dataclass(frozen=True, slots=True, eq=False)
class Scan(Plan):
    """Rows of a table. ``outputs`` are (id, the table's column). ``split`` says which rows each worker reads."""

    table: Table
    outputs: tuple[tuple[str, str], ...]
    split: Distribution | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(column for column, _ in self.outputs)


@dataclass(frozen=True, slots=True, eq=False)
class Values(Plan):
    """Literal rows; none at all is the empty relation."""

    outputs: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[tuple[exp.Expr, ...], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return self.outputs


ONE_ROW = Values((), (), ((),))
"""A row of no columns: what a SELECT without FROM reads."""


@dataclass(frozen=True, slots=True, eq=False)
class Filter(Plan):
    """Rows for which every predicate is true (not NULL)."""

    input: Plan
    predicates: tuple[exp.Expr, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Project(Plan):
    """One row per input row."""

    input: Plan
    outputs: tuple[Output, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(column for column, _ in self.outputs)


@dataclass(frozen=True, slots=True, eq=False)
class Join(Plan):
    """``kind`` is inner, left, full, semi or anti. Rows match if all ``keys`` are equal and ``residual`` holds.

    A cross join is an inner one without keys. Each key is (expression over left, expression over right).
    """

    kind: str
    left: Plan
    right: Plan
    keys: tuple[tuple[exp.Expr, exp.Expr], ...] = ()
    residual: tuple[exp.Expr, ...] = ()
    runtime: bool = False
    """A semi join that only spares moving rows which a join above drops anyway: a runtime filter."""

    @property
    def columns(self) -> tuple[str, ...]:
        if self.kind in ("semi", "anti"):
            return self.left.columns
        return self.left.columns + self.right.columns


@dataclass(frozen=True, slots=True, eq=False)
class Apply(Plan):
    """Each input row with one more column, ``output``, computed by a subquery that may refer to the row.

    ``kind`` is scalar (NULL if there is no row, an error if there are several), exists, or in (``operand`` IN
    the subquery's single column, three-valued). ``decorrelate`` removes every Apply.
    """

    kind: str
    input: Plan
    subquery: Plan
    output: str
    operand: exp.Expr | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.input.columns, self.output)


@dataclass(frozen=True, slots=True, eq=False)
class Aggregate(Plan):
    """One row per distinct ``keys`` (NULLs are equal); without keys exactly one row. ``calls`` are aggregates.

    ``phase`` is "" for a whole aggregate; "partial" and "final" are its halves around an exchange, and the final
    one remembers the ``whole``, so that the halves can be put together again.
    """

    input: Plan
    keys: tuple[Output, ...]
    calls: tuple[Output, ...]
    phase: str = ""
    whole: Aggregate | None = None
    sets: tuple[frozenset[str], ...] = ()
    """Grouping sets, of ids of keys, each different; none: all rows are grouped by all keys. A key is NULL in the
    rows of a set without it."""
    grouping: str = ""
    """The id of the number of a row's set, if anything asks for it: the last key is bit 0, set if it is left out."""

    @property
    def columns(self) -> tuple[str, ...]:
        grouping = (self.grouping,) if self.grouping else ()
        keys, calls = (tuple(column for column, _ in outputs) for outputs in (self.keys, self.calls))
        return keys + grouping + calls

    @property
    def common(self) -> tuple[Output, ...]:
        """The keys that are in every set: rows of one group agree on them, and they are never left out."""
        return tuple(key for key in self.keys if all(key[0] in set_ for set_ in self.sets))

    @property
    def is_never_empty(self) -> bool:
        """Whether there is a row even if the input has none."""
        return not self.keys or frozenset() in self.sets

    def number_of(self, set_: frozenset[str]) -> int:
        """The number of a set, as ``grouping`` delivers it."""
        return sum(1 << place for place, (id_, _) in enumerate(reversed(self.keys)) if id_ not in set_)


@dataclass(frozen=True, slots=True, eq=False)
class Window(Plan):
    """The input's columns and one more per window call; all calls share their PARTITION BY."""

    input: Plan
    partition: tuple[exp.Expr, ...]
    calls: tuple[Output, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return self.input.columns + tuple(column for column, _ in self.calls)


@dataclass(frozen=True, slots=True, eq=False)
class Unnest(Plan):
    """Each input row once per element of its ``lists``, side by side, the shorter ones filled with NULL.

    ``lists`` are (id of the elements, the list). A row whose lists are all empty or NULL is dropped.
    """

    input: Plan
    lists: tuple[Output, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return self.input.columns + tuple(column for column, _ in self.lists)


@dataclass(frozen=True, slots=True, eq=False)
class SetOperation(Plan):
    """UNION, INTERSECT or EXCEPT by position; ``all`` keeps duplicates. Columns are cast to ``types``."""

    kind: str
    all: bool
    inputs: tuple[Plan, ...]
    outputs: tuple[str, ...]
    types: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return self.outputs

    def with_children(self, children: tuple[Plan, ...]) -> Plan:
        """This node over other inputs, whose columns it takes in the order in which they were."""
        return Plan.with_children(
            self, tuple(in_order(new, old.columns) for new, old in zip(children, self.inputs, strict=True))
        )


@dataclass(frozen=True, slots=True, eq=False)
class Sort(Plan):
    """Rows in the order of ``order`` (sqlglot Ordered), then at most ``limit`` of them after ``offset``.

    A "partial" one below an exchange only spares moving rows that the one above it would drop.
    """

    input: Plan
    order: tuple[exp.Expr, ...]
    limit: int | None = None
    offset: int = 0
    phase: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class AssertOneRow(Plan):
    """The input's row; a row of NULLs if there is none; an error if there are several."""

    input: Plan


@dataclass(frozen=True, slots=True, eq=False)
class With(Plan):
    """``body`` over common table expressions that are computed once; each may refer to earlier ones."""

    names: tuple[str, ...]
    definitions: tuple[Plan, ...]
    body: Plan

    @property
    def columns(self) -> tuple[str, ...]:
        return self.body.columns


@dataclass(frozen=True, slots=True, eq=False)
class SharedRef(Plan):
    """The rows of a With's definition under new ids: ``outputs`` are (id, the definition's id)."""

    name: str
    outputs: tuple[tuple[str, str], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(column for column, _ in self.outputs)


@dataclass(frozen=True, slots=True, eq=False)
class Exchange(Plan):
    """The input's rows, moved so that they are distributed as ``target``."""

    input: Plan
    target: Distribution
    ordered: bool = False
    """The reader wants sender by sender in rank order (a gather below an ordered result)."""
    kept: bool = False
    """The rows lie like that already and stay: the fragment ends here because they are read twice."""
    samples: tuple[Plan, ...] = ()
    """What is to be known before the rows are moved, as it may change how."""


@dataclass(frozen=True, slots=True, eq=False)
class Stage(Plan):
    """What a fragment that is running or finished makes: the rows of exchange ``exchange``."""

    exchange: int
    outputs: tuple[str, ...]
    target: Distribution
    rows: float
    source: Plan
    """The plan that made it: statistics of columns are still those."""
    exact: bool
    """Whether ``rows`` was counted; else it is an estimate."""

    @property
    def columns(self) -> tuple[str, ...]:
        return self.outputs

    @property
    def children(self) -> tuple[Plan, ...]:
        return ()


def in_order(plan: Plan, columns: tuple[str, ...]) -> Plan:
    """The plan delivering exactly these of its columns."""
    if plan.columns == columns:
        return plan
    return Project(plan, tuple((id_, column(id_)) for id_ in columns))


def leaves(plan: Plan) -> list[Plan]:
    """The nodes without inputs, left to right."""
    if not plan.children:
        return [plan]
    return [leaf for child in plan.children for leaf in leaves(child)]


def source_of(plan: Plan) -> Plan:
    """What a plan filters and computes columns of at most."""
    return source_of(plan.input) if isinstance(plan, (Filter, Project)) else plan
