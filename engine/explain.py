"""EXPLAIN, EXPLAIN (FORMAT JSON) and EXPLAIN ANALYZE on a fleet."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import duckdb

from sord.distributed import DistributedRelation
from sord.relation import LocalRelation, Relation
from sord.statements import split

if TYPE_CHECKING:
    from sord.connection import Connection, Parameters
    from sord.report import Report

_PREFIX = re.compile(r"EXPLAIN\s*(?P<analyze>ANALYZE\b\s*)?(?:\((?P<options>[^()]*)\))?", re.IGNORECASE)


def explain(connection: Connection, text: str, params: Parameters | None) -> Relation:
    """A relation of (explain_key, explain_value), as DuckDB's own EXPLAIN gives it.

    ANALYZE runs the query and adds what each fragment took. Statements other than queries are DuckDB's to explain.
    """
    match = _PREFIX.match(text)
    options: list[str] = []
    explained = None
    if match is not None:
        options = [option.strip().lower() for option in (match["options"] or "").split(",")]
        options = [" ".join(option.split()) for option in options if option]
        explained = split(text[match.end() :])[-1]
    known = {"analyze", "format json", "format text"}
    if explained is None or explained.kind != duckdb.StatementType.SELECT or set(options) - known:
        relation = connection.here(lambda database: database.sql(text, params=params or []))
        return LocalRelation(relation, connection.catalog, lock=connection.catalog.lock)
    query = connection.sql(explained.text, params)
    assert isinstance(query, DistributedRelation)
    as_json = "format json" in options
    assert match is not None
    if match["analyze"] or "analyze" in options:
        for _ in query.reader():
            pass
        assert query.report is not None
        if as_json:
            value = json.dumps(query.explain_json() | {"measured": _measured_json(query.report)}, indent=2)
        else:
            value = f"{query.explain()}\n\n{_measured(query.report)}"
        return _table(connection, "analyzed_plan", value)
    value = json.dumps(query.explain_json(), indent=2) if as_json else query.explain()
    return _table(connection, "distributed_plan", value)


def _table(connection: Connection, key: str, value: str) -> Relation:
    cursor = connection.catalog.cursor()
    relation = cursor.sql("SELECT ? AS explain_key, ? AS explain_value", params=[key, value])
    return LocalRelation(relation, connection.catalog)


def _measured(report: Report) -> str:
    lines = [
        f"Measured: {report.seconds:.3f} s, of these {report.plan_seconds * 1e3:.1f} ms planning; "
        f"{report.cpu_seconds:.3f} CPU s; {report.bytes_exchanged:,} bytes on the wire; "
        f"largest worker {report.peak_memory_bytes / 1e6:.0f} MB"
    ]
    for part in report.details:
        most = max((task.rows for task in part.tasks), default=0)
        skew = most * len(part.tasks) / part.rows if part.rows else 1.0
        lines.append(
            f"  {part.id} {part.place}  {part.started:.3f} to {part.finished:.3f} s  {part.rows:,} rows  "
            f"{part.bytes:,} bytes, {part.wire_bytes:,} on the wire  skew {skew:.2f}  {part.title}"
        )
    return "\n".join(lines)


def _measured_json(report: Report) -> dict[str, object]:
    return {
        "seconds": report.seconds,
        "plan_ms": report.plan_seconds * 1e3,
        "cpu_seconds": report.cpu_seconds,
        "bytes_exchanged": report.bytes_exchanged,
        "peak_memory_bytes": report.peak_memory_bytes,
        "fragments": [
            {
                "fragment": part.id,
                "title": part.title,
                "place": str(part.place),
                "started_seconds": part.started,
                "finished_seconds": part.finished,
                "rows": part.rows,
                "bytes": part.bytes,
                "bytes_exchanged": part.wire_bytes,
                "rows_by_task": [task.rows for task in part.tasks],
            }
            for part in report.details
        ],
    }
