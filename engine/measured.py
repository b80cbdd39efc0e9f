"""What EXPLAIN ANALYZE adds to a plan: the fragments as they ran, what they took, and where estimates were off."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sord.planner.estimate import Estimator
from sord.planner.format import (
    bytes_text,
    fragment_json,
    fragment_lines,
    headline,
    logical_lines,
    rows_text,
)
from sord.planner.fragment import Fragment, Place, Route
from sord.planner.physical import DistributedPlan

if TYPE_CHECKING:
    from sord.exec.report import FragmentReport, Planned
    from sord.report import Report


def measured_text(report: Report, plans: Sequence[Planned], rows: int) -> str:
    """A run of ``rows`` rows in the end, in words: totals, then each fragment with its numbers and its operators."""
    lines = [
        f"{report.seconds:.3f} s, of these {report.plan_seconds * 1e3:.1f} ms planning; "
        f"{report.cpu_seconds:.3f} CPU s; {bytes_text(report.bytes_exchanged)} on the wire; "
        f"largest worker {report.peak_memory_bytes / 1e6:.0f} MB"
    ]
    if not plans:
        return lines[0]
    ran = {part.id: part for part in report.details}
    first = _plan(plans[0])
    workers = first.context.options.workers
    lines += ["", *logical_lines(first), ""]
    lines.append(f"Fragments as they ran ({workers} worker{'s' if workers > 1 else ''})")
    for number, planned in enumerate(plans):
        if planned.after is not None:
            lines += _replanned(_plan(plans[number - 1]), _plan(planned), planned.after, ran)
        plan, estimate = _plan(planned), Estimator()
        for fragment in plan.fragments:
            if fragment.id in ran:
                lines += fragment_lines(plan, fragment, estimate, _measured(fragment, ran[fragment.id]))
            elif fragment.route is Route.RESULT and number == len(plans) - 1:
                lines += fragment_lines(plan, fragment, estimate, [_result_text(plan, fragment, rows)])
    return "\n".join(lines)


def measured_json(report: Report, plans: Sequence[Planned], rows: int) -> dict[str, Any]:
    """The same as a tree of plain values."""
    ran = {part.id: part for part in report.details}
    fragments = [
        fragment_json(plan, fragment, Estimator()) | {"measured": _numbers(fragment, ran[fragment.id])}
        for plan in map(_plan, plans)
        for fragment in plan.fragments
        if fragment.id in ran
    ]
    return {
        "fallback": report.fallback,
        "workers": _plan(plans[0]).context.options.workers if plans else None,
        "seconds": report.seconds,
        "plan_ms": report.plan_seconds * 1e3,
        "cpu_seconds": report.cpu_seconds,
        "bytes_exchanged": report.bytes_exchanged,
        "peak_memory_bytes": report.peak_memory_bytes,
        "rows": rows,
        "fragments": fragments,
        "replans": [
            {
                "after": planned.after,
                "changes": list(_plan(planned).changes),
                "given_up": [f.id for f in _given_up(_plan(before), ran)],
            }
            for before, planned in itertools.pairwise(plans)
        ],
    }


def _plan(planned: Planned) -> DistributedPlan:
    assert isinstance(planned.plan, DistributedPlan)
    return planned.plan


def _given_up(plan: DistributedPlan, ran: Mapping[int, FragmentReport]) -> list[Fragment]:
    return [fragment for fragment in plan.fragments if fragment.id not in ran]


def _replanned(
    before: DistributedPlan, plan: DistributedPlan, after: int, ran: Mapping[int, FragmentReport]
) -> list[str]:
    """Why there is another plan, what it does otherwise, and what will not happen."""
    expected = next((f.estimated_rows for f in (*before.begun, *before.fragments) if f.id == after), None)
    surprise = "" if expected is None else f": {ran[after].rows:,} rows, not ~{rows_text(expected)}"
    lines = [f"  Planned anew after fragment {after}{surprise}"]
    lines += [f"      {change}" for change in plan.changes]
    return lines + [
        f"      given up: {headline(before, fragment)}  {fragment.title}"
        for fragment in _given_up(before, ran)
        if fragment.route is not Route.RESULT
    ]


def _measured(fragment: Fragment, part: FragmentReport) -> list[str]:
    off = _q_error(fragment.estimated_rows, part.rows)
    wire = f", {bytes_text(part.wire_bytes)} on the wire" if part.wire_bytes else ""
    slowest = max(part.tasks, key=lambda task: task.compute_seconds + task.wait_seconds)
    lines = [
        f"{part.rows:,} rows (~{rows_text(fragment.estimated_rows)}, q {off:.1f}), {bytes_text(part.bytes)}{wire}",
        f"{part.started:.3f} to {part.finished:.3f} s; slowest: {slowest.compute_seconds:.3f} s computing, "
        f"{slowest.wait_seconds:.3f} s waiting",
    ]
    if part.place is Place.WORKERS:
        lines[1] += f"; {_skew_text('made', [task.rows for task in part.tasks])}"
        if part.received_rows:
            lines[1] += f", {_skew_text('received', part.received_rows)}"
    for each in fragment.filters:
        keys = "read from files" if each.exchange is None else f"of fragment {each.exchange}"
        lines.append(
            f"runtime filter on {', '.join(each.columns)} by keys {keys}: "
            f"~{rows_text(_removed(fragment, part))} of ~{rows_text(fragment.unfiltered_rows)} rows removed"
        )
    return lines


def _removed(fragment: Fragment, part: FragmentReport) -> float:
    """Rows that a fragment would have made without its filters, against those that it made; the first is estimated."""
    return max(fragment.unfiltered_rows - part.rows, 0.0)


def _result_text(plan: DistributedPlan, fragment: Fragment, rows: int) -> str:
    if any(one.route is Route.WRITE for one in plan.fragments):
        return f"{rows:,} rows written"
    off = _q_error(fragment.estimated_rows, rows)
    return f"{rows:,} rows (~{rows_text(fragment.estimated_rows)}, q {off:.1f})"


def _skew_text(what: str, rows: Sequence[int]) -> str:
    """The most rows of a worker against the mean, and whose they are."""
    if not any(rows):
        return f"none {what}"
    most = max(range(len(rows)), key=rows.__getitem__)
    return f"skew {_skew(rows):.2f} {what} ({rows[most]:,} by worker {most})"


def _skew(rows: Sequence[int]) -> float:
    return max(rows, default=0) * len(rows) / sum(rows) if sum(rows) else 1.0


def _q_error(expected: float, actual: int) -> float:
    """How many times too high or too low (Moerkotte, Neumann, Steidl 2009); less than a row counts as one."""
    return max(max(expected, 1.0) / max(actual, 1), max(actual, 1) / max(expected, 1.0))


def _numbers(fragment: Fragment, part: FragmentReport) -> dict[str, Any]:
    rows = [task.rows for task in part.tasks]
    return {
        "started_seconds": part.started,
        "finished_seconds": part.finished,
        "compute_seconds_by_task": [task.compute_seconds for task in part.tasks],
        "wait_seconds_by_task": [task.wait_seconds for task in part.tasks],
        "cpu_seconds": sum(task.cpu_seconds for task in part.tasks),
        "rows": part.rows,
        "q_error": _q_error(fragment.estimated_rows, part.rows),
        "bytes": part.bytes,
        "bytes_exchanged": part.wire_bytes,
        "rows_by_task": rows,
        "received_rows_by_worker": list(part.received_rows),
        "skew": _skew(rows),
        "received_skew": _skew(part.received_rows),
        "runtime_filters": [
            {"columns": list(each.columns), "keys_of_fragment": each.exchange} for each in fragment.filters
        ],
        "estimated_rows_removed": round(_removed(fragment, part)) if fragment.filters else 0,
    }
