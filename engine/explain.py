"""EXPLAIN, EXPLAIN (FORMAT JSON) and EXPLAIN ANALYZE on a fleet."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import duckdb

from sord.distributed import DistributedRelation
from sord.relation import LocalRelation, Relation

if TYPE_CHECKING:
    from sord.connection import Connection, Parameters
    from sord.report import Report

_PREFIX = re.compile(r"\s*EXPLAIN\s+(?P<analyze>ANALYZE\b\s*)?(?:\((?P<options>[^)]*)\)\s*)?", re.IGNORECASE)


def explain(connection: Connection, text: str, params: Parameters | None) -> Relation:
    """A relation of (explain_key, explain_value), as DuckDB's own EXPLAIN gives it.

    ANALYZE runs the query and adds what each fragment took.
    """
    match = _PREFIX.match(text)
    assert match is not None
    options = [option.strip().lower() for option in (match["options"] or "").split(",") if option.strip()]
    formats = [option.split()[-1] for option in options if option.startswith("format")]
    unknown = [option for option in options if option != "analyze" and not option.startswith("format")]
    if unknown or any(name not in ("json", "text") for name in formats):
        raise duckdb.InvalidInputException(
            f"EXPLAIN ({match['options']}): known options are ANALYZE, FORMAT JSON and FORMAT TEXT"
        )
    query = connection.sql(text[match.end() :], params)
    if not isinstance(query, DistributedRelation):
        value = "Executed by DuckDB on the client."
        return _table(connection, "explain", value)
    if match["analyze"] or "analyze" in options:
        query.arrow()
        assert query.report is not None
        return _table(connection, "analyzed_plan", f"{query.explain()}\n\n{_measured(query.report)}")
    if "json" in formats:
        return _table(connection, "distributed_plan", json.dumps(query.explain_json(), indent=2))
    return _table(connection, "distributed_plan", query.explain())


def _table(connection: Connection, key: str, value: str) -> Relation:
    cursor = connection.catalog.cursor()
    return LocalRelation(
        cursor.sql("SELECT ? AS explain_key, ? AS explain_value", params=[key, value])
    )


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
            f"  {part.id} {part.place}  {part.started:.3f}–{part.finished:.3f} s  {part.rows:,} rows  "
            f"{part.bytes:,} bytes, {part.wire_bytes:,} on the wire  skew {skew:.2f}  {part.title}"
        )
    return "\n".join(lines)
