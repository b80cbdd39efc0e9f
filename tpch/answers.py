"""How answers to TPC-H are judged, and the reference answers that ship: a CSV file per query, by plain DuckDB.

They were made by `sord tpch answers` on data of tpchgen-cli, which is the TPC's dbgen's: names, addresses and
comments included, so the answers at scale factor 1 are those that the TPC publishes for validation.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from sord.tpch.baseline import Baseline
from sord.tpch.benchmark import Benchmark
from sord.tpch.compare import Answer, differences, reference_differences
from sord.tpch.spec import ORDER_BY, PRECISION, QUERIES, TABLES, query_text

_PARSERS: Final[dict[str, Callable[[str], Any]]] = {
    "BIGINT": int,
    "INTEGER": int,
    "HUGEINT": int,
    "DOUBLE": float,
    "DATE": date.fromisoformat,
    "VARCHAR": str,
}


def reference_answer(number: int, scale_factor: float) -> Answer | None:
    """The answer of a query that ships with sord; None for a scale factor without reference answers."""
    file = files(__package__) / "answers" / f"sf{scale_factor:g}" / f"q{number:02d}.csv"
    if not file.is_file():
        return None
    columns, types, *rows = csv.reader(file.read_text(encoding="utf-8").splitlines(), delimiter="|")
    parsers = [Decimal if name.startswith("DECIMAL") else _PARSERS[name] for name in types]
    return Answer(
        tuple(columns),
        tuple(types),
        [
            tuple(None if text == "" else parse(text) for parse, text in zip(parsers, row, strict=True))
            for row in rows
        ],
    )


def write_answers(data: Path, scale_factor: float, out: Path) -> None:
    """Writes plain DuckDB's answers on `data`, a file per query: names, DuckDB's types, then the rows."""
    out.mkdir(parents=True, exist_ok=True)
    with Baseline(data, TABLES) as duckdb:
        for number in QUERIES:
            answer = duckdb.run(query_text(number, scale_factor)).answer
            with (out / f"q{number:02d}.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, delimiter="|", lineterminator="\n")
                writer.writerows([answer.columns, answer.types, *answer.rows])


def judge(
    query: int,
    scale_factor: float,
    answer: Answer,
    duckdb_answer: Answer,
    ask_duckdb: Callable[[str], Answer],
) -> list[str]:
    """What is wrong with an answer: by DuckDB's on the same data, and by the reference answer if there is one."""
    faults = [f"DuckDB differs: {fault}" for fault in differences(answer, duckdb_answer, ORDER_BY[query])]
    reference = reference_answer(query, scale_factor)
    if reference is not None:
        precision = PRECISION.get(query, {})
        found = reference_differences(answer, reference, precision, ORDER_BY[query])
        faults += [f"the reference answer differs: {fault}" for fault in found]
    return faults


TPCH: Final = Benchmark(TABLES, QUERIES, query_text, judge)
