"""What fragments exchange arrives whole, where it should, with its types."""

from __future__ import annotations

import time
from collections.abc import Mapping, Set
from pathlib import Path

import pytest
from exec_flock import Flock, Plan, gathered, on_client, on_workers

from sord.planner.fragment import Actual, Fragment, Input, PhysicalPlan, Place, Route


def share(folder: Path, table: str) -> str:
    return f"read_parquet('{folder}/{table}.parquet') WHERE file_row_number % {{size}} = {{rank}}"


def test_gather(flock: Flock) -> None:
    rows = flock.rows(gathered("SELECT {rank} AS rank, range AS n FROM range(1000)", flock.size))
    assert sorted(rows) == [(rank, n) for rank in range(flock.size) for n in range(1000)]


def test_join_and_aggregate_over_a_shuffle(flock: Flock, tables: Path) -> None:
    rank = "(hash({key}) % {size})::UTINYINT"
    orders = f"SELECT o_orderkey, o_priority, {rank} FROM {share(tables, 'orders')}"
    lines = f"SELECT l_orderkey, l_quantity, l_flag, {rank} FROM {share(tables, 'lineitem')}"
    plan = Plan(
        (
            on_workers(1, orders.replace("{key}", "o_orderkey::UBIGINT"), Route.PARTITION, size=flock.size),
            on_workers(2, lines.replace("{key}", "l_orderkey"), Route.PARTITION, size=flock.size, after=(1,)),
            on_workers(
                3,
                "SELECT o_priority, l_flag, sum(l_quantity) AS quantity, count(*) AS lines, "
                "(hash(o_priority, l_flag) % {size})::UTINYINT "
                "FROM lines LEFT JOIN orders ON l_orderkey = o_orderkey GROUP BY o_priority, l_flag",
                Route.PARTITION,
                Input("orders", 1),
                Input("lines", 2),
                size=flock.size,
            ),
            on_workers(
                4,
                "SELECT o_priority, l_flag, sum(quantity) AS quantity, sum(lines)::BIGINT AS lines "
                "FROM parts GROUP BY o_priority, l_flag",
                Route.GATHER,
                Input("parts", 3),
                size=flock.size,
            ),
            on_client(5, "FROM whole ORDER BY ALL", Route.RESULT, Input("whole", 4, streaming=True)),
        )
    )
    want = flock.connection.sql(
        f"SELECT o_priority, l_flag, sum(l_quantity), count(*) FROM '{tables}/lineitem.parquet' "
        f"LEFT JOIN '{tables}/orders.parquet' ON l_orderkey = o_orderkey GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    with flock.coordinator.run(plan) as execution, execution.guard():
        assert execution.relation.fetchall() == want
        report = execution.report
    assert [fragment.id for fragment in report.fragments] == [1, 2, 3, 4]
    assert report.fragments[0].rows == 20_000
    received = report.fragments[0].received_rows
    assert len(received) == flock.size
    assert sum(received) == 20_000
    assert all(count > 0 for count in received)
    assert report.fragments[3].received_rows == ()
    assert report.fragments[1].rows == 80_000
    assert (report.wire_bytes > report.fragments[3].wire_bytes) == (flock.size > 1)
    assert all(peak > 0 for peak in report.peak_bytes.values())


def test_broadcast_from_the_client_meets_kept_rows(flock: Flock) -> None:
    flock.connection.execute(
        "CREATE OR REPLACE TABLE names AS SELECT range AS n, 'n' || range AS name FROM range(10)"
    )
    plan = Plan(
        (
            on_client(1, "FROM names", Route.BROADCAST),
            on_workers(2, "SELECT {rank} AS rank, range AS n FROM range(5)", Route.KEEP, size=flock.size),
            on_workers(
                3,
                "SELECT rank, {rank} AS here, name FROM kept JOIN names USING (n)",
                Route.GATHER,
                Input("names", 1),
                Input("kept", 2),
                size=flock.size,
            ),
            on_client(4, "FROM rows", Route.RESULT, Input("rows", 3, streaming=True)),
        )
    )
    assert sorted(flock.rows(plan)) == [(rank, rank, f"n{n}") for rank in range(flock.size) for n in range(5)]


def test_the_client_scatters_and_keeps_too(flock: Flock) -> None:
    plan = Plan(
        (
            on_client(
                1, f"SELECT range AS n, (range % {flock.size})::UTINYINT FROM range(100)", Route.PARTITION
            ),
            on_client(2, "SELECT 42 AS answer", Route.KEEP),
            on_workers(
                3, "SELECT {rank} AS rank, n FROM given", Route.GATHER, Input("given", 1), size=flock.size
            ),
            on_client(4, "FROM rows, kept", Route.RESULT, Input("rows", 3), Input("kept", 2)),
        )
    )
    assert sorted(flock.rows(plan)) == sorted((n % flock.size, n, 42) for n in range(100))


@pytest.mark.parametrize("streaming", [True, False])
def test_ordered_gather_reads_by_rank(flock: Flock, streaming: bool) -> None:
    plan = Plan(
        (
            on_workers(
                1, "SELECT {rank} * 300000 + range AS n FROM range(300000)", Route.GATHER, size=flock.size
            ),
            on_client(2, "FROM rows", Route.RESULT, Input("rows", 1, streaming=streaming, ordered=True)),
        )
    )
    assert flock.rows(plan) == [(n,) for n in range(flock.size * 300_000)]


def test_ordered_input_on_workers(flock: Flock) -> None:
    plan = Plan(
        (
            on_workers(
                1, "SELECT {rank} * 1000 + range AS n FROM range(1000)", Route.BROADCAST, size=flock.size
            ),
            on_workers(
                2, "SELECT list(n) AS l FROM r", Route.GATHER, Input("r", 1, ordered=True), size=flock.size
            ),
            on_client(3, "FROM rows", Route.RESULT, Input("rows", 2, streaming=True)),
        )
    )
    assert flock.rows(plan) == [(list(range(flock.size * 1000)),)] * flock.size


def test_an_input_may_be_read_twice(flock: Flock) -> None:
    plan = Plan(
        (
            on_workers(1, "SELECT range AS n FROM range(100)", Route.KEEP, size=flock.size),
            on_workers(
                2,
                "SELECT count(*) AS c FROM r a JOIN r b USING (n)",
                Route.GATHER,
                Input("r", 1),
                size=flock.size,
            ),
            on_client(3, "SELECT sum(c)::INT FROM rows", Route.RESULT, Input("rows", 2)),
        )
    )
    assert flock.rows(plan) == [(100 * flock.size,)]


def test_no_rows_at_all(flock: Flock) -> None:
    nothing = "SELECT range AS n, 'x' AS s, (range % {size})::UTINYINT FROM range(0)"
    plan = Plan(
        (
            on_workers(1, nothing, Route.PARTITION, size=flock.size),
            on_workers(2, "SELECT n, s FROM none", Route.GATHER, Input("none", 1), size=flock.size),
            on_client(3, "FROM rows", Route.RESULT, Input("rows", 2, streaming=True)),
        )
    )
    with flock.coordinator.run(plan) as execution, execution.guard():
        assert execution.relation.columns == ["n", "s"]
        assert [str(type_) for type_ in execution.relation.types] == ["BIGINT", "VARCHAR"]
        assert execution.relation.fetchall() == []


def test_rows_without_columns_are_counted(flock: Flock) -> None:
    plan = Plan(
        (
            on_workers(
                1, "SELECT (range % {size})::UTINYINT FROM range(12345)", Route.PARTITION, size=flock.size
            ),
            on_workers(2, "SELECT count(*) AS c FROM bare", Route.GATHER, Input("bare", 1), size=flock.size),
            on_client(3, "SELECT sum(c)::INT FROM rows", Route.RESULT, Input("rows", 2)),
        )
    )
    assert flock.rows(plan) == [(12345 * flock.size,)]


TYPES = """
    SELECT 170141183460469231731687303715884105727::HUGEINT AS h,
           340282366920938463463374607431768211455::UHUGEINT AS uh,
           '8f1d8a3c-8b1e-4b8e-9d53-8c5d6a0c1a11'::UUID AS u, 'b'::ENUM('c', 'b', 'a') AS e,
           [{'e': 'a'::ENUM('c', 'a')}] AS le, 1.5::DECIMAL(30, 2) AS d, -0.1::DECIMAL(4, 1) AS sd,
           [1, NULL] AS l, {'a': 1, 'b': ['x']} AS s, MAP {'k': 1.5} AS m,
           INTERVAL '1 month 3 days 5 seconds' AS i,
           TIMESTAMPTZ '2020-02-29 12:00:00.000001+02' AS tz, 'a\\x00b'::BLOB AS bl, '101'::BIT AS bi,
           TIME '10:00:00.000001' AS t, '10:00:00+02'::TIMETZ AS ttz,
           TIMESTAMP_NS '2020-01-01 00:00:00.123456789' AS tns, TIMESTAMP_S '2020-01-01' AS ts,
           DATE '0001-01-01' AS da,
           [1, 2, 3]::INT[3] AS ar, union_value(k := 1) AS un, 'é🦆'::VARCHAR AS v, true AS b,
           'nan'::FLOAT AS f,
           '-0.0'::DOUBLE AS z, '{"a": 1}'::JSON AS j, 'infinity'::DATE AS inf, 255::UTINYINT AS ut, NULL AS n
"""


def test_types_survive_exactly(pair: Flock) -> None:
    again = f"SELECT * FROM ({TYPES}) UNION ALL SELECT {', '.join(['NULL'] * 29)}"
    plan = Plan(
        (
            on_workers(1, f"SELECT *, {{rank}}::UTINYINT FROM ({again})", Route.PARTITION, size=2),
            on_workers(2, "FROM there", Route.GATHER, Input("there", 1), size=2),
            on_client(3, "FROM rows", Route.RESULT, Input("rows", 2, streaming=True)),
        )
    )
    want = pair.connection.sql(again)
    with pair.coordinator.run(plan) as execution, execution.guard():
        got = execution.relation
        types = [str(type_) for type_ in got.types]
        rows = got.fetchall()
    assert types == [str(type_) for type_ in want.types]
    assert sorted(map(repr, rows)) == sorted(map(repr, want.fetchall() * 2))


def test_enums_keep_their_order(pair: Flock) -> None:
    sql = "SELECT unnest(['small', 'big', 'huge'])::ENUM('small', 'big', 'huge') AS size"
    assert pair.rows(gathered([sql, sql + " LIMIT 0"], 2, "FROM rows ORDER BY size")) == [
        ("small",),
        ("big",),
        ("huge",),
    ]


def test_settings_travel_and_are_reset(pair: Flock) -> None:
    plan = gathered(
        "SELECT 7 / 2 AS x, n FROM (VALUES (1), (NULL)) t(n) ORDER BY n LIMIT 1", 2, "FROM rows LIMIT 1"
    )
    settings = {"integer_division": "true", "default_null_order": "nulls_first"}
    with pair.coordinator.run(plan, settings) as execution, execution.guard():
        assert execution.relation.fetchall() == [(3, None)]
    assert pair.rows(plan) == [(3.5, 1)]


def test_a_plan_adapts_to_what_it_sees(pair: Flock) -> None:
    seen: list[tuple[Mapping[int, Actual], Set[int]]] = []
    better = Plan(
        (
            on_workers(7, "SELECT count(*) AS c FROM few", Route.GATHER, Input("few", 1), size=2),
            on_client(8, "FROM rows", Route.RESULT, Input("rows", 7, streaming=True)),
        )
    )

    def change(finished: Mapping[int, Actual], running: Set[int]) -> PhysicalPlan | None:
        seen.append((dict(finished), set(running)))
        return better if finished[1].rows == 20 else None

    never = Fragment(2, Place.WORKERS, ("SELECT error('not to be run')",) * 2, (), Route.GATHER, after=(1,))
    result = on_client(3, "FROM rows", Route.RESULT, Input("rows", 2, streaming=True))
    first = on_workers(1, "SELECT range FROM range(10)", Route.KEEP, size=2)
    assert pair.rows(Plan((first, never, result), change)) == [(10,), (10,)]
    assert [set(finished) for finished, _ in seen] == [{1}]


def test_several_queries_at_once(pair: Flock) -> None:
    sql = "SELECT sum(range)::BIGINT AS s FROM range(100000) WHERE range % 7 = "
    running = [
        pair.coordinator.run(gathered(f"{sql}{k}", 2, "SELECT sum(s)::BIGINT FROM rows")) for k in range(7)
    ]
    got = []
    for execution in reversed(running):
        with execution, execution.guard():
            got += execution.relation.fetchall()
    assert got == [(2 * sum(range(k, 100_000, 7)),) for k in reversed(range(7))]


def test_a_streamed_result_arrives_while_it_is_made(pair: Flock) -> None:
    plan = gathered("SELECT range AS n FROM range(3000000)", 2)
    with pair.coordinator.run(plan) as execution, execution.guard():
        reader = execution.relation.to_arrow_reader(10_000)
        assert sum(batch.num_rows for batch in reader) == 6_000_000


def test_more_than_fits_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    flock = Flock("local://2?threads=1&memory=64MB", inbox_bytes=1_000_000)
    spilled: list[str] = []

    def look(finished: Mapping[int, Actual], running: Set[int]) -> None:
        spilled.extend(path.parent.name for path in tmp_path.rglob("inbox-*"))

    sql = "SELECT {rank} * 200000 + range AS n, repeat('x', 90) || range AS s, (range % 2)::UTINYINT FROM range(200000)"
    plan = Plan(
        (
            on_workers(1, sql, Route.PARTITION, size=2),
            on_workers(2, "SELECT n, length(s) AS l FROM r", Route.GATHER, Input("r", 1), size=2),
            on_client(
                3, "SELECT count(*), sum(n)::BIGINT, sum(l)::BIGINT FROM rows", Route.RESULT, Input("rows", 2)
            ),
        ),
        look,
    )
    try:
        assert flock.rows(plan) == [
            (400_000, sum(range(400_000)), 2 * sum(90 + len(str(n)) for n in range(200_000)))
        ]
        # The client spills too, unless its reader keeps up.
        assert set(spilled) >= {"worker-0-1", "worker-1-1"}
        # Workers hear of the query's end after the client has its result.
        deadline = time.monotonic() + 30
        while list(tmp_path.rglob("inbox-*")) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not list(tmp_path.rglob("inbox-*"))
    finally:
        flock.close()
    assert not list(tmp_path.iterdir())
