"""Delta and Iceberg tables: a snapshot's rows, in parts, as the projects' own libraries read them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from engine_checks import fallback, rows
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.types import LongType, StringType

import sord

FIRST = pa.table({"a": [1, 2, 3, 4], "p": ["x", "y", None, "x"], "d": [1.5, None, 2.5, 3.5]})
SECOND = pa.table({"a": [9], "p": ["a b"], "d": [1.0], "n": ["new"]})


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Version 0: four rows; 1: the same again; 2: without a = 1; 3: a row with a new column."""
    place = tmp_path / "lake"
    write_deltalake(place, FIRST, partition_by=["p"])
    write_deltalake(place, FIRST, mode="append")
    DeltaTable(place).delete("a = 1")
    write_deltalake(place, SECOND, mode="append", schema_mode="merge")
    return place


@pytest.fixture
def ice(tmp_path: Path) -> Any:
    catalog = SqlCatalog("test", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/ice")
    catalog.create_namespace("ns")
    table = catalog.create_table(
        "ns.t", schema=pa.schema([("a", pa.int32()), ("p", pa.string()), ("d", pa.float64())])
    )
    table.append(FIRST.set_column(0, "a", FIRST["a"].cast(pa.int32())))
    return table


def everything(db: sord.Connection, name: str) -> list[str]:
    return sorted(map(repr, rows(db, f"SELECT * FROM {name}")))


def told(table: pa.Table) -> list[str]:
    return sorted(repr(tuple(row.values())) for row in table.to_pylist())


def test_delta(db: sord.Connection, lake: Path) -> None:
    db.register("lake", lake)
    assert everything(db, "lake") == told(DeltaTable(lake).to_pyarrow_table())
    relation = db.sql("FROM lake")
    assert relation is not None
    assert relation.columns == ["a", "d", "p", "n"]
    assert rows(db, "SELECT p, sum(a) FROM lake WHERE p = 'a b' OR p IS NULL GROUP BY p ORDER BY p") == [
        ("a b", 9),
        (None, 6),
    ]
    for version, count in ((0, 4), (1, 8), (2, 6)):
        db.register("lake", sord.delta(lake, version=version))
        assert rows(db, "SELECT count(*) FROM lake") == [(count,)]
    db.register("lake", DeltaTable(lake, version=1))
    assert everything(db, "lake") == told(DeltaTable(lake, version=1).to_pyarrow_table())
    assert db.register_dir(lake.parent) == ["lake"]
    assert rows(db, "SELECT count(*) FROM lake") == [(7,)]


def test_delta_is_distributed(pair: sord.Connection, lake: Path) -> None:
    pair.register("lake_pair", lake)
    assert (
        fallback(pair, "SELECT p, count(*) FROM lake_pair JOIN nation ON a = n_nationkey GROUP BY p") is None
    )


def test_no_delta_table(db: sord.Connection, tmp_path: Path) -> None:
    with pytest.raises(sord.Error, match="cannot open the Delta table"):
        sord.delta(tmp_path)
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "1.metadata.json").write_text("{}")
    with pytest.raises(sord.Error, match="is an Iceberg table"):
        db.register("ice", tmp_path)
    with pytest.raises(sord.Error, match="cannot read the Iceberg metadata"):
        sord.iceberg(tmp_path / "metadata" / "1.metadata.json")


def test_iceberg_with_columns_renamed_added_and_widened(db: sord.Connection, ice: Any) -> None:
    db.register("ice", ice)
    assert everything(db, "ice") == told(ice.scan().to_arrow())
    before = ice.current_snapshot().snapshot_id
    with ice.update_schema() as update:
        update.rename_column("a", "b")
    with ice.update_schema() as update:
        update.add_column("a", StringType())
        update.add_column("n", StringType())
    ice.append(
        pa.table({"b": pa.array([7], pa.int32()), "p": ["z"], "d": [0.5], "a": ["old name"], "n": ["new"]})
    )
    with ice.update_schema() as update:
        update.update_column("b", LongType())
    ice.append(
        pa.table(
            {"b": [2**40], "p": ["z"], "d": [0.5], "a": [None], "n": [None]}, schema=ice.schema().as_arrow()
        )
    )
    ice.delete("p = 'y'")
    db.register("ice", ice)
    assert everything(db, "ice") == told(ice.scan().to_arrow())
    assert rows(db, "SELECT sum(b), count(a) FROM ice WHERE b > 3") == [(2**40 + 11, 1)]
    for scan in (
        ice.scan(snapshot_id=before),
        ice.scan(row_filter="b > 3"),
        ice.scan(selected_fields=("p", "b")),
    ):
        db.register("ice", scan)
        assert everything(db, "ice") == told(scan.to_arrow())
    db.register("ice", sord.iceberg(ice.metadata_location.removeprefix("file://")))
    assert rows(db, "SELECT count(*) FROM ice") == [(5,)]


def test_iceberg_is_distributed(pair: sord.Connection, ice: Any) -> None:
    pair.register("ice_pair", ice)
    assert (
        fallback(pair, "SELECT p, count(*) FROM ice_pair JOIN nation ON a = n_nationkey GROUP BY p") is None
    )
    assert "Scan ice_pair" in str(pair.sql("SELECT count(*) FROM ice_pair").explain())


@pytest.mark.parametrize(("module", "call"), [("deltalake", sord.delta), ("pyiceberg.table", sord.iceberg)])
def test_an_extra_that_is_missing_is_named(module: str, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(sord.Error, match=r"pip install 'sord\[(delta|iceberg)\]'"):
        call("anywhere")
