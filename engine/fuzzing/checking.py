"""One query: DuckDB on its text against its plan, at each number of workers."""

from __future__ import annotations

import random
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import duckdb

from sord.fuzzing.comparison import Result, difference, result_of
from sord.fuzzing.databases import Database
from sord.fuzzing.simulation import Simulation
from sord.fuzzing.strategies import Costs, believing, draw_costs, draw_options, strategies
from sord.planner.catalog import Unsupported
from sord.planner.context import Options
from sord.planner.physical import plan_query

MOST_ROWS: Final = 20_000
"""Of a query worth checking."""
_MOST_SECONDS: Final = 1.0
"""That DuckDB may take for one."""
_MOST_SECONDS_OF_PLAN: Final = 20.0
"""The same joins in a plan may be slower by far."""
BROKEN: Final = (duckdb.InternalException, duckdb.FatalException)
"""Bugs of DuckDB, after which nothing else works in the same database."""
_SEVERAL_ROWS: Final = "More than one row returned by a subquery"
_OF_A_ROW: Final = ("Overflow in ", "Conversion Error", _SEVERAL_ROWS)
"""Errors that depend on the rows that an expression sees."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A query that its plan answers otherwise than DuckDB, or that has no plan where it should."""

    number: int
    workers: int
    sql: str
    problem: str

    def __str__(self) -> str:
        return f"--seed {self.number} --count 1 --workers {self.workers}\n  {self.sql}\n  {self.problem}"


@dataclass(slots=True)
class Report:
    """What a run of queries came to."""

    queries: int = 0
    invalid: int = 0
    slow: int = 0
    eager: int = 0
    """Plans with an error of a row that DuckDB drops sooner: nobody promises which rows an expression sees."""
    lazy: int = 0
    """Plans that find no rows without a look at a subquery of which DuckDB says that it has too many."""
    ran: Counter[int] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    used: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def add(self, other: Report) -> None:
        """Takes in what another run came to."""
        self.queries += other.queries
        self.invalid += other.invalid
        self.slow += other.slow
        self.eager += other.eager
        self.lazy += other.lazy
        self.ran += other.ran
        self.refused += other.refused
        self.used += other.used
        self.findings += other.findings


def check(
    database: Database,
    sql: str,
    number: int,
    workers: Sequence[int],
    report: Report,
    costs: Costs | None = None,
) -> None:
    """Run one query at each number of workers and compare. Its number gives the costs, unless they are given.

    Raises one of BROKEN when DuckDB fell over its own feet; the database is of no use then.
    """
    report.queries += 1
    try:
        expected = _expected(database, sql)
    except BROKEN:
        raise
    except (duckdb.Error, ValueError):
        report.invalid += 1
        return
    for count in workers:
        drawn, options = costs, Options(count)
        if drawn is None:
            rng = random.Random(f"costs {number} {count}")
            drawn, options = draw_costs(rng), draw_options(rng, count)
        try:
            with believing(drawn):
                plan = plan_query(sql, database.catalog, options)
                simulation = Simulation(database.catalog, count)
                with _interrupted(simulation.interrupt, _MOST_SECONDS_OF_PLAN):
                    got = result_of(simulation.relation(plan))
        except Unsupported as error:
            report.refused[str(error)] += 1
            return
        except (duckdb.InterruptException, duckdb.OutOfMemoryException):
            report.slow += 1
            continue
        except Exception as error:
            if isinstance(expected, str) and expected in str(error):
                report.ran[count] += 1
                continue
            if isinstance(error, duckdb.Error) and any(words in str(error) for words in _OF_A_ROW):
                report.eager += 1
                return
            where = traceback.extract_tb(error.__traceback__)[-1]
            text = f"{type(error).__name__}: {str(error)[:600]} ({Path(where.filename).name}:{where.lineno})"
            report.findings.append(Finding(number, count, sql, text))
            if isinstance(error, BROKEN):
                raise
            continue
        report.ran[count] += 1
        problem = _problem(sql, expected, got)
        report.used.update(strategies(plan))
        report.used["adapted"] += simulation.adapted > 0
        report.used["joins reordered"] += simulation.reordered > 0
        if problem and isinstance(expected, str) and not got.rows and not _rows_of_any(database, sql):
            report.lazy += 1
        elif problem:
            report.findings.append(Finding(number, count, sql, problem))


def _expected(database: Database, sql: str) -> Result | str:
    """DuckDB's result, or the message of an error that a plan must raise as well."""
    try:
        with _interrupted(database.connection.interrupt, _MOST_SECONDS):
            return result_of(database.connection.sql(sql), MOST_ROWS)
    except duckdb.Error as error:
        if _SEVERAL_ROWS in str(error):
            return _SEVERAL_ROWS
        raise


def _rows_of_any(database: Database, sql: str) -> int:
    """DuckDB's rows when any one of a subquery's rows is its value."""
    setting = "scalar_subquery_error_on_multiple_rows"
    database.connection.execute(f"SET {setting} = false")
    try:
        with _interrupted(database.connection.interrupt, _MOST_SECONDS):
            return len(result_of(database.connection.sql(sql), MOST_ROWS).rows)
    finally:
        database.connection.execute(f"RESET {setting}")


def _problem(sql: str, expected: Result | str, got: Result) -> str | None:
    if isinstance(expected, str):
        return f"{len(got.rows)} rows instead of the error: {expected}"
    return difference(sql, expected, got)


@contextmanager
def _interrupted(interrupt: Callable[[], None], seconds: float) -> Iterator[None]:
    timer = threading.Timer(seconds, interrupt)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
