"""Frequent keys: found in a sample before rows are moved by them, and then spread over all workers.

A shuffle sends all rows of a key to one worker. Where a key has a tenth of a worker's rows or more, the hash of it is
*frequent*: on a join's probe side its rows go to any worker, and its rows of the build side to all of them, the other
rows by their hash as ever (PRPD: Xu et al., SIGMOD 2008). An aggregate gets a first phase before the exchange.

The frequent hashes are an exchange of the plan like any other, so that the planner sees only how many there are.
Hashes and not keys: they are of one type for keys of any type and number, NULL included, and two keys of one hash
are merely treated alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlglot import exp

from sord.planner import cost
from sord.planner.context import Context
from sord.planner.distribution import Hashed, Ranged, Replicated, Single, Skewed, Spread
from sord.planner.estimate import Estimator
from sord.planner.expressions import column, references, typed
from sord.planner.logical import (
    Aggregate,
    Exchange,
    Filter,
    Join,
    Output,
    Plan,
    Project,
    Scan,
    SetOperation,
    Sort,
    Stage,
    Window,
    source_of,
)

_SAMPLE = 10_000
"""Rows that each worker looks at."""
_SHARE = 10
"""A key is frequent from a tenth of a worker's fair share of rows on."""
_FEWEST = 20
"""Times that a frequent key must have been seen."""
_STAGES = 4
"""A shuffle must take as long as so many stages for two more to be worth it."""
_UNIQUE = 0.5


def is_worth_sampling(plan: Plan, ids: Sequence[str], context: Context, estimate: Estimator) -> bool:
    """Whether moving ``plan`` by the columns ``ids`` takes long and could load one worker more than others."""
    if not context.options.split_skew or not context.options.adapt or context.options.workers == 1:
        return False
    rows = estimate(plan)
    keys = [rows.columns[id_] for id_ in ids if id_ in rows.columns]
    if any(key.known and key.distinct > rows.rows * _UNIQUE for key in keys):
        return False
    side = cost.Layout(rows.rows, rows.width(plan.columns), False)
    return cost.shuffle(side, context.options) > _STAGES * cost.STAGE


def frequent_keys(plan: Plan, ids: Sequence[str], types: Sequence[str], context: Context) -> Plan | None:
    """What tells the frequent hashes of ``ids``: a stage if that has begun, else a plan to run; None if nothing can.

    ``plan`` is placed. The result is on every worker.
    """
    key = (tuple(ids), tuple(types))
    known = context.samples.get(key)
    if known is not None and known.columns[0] in context.frequent:
        return context.frequent[known.columns[0]]
    if known is None:
        rows = _some(plan, set(ids), 1 / _SHARE / context.options.workers)
        if rows is None:
            return None
        known = context.samples[key] = _frequent(rows, ids, types, context)
    return known


def is_frequent(samples: Sequence[Plan]) -> bool:
    """Whether a sample has been taken and has found frequent hashes."""
    return any(isinstance(sample, Stage) and sample.exact and sample.rows > 0 for sample in samples)


def hash_of(ids: Sequence[str], types: Sequence[str]) -> exp.Expr:
    """The hash by which rows are partitioned: see :class:`~sord.planner.distribution.Hashed`."""
    arguments: list[exp.Expr] = [
        typed(column(id_), type_) if type_ else column(id_) for id_, type_ in zip(ids, types, strict=True)
    ]
    return exp.Anonymous(this="hash", expressions=arguments)


def can_split(plan: Join, right: Plan) -> bool:
    """Whether :func:`split_join` can be asked for now, or later when an exchange has become a stage.

    The right side is read twice then, so it must be at hand.
    """
    return plan.kind != "full" and isinstance(source_of(right), (Exchange, Stage, Scan))


def split_join(
    plan: Join,
    left: Plan,
    right: Plan,
    base: Hashed | Ranged,
    keys: Sequence[tuple[str, str, str]],
    frequent: Stage,
    context: Context,
) -> Join | None:
    """The join with the frequent hashes' rows of the left side spread and those of the right side on all workers.

    ``right`` lies by ``base`` already (said in the left's columns); ``keys`` are (left id, right id, type).
    Legal for joins that don't preserve the right side. None if that can't be written down.
    """
    types = [context.type_of(id_, right) for id_ in right.columns]
    if not isinstance(source_of(right), (Stage, Scan)) or plan.kind == "full" or None in types:
        return None
    types_of_keys = tuple(type_ for _, _, type_ in keys)
    hashed = context.fresh("key_hash", "UBIGINT")
    passed: tuple[Output, ...] = tuple((id_, column(id_)) for id_ in right.columns)
    rows = Project(right, (*passed, (hashed, hash_of([b for _, b, _ in keys], types_of_keys))))
    match = ((column(hashed), column(frequent.columns[0])),)
    others = Project(Join("anti", rows, frequent, match), passed)
    copied = Exchange(Project(Join("semi", rows, frequent, match), passed), Replicated())
    whole = SetOperation(
        "union", True, (others, copied), right.columns, tuple(type_ for type_ in types if type_ is not None)
    )
    target = Skewed(base, tuple(a for a, _, _ in keys), types_of_keys, frequent.exchange, frequent.columns[0])
    return replace(plan, left=Exchange(left, target), right=whole)


def joined_again(plan: Join) -> Join:
    """What :func:`split_join` has split, as it was."""
    assert isinstance(plan.left, Exchange)
    side: Plan = plan.right.children[0]
    while not (isinstance(side, Join) and side.kind == "anti"):
        side = side.children[0]
    assert isinstance(side.left, Project)
    return replace(plan, left=plan.left.input, right=side.left.input)


def is_split(plan: Plan) -> bool:
    """Whether the plan is a join that :func:`split_join` has split, its left side moved already or not."""
    return (
        isinstance(plan, Join)
        and isinstance(plan.left, (Exchange, Stage))
        and isinstance(plan.left.target, Skewed)
    )


def _frequent(rows: Plan, ids: Sequence[str], types: Sequence[str], context: Context) -> Plan:
    seen = context.fresh("key_hash", "UBIGINT")
    names = [context.fresh(name) for name in ("key_hash", "times", "total", "frequent")]
    hashed, times, total, frequent = names
    context.types |= {hashed: "UBIGINT", frequent: "UBIGINT"}
    gathered = Exchange(Project(rows, ((seen, hash_of(ids, types)),)), Single())
    counted = Aggregate(gathered, ((hashed, column(seen)),), ((times, exp.Count(this=exp.Star())),))
    totals = Window(counted, (), ((total, exp.Window(this=exp.Sum(this=column(times)))),))
    scale = exp.Literal.number(_SHARE * context.options.workers)
    enough = (
        exp.GTE(this=exp.Mul(this=column(times), expression=scale), expression=column(total)),
        exp.GTE(this=column(times), expression=exp.Literal.number(_FEWEST)),
    )
    found = Project(Filter(totals, enough), ((frequent, column(hashed)),))
    return Exchange(found, Replicated())


def _some(plan: Plan, ids: set[str], share: float) -> Plan | None:
    """A few rows of what the columns ``ids`` come from, on each worker; cheap, so it needn't be a fair sample.

    None if that can't be told, or if statistics say that no value has such a ``share`` of the rows.
    """
    if isinstance(plan, Scan):
        if plan.split is None or not ids <= set(plan.columns) or _is_even(plan, ids, share):
            return None
        return Sort(replace(plan, split=Spread()), (), _SAMPLE, 0, "partial")
    if isinstance(plan, Stage):
        return None if isinstance(plan.target, Single) else Sort(plan, (), _SAMPLE, 0, "partial")
    if isinstance(plan, (Exchange, Window)):
        return _some(plan.input, ids, share) if ids <= set(plan.input.columns) else None
    if isinstance(plan, (Filter, Project)):
        if isinstance(plan, Project):
            needed = references(*(e for id_, e in plan.outputs if id_ in ids))
        else:
            needed = ids | references(*plan.predicates)
        below = _some(plan.input, needed, share)
        if below is None:
            # A filter over both sides of a join needs more columns than one side has.
            return _some(plan.input, ids, share) if isinstance(plan, Filter) else None
        if isinstance(plan, Project):
            kept = tuple((id_, e) for id_, e in plan.outputs if id_ in ids)
            return Project(below, kept)
        return plan.with_children((below,))
    if isinstance(plan, Join):
        sides = plan.children if plan.kind == "inner" else plan.children[:1]
        return next((_some(side, ids, share) for side in sides if ids <= set(side.columns)), None)
    return None


def _is_even(plan: Scan, ids: set[str], share: float) -> bool:
    """Whether the table has been analysed, and in some of the columns no value is frequent."""
    if plan.table.sample is None:
        return False
    known = (plan.table.statistics.get(name) for id_, name in plan.outputs if id_ in ids)
    return any(one is not None and all(of < share for _, of in one.common) for one in known)
