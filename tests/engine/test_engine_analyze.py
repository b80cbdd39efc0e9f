"""ANALYZE: what plans make of it, and how long it is remembered."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from engine_checks import answer, copy

import sord

QUERY = "SELECT max(b.v), max(s.note) FROM big AS b JOIN side AS s ON b.k = s.k WHERE s.note NOT LIKE '%hay%'"
NEEDLES = "SELECT * FROM side WHERE note LIKE '%needle%'"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sord" / "statistics"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    copy(
        "SELECT hash(i) % 300000 AS k, repeat('x', 300) || i AS v FROM range(300000) t(i)",
        folder / "big.parquet",
    )
    _write_side(folder, every=1000)
    return folder


def _write_side(folder: Path, every: int) -> None:
    note = f"CASE WHEN i % {every} = 0 THEN 'needle' ELSE repeat('hay ', 20) || i END"
    copy(
        f"SELECT hash(i + 7) % 300000 AS k, i AS w, {note} AS note FROM range(300000) t(i)",
        folder / "side.parquet",
    )


@pytest.fixture
def db(data: Path) -> Iterator[sord.Connection]:
    """Eight workers, who don't start as long as nobody asks for rows."""
    with sord.connect("local://8?threads=1") as connection:
        connection.register_dir(data)
        yield connection


def _plan(db: sord.Connection, sql: str) -> dict[str, Any]:
    relation = db.sql(sql)
    plan: dict[str, Any] = relation.explain_json()  # type: ignore[union-attr]
    return plan


def _routes(db: sord.Connection) -> list[str]:
    return [fragment["route"] for fragment in _plan(db, QUERY)["fragments"]]


def _estimated(db: sord.Connection, sql: str) -> float:
    rows: float = _plan(db, sql)["logical"]["estimated_rows"]
    return rows


def test_a_filter_that_turns_out_selective_makes_a_shuffle_a_broadcast(db: sord.Connection) -> None:
    assert _routes(db) == ["partition", "partition", "gather", "result"]
    db.sql("ANALYZE side")
    assert _routes(db) == ["broadcast", "gather", "result"]


def test_rows_are_estimated_from_the_sample(db: sord.Connection) -> None:
    db.analyze("side")
    assert 100 <= _estimated(db, NEEDLES) <= 1000
    assert (
        30_000 <= _estimated(db, "SELECT * FROM side WHERE w % 7 = 3 AND w % 7 < 4 AND note > ''") <= 60_000
    )
    assert _estimated(db, "SELECT * FROM side WHERE w % 7 = 3 AND w % 7 > 4") < 30


def test_distinct_values_are_counted(db: sord.Connection) -> None:
    db.analyze()
    assert 150_000 < _estimated(db, "SELECT k FROM side GROUP BY k") < 230_000
    assert _estimated(db, "SELECT note FROM side GROUP BY note") > 250_000


def test_another_connection_finds_it_as_long_as_the_files_are_the_same(
    db: sord.Connection, data: Path
) -> None:
    db.analyze("side")
    with sord.connect("local://8?threads=1") as other:
        other.register("side", data / "side.parquet")
        assert _estimated(other, NEEDLES) < 1000
        _write_side(data, every=2)
        assert _estimated(other, NEEDLES) > 2000
        other.analyze("side")
        assert 140_000 < _estimated(other, NEEDLES) < 160_000
    assert 140_000 < _estimated(db, NEEDLES) < 160_000


def test_files_that_join_a_folder_make_it_another_table(data: Path) -> None:
    with sord.connect("local://8?threads=1") as db:
        db.register("all_of_them", str(data / "s*.parquet"))
        db.analyze("all_of_them")
        query = "SELECT * FROM all_of_them WHERE note LIKE '%needle%'"
        assert _estimated(db, query) < 1000
        shutil.copy(data / "side.parquet", data / "second.parquet")
        assert _estimated(db, query) > 2000


@pytest.mark.parametrize("damage", [b"", b"not parquet", b"PAR1" * 100])
def test_a_damaged_cache_file_is_ignored_and_written_anew(
    db: sord.Connection, data: Path, cache: Path, damage: bytes
) -> None:
    db.analyze("side")
    (file,) = cache.glob("*.arrow")
    file.write_bytes(damage)
    for expected in (False, True):
        with sord.connect("local://8?threads=1") as other:
            other.register("side", data / "side.parquet")
            assert (_estimated(other, NEEDLES) < 1000) is expected
            other.analyze("side")


def test_nothing_is_left_beside_the_cache_files(db: sord.Connection, cache: Path) -> None:
    db.analyze()
    db.analyze()
    assert len(list(cache.iterdir())) == 2


def test_a_cache_folder_that_cannot_be_written_is_no_error(
    db: sord.Connection, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(data / "big.parquet"))
    db.analyze("side")
    assert _estimated(db, NEEDLES) < 1000


def test_tables_of_duckdb_and_frames(db: sord.Connection) -> None:
    db.sql(f"CREATE TABLE own AS {NEEDLES} UNION ALL SELECT 1, 2, 'hay' FROM range(50000)")
    frame = db.sql("SELECT * FROM own").arrow()  # type: ignore[union-attr]
    db.register("frame", frame)
    db.sql("ANALYZE")
    for table in ("own", "frame"):
        assert 250 < _estimated(db, f"SELECT * FROM {table} WHERE note LIKE '%needle%'") < 350
    db.sql("INSERT INTO own FROM side LIMIT 100000")
    assert _estimated(db, "SELECT * FROM own WHERE note LIKE '%needle%'") > 1000


@pytest.mark.parametrize(
    "statement", ["ANALYZE nothing", "ANALYZE side(nothing)", "ANALYZE a_view", "ANALYZE side,"]
)
def test_mistakes_get_duckdbs_errors(db: sord.Connection, statement: str) -> None:
    db.sql("CREATE VIEW a_view AS SELECT 1 AS one")
    with duckdb.connect() as plain:
        plain.execute("CREATE VIEW a_view AS SELECT 1 AS one; CREATE TABLE side(k INTEGER)")
        with pytest.raises(duckdb.Error) as expected:
            plain.sql(statement)
    with pytest.raises(type(expected.value)) as error:
        db.sql(statement)
    assert str(error.value) == str(expected.value)


def test_a_name_that_is_no_table(db: sord.Connection) -> None:
    with pytest.raises(sord.Error, match="no such table"):
        db.analyze("nothing")


def test_the_statement_gives_what_duckdb_gives(data: Path) -> None:
    with duckdb.connect() as plain:
        expected = answer(plain.sql("ANALYZE"))
    for url in (None, "local://8?threads=1"):
        with sord.connect(url) as db:
            db.register_dir(data)
            for text in ("ANALYZE", "analyze main.side", 'SELECT 1; VACUUM ANALYZE "side" (k, note)'):
                assert answer(db.sql(text)) == expected


def test_an_empty_table_and_columns_of_every_kind(tmp_path: Path) -> None:
    copy(
        "SELECT i AS a, NULL::INTEGER AS b, [i] AS c, {'x': i} AS d, 'nan'::DOUBLE AS e, i % 2 = 0 AS f, "
        "'infinity'::TIMESTAMP AS g, i::DECIMAL(30,5) AS h, i::HUGEINT AS i, TIME '01:02:03' AS j, "
        "INTERVAL 1 DAY AS k, 'x'::BLOB AS l, TIMESTAMPTZ '2020-01-01 00:00:00+00' AS m, MAP {i: 1} AS n, "
        "uuid() AS o FROM range(1000) t(i)",
        tmp_path / "kinds" / "kinds.parquet",
    )
    copy("SELECT * FROM range(0) t(a)", tmp_path / "empty" / "empty.parquet")
    with sord.connect("local://8?threads=1") as db:
        db.register_dir(tmp_path)
        db.analyze()
        assert _estimated(db, "SELECT * FROM kinds WHERE a < 10 AND h < 5 AND b IS NULL") == 5
        assert _estimated(db, "SELECT * FROM empty WHERE a = 1") <= 1
        assert _estimated(db, "SELECT f, count(*) FROM kinds GROUP BY f") == 2


@pytest.mark.parametrize("analyzed", [False, True])
def test_values_that_are_no_numbers_do_not_spoil_estimates(tmp_path: Path, analyzed: bool) -> None:
    for name, value in (("nan", "nan"), ("infinite", "infinity"), ("least", "-infinity")):
        copy(
            f"SELECT CASE WHEN i % 3 = 0 THEN '{value}'::DOUBLE ELSE i END AS d, i::FLOAT AS f FROM range(90000) t(i)",
            tmp_path / f"{name}.parquet",
        )
    with sord.connect("local://8?threads=1") as db:
        db.register_dir(tmp_path)
        if analyzed:
            db.analyze()
        for one in ("nan", "infinite", "least"):
            for sql in (
                f"SELECT * FROM {one} WHERE d > 100 AND f < 50000",
                f"SELECT d, count(*) FROM {one} GROUP BY d HAVING sum(d) > 5",
                f"SELECT count(*) FROM {one} a JOIN nan b ON a.d = b.d JOIN least c ON c.f = b.f",
            ):
                assert _estimated(db, sql) >= 0
