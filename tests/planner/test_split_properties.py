"""Every row of a table goes to exactly one worker, whatever its files, row groups and keys are."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sord.places import states
from sord.planner.catalog import Clustering, File
from sord.planner.cut_fragments import partition_number
from sord.planner.distribution import Distribution, Hashed, Ranged, Spread
from sord.planner.logical import Scan
from sord.planner.render import render
from sord.planner.splits import Splits, assign
from sord.readers import Source
from sord.statistics import read_table

KEYS = st.one_of(st.none(), st.integers(-(2**40), 2**40), st.integers(-3, 3))
WORKERS = st.sampled_from((1, 2, 3, 8))
QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(st.lists(st.lists(st.integers(0, 50), max_size=6), min_size=1, max_size=5), st.integers(1, 9))
def test_row_groups_are_assigned_once_and_in_order(files: list[list[int]], workers: int) -> None:
    table = tuple(
        File(f"{number}.parquet", sum(groups), 100 + 8 * sum(groups), tuple(groups))
        for number, groups in enumerate(files)
    )
    parts = assign(table, workers)
    assert len(parts) == workers
    ranges = [(file.path, first, last) for part in parts for file, first, last in part]
    assert ranges == sorted(ranges)
    rows = Counter((path, row) for path, first, last in ranges for row in range(first, last))
    assert rows == Counter((file.path, row) for file in table for row in range(file.rows))


@given(
    st.lists(
        st.lists(st.tuples(st.integers(1, 50), st.booleans()), min_size=1, max_size=6), min_size=1, max_size=5
    ),
    st.integers(1, 9),
)
def test_what_is_skipped_counts_for_nobody(files: list[list[tuple[int, bool]]], workers: int) -> None:
    """Every row group that isn't skipped goes to one worker, a file that has one reader is read as a whole."""
    table = tuple(
        File(
            f"{number}.parquet", sum(rows for rows, _ in groups), sum(rows for rows, _ in groups),
            tuple(rows for rows, _ in groups), skipped=frozenset(i for i, (_, kept) in enumerate(groups) if not kept),
        )
        for number, groups in enumerate(files)
    )  # fmt: skip
    parts = [part for worker in assign(table, workers) for part in worker]
    for file, groups in zip(table, files, strict=True):
        mine = [(first, last) for one, first, last in parts if one is file]
        assert len(mine) != 1 or mine == [(0, file.rows)]
        row = 0
        for rows, kept in groups:
            covering = [first for first, last in mine if first <= row and row + rows <= last]
            assert len(covering) == 1 if kept else len(covering) <= 1
            row += rows


@st.composite
def clusterings(draw: st.DrawFn) -> Clustering:
    """Row groups whose ranges ascend, and touch or nearly do."""
    groups = []
    low = draw(st.integers(-(10**6), 10**6))
    for _ in range(draw(st.integers(1, 40))):
        high = low + draw(st.integers(0, 1000))
        groups.append((low, high, draw(st.integers(1, 100))))
        low = high + draw(st.integers(0, 1000))
    return Clustering("k", tuple(groups))


@given(clusterings(), st.integers(1, 9))
def test_boundaries_ascend_inside_the_keys(clustering: Clustering, parts: int) -> None:
    boundaries = clustering.boundaries(parts)
    assert len(boundaries) == parts - 1
    assert list(boundaries) == sorted(boundaries)
    lowest, highest = clustering.row_groups[0][0], clustering.row_groups[-1][1]
    assert all(lowest <= boundary <= highest for boundary in boundaries)


@given(st.integers(-(10**6), 10**6), st.integers(1, 50), st.integers(1, 60), st.integers(2, 9))
def test_boundaries_balance_uniform_keys(low: int, step: int, groups: int, parts: int) -> None:
    per_group = 64
    clustering = Clustering(
        "k",
        tuple(
            (low + i * per_group * step, low + ((i + 1) * per_group - 1) * step, per_group)
            for i in range(groups)
        ),
    )
    boundaries = clustering.boundaries(parts)
    keys = [low + i * step for i in range(groups * per_group)]
    counts = Counter(sum(boundary <= key for boundary in boundaries) for key in keys)
    share = len(keys) / parts
    assert all(abs(counts[part] - share) <= groups * 0.1 + 2 for part in range(parts)), counts


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    found = duckdb.connect()
    found.execute("SET threads = 1")
    return found


@QUICK
@given(
    keys=st.lists(KEYS, max_size=60),
    ordered=st.booleans(),
    cuts=st.lists(st.integers(0, 60), max_size=3),
    size=st.sampled_from((1, 3, 7, 100)),
    workers=WORKERS,
    bounds=st.lists(st.integers(-(2**41), 2**41), min_size=7, max_size=7, unique=True),
)
@example(
    # A NULL key in a file that the first worker's range doesn't reach.
    keys=[0, 500, 1000, 2000, None, 3000],
    ordered=True,
    cuts=[3],
    size=3,
    workers=3,
    bounds=[100, 600, 700, 800, 900, 1000, 1100],
)
def test_every_row_is_read_by_one_worker(
    keys: list[int | None],
    ordered: bool,
    cuts: list[int],
    size: int,
    workers: int,
    bounds: list[int],
    connection: duckdb.DuckDBPyConnection,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    if ordered:
        # NULLs stay where they are, as in files written in the order of something else.
        ascending = iter(sorted(key for key in keys if key is not None))
        keys = [None if key is None else next(ascending) for key in keys]
    folder = tmp_path_factory.mktemp("split")
    paths = _write(folder, keys, sorted(cuts), size)
    table = read_table(connection, "t", Source(tuple(paths)), states(paths), {})
    outputs = (("k", "k"), ("row", "row"))
    splits: list[Distribution] = [Spread()]
    splits.append(Ranged(frozenset({"k"}), tuple(sorted(bounds[: workers - 1]))))
    splits += [
        Ranged(frozenset({"k"}), clustering.boundaries(workers))
        for clustering in table.clusterings
        if clustering.column == "k"
    ]
    for split in splits:
        source = Splits(workers)
        sql = render(Scan(table, outputs, split), source.source)
        parts = [connection.execute(source.fill(sql, rank)).fetchall() for rank in range(workers)]
        read = Counter(row for part in parts for row in part)
        assert read == Counter((key, row) for row, key in enumerate(keys)), split
        if isinstance(split, Ranged):
            for rank, part in enumerate(parts):
                assert all(_range_of(key, split) == rank for key, _ in part)
                numbers = _numbers(connection, split, [key for key, _ in part], "BIGINT", workers)
                assert set(numbers) <= {rank}, "moved rows must lie as scanned ones"


def _write(folder: Path, keys: list[int | None], cuts: list[int], size: int) -> list[str]:
    table = pa.table({"k": pa.array(keys, pa.int64()), "row": pa.array(range(len(keys)), pa.int64())})
    bounds = [0, *(min(cut, len(keys)) for cut in cuts), len(keys)]
    paths = []
    for number, (first, last) in enumerate(itertools.pairwise(bounds)):
        path = folder / f"{number}.parquet"
        pq.write_table(table.slice(first, last - first), path, row_group_size=size)
        paths.append(str(path))
    return paths


def _range_of(key: int | None, split: Ranged) -> int:
    return 0 if key is None else sum(boundary <= key for boundary in split.boundaries)


def _numbers(
    connection: duckdb.DuckDBPyConnection, target: Distribution, keys: list[object], type_: str, workers: int
) -> list[int]:
    sql = partition_number(target, ("k",), workers)
    rows = connection.execute(f"SELECT {sql} FROM (SELECT unnest(?::{type_}[]) AS k)", [keys]).fetchall()
    return [row[0] for row in rows]


@QUICK
@given(keys=st.lists(KEYS, min_size=1, max_size=30), workers=WORKERS)
def test_equal_keys_of_other_types_get_the_same_worker(
    keys: list[int | None], workers: int, connection: duckdb.DuckDBPyConnection
) -> None:
    small = [None if key is None else key % 2**31 for key in keys]
    target = Hashed((frozenset({"k"}),), ("HUGEINT",))
    by_type = [
        _numbers(connection, target, list(small), type_, workers)
        for type_ in ("INTEGER", "BIGINT", "UBIGINT")
    ]
    assert by_type[0] == by_type[1] == by_type[2]
    assert all(0 <= number < workers for number in by_type[0])
    assert len({number for key, number in zip(small, by_type[0], strict=True) if key is None}) <= 1


@QUICK
@given(
    keys=st.lists(st.one_of(st.none(), st.floats(), st.just(0.0), st.just(-0.0)), min_size=1, max_size=30),
    workers=WORKERS,
)
def test_equal_doubles_get_the_same_worker(
    keys: list[float | None], workers: int, connection: duckdb.DuckDBPyConnection
) -> None:
    target = Hashed((frozenset({"k"}),), ("DOUBLE",))
    numbers = _numbers(connection, target, list(keys), "DOUBLE", workers)
    seen: dict[object, int] = {}
    for key, number in zip(keys, numbers, strict=True):
        # NaN is one value in DuckDB, and so is zero.
        same = "NaN" if key is not None and key != key else key
        assert seen.setdefault(same, number) == number
