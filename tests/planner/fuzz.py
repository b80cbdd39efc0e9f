"""Random tables, random queries, random plans; DuckDB on the original text decides.

    python tests/planner/fuzz.py --seed 0 --count 200 --workers 1,2,3,8

A query is named by one number: it decides the tables (shared by ``_PER_DATABASE`` queries in a row), the text, and the
costs that the planner believes in, so that all of its strategies occur. ``--query`` runs a text over a seed's tables.
"""

from __future__ import annotations

import argparse
import datetime
import decimal
import itertools
import math
import random
import sys
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from sord.catalog import Catalog
from sord.fuzzing.simulation import Simulation
from sord.planner import cost
from sord.planner.catalog import Unsupported
from sord.planner.context import Options
from sord.planner.distribution import Hashed, Ranged, Replicated, Single, Sorted, Spread
from sord.planner.logical import Exchange, Join, Plan, Scan
from sord.planner.physical import DistributedPlan, plan_query

_PER_DATABASE = 20
_MOST_ROWS = 20_000
"""Of a query worth checking."""
_MOST_SECONDS = 1.0
"""That DuckDB may take for one: the same joins in a plan may be slower by far."""

Column = tuple[str, str]
"""Name and kind; a kind is int, big, dec, dbl, str, date, ts or bool."""

_ARROW = {
    "int": pa.int32(), "big": pa.int64(), "dec": pa.decimal128(9, 2), "dbl": pa.float64(), "str": pa.string(),
    "date": pa.date32(), "ts": pa.timestamp("us"), "bool": pa.bool_(),
}  # fmt: skip
_NUMBERS = ("int", "big", "dec", "dbl")
_SQL = {
    "int": "INTEGER", "big": "BIGINT", "dec": "DECIMAL(9,2)", "dbl": "DOUBLE", "str": "VARCHAR", "date": "DATE",
    "ts": "TIMESTAMP", "bool": "BOOLEAN",
}  # fmt: skip


# Tables


@dataclass(slots=True)
class Database:
    """A DuckDB with tables in Parquet files, frames, temporary tables and views."""

    connection: duckdb.DuckDBPyConnection
    catalog: Catalog
    tables: dict[str, list[Column]] = field(default_factory=dict)


def make_database(number: int, folder: Path) -> Database:
    """The tables of one number, their files under ``folder``."""
    rng = random.Random(f"database {number}")
    connection = duckdb.connect()
    connection.execute("SET arrow_lossless_conversion = true")
    connection.execute("SET threads = 1")
    # Footers don't say whether a column has NaN, but DuckDB takes their minima and maxima to hold for all rows: it
    # drops ``x <> 'NaN'`` where it reads one file, so its answer to that depends on which files it reads.
    connection.execute("SET disabled_optimizers = 'statistics_propagation'")
    connection.execute("SET memory_limit = '500MB'")
    connection.execute("SET max_temp_directory_size = '0B'")
    connection.execute("SET enable_progress_bar = false")
    database = Database(connection, Catalog(connection))
    for index in range(rng.randint(3, 4)):
        name = f"t{index}"
        database.tables[name] = _parquet_table(rng, database, name, folder / name)
    frame, columns = _rows(rng, rng.choice((0, 1, 5, 20)), _columns(rng), None)
    database.catalog.register("frame", frame)
    database.tables["frame"] = columns
    temporary, columns = _rows(rng, rng.choice((0, 3, 15)), _columns(rng), None)
    connection.register("source", temporary)
    connection.execute("CREATE TABLE temporary AS SELECT * FROM source")
    connection.unregister("source")
    database.tables["temporary"] = columns
    source = rng.choice(["t0", "t1"])
    (column, kind) = database.tables[source][0]
    connection.execute(
        f"CREATE VIEW view0 AS SELECT {column} AS k, count(*) AS n, max({column}) AS a FROM {source} GROUP BY {column}"
    )
    database.tables["view0"] = [("k", kind), ("n", "big"), ("a", kind)]
    return database


def _parquet_table(rng: random.Random, database: Database, name: str, folder: Path) -> list[Column]:
    columns = _columns(rng)
    layout = rng.choice(("clustered", "clustered", "clustered", "scattered", "scattered", "small", "empty"))
    count = {"clustered": rng.randint(60, 200), "scattered": rng.randint(20, 120), "small": rng.randint(1, 5)}
    table, columns = _rows(rng, count.get(layout, 0), columns, layout)
    folder.mkdir(parents=True)
    cuts = sorted(rng.randint(0, table.num_rows) for _ in range(rng.randint(0, 3)))
    bounds = [0, *cuts, table.num_rows]
    pieces = [table.slice(a, b - a) for a, b in itertools.pairwise(bounds)]
    names = list(range(len(pieces)))
    if rng.random() < 0.3:
        rng.shuffle(names)
    for piece, number in zip(pieces, names, strict=True):
        size = rng.choice((4, 7, 16, 1000))
        pq.write_table(piece, folder / f"{number}.parquet", row_group_size=size)
    database.catalog.register(name, folder / "*.parquet")
    return columns


def _columns(rng: random.Random) -> list[Column]:
    """A key, and a random choice of columns whose names occur in other tables as well."""
    columns = [("k", rng.choice(("int", "int", "big", "big", "dec")))]
    others = [
        ("j", "big"), ("a", "int"), ("b", "big"), ("d", "dec"), ("x", "dbl"), ("s", "str"), ("u", "str"),
        ("t", "date"), ("ts", "ts"), ("f", "bool"), ("n", "int"),
    ]  # fmt: skip
    columns += rng.sample(others, rng.randint(2, 5))
    rng.shuffle(columns)
    return columns


def _rows(
    rng: random.Random, count: int, columns: list[Column], layout: str | None
) -> tuple[pa.Table, list[Column]]:
    arrays = []
    for name, kind in columns:
        nulls = (
            rng.choice((0.0, 0.0, 0.15, 0.5))
            if name != "k" or layout != "clustered"
            else rng.choice((0.0, 0.08))
        )
        values = _keys(rng, count, layout) if name == "k" else [_value(rng, kind) for _ in range(count)]
        if kind == "dec":
            values = [decimal.Decimal(value).quantize(decimal.Decimal("0.01")) for value in values]
        arrays.append(pa.array([None if rng.random() < nulls else v for v in values], _ARROW[kind]))
    return pa.table(arrays, [name for name, _ in columns]), columns


def _keys(rng: random.Random, count: int, layout: str | None) -> list[Any]:
    step = rng.choice((97, 97, 97, 31))  # sparse, so that footers show a span worth partitioning by
    start = rng.choice((0, 0, -20))
    spread = rng.choice((10, 40, 40, 120))
    values = [(start + rng.randint(0, spread)) * step for _ in range(count)]
    if layout == "clustered":
        values.sort()
        if rng.random() < 0.2:
            values.reverse()
    return values


def _value(rng: random.Random, kind: str) -> Any:
    if kind == "int":
        return rng.choice((0, 1, 2, 3, 4, 5, 7, -1, -3, 97, 194, 970))
    if kind == "big":
        return rng.choice((0, 1, 2, 3, 5, -1, -97, 97, 194, 291, 10**12))
    if kind == "dec":
        return rng.choice(("0", "1", "2", "2.50", "-1.25", "3", "97", "194"))
    if kind == "dbl":
        return rng.choice((0.0, -0.0, 1.0, 2.0, 2.5, -1.25, 3.0, 97.0, math.nan, 0.25, 1.0, 2.0))
    if kind == "str":
        return rng.choice(("", "a", "b", "ab", "A", "abc", "b%", "1", "2", "é", "it's"))
    if kind == "date":
        return datetime.date(1995, 1, 1) + datetime.timedelta(days=rng.choice((0, 1, 30, 31, 365, 400)))
    if kind == "ts":
        return datetime.datetime(1995, 1, 1) + datetime.timedelta(hours=rng.choice((0, 1, 24, 700, 9000)))
    return rng.random() < 0.5


# Queries


@dataclass(slots=True)
class Source:
    """An item of FROM under its alias."""

    alias: str
    columns: list[Column]


class Queries:
    """Random SELECTs over a database."""

    def __init__(self, rng: random.Random, database: Database) -> None:
        self.rng = rng
        self.database = database
        self.names = 0
        self.ctes: dict[str, list[Column]] = {}

    def statement(self) -> str:
        """A query as a user would send it."""
        rng = self.rng
        parts = []
        for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
            name = f"cte{len(self.ctes)}"
            text, columns = self.query(1, [])
            parts.append(f"{name} AS ({text})")
            self.ctes[name] = columns
        text, columns = self.query(2, [], top=True)
        return ("WITH " + ", ".join(parts) + " " if parts else "") + text

    def query(self, depth: int, outer: list[Source], top: bool = False) -> tuple[str, list[Column]]:
        """A query and its columns."""
        if depth > 0 and self.rng.random() < 0.15:
            text, columns = self.set_operation(depth, outer)
        else:
            text, columns = self.select(depth, outer)
        return text + (self.order(columns) if top or self.rng.random() < 0.1 else ""), columns

    def order(self, columns: list[Column]) -> str:
        """ORDER BY and LIMIT. A limit comes with a total order, or else several answers would be right."""
        rng = self.rng
        if rng.random() < 0.45:
            return ""
        positions = rng.sample(range(1, len(columns) + 1), len(columns))
        items = [
            f"{position}{rng.choice(('', '', ' DESC', ' ASC'))}{rng.choice(('', '', ' NULLS FIRST', ' NULLS LAST'))}"
            for position in positions
        ]
        limit = rng.random() < 0.5
        if not limit:
            items = items[: rng.randint(1, len(items))]
        text = " ORDER BY " + ", ".join(items)
        if limit:
            text += f" LIMIT {rng.choice((0, 1, 2, 5, 10, 1000))}"
            text += rng.choice(("", "", f" OFFSET {rng.randint(0, 6)}"))
        elif rng.random() < 0.05:
            text = " ORDER BY " + ", ".join(map(str, positions)) + f" OFFSET {rng.randint(0, 6)}"
        if rng.random() < 0.15:
            name, kind = rng.choice(columns)
            first = f"abs({name})" if kind in _NUMBERS else f"{name} IS NULL"
            text = f" ORDER BY {first}, " + ", ".join(map(str, positions)) + rng.choice(("", " LIMIT 4"))
        return text

    def set_operation(self, depth: int, outer: list[Source]) -> tuple[str, list[Column]]:
        rng = self.rng
        word = rng.choice(
            ("UNION", "UNION ALL", "UNION ALL", "INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL")
        )
        kinds = [rng.choice(("int", "big", "dec", "dbl", "str", "date")) for _ in range(rng.randint(1, 3))]
        sides = []
        for _ in range(2):
            sources, from_ = self.from_(depth - 1, outer)
            mine = [
                rng.choice(_NUMBERS) if kind in _NUMBERS and rng.random() < 0.2 else kind for kind in kinds
            ]
            items = ", ".join(f"{self.value(sources, kind)} AS c{i}" for i, kind in enumerate(mine))
            where = self.where(sources, depth - 1, outer)
            distinct = rng.choice(("", "", "", "DISTINCT "))
            sides.append((f"SELECT {distinct}{items}{from_}{where}", mine))
        columns = []
        for i in range(len(kinds)):
            left, right = sides[0][1][i], sides[1][1][i]
            kind = max((left, right), key=_NUMBERS.index) if left in _NUMBERS and right in _NUMBERS else left
            columns.append((f"c{i}", kind))
        text = f"{sides[0][0]} {word} {sides[1][0]}"
        if rng.random() < 0.2:
            items = ", ".join(
                f"NULL::{_SQL[kind]}" if rng.random() < 0.3 else self.literal(kind) for _, kind in columns
            )
            text = f"({text}) {rng.choice(('UNION ALL', 'UNION', 'EXCEPT'))} SELECT {items}"
        return text, columns

    def select(self, depth: int, outer: list[Source]) -> tuple[str, list[Column]]:
        rng = self.rng
        sources, from_ = self.from_(depth, outer)
        where = self.where(sources, depth, outer)
        shape = rng.random()
        if shape < 0.4:
            return self.aggregate(sources, from_ + where, depth, outer)
        items: list[tuple[str, Column]] = []
        for _ in range(rng.randint(1, 4)):
            text, kind = self.any_value(sources)
            items.append((text, (self.output_name(text, [name for _, (name, _) in items]), kind)))
        if rng.random() < 0.12:
            text, kind = self.window(sources)
            items.append((text, (self.output_name("", [name for _, (name, _) in items]), kind)))
        if depth > 0 and rng.random() < 0.08:
            items.append((self.scalar_subquery(sources + outer, depth, "big"), ("sub", "big")))
        if outer == [] and rng.random() < 0.05 and len(sources) < 3:
            star = [column for source in sources for column in source.columns]
            if star and len({name for name, _ in star}) == len(star):
                return f"SELECT *{from_}{where}", star
        distinct = "DISTINCT " if rng.random() < 0.15 else ""
        listed = ", ".join(f"{text} AS {name}" for text, (name, _) in items)
        return f"SELECT {distinct}{listed}{from_}{where}", [column for _, column in items]

    def output_name(self, text: str, taken: list[str]) -> str:
        """Mostly a new name, sometimes one that a column has."""
        name = self.rng.choice(("a", "b", "k", "s", "n")) if self.rng.random() < 0.25 else f"c{len(taken)}"
        return name if name not in taken else f"c{len(taken)}"

    def aggregate(
        self, sources: list[Source], rest: str, depth: int, outer: list[Source]
    ) -> tuple[str, list[Column]]:
        rng = self.rng
        keys: list[tuple[str, str]] = []
        for _ in range(rng.choice((0, 1, 1, 1, 2))):
            if rng.random() < 0.75:
                keys.append(self.column(sources))
            else:
                keys.append(self.any_value(sources))
        items: list[tuple[str, Column]] = []
        for text, kind in keys:
            if rng.random() < 0.9:
                items.append((text, (self.output_name(text, [name for _, (name, _) in items]), kind)))
        for _ in range(rng.randint(0 if items else 1, 3)):
            text, kind = self.call(sources)
            items.append((text, (f"c{len(items)}", kind)))
        if keys and rng.random() < 0.06:
            items.append(
                (f"row_number() OVER (ORDER BY {', '.join(t for t, _ in keys)})", (f"c{len(items)}", "big"))
            )
        text = "SELECT " + ", ".join(f"{text} AS {name}" for text, (name, _) in items) + rest
        if keys:
            text += " GROUP BY " + ", ".join(key for key, _ in keys)
        if rng.random() < 0.2:
            call, kind = self.call(sources)
            text += f" HAVING {self.compare(call, self.literal(kind))}"
            if keys and rng.random() < 0.3:
                text += f" AND {self.test(*keys[0])}"
            if depth > 0 and rng.random() < 0.25:
                text += f" AND {call} > {self.scalar_subquery([], depth, 'big')}" if kind in _NUMBERS else ""
        elif keys and rng.random() < 0.05:
            text += f" HAVING {keys[0][0]} IN (SELECT {self.column_text(keys[0][1])})" if depth > 0 else ""
        return text, [column for _, column in items]

    def column_text(self, kind: str) -> str:
        """``column FROM table`` of some table that has a column of the kind."""
        for name, columns in self.rng.sample(list(self.database.tables.items()), len(self.database.tables)):
            for column, other in columns:
                if other == kind:
                    return f"{column} FROM {name}"
        return self.literal(kind)

    def call(self, sources: list[Source]) -> tuple[str, str]:
        """An aggregate call and its kind."""
        rng = self.rng
        choice = rng.random()
        filter_ = f" FILTER (WHERE {self.predicate(sources)})" if rng.random() < 0.12 else ""
        if choice < 0.2:
            return f"count(*){filter_}", "big"
        if choice < 0.3:
            return f"count({self.any_value(sources)[0]}){filter_}", "big"
        if choice < 0.42:
            distinct = rng.choice(("count", "count", "sum", "avg", "min"))
            kind = rng.choice(_NUMBERS) if distinct != "count" else rng.choice((*_NUMBERS, "str", "date"))
            value = self.value(sources, kind)
            result = "big" if distinct == "count" else "dbl" if distinct == "avg" else kind
            return f"{distinct}(DISTINCT {value}){filter_}", result
        if choice < 0.6:
            kind = rng.choice(_NUMBERS)
            return f"sum({self.value(sources, kind)}){filter_}", "big" if kind == "int" else kind
        if choice < 0.72:
            return f"avg({self.value(sources, rng.choice(_NUMBERS))}){filter_}", "dbl"
        if choice < 0.92:
            text, kind = self.any_value(sources)
            return f"{rng.choice(('min', 'max'))}({text}){filter_}", kind
        if choice < 0.95:
            return f"median({self.value(sources, rng.choice(('int', 'big')))}){filter_}", "dbl"
        if choice < 0.97:
            return f"bool_or({self.predicate(sources)}){filter_}", "bool"
        return f"{rng.choice(('stddev', 'var_pop'))}({self.value(sources, 'int')}){filter_}", "dbl"

    def window(self, sources: list[Source]) -> tuple[str, str]:
        rng = self.rng
        keys = [self.column(sources)[0] for _ in range(rng.choice((0, 1, 1, 2)))]
        partition = f"PARTITION BY {', '.join(keys)}" if keys else ""
        call, kind = rng.choice(
            (
                ("count(*)", "big"),
                (f"sum({self.value(sources, 'int')})", "big"),
                ("rank()", "big"),
                ("dense_rank()", "big"),
            )
        )
        if "rank" in call or rng.random() < 0.3:
            partition += f" ORDER BY {self.column(sources)[0]}{rng.choice(('', ' DESC', ' NULLS FIRST'))}"
        return f"{call} OVER ({partition.strip()})", kind

    # FROM and WHERE

    def from_(self, depth: int, outer: list[Source]) -> tuple[list[Source], str]:
        rng = self.rng
        if rng.random() < 0.02:
            return [Source("", [])], ""
        first, source = self.relation(depth)
        sources = [source]
        text = f" FROM {first}"
        visible = 0  # ON sees what stands after the last comma
        for _ in range(rng.choice((0, 0, 1, 1, 1, 2, 2, 3))):
            item, source = self.relation(depth)
            kind = rng.choice(("JOIN", "JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "SEMI JOIN",
                               "ANTI JOIN", ",", ",", "CROSS JOIN"))  # fmt: skip
            if kind == "," and " JOIN " in text and rng.random() < 0.5:
                kind = "JOIN"
            if kind in (",", "CROSS JOIN"):
                if len(sources) > 1 and kind == "CROSS JOIN":
                    kind = "JOIN"
                else:
                    visible = len(sources) if kind == "," else visible
                    text += f"{kind} {item}" if kind == "," else f" CROSS JOIN {item}"
                    sources.append(source)
                    continue
            shared = {n for n, _ in _numeric(source.columns)} & {
                n for s in sources for n, _ in _numeric(s.columns)
            }
            if rng.random() < 0.06 and "k" in shared and len(sources) == 1 and kind in ("JOIN", "LEFT JOIN"):
                text += f" {kind} {item} USING (k)"
            else:
                text += f" {kind} {item} ON {self.condition(sources[visible:], source)}"
            if kind not in ("SEMI JOIN", "ANTI JOIN"):
                sources.append(source)
        return sources, text

    def relation(self, depth: int) -> tuple[str, Source]:
        rng = self.rng
        self.names += 1
        alias = f"r{self.names}"
        if depth > 0 and rng.random() < 0.2:
            text, columns = self.query(depth - 1, [])
            return f"({text}) AS {alias}", Source(alias, columns)
        if self.ctes and rng.random() < 0.5:
            name = rng.choice(list(self.ctes))
            return f"{name} AS {alias}", Source(alias, self.ctes[name])
        name = rng.choice([*[t for t in self.database.tables if t.startswith("t") and t != "temporary"] * 3,
                           *self.database.tables])  # fmt: skip
        return f"{name} AS {alias}", Source(alias, self.database.tables[name])

    def condition(self, left: list[Source], right: Source) -> str:
        rng = self.rng
        parts = [self.equality(left, right) for _ in range(rng.choice((0, 1, 1, 1, 1, 2, 2, 3)))]
        if rng.random() < 0.3:
            parts.append(self.predicate([*left, right]))
        if rng.random() < 0.1:
            parts.append(rng.choice((self.predicate([right]), self.predicate(left))))
        return " AND ".join(parts) or rng.choice(("true", self.equality(left, right), "1 = 1"))

    def equality(self, left: list[Source], right: Source) -> str:
        rng = self.rng
        pairs = [
            (f"{a.alias}.{name}", f"{right.alias}.{other}")
            for a in left
            for name, kind in a.columns
            for other, second in right.columns
            if kind == second or (kind in _NUMBERS and second in _NUMBERS)
        ]
        keyed = [pair for pair in pairs if pair[0].endswith(".k") and pair[1].endswith(".k")]
        if keyed and rng.random() < 0.7:
            a, b = rng.choice(keyed)
        elif pairs:
            a, b = rng.choice(pairs)
        else:
            return "true"
        if rng.random() < 0.04:
            return f"{a} IS NOT DISTINCT FROM {b}"
        if rng.random() < 0.12 and a.endswith(".k") and b.endswith(".k"):
            a = f"{a} + 97"
        return f"{a} = {b}" if rng.random() < 0.8 else f"{b} = {a}"

    def where(self, sources: list[Source], depth: int, outer: list[Source]) -> str:
        rng = self.rng
        parts: list[str] = []
        if outer:
            inner = [source for source in sources if source.columns]
            if inner:
                parts += [self.equality(outer, rng.choice(inner)) for _ in range(rng.choice((1, 1, 2)))]
                if rng.random() < 0.15:
                    parts.append(self.predicate([*inner, *outer]))
        if len(sources) > 1 and rng.random() < 0.7:
            parts += [self.equality(sources[:-1], sources[-1]) for _ in range(rng.choice((1, 1, 1, 2)))]
        parts += [self.predicate(sources) for _ in range(rng.choice((0, 0, 1, 1, 2)))]
        if depth > 0 and rng.random() < 0.3:
            for _ in range(rng.choice((1, 1, 2))):
                parts.append(self.subquery(sources, depth, outer))
        rng.shuffle(parts)
        return " WHERE " + " AND ".join(parts) if parts else ""

    def subquery(self, sources: list[Source], depth: int, outer: list[Source]) -> str:
        """A predicate with a subquery."""
        rng = self.rng
        visible = [source for source in sources if source.columns]
        reach = visible if rng.random() < 0.9 else visible + outer
        if not visible:
            return "true"
        kind = rng.choice(("exists", "exists", "in", "in", "scalar"))
        negated = rng.choice(("", "NOT "))
        if kind == "exists":
            inner, _ = self.select_from(depth - 1, reach if rng.random() < 0.85 else [], "1 AS one")
            text = f"{negated}EXISTS ({inner})"
        elif kind == "in":
            column, of = self.column(visible)
            other = rng.choice(_NUMBERS) if of in _NUMBERS and rng.random() < 0.3 else of
            inner, _ = self.select_from(depth - 1, reach if rng.random() < 0.3 else [], None, other)
            text = f"{column} {negated}IN ({inner})"
        else:
            value = self.value(visible, rng.choice(_NUMBERS))
            text = f"{value} {rng.choice(('<', '>', '=', '<>', '>='))} {self.scalar_subquery(reach, depth, 'big')}"
        if rng.random() < 0.06:
            text = f"({text} OR {self.predicate(visible)})"
        return text

    def scalar_subquery(self, reach: list[Source], depth: int, kind: str) -> str:
        rng = self.rng
        reach = [source for source in reach if source.columns]
        correlated = reach if rng.random() < 0.6 else []
        sources, from_ = self.from_(min(depth - 1, 0), [])
        where = self.where(sources, depth - 1, correlated)
        call, _ = self.call(sources)
        while "min(" in call or "max(" in call or "bool_or" in call:
            call, _ = self.call(sources)
        return f"(SELECT {rng.choice((call, call, f'coalesce({call}, 1)', f'{call} + 1'))}{from_}{where})"

    def select_from(
        self, depth: int, outer: list[Source], items: str | None, kind: str = "int"
    ) -> tuple[str, list[Column]]:
        sources, from_ = self.from_(depth, outer)
        text = items or f"{self.value(sources, kind)} AS v"
        where = self.where(sources, depth, outer)
        group = ""
        if items is None and not outer and self.rng.random() < 0.15:
            group = " GROUP BY 1"
        return f"SELECT {text}{from_}{where}{group}", [("v", kind)]

    # Expressions

    def column(self, sources: list[Source]) -> tuple[str, str]:
        """A column (qualified where that is needed, and often where it isn't) and its kind."""
        rng = self.rng
        found = [(source, column) for source in sources for column in source.columns]
        if not found:
            kind = rng.choice(("int", "str"))
            return self.literal(kind), kind
        source, (name, kind) = rng.choice(found)
        if rng.random() < 0.15 and sum(other == name for _, (other, _) in found) == 1:
            return name, kind
        return f"{source.alias}.{name}", kind

    def any_value(self, sources: list[Source]) -> tuple[str, str]:
        if self.rng.random() < 0.6:
            return self.column(sources)
        kind = self.rng.choice(("int", "int", "big", "dec", "dbl", "str", "date", "bool"))
        return self.value(sources, kind), kind

    def value(self, sources: list[Source], kind: str) -> str:
        """An expression of a kind."""
        rng = self.rng
        mine = [f"{s.alias}.{name}" for s in sources for name, other in s.columns if other == kind]
        if mine and rng.random() < 0.75:
            return rng.choice(mine)
        choice = rng.random()
        if choice < 0.15:
            return self.literal(kind)
        if choice < 0.3 and mine:
            return f"coalesce({rng.choice(mine)}, {self.literal(kind)})"
        if choice < 0.45:
            other = rng.choice(mine) if mine else self.literal(kind)
            default = rng.choice(("", f" ELSE {self.literal(kind)}", f" ELSE {other}"))
            return f"CASE WHEN {self.predicate(sources)} THEN {other}{default} END"
        base = rng.choice(mine) if mine else None
        numbers = [f"{s.alias}.{name}" for s in sources for name, other in s.columns if other in _NUMBERS]
        if kind in ("int", "big", "dec"):
            if base is None:
                exact = [
                    f"{s.alias}.{name}"
                    for s in sources
                    for name, o in s.columns
                    if o in ("int", "big", "dec")
                ]
                if exact and rng.random() < 0.7:
                    return f"TRY_CAST({rng.choice(exact)} AS {_SQL[kind]})"
                return self.literal(kind)
            return f"({base} {rng.choice(('+', '-'))} {rng.choice([self.literal(kind), base])})"
        if kind == "dbl":
            if base is None:
                return f"CAST({rng.choice(numbers)} AS DOUBLE)" if numbers else self.literal(kind)
            return f"({base} {rng.choice(('+', '-', '*'))} {rng.choice(('1.0', '2', '0.5'))})"
        if kind == "str":
            if base is None:
                return self.literal(kind)
            return rng.choice(
                (f"upper({base})", f"{base} || 'x'", f"substring({base}, 1, 1)", f"nullif({base}, 'a')")
            )
        if kind == "date":
            return f"({base} + INTERVAL 1 DAY)::DATE" if base else self.literal(kind)
        if kind == "bool":
            return f"({self.predicate(sources)})"
        return base or self.literal(kind)

    def literal(self, kind: str) -> str:
        rng = self.rng
        if rng.random() < 0.04:
            return f"NULL::{_SQL[kind]}" if rng.random() < 0.7 else "NULL"
        if kind in ("int", "big"):
            return str(rng.choice((0, 1, 2, 3, -1, 97, 970)))
        if kind == "dec":
            return rng.choice(("0.00", "2.50", "-1.25", "97.00"))
        if kind == "dbl":
            return rng.choice(("0.0::DOUBLE", "2.5::DOUBLE", "1e0", "'NaN'::DOUBLE", "(-0.0)::DOUBLE"))
        if kind == "str":
            return rng.choice(("'a'", "''", "'b%'", "'it''s'"))
        if kind == "date":
            return rng.choice(("DATE '1995-01-01'", "DATE '1995-02-01'", "'1996-01-01'::DATE"))
        if kind == "ts":
            return "TIMESTAMP '1995-01-02 00:00:00'"
        return rng.choice(("true", "false"))

    def compare(self, a: str, b: str) -> str:
        return f"{a} {self.rng.choice(('=', '<', '>', '<=', '>=', '<>'))} {b}"

    def test(self, text: str, kind: str) -> str:
        """A condition on one value."""
        rng = self.rng
        choice = rng.random()
        if choice < 0.15:
            return f"{text} IS {rng.choice(('', 'NOT '))}NULL"
        if choice < 0.3:
            listed = ", ".join(self.literal(kind) for _ in range(rng.randint(1, 3)))
            return f"{text} {rng.choice(('', '', 'NOT '))}IN ({listed})"
        if choice < 0.4 and kind in _NUMBERS:
            return f"{text} BETWEEN {self.literal(kind)} AND {self.literal(kind)}"
        if choice < 0.5 and kind == "str":
            return f"{text} {rng.choice(('LIKE', 'NOT LIKE', 'ILIKE'))} {rng.choice(_PATTERNS)}"
        if choice < 0.55 and kind == "bool":
            return text
        if choice < 0.6:
            return f"{text} IS {rng.choice(('', 'NOT '))}DISTINCT FROM {self.literal(kind)}"
        return self.compare(text, self.literal(kind))

    def predicate(self, sources: list[Source], level: int = 0) -> str:
        rng = self.rng
        choice = rng.random()
        if choice < 0.03:
            return rng.choice(("true", "false", "NULL", "1 = 0", "NULL::BOOLEAN"))
        if choice < 0.2 and level < 2:
            a, b = self.predicate(sources, level + 1), self.predicate(sources, level + 1)
            shared = self.predicate(sources, level + 1)
            return rng.choice(
                (f"({a} OR {b})", f"({a} AND {b})", f"(({shared} AND {a}) OR ({shared} AND {b}))")
            )
        if choice < 0.25 and level < 2:
            return f"NOT ({self.predicate(sources, level + 1)})"
        text, kind = self.column(sources)
        if choice < 0.35:
            other, second = self.column(sources)
            if kind == second or (kind in _NUMBERS and second in _NUMBERS):
                return self.compare(text, other)
        return self.test(text, kind)


_PATTERNS = ("'a%'", "'%b'", "'_'", "'%'", "''", "'A%'")


def _numeric(columns: Sequence[Column]) -> list[Column]:
    return [column for column in columns if column[1] in _NUMBERS]


# Plans


_PLACES: dict[str, tuple[str, ...]] = {
    "scan": ("cost.SCAN",),
    "stage": ("cost.STAGE",),
    "build": ("cost.BUILD",),
    "few_rows": ("distribute._FEW_ROWS",),
    "sort_at_client": ("distribute._SORT_AT_CLIENT",),
    "small": ("distribute_joins._SMALL",),
    "split": ("split_aggregates._SHRINKS",),
    "push": ("push_aggregates._SHRINKS",),
    "reduce": ("reduce_aggregates._WORTHWHILE",),
    "surprise": ("physical._SURPRISE",),
    "pairs": ("order_joins._PAIRS",),
}
"""Where the planner keeps a cost or a limit."""

Costs = Mapping[str, float]


def draw_costs(rng: random.Random) -> Costs:
    """Costs and limits under which the planner takes ways that small tables wouldn't make it take."""
    return {
        "scan": rng.choice((cost.SCAN, 0.0, 1e3)),
        "stage": rng.choice((cost.STAGE, 0.0, 0.0, 1e3)),
        "build": rng.choice((cost.BUILD, 1.0)),
        "few_rows": rng.choice((100_000, -1, -1)),
        "sort_at_client": rng.choice((64e6, -1.0)),
        "small": rng.choice((1e6, -1.0)),
        "split": rng.choice((0.7, 1e9, -1.0)),
        "push": rng.choice((0.5, 1e9)),
        "reduce": rng.choice((0.25, 1e9)),
        "surprise": rng.choice((4.0, 1.0, 1.0)),
        "pairs": rng.choice((20_000, 20_000, 0)),
    }


@contextmanager
def believing(costs: Costs) -> Iterator[None]:
    """Let the planner believe in these costs."""
    with ExitStack() as stack:
        for name, value in costs.items():
            for place in _PLACES[name]:
                stack.enter_context(mock.patch(f"sord.planner.{place}", value))
        yield


def strategies(plan: DistributedPlan) -> Counter[str]:
    """What a plan does, for the statistics."""
    found: Counter[str] = Counter()
    stack: list[Plan] = [plan.physical]
    names = {
        Single: "gather", Replicated: "broadcast", Hashed: "shuffle by hash", Ranged: "shuffle by range",
        Sorted: "sort range", Spread: "spread",
    }  # fmt: skip
    while stack:
        node = stack.pop()
        if isinstance(node, Exchange):
            found[names[type(node.target)]] += 1
        if isinstance(node, Scan) and isinstance(node.split, (Replicated, Ranged)):
            found["scan everywhere" if isinstance(node.split, Replicated) else "scan by range"] += 1
        if isinstance(node, Join):
            found[f"{node.kind} join"] += 1
        stack.extend(node.children)
    return Counter(dict.fromkeys(found, 1))


@dataclass(frozen=True, slots=True)
class Finding:
    """A query that DuckDB answers otherwise."""

    number: int
    workers: int
    sql: str
    problem: str

    def __str__(self) -> str:
        return f"--seed {self.number} --workers {self.workers}\n  {self.sql}\n  {self.problem}"


@dataclass(slots=True)
class Report:
    """What a run of queries came to."""

    ran: Counter[int] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    invalid: int = 0
    used: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)


def check(
    database: Database,
    sql: str,
    number: int,
    workers: Sequence[int],
    report: Report,
    costs: Costs | None = None,
) -> None:
    """Run one query at each number of workers and compare. Its number gives the costs, unless they are given."""
    try:
        expected = database.connection.sql(sql)
        names, types = expected.columns, list(map(str, expected.types))
        rows = _within(database.connection, expected.limit(_MOST_ROWS + 1).fetchall)
    except duckdb.InternalException:
        raise
    except duckdb.Error:
        report.invalid += 1
        return
    if len(rows) > _MOST_ROWS:
        report.invalid += 1
        return
    rows = expected.fetchall()  # in its order, which a limit around it need not keep
    for count in workers:
        try:
            drawn = draw_costs(random.Random(f"costs {number} {count}")) if costs is None else costs
            with believing(drawn):
                plan = plan_query(sql, database.catalog, Options(count))
                simulation = Simulation(database.catalog, count)
                got = simulation.run(plan)
        except Unsupported as error:
            report.refused[str(error)] += 1
            return
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            text = f"{type(error).__name__}: {str(error)[:600]} ({Path(where.filename).name}:{where.lineno})"
            report.findings.append(Finding(number, count, sql, text))
            continue
        report.ran[count] += 1
        report.used.update(strategies(plan))
        report.used["adapted"] += simulation.adapted > 0
        problem = _difference(sql, names, types, rows, simulation, got)
        if problem:
            report.findings.append(Finding(number, count, sql, problem))


def _within(connection: duckdb.DuckDBPyConnection, run: Callable[[], list[Any]]) -> list[Any]:
    timer = threading.Timer(_MOST_SECONDS, connection.interrupt)
    timer.start()
    try:
        return run()
    finally:
        timer.cancel()


def _difference(
    sql: str, names: list[str], types: list[str], rows: list[Any], simulation: Simulation, got: list[Any]
) -> str | None:
    if names != simulation.names:
        return f"names {simulation.names} instead of {names}"
    if types != simulation.types:
        return f"types {simulation.types} instead of {types}"
    mine, right = sorted(got, key=_sort_key), sorted(rows, key=_sort_key)
    if not _same(mine, right):
        return f"{len(mine)} rows {mine[:6]} instead of {len(right)} {right[:6]}"
    keys = _order_positions(sql, len(names))
    if not _same([tuple(r[i] for i in keys) for r in rows], [tuple(r[i] for i in keys) for r in got]):
        return f"the order is {got[:6]} instead of {rows[:6]}"
    return None


def _order_positions(sql: str, width: int) -> list[int]:
    """The columns whose order can be compared: those of the outermost ORDER BY, if they come first or are all."""
    before, _, tail = sql.rpartition(" ORDER BY ")
    if not before or before.count("(") != before.count(")"):
        return []
    tail = tail.partition(" LIMIT ")[0].partition(" OFFSET ")[0]
    words = [item.split()[0] for item in tail.split(", ")]
    positions = [int(word) - 1 for word in words if word.isdigit()]
    return positions if len(positions) in (len(words), width) else []


def _same(a: list[Any], b: list[Any]) -> bool:
    return len(a) == len(b) and all(map(_same_row, a, b))


def _same_row(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    for x, y in zip(a, b, strict=True):
        if isinstance(x, float) and isinstance(y, float):
            if math.isnan(x) != math.isnan(y) or (
                not math.isnan(x) and not math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-12)
            ):
                return False
        elif x != y or type(x) is not type(y):
            return False
    return True


def _sort_key(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(f"{value + 0.0:.9e}" if isinstance(value, float) else repr(value) for value in row)


def fuzz(seed: int, count: int, workers: Sequence[int], folder: Path, sql: str | None = None) -> Report:
    """Check the queries numbered ``seed`` to ``seed + count - 1``."""
    report = Report()
    database: Database | None = None
    for number in range(seed, seed + count):
        if database is None or number % _PER_DATABASE == 0:
            database = make_database(number // _PER_DATABASE, folder / str(number // _PER_DATABASE))
        text = sql or Queries(random.Random(f"query {number}"), database).statement()
        known = len(report.findings)
        check(database, text, number, workers, report)
        for finding in report.findings[known:]:
            print(finding, file=sys.stderr, flush=True)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare plans of random queries with DuckDB.")
    parser.add_argument("--seed", type=int, default=0, help="number of the first query")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--workers", default="1,2,3,8")
    parser.add_argument("--query", help="check this text over the seed's tables instead")
    options = parser.parse_args()
    workers = [int(part) for part in options.workers.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        report = fuzz(options.seed, options.count, workers, Path(folder), options.query)
    print(f"ran {dict(report.ran)}, invalid {report.invalid}, refused {report.refused.total()}, "
          f"findings {len(report.findings)} in {len({f.number for f in report.findings})} queries")  # fmt: skip
    print("used", dict(report.used.most_common()))
    print("refused", dict(report.refused.most_common(40)))
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
