"""EXPLAIN, EXPLAIN (FORMAT JSON) and EXPLAIN ANALYZE on a fleet."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import duckdb

from sord.distributed import DistributedRelation
from sord.measured import measured_json, measured_text
from sord.relation import LocalRelation, Relation
from sord.statements import Statement, split
from sord.writing import WritingRelation, writing

if TYPE_CHECKING:
    from sord.connection import Connection, Parameters

_PREFIX = re.compile(r"EXPLAIN\s*(?P<analyze>ANALYZE\b\s*)?(?:\((?P<options>[^()]*)\))?", re.IGNORECASE)


def explain(connection: Connection, text: str, params: Parameters | None) -> Relation:
    """A relation of (explain_key, explain_value), as DuckDB's own EXPLAIN gives it.

    ANALYZE runs the query, or the statement around it, and tells what each fragment took. What has no query in it
    is DuckDB's to explain.
    """
    match = _PREFIX.match(text)
    options: list[str] = []
    explained = None
    if match is not None:
        options = [option.strip().lower() for option in (match["options"] or "").split(",")]
        options = [" ".join(option.split()) for option in options if option]
        explained = split(text[match.end() :])[-1]
    known = {"analyze", "format json", "format text"}
    query = None if explained is None or set(options) - known else _explained(connection, explained, params)
    if query is None:
        relation = connection.here(lambda database: database.sql(text, params=params or []))
        return LocalRelation(relation, connection.catalog, lock=connection.catalog.lock)
    assert match is not None
    as_json = "format json" in options
    if match["analyze"] or "analyze" in options:
        value = _analyzed(query, as_json)
        connection.catalog.executed(text)
        return _table(connection, "analyzed_plan", value)
    value = json.dumps(query.explain_json(), indent=2) if as_json else query.explain()
    return _table(connection, "distributed_plan", value)


def _explained(
    connection: Connection, statement: Statement, params: Parameters | None
) -> DistributedRelation | None:
    """A query, or what writes one; None for what DuckDB explains."""
    if statement.kind == duckdb.StatementType.SELECT:
        query = connection.sql(statement.text, params)
        assert isinstance(query, DistributedRelation)
        return query
    return writing(connection, statement, params)


def _analyzed(query: DistributedRelation, as_json: bool) -> str:
    """Run it, and what can be said then."""
    if isinstance(query, WritingRelation):
        result = query.execute()
        returned, report = result.fetchall(), result.report
        count = returned[0][0] if result.columns[0] == "Count" else None
        rows = count if isinstance(count, int) else len(returned)
    else:
        rows = sum(batch.num_rows for batch in query.reader())
        report = query.report
    assert report is not None
    if as_json:
        return json.dumps(measured_json(report, query.plans, rows), indent=2)
    measured = measured_text(report, query.plans, rows)
    return measured if report.fallback is None else f"{measured}\n\n{query.explain()}"


def _table(connection: Connection, key: str, value: str) -> Relation:
    cursor = connection.catalog.cursor()
    relation = cursor.sql("SELECT ? AS explain_key, ? AS explain_value", params=[key, value])
    return LocalRelation(relation, connection.catalog)
