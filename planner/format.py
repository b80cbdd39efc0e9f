"""Plans as text and as JSON: one place that knows how every node reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlglot import exp

from sord.planner.catalog import Table
from sord.planner.cut_fragments import Cut
from sord.planner.distribution import Replicated, Spread
from sord.planner.estimate import Estimator
from sord.planner.fragment import Fragment, Route
from sord.planner.logical import (
    Aggregate,
    Apply,
    Exchange,
    Filter,
    Join,
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
from sord.planner.physical import DistributedPlan
from sord.planner.render import expression_sql

_LONG = 100
"""Characters after which a list of expressions is cut short."""


def format_logical(plan: Plan, estimate: Estimator | None = None) -> str:
    """The plan as an indented tree, with estimated rows if an estimator is given."""
    return "\n".join(_tree(plan, estimate, 0, None))


def format_plan(plan: DistributedPlan) -> str:
    """What EXPLAIN prints: the logical plan, then each fragment with its exchange, estimated rows and bytes."""
    estimate = Estimator()
    lines = ["Logical plan", *_tree(plan.logical, estimate, 1, None), ""]
    workers = plan.context.options.workers
    lines.append(f"Fragments ({workers} worker{'s' if workers > 1 else ''})")
    for fragment in plan.fragments:
        lines += fragment_lines(plan, fragment, estimate)
    return "\n".join(lines)


def logical_lines(plan: DistributedPlan) -> list[str]:
    """The logical plan, with estimated rows, below a heading."""
    return ["Logical plan", *_tree(plan.logical, Estimator(), 1, None)]


def fragment_lines(
    plan: DistributedPlan, fragment: Fragment, estimate: Estimator, measured: Sequence[str] | None = None
) -> list[str]:
    """A fragment with its exchange and its operators; with what was ``measured`` instead of its estimates."""
    size = f"  ~{rows_text(fragment.estimated_rows)} rows, {bytes_text(fragment.estimated_bytes)}"
    lines = ["  " + headline(plan, fragment) + ("" if measured is not None else size)]
    lines += ["      " + line for line in measured or ()]
    if fragment.id in plan.cut.trees:
        return lines + _tree(plan.cut.plans[fragment.id], estimate, 3, plan.cut)
    return [*lines, "  " * 3 + fragment.title.capitalize()]


def plan_json(plan: DistributedPlan) -> dict[str, Any]:
    """What EXPLAIN (FORMAT JSON) gives: {"logical": node, "workers", "fragments": […]}."""
    estimate = Estimator()
    return {
        "logical": _node(plan.logical, estimate, None),
        "workers": plan.context.options.workers,
        "fragments": [fragment_json(plan, fragment, estimate) for fragment in plan.fragments],
    }


def fragment_json(plan: DistributedPlan, fragment: Fragment, estimate: Estimator) -> dict[str, Any]:
    """One of the fragments."""
    shown = fragment.id in plan.cut.trees
    return {
        "id": fragment.id,
        "place": str(fragment.place),
        "route": str(fragment.route),
        "distribution": str(plan.cut.targets.get(fragment.id, "")),
        "inputs": [source.exchange for source in fragment.inputs],
        "after": list(fragment.after),
        "title": fragment.title,
        "estimated_rows": round(fragment.estimated_rows),
        "estimated_bytes": round(fragment.estimated_bytes),
        "plan": _node(plan.cut.plans[fragment.id], estimate, plan.cut) if shown else None,
    }


def describe_node(plan: Plan) -> str:
    """One line for a node, without its inputs."""
    if isinstance(plan, Scan):
        whole = isinstance(plan.split, Replicated)
        split = "" if plan.split is None else ", all of it" if whole else f", split by {plan.split}"
        names = [id_ if id_ == name.lower() else f"{name} as {id_}" for id_, name in plan.outputs]
        return f"Scan {plan.table.name} ({_short(names)}){_read_of(plan.table)}{split}"
    if isinstance(plan, Values):
        return f"Values: {len(plan.rows)} row(s)" if plan.rows else "Empty"
    if isinstance(plan, Filter):
        return f"Filter {_all(plan.predicates)}"
    if isinstance(plan, Project):
        changed = [f"{id_} = {_text(e)}" for id_, e in plan.outputs if not _is_column(e, id_)]
        return f"Project {_short(changed)}" if changed else f"Project ({_short(list(plan.columns))})"
    if isinstance(plan, Join):
        keys = [f"{_text(a)} = {_text(b)}" for a, b in plan.keys]
        condition = _short(keys + [_text(e) for e in plan.residual], " and ")
        if plan.runtime:
            return f"Runtime filter {condition}"
        name = "Cross join" if plan.kind == "inner" and not condition else f"{plan.kind.capitalize()} join"
        return f"{name} {f'on {condition}' if condition else ''}".rstrip()
    if isinstance(plan, Apply):
        return f"Apply {plan.kind} as {plan.output}"
    if isinstance(plan, Aggregate):
        phase = f" ({plan.phase})" if plan.phase else ""
        keys = [id_ if _is_column(e, id_) else f"{id_} = {_text(e)}" for id_, e in plan.keys]
        calls = [f"{id_} = {_text(e)}" for id_, e in plan.calls]
        by = f" by {_short(keys)}" if keys else ""
        if plan.sets:
            sets = (f"({', '.join(id_ for id_, _ in plan.keys if id_ in set_)})" for set_ in plan.sets)
            by += f" in sets {_short(list(sets))}"
        return f"Aggregate{phase}{by}" + (f": {_short(calls)}" if calls else "")
    if isinstance(plan, Unnest):
        return f"Unnest {_short([_text(e) for _, e in plan.lists])}"
    if isinstance(plan, Window):
        return f"Window {_short([_text(e) for _, e in plan.calls])}"
    if isinstance(plan, SetOperation):
        return f"{plan.kind.capitalize()}{' all' if plan.all else ''}"
    if isinstance(plan, Sort):
        order = f" by {_short([_text(e) for e in plan.order])}" if plan.order else ""
        if plan.limit is None and not plan.offset:
            return f"Sort{order}"
        count = "" if plan.limit is None else f" {plan.limit}"
        skip = f" after {plan.offset}" if plan.offset else ""
        return f"{'Top' if plan.order else 'Limit'}{count}{skip}{order}" + (
            f" ({plan.phase})" if plan.phase else ""
        )
    if isinstance(plan, SharedRef):
        return f"Shared {plan.name}"
    if isinstance(plan, Stage):
        return f"Read fragment {plan.exchange}"
    if isinstance(plan, Exchange):
        return f"Exchange to {plan.target}"
    return type(plan).__name__


def _read_of(table: Table) -> str:
    """How much of a table is read, if not all."""
    if table.of_all is None or table.files is None:
        return ""
    files, groups = table.of_all
    kept = sum(len(file.row_groups) - len(file.skipped) for file in table.files)
    parts = [f"{len(table.files)} of {files} files"] if files > 1 else []
    parts += [f"{kept} of {groups} row groups"] if groups > files or not parts else []
    return "".join(f", {part}" for part in parts)


def _tree(plan: Plan, estimate: Estimator | None, depth: int, cut: Cut | None) -> list[str]:
    if isinstance(plan, With):
        lines = [] if cut is not None else [
            line
            for name, definition in zip(plan.names, plan.definitions, strict=True)
            for line in ["  " * depth + f"With {name}", *_tree(definition, estimate, depth + 1, cut)]
        ]  # fmt: skip
        return lines + _tree(plan.body, estimate, depth, cut)
    if cut is not None and isinstance(plan, Exchange):
        return ["  " * depth + f"Read fragment {cut.exchanges[id(plan)]}"]
    rows = f"  ~{rows_text(estimate(plan).rows)} rows" if estimate is not None else ""
    lines = ["  " * depth + describe_node(plan) + rows]
    for child in plan.children:
        lines += _tree(child, estimate, depth + 1, cut)
    return lines


def _node(plan: Plan, estimate: Estimator, cut: Cut | None) -> dict[str, Any]:
    if cut is not None and isinstance(plan, Exchange):
        return {"node": "ReadFragment", "fragment": cut.exchanges[id(plan)]}
    return {
        "node": type(plan).__name__,
        "text": describe_node(plan),
        "columns": list(plan.columns),
        "estimated_rows": round(estimate(plan).rows),
        "inputs": [_node(child, estimate, cut) for child in plan.children],
    }


def headline(plan: DistributedPlan, fragment: Fragment) -> str:
    """Where a fragment runs, what it reads and where its rows go."""
    where = plan.cut.targets.get(fragment.id)
    to = {
        Route.PARTITION: "→ any worker" if isinstance(where, Spread) else f"→ {where}",
        Route.BROADCAST: "→ every worker",
        Route.GATHER: "→ client",
        Route.KEEP: "kept in place",
        Route.WRITE: "→ files",
        Route.RESULT: "= the result",
    }[fragment.route]
    waits = f", after {', '.join(map(str, fragment.after))}" if fragment.after else ""
    place = "on each worker" if fragment.place == "workers" else "on the client"
    reads = ", ".join(str(source.exchange) for source in fragment.inputs)
    return f"{fragment.id} {place}{f', reads {reads}' if reads else ''}{waits}  {to}"


def _is_column(expression: exp.Expr, id_: str) -> bool:
    return isinstance(expression, exp.Column) and expression.name == id_


def _text(expression: exp.Expr) -> str:
    return expression_sql(expression).replace('"', "")


def _all(predicates: tuple[exp.Expr, ...]) -> str:
    return _short([_text(predicate) for predicate in predicates], " and ")


def _short(parts: list[str], separator: str = ", ") -> str:
    text = separator.join(parts)
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"


def rows_text(number: float) -> str:
    """A number of rows, three digits of it: ``60.2k``."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


def bytes_text(number: float) -> str:
    """A size, three digits of it: ``3.21 MB``."""
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f} B"
