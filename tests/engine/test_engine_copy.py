"""COPY … TO: files as DuckDB writes them, by the client or by each worker, all of them or none."""

from __future__ import annotations

import os
import re
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest
from engine_checks import FLEET, alive, rows, script, wait_for

import sord


@pytest.fixture
def spread(tmp_path: Path) -> Path:
    """A table of many row groups, of which each worker has some."""
    place = tmp_path / "input" / "spread.parquet"
    place.parent.mkdir()
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT range AS a, range % 5 AS k, CASE WHEN range % 7 <> 0 THEN range::VARCHAR END AS s, "
            f"range / 4 AS d FROM range(40960)) TO '{place}' (ROW_GROUP_SIZE 2048)"
        )
    return place


def files(folder: Path) -> list[str]:
    """Everything below a folder, hidden files too, but not the input."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "input" not in path.parts and "fleet" not in path.parts
    )


def staged(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*.sord-*") if path.is_dir()]


def content(sql: str) -> str:
    with duckdb.connect() as connection:
        return repr(connection.sql(f"{sql} ORDER BY ALL").fetchall())


def test_one_file(db: sord.Connection, spread: Path, tmp_path: Path) -> None:
    target = tmp_path / "one.parquet"
    relation = db.sql(f"COPY (SELECT * FROM '{spread}' WHERE k < 3) TO '{target}'")
    assert relation is not None
    assert (relation.columns, relation.types) == (["Count"], ["BIGINT"])
    assert relation.fetchall() == [(8192 * 3,)]
    assert content(f"FROM '{target}'") == content(f"FROM '{spread}' WHERE k < 3")
    assert rows(db, f"COPY (SELECT 1 AS x, NULL::DATE AS y) TO '{target}' (RETURN_FILES)") == [
        (1, [str(target)])
    ]
    assert content(f"DESCRIBE FROM '{target}'") == content("DESCRIBE SELECT 1 AS x, NULL::DATE AS y")
    assert files(tmp_path) == ["one.parquet"]
    assert not staged(tmp_path)


@pytest.mark.parametrize(
    ("name", "options", "first"),
    [
        ("a.csv", "", b"n_nationkey,n_name"),
        ("a.csv", "(HEADER false, DELIMITER '|')", b"0|ALGERIA|0|"),
        ("a.txt", "WITH (FORMAT csv, HEADER, NULL 'none', DELIM ';')", b"n_nationkey;n_name"),
        ("a.csv.gz", "", b"\x1f\x8b"),
        ("a.csv", "(COMPRESSION zstd)", b"\x28\xb5\x2f\xfd"),
        ("a.json", "", b'{"n_nationkey":0'),
        ("a.json", "(ARRAY true)", b"["),
        ("a.jsonl.gz", "", b"\x1f\x8b"),
        ("a.parquet", "(COMPRESSION 'zstd', ROW_GROUP_SIZE 4096)", b"PAR1"),
        ("a", "(FORMAT 'PARQUET')", b"PAR1"),
        ("a.unknown", "(FORMAT json)", b'{"n_nationkey":0'),
    ],
)
def test_formats(
    db: sord.Connection,
    plain: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    name: str,
    options: str,
    first: bytes,
) -> None:
    copy = (
        f"COPY (SELECT * FROM nation WHERE n_nationkey < 9 ORDER BY n_nationkey) TO '{{}}/{name}' {options}"
    )
    (tmp_path / "plain").mkdir()
    plain.execute(copy.format(tmp_path / "plain"))
    assert rows(db, copy.format(tmp_path)) == [(9,)]
    written = (tmp_path / name).read_bytes()
    assert written.startswith(first)
    if first == b"PAR1":
        (metadata,) = plain.sql(
            f"SELECT DISTINCT compression FROM parquet_metadata('{tmp_path}/{name}')"
        ).fetchall()
        assert metadata == (("ZSTD",) if "zstd" in options else ("SNAPPY",))
        expected = plain.sql("FROM nation WHERE n_nationkey < 9 ORDER BY ALL").fetchall()
        assert plain.sql(f"FROM read_parquet('{tmp_path}/{name}')").fetchall() == expected
    else:
        assert written == (tmp_path / "plain" / name).read_bytes()


def test_each_worker_writes_its_own_files(pair: sord.Connection, spread: Path, tmp_path: Path) -> None:
    target = tmp_path / "many"
    query = f"SELECT a, s FROM '{spread}' WHERE k <> 1"
    relation = pair.sql(f"COPY ({query}) TO '{target}' (FORMAT parquet, PER_THREAD_OUTPUT)")
    assert relation is not None
    assert relation.fetchall() == [(32768,)]
    assert relation.report is not None
    assert relation.report.fallback is None
    assert files(target) == ["data_0.parquet", "data_1.parquet"]
    assert content(f"FROM '{target}/*.parquet'") == content(query)
    assert {path.name for path in tmp_path.iterdir()} == {"input", "many"}


@pytest.mark.parametrize("where", ["true", "a < 5", "a < 0"])
def test_partitions(db: sord.Connection, spread: Path, tmp_path: Path, where: str) -> None:
    target = tmp_path / "hive"
    options = "FORMAT parquet, PARTITION_BY (k), RETURN_FILES"
    ((count, paths),) = rows(db, f"COPY (SELECT * FROM '{spread}' WHERE {where}) TO '{target}' ({options})")
    assert isinstance(paths, list)
    assert sorted(str(Path(path).relative_to(target)) for path in paths) == files(target)
    assert all(re.fullmatch(r"k=\d/data_\d\.parquet", path) for path in files(target))
    assert target.is_dir()
    with duckdb.connect() as connection:
        expected = connection.sql(f"FROM '{spread}' WHERE {where}")
        assert (count,) == expected.aggregate("count(*)").fetchall()[0]
        if paths:
            found = connection.sql(
                f"SELECT a, k, s, d FROM read_parquet('{target}/**/*.parquet', hive_partitioning=true)"
            )
            assert sorted(map(repr, found.fetchall())) == sorted(map(repr, expected.fetchall()))
    assert not staged(tmp_path)


@pytest.mark.parametrize(
    ("before", "options", "after"),
    [
        ([], "", ["data_0.csv", "data_1.csv"]),
        (["data_1.csv", "x"], "OVERWRITE_OR_IGNORE", ["data_0.csv", "data_1.csv", "x"]),
        (["data_1.csv", "x", "sub/y"], "OVERWRITE", ["data_0.csv", "data_1.csv"]),
        ([], "FILENAME_PATTERN 'x', FILE_EXTENSION 'tsv'", ["x0.tsv", "x1.tsv"]),
    ],
)
def test_files_that_are_there(
    pair: sord.Connection, spread: Path, tmp_path: Path, before: list[str], options: str, after: list[str]
) -> None:
    target = tmp_path / "there"
    for name in before:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text("old")
    copy = f"COPY (SELECT a FROM '{spread}') TO '{target}' (FORMAT csv, PER_THREAD_OUTPUT true{{}})"
    if before:
        with pytest.raises(duckdb.IOException, match="not empty! Enable OVERWRITE option"):
            pair.sql(copy.format(""))
        assert files(target) == sorted(before)
    assert rows(pair, copy.format(f", {options}" if options else "")) == [(40960,)]
    assert files(target) == after
    new = [name for name in after if name not in before or ("OVERWRITE" in options and name != "x")]
    assert sum(len((target / name).read_text().splitlines()) - 1 for name in new) == 40960
    assert not staged(tmp_path)


def test_append_finds_names_of_its_own(db: sord.Connection, tmp_path: Path) -> None:
    copy = f"COPY (SELECT * FROM nation) TO '{tmp_path}/more' (FORMAT parquet, PARTITION_BY (n_regionkey), APPEND)"
    for round_ in (1, 2):
        rows(db, copy)
        assert len(files(tmp_path)) == 5 * round_
    assert rows(db, f"SELECT count(*) FROM read_parquet('{tmp_path}/more/**/*.parquet')") == [(50,)]


def test_a_folder_by_its_slash(pair: sord.Connection, spread: Path, tmp_path: Path) -> None:
    assert rows(pair, f"COPY (SELECT a FROM '{spread}') TO '{tmp_path}/slash/' (FORMAT parquet)") == [
        (40960,)
    ]
    assert files(tmp_path / "slash") == ["data_0.parquet", "data_1.parquet"]
    (tmp_path / "empty").mkdir()
    relation = pair.sql(f"SELECT a FROM '{spread}'")
    assert relation is not None
    relation.write_parquet(tmp_path / "empty")
    assert files(tmp_path / "empty") == ["data_0.parquet", "data_1.parquet"]
    assert relation.report is not None
    assert not staged(tmp_path)


def test_files_of_a_size(pair: sord.Connection, spread: Path, tmp_path: Path) -> None:
    options = "FORMAT parquet, ROW_GROUP_SIZE 2048, ROW_GROUPS_PER_FILE 2"
    rows(pair, f"COPY (SELECT a FROM '{spread}') TO '{tmp_path}/small' ({options})")
    names = files(tmp_path / "small")
    assert len(names) >= 10
    assert sorted(names) == sorted(f"data_{number}.parquet" for number in range(len(names)))
    assert content(f"FROM '{tmp_path}/small/*.parquet'") == content(f"SELECT a FROM '{spread}'")


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_rows_stay_in_order(
    spread: Path, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sord.planner.distribute._SORT_AT_CLIENT", 0)
    with sord.connect(f"local://{workers}?threads=2&memory=512MB") as db:
        ordered = f"SELECT s, a FROM '{spread}' ORDER BY s DESC NULLS LAST, a"
        assert rows(db, f"COPY ({ordered}) TO '{tmp_path}/sorted/' (FORMAT parquet)") == [(40960,)]
        assert rows(db, f"COPY ({ordered}) TO '{tmp_path}/sorted.csv'") == [(40960,)]
    names = files(tmp_path / "sorted")
    assert len(names) == (workers if workers > 1 else 1)
    with duckdb.connect() as connection:
        expected = connection.sql(ordered).fetchall()
        found: list[tuple[object, ...]] = []
        for name in names:
            found += connection.sql(f"FROM '{tmp_path}/sorted/{name}'").fetchall()
        assert found == expected
        assert connection.sql(f"SELECT s::VARCHAR, a FROM '{tmp_path}/sorted.csv'").fetchall() == expected


def test_parameters(db: sord.Connection, tmp_path: Path) -> None:
    path = str(tmp_path / "asked.json")
    assert rows(db, "COPY (SELECT n_name FROM nation WHERE n_nationkey = ?) TO ?", [3, path]) == [(1,)]
    assert Path(path).read_text() == '{"n_name":"CANADA"}\n'
    named = {"key": 4, "path": path}
    assert rows(db, "COPY (SELECT n_name FROM nation WHERE n_nationkey = $key) TO $path", named) == [(1,)]
    assert Path(path).read_text() == '{"n_name":"EGYPT"}\n'
    with pytest.raises(duckdb.InvalidInputException, match="parameters"):
        db.sql("COPY (SELECT ?) TO ?", [1])


def test_tables_columns_and_what_falls_back(db: sord.Connection, tmp_path: Path) -> None:
    for number, (source, expected) in enumerate(
        [
            ("nation", 25),
            ("nation (n_name, n_regionkey)", 25),
            ("(VALUES (1), (2))", 2),
            ("(SELECT random() AS r FROM nation -- at random\n)", 25),
            ("(SUMMARIZE nation)", 4),
            ("(WITH few AS (FROM nation LIMIT 3) SELECT ')' AS c FROM few)", 3),
        ]
    ):
        path = tmp_path / f"{number}.parquet"
        assert rows(db, f"COPY {source} TO '{path}'") == [(expected,)]
        assert rows(db, f"SELECT count(*) FROM '{path}'") == [(expected,)]
    assert rows(
        db, f"COPY (SELECT random() FROM nation) TO '{tmp_path}/folder' (FORMAT csv, PER_THREAD_OUTPUT)"
    ) == [(25,)]
    assert len(files(tmp_path / "folder")) == 1
    rows(db, f"COPY (FROM nation) TO '{tmp_path}/stats.parquet' (RETURN_STATS)")
    assert not staged(tmp_path)


def test_copy_from(db: sord.Connection, plain: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    rows(db, f"COPY nation TO '{tmp_path}/nation.csv'")
    rows(db, "CREATE TABLE copied AS SELECT * FROM nation LIMIT 0")
    assert rows(db, f"COPY copied FROM '{tmp_path}/nation.csv'") == [(25,)]
    assert repr(rows(db, "FROM copied ORDER BY ALL")) == repr(
        plain.sql("FROM nation ORDER BY ALL").fetchall()
    )
    rows(db, "DROP TABLE copied")


def test_inside_a_transaction(db: sord.Connection, tmp_path: Path) -> None:
    rows(db, "BEGIN; CREATE TABLE uncommitted AS SELECT 42 AS a FROM nation")
    assert rows(db, f"COPY uncommitted TO '{tmp_path}/uncommitted.csv'") == [(25,)]
    rows(db, "ROLLBACK")
    assert (tmp_path / "uncommitted.csv").read_text().split() == ["a"] + ["42"] * 25
    with pytest.raises(duckdb.CatalogException):
        db.sql(f"COPY uncommitted TO '{tmp_path}/other.csv'")
    assert files(tmp_path) == ["uncommitted.csv"]


@pytest.mark.parametrize(
    ("sql", "error", "words"),
    [
        ("COPY nation TO '{}/nosuch/a.parquet'", duckdb.IOException, "nosuch.*No such file or directory"),
        (
            "COPY nation TO '{}/no/such' (FORMAT csv, PER_THREAD_OUTPUT)",
            duckdb.IOException,
            "Failed to create directory",
        ),
        ("COPY nosuch TO '{}/a.parquet'", duckdb.CatalogException, "nosuch"),
        ("COPY (SELECT nosuch FROM nation) TO '{}/a.parquet'", duckdb.BinderException, "LINE 1: COPY"),
        ("COPY nation TO '{}/a.parquet' (NOSUCH 1)", duckdb.NotImplementedException, "Unrecognized option"),
        ("COPY nation TO '{}/a' (FORMAT nosuch)", duckdb.CatalogException, "nosuch"),
        ("COPY nation TO '{}/a' (FORMAT parquet, PARTITION_BY (nosuch))", duckdb.BinderException, "nosuch"),
        ("COPY (SELEC 1) TO '{}/a'", duckdb.ParserException, "SELEC"),
    ],
)
def test_mistakes(db: sord.Connection, tmp_path: Path, sql: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        db.sql(sql.format(tmp_path))
    assert not list(tmp_path.iterdir())
    assert rows(db, "SELECT count(*) FROM nation") == [(25,)]


TARGETS = [
    "one.parquet",
    "many' (FORMAT parquet, PER_THREAD_OUTPUT) --",
    "hive' (FORMAT csv, PARTITION_BY (k)) --",
]


@pytest.mark.parametrize("target", TARGETS)
def test_rows_that_cannot_be_computed(db: sord.Connection, spread: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "one.parquet").write_text("precious")
    failing = f"SELECT k, CASE WHEN a = 40000 THEN 'x' ELSE a::VARCHAR END::INT AS a FROM '{spread}'"
    with pytest.raises((sord.QueryError, duckdb.ConversionException), match="Could not convert string 'x'"):
        db.sql(f"COPY ({failing}) TO '{tmp_path}/{target}'")
    assert files(tmp_path) == ["one.parquet"]
    assert (tmp_path / "one.parquet").read_text() == "precious"
    wait_for(lambda: not staged(tmp_path), "a staging folder is left")
    assert rows(db, "SELECT count(*) FROM nation") == [(25,)]


def endless(spread: Path) -> str:
    """Rows without end for practical purposes, from every worker."""
    return f"SELECT x.a, x.k, x.s || y.s AS t FROM '{spread}' AS x JOIN '{spread}' AS y USING (k)"


@pytest.fixture(params=TARGETS)
def copying(request: pytest.FixtureRequest, spread: Path, tmp_path: Path) -> Iterator[str]:
    yield f"COPY ({endless(spread)}) TO '{tmp_path}/{request.param}'"
    assert not files(tmp_path)
    wait_for(lambda: not staged(tmp_path), "a staging folder is left")


def when_writing(folder: Path, action: Callable[[], None]) -> threading.Thread:
    """Does something once files are being written."""

    def wait() -> None:
        wait_for(lambda: any(folder.rglob("*.unfinished")), "nothing is written")
        action()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_killed_worker(frail: sord.Connection, copying: str, tmp_path: Path) -> None:
    pid = frail.coordinator.pids[1]
    thread = when_writing(tmp_path, lambda: os.kill(pid, signal.SIGKILL))
    with pytest.raises(sord.WorkerLost, match="worker 1 "):
        frail.sql(copying)
    thread.join()
    assert rows(frail, "SELECT count(*) FROM lineitem") == [(60175,)]


def test_ctrl_c(pair: sord.Connection, copying: str, tmp_path: Path) -> None:
    pair.start()
    thread = when_writing(tmp_path, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        pair.sql(copying)
    thread.join()
    assert rows(pair, "SELECT count(*) FROM nation") == [(25,)]


def test_interrupt(pair: sord.Connection, copying: str, tmp_path: Path) -> None:
    thread = when_writing(tmp_path, pair.interrupt)
    with pytest.raises(sord.QueryCancelled):
        pair.sql(copying)
    thread.join()
    assert rows(pair, "SELECT count(*) FROM nation") == [(25,)]


def test_a_killed_client(spread: Path, tmp_path: Path) -> None:
    text = f"""
import sys, sord
db = sord.connect({FLEET!r})
db.start()
print(*db.coordinator.pids, flush=True)
db.sql(sys.argv[1])
"""
    copy = f"COPY ({endless(spread)}) TO '{tmp_path}/many' (FORMAT parquet, PARTITION_BY (k))"
    process = script(text, copy)
    assert process.stdout is not None
    pids = list(map(int, process.stdout.readline().split()))
    when_writing(tmp_path, process.kill).join()
    process.wait()
    wait_for(lambda: not any(map(alive, pids)), "workers are left")
    assert not files(tmp_path)
    assert not staged(tmp_path)
    process.communicate()


@pytest.mark.parametrize("target", TARGETS[1:])
def test_a_full_disk(frail: sord.Connection, spread: Path, tmp_path: Path, target: str) -> None:
    for pid in frail.coordinator.pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    with pytest.raises(sord.QueryError, match=r"worker \d.*(Could not write|File too large)"):
        frail.sql(f"COPY ({endless(spread)}) TO '{tmp_path}/{target}'")
    assert not files(tmp_path)
    wait_for(lambda: not staged(tmp_path), "a staging folder is left")
    assert rows(frail, "SELECT count(*) FROM nation") == [(25,)]
