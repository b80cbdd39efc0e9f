"""Random tables: Parquet files laid out in many ways, frames, temporary tables and views."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from sord.catalog import Catalog
from sord.fuzzing.kinds import FRAMES_ONLY, KINDS, Column, kind_of

_USUAL: Final[list[Column]] = [
    ("j", "big"), ("a", "int"), ("b", "big"), ("d", "dec"), ("x", "dbl"), ("s", "str"), ("u", "str"),
    ("t", "date"), ("ts", "ts"), ("f", "bool"), ("n", "int"),
]  # fmt: skip
_RARE: Final[list[Column]] = [
    (f"{kind}_", kind) for kind in KINDS if kind not in {usual for _, usual in _USUAL}
]
_KEYS: Final = ("int", "int", "int", "big", "big", "big", "dec", "small", "dec18", "huge", "date")
_EPOCH: Final = "DATE '1990-01-01'"


@dataclass(slots=True)
class Database:
    """A DuckDB with tables, and their columns by name."""

    connection: duckdb.DuckDBPyConnection
    catalog: Catalog
    tables: dict[str, list[Column]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    """The files of those that have some, as a pattern."""
    shapes: duckdb.DuckDBPyConnection = field(default_factory=duckdb.connect)
    """The same tables without their rows, where a query is bound in no time."""

    def close(self) -> None:
        """Give its memory back."""
        self.connection.close()
        self.shapes.close()


def connect() -> duckdb.DuckDBPyConnection:
    """A DuckDB that gives up before the machine does."""
    connection = duckdb.connect()
    connection.execute("SET arrow_lossless_conversion = true")
    connection.execute("SET threads = 1")
    # Footers don't say whether a column has NaN, but by default DuckDB takes their minima and maxima to hold for all
    # rows: its answers depend then on which files it reads. Connections and workers set the same.
    connection.execute("SET GLOBAL parquet_can_have_nan = true")
    connection.execute("SET memory_limit = '500MB'")
    connection.execute("SET max_temp_directory_size = '0B'")
    connection.execute("SET enable_progress_bar = false")
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def make_database(number: int, folder: Path) -> Database:
    """The tables of one number, their files under ``folder``."""
    rng = random.Random(f"database {number}")
    connection = connect()
    database = Database(connection, Catalog(connection))
    for index in range(rng.randint(3, 4)):
        _parquet_table(rng, database, f"t{index}", folder / f"t{index}")
    frame = _rows(rng, connection, rng.choice((0, 1, 5, 20)), _columns(rng, tuple(KINDS)), None)
    database.catalog.register("frame", frame)
    temporary = _rows(rng, connection, rng.choice((0, 3, 15)), _columns(rng, tuple(KINDS)), None)
    connection.register("source", temporary)
    connection.execute("CREATE TABLE temporary AS SELECT * FROM source")
    connection.unregister("source")
    source = rng.choice(("t0", "t1"))
    column = connection.table(source).columns[0]
    connection.execute(
        f"CREATE VIEW view0 AS SELECT {column} AS k, count(*) AS n, max({column}) AS a FROM {source} GROUP BY {column}"
    )
    for name in (*database.files, "frame", "temporary", "view0"):
        relation = connection.table(name)
        described = list(zip(relation.columns, map(str, relation.types), strict=True))
        database.tables[name] = [(column, kind_of(type_)) for column, type_ in described]
        listed = ", ".join(f"{column} {type_}" for column, type_ in described)
        database.shapes.execute(f"CREATE TABLE {name} ({listed})")
    return database


def _parquet_table(rng: random.Random, database: Database, name: str, folder: Path) -> None:
    columns = _columns(rng, tuple(kind for kind in KINDS if kind not in FRAMES_ONLY))
    layout = rng.choice(("clustered", "clustered", "clustered", "scattered", "scattered", "small", "empty"))
    count = {"clustered": rng.randint(60, 200), "scattered": rng.randint(20, 120), "small": rng.randint(1, 5)}
    table = _rows(rng, database.connection, count.get(layout, 0), columns, layout)
    write_parquet(rng, table, folder)
    database.files[name] = str(folder / "*.parquet")
    database.catalog.register(name, database.files[name])


def write_parquet(rng: random.Random, table: pa.Table, folder: Path) -> None:
    """Writes a table as up to four files of small row groups."""
    folder.mkdir(parents=True)
    for position, column in enumerate(table.columns):
        if str(column.type) == "extension<arrow.bool8>":  # which Parquet would carry as a TINYINT
            name = table.column_names[position]
            table = table.set_column(position, name, column.cast(pa.int8()).cast(pa.bool_()))
    cuts = sorted(rng.randint(0, table.num_rows) for _ in range(rng.randint(0, 3)))
    bounds = [0, *cuts, table.num_rows]
    pieces = [table.slice(a, b - a) for a, b in itertools.pairwise(bounds)]
    names = list(range(len(pieces)))
    if rng.random() < 0.3:
        rng.shuffle(names)
    for piece, number in zip(pieces, names, strict=True):
        size = rng.choice((4, 7, 16, 1000))
        pq.write_table(piece, folder / f"{number}.parquet", row_group_size=size)


def _columns(rng: random.Random, allowed: tuple[str, ...]) -> list[Column]:
    """A key, and a random choice of columns whose names occur in other tables as well."""
    columns: list[Column] = [("k", rng.choice([kind for kind in _KEYS if kind in allowed]))]
    columns += rng.sample(_USUAL, rng.randint(2, 5))
    rare = [column for column in _RARE if column[1] in allowed]
    columns += rng.sample(rare, rng.choice((0, 1, 2, 4)))
    rng.shuffle(columns)
    return columns


def _rows(
    rng: random.Random,
    connection: duckdb.DuckDBPyConnection,
    count: int,
    columns: list[Column],
    layout: str | None,
) -> pa.Table:
    """Random rows. Their values are text that DuckDB casts, so every type comes about in the same way."""
    texts: list[list[str]] = []
    for name, kind in columns:
        clustered = name == "k" and layout == "clustered"
        nulls = rng.choice((0.0, 0.08) if clustered else (0.0, 0.0, 0.15, 0.5))
        values = _keys(rng, count, layout) if name == "k" else _values(rng, count, kind)
        texts.append(["NULL" if rng.random() < nulls else value for value in values])
    casts = ", ".join(_cast(name, kind) for name, kind in columns)
    names = ", ".join(f"c{i}" for i in range(len(columns)))
    rows = ", ".join(f"({', '.join(row)})" for row in zip(*texts, strict=True))
    where = "" if rows else " WHERE false"
    rows = rows or f"({', '.join('NULL' for _ in columns)})"
    named = ", ".join(f"c{i} AS {name}" for i, (name, _) in enumerate(columns))
    return connection.sql(
        f"SELECT {casts} FROM (SELECT {named} FROM (VALUES {rows}) AS v({names})){where}"
    ).to_arrow_table()


def _cast(name: str, kind: str) -> str:
    if name == "k" and kind == "date":
        return f"({_EPOCH} + {name}::INTEGER)::DATE AS {name}"
    return f"{name}::{KINDS[kind].type} AS {name}"


def _values(rng: random.Random, count: int, kind: str) -> list[str]:
    known = KINDS[kind]
    choice = known.values + (known.extremes if rng.random() < 0.1 else ())
    return ["'" + rng.choice(choice).replace("'", "''") + "'" for _ in range(count)]


def _keys(rng: random.Random, count: int, layout: str | None) -> list[str]:
    step = rng.choice((97, 97, 97, 31))  # sparse, so that footers show a span worth partitioning by
    start = rng.choice((0, 0, -20))
    spread = rng.choice((10, 40, 40, 120))
    values = [(start + rng.randint(0, spread)) * step for _ in range(count)]
    if layout == "clustered":
        values.sort()
        if rng.random() < 0.2:
            values.reverse()
    return [f"'{value}'" for value in values]
