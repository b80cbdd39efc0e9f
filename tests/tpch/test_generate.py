"""The data appears complete or not at all, once, and a failure says what to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sord.tpch import generate as module
from sord.tpch.generate import GenerationError, generate, scale_factor_of, table_files
from sord.tpch.spec import TABLES


def quiet(message: str) -> None:
    pass


def test_the_data_is_made_once(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "sf"
    assert generate(out, 0.001, log=quiet)
    files = {table: table_files(out, table) for table in TABLES}
    assert all(len(found) == 1 for found in files.values())
    before = files["orders"][0].stat().st_mtime_ns
    assert not generate(out, 0.001, log=quiet)
    assert files["orders"][0].stat().st_mtime_ns == before
    assert [path.name for path in out.parent.iterdir()] == ["sf"]
    assert scale_factor_of(out) == pytest.approx(0.001)


def test_parts_make_a_folder_per_table(tmp_path: Path) -> None:
    out = tmp_path / "parts"
    generate(out, 0.001, 3, log=quiet)
    assert len(table_files(out, "lineitem")) == 3
    assert scale_factor_of(out) == pytest.approx(0.001)
    with pytest.raises(GenerationError, match="holds 3 parts, not 2"):
        generate(out, 0.001, 2, log=quiet)


def test_another_scale_factor_is_not_overwritten(tpch_sf001: Path) -> None:
    with pytest.raises(
        GenerationError, match=r"at scale factor 0\.01, not 0\.02: remove it or choose another"
    ):
        generate(tpch_sf001, 0.02, log=quiet)


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(GenerationError, match="not a folder of TPC-H data"):
        generate(tmp_path, 0.001, log=quiet)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_an_incomplete_folder_has_no_scale_factor(tpch_sf001: Path, tmp_path: Path) -> None:
    shutil.copytree(tpch_sf001, tmp_path / "sf", ignore=shutil.ignore_patterns("nation.parquet"))
    assert scale_factor_of(tmp_path / "sf") is None


def test_a_missing_generator_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "which", lambda *args, **options: None)
    with pytest.raises(GenerationError, match=r'pip install "sord\[tpch\]"'):
        generate(tmp_path / "sf", 0.001, log=quiet)


def test_too_little_room_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(GenerationError, match=r"takes about 40000000\.0 GB, but .* GB free"):
        generate(tmp_path / "sf", 1e8, log=quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_generator_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'No space left on device' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(module, "_program", lambda: str(broken))
    with pytest.raises(GenerationError, match="No space left on device"):
        generate(tmp_path / "sf", 0.001, log=quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]
