"""Staged files: names, what is replaced, and that a failure in the middle leaves everything as it was."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from sord.exec.staging import StagedFile, StagedFolder, Staging


def write(staging: Staging, parts: dict[str, str]) -> None:
    """Parts as places write them, by path below the staging folder."""
    staging.prepare()
    for name, text in parts.items():
        path = Path(staging.folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


PARTS = {
    "0/k=1/data_10.csv.unfinished": "e",
    "0/k=1/data_9.csv.unfinished": "d",
    "0/k=2/data_0.csv.unfinished": "f",
    "1/k=1/data_0.csv.unfinished": "g",
}
OLD = {"keep.txt": "1", "k=1/data_0.csv": "2", "k=7/sub/x.csv": "3"}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    for name, text in OLD.items():
        path = tmp_path / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "out"


def folder(path: Path, existing: str = "") -> StagedFolder:
    return StagedFolder(str(path), "csv", "data_{i}", existing, True)


def test_a_new_folder_has_numbers_by_rank(tmp_path: Path) -> None:
    staging = folder(tmp_path / "new")
    write(staging, PARTS)
    assert not (tmp_path / "new").exists()
    final = staging.commit(())
    assert next(iter(final.values())) == str(tmp_path / "new" / "k=1" / "data_0.csv")
    assert tree(tmp_path) == {
        "new/k=1/data_0.csv": "d",
        "new/k=1/data_1.csv": "e",
        "new/k=1/data_2.csv": "g",
        "new/k=2/data_0.csv": "f",
    }


@pytest.mark.parametrize(
    ("existing", "kept"), [("ignore", {"keep.txt": "1", "k=7/sub/x.csv": "3"}), ("overwrite", {})]
)
def test_a_folder_that_is_there(target: Path, existing: str, kept: dict[str, str]) -> None:
    staging = folder(target, existing)
    write(staging, PARTS)
    assert OLD.items() <= tree(target).items()
    staging.commit(())
    new = {"k=1/data_0.csv": "d", "k=1/data_1.csv": "e", "k=1/data_2.csv": "g", "k=2/data_0.csv": "f"}
    assert tree(target) == kept | new


@pytest.mark.parametrize("existing", ["ignore", "overwrite", "append"])
@pytest.mark.parametrize("step", range(8))
def test_a_failure_in_the_middle(
    target: Path, existing: str, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = folder(target, existing)
    write(staging, PARTS)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", failing(Path.rename, step))
        try:
            staging.commit(())
        except OSError:
            staging.discard()
            assert tree(target) == OLD
            assert sorted(path.name for path in target.iterdir()) == ["k=1", "k=7", "keep.txt"]
        else:
            assert step >= {"ignore": 5, "overwrite": 7, "append": 4}[existing]
    assert not list(target.parent.rglob(".*"))


@pytest.mark.parametrize("step", range(6))
def test_a_failure_before_a_new_folder_is_shown(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = folder(tmp_path / "new")
    write(staging, PARTS)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", failing(Path.rename, step))
        try:
            staging.commit(())
        except OSError:
            staging.discard()
            assert not list(tmp_path.iterdir())
        else:
            assert step == 5


def failing(rename: Callable[[Path, Path], Path], step: int) -> Callable[[Path, Path], Path]:
    """A renaming that fails once, when it is done for the ``step``-th time."""
    steps = itertools.count()

    def attempt(self: Path, to: Path) -> Path:
        if next(steps) == step:
            raise OSError("no")
        return rename(self, to)

    return attempt


def test_files_without_rows(tmp_path: Path) -> None:
    for existing, empty, names in (("", ["0"], ["data_0.csv"]), ("", ["0", "1"], ["data_0.csv"])):
        staging = StagedFolder(str(tmp_path / f"out{len(empty)}"), "csv", "data_{i}", existing, False)
        write(staging, {"0.unfinished": "header", "1.unfinished": "rows"})
        assert staging.place(1) == f"{staging.folder}/1.unfinished"
        staging.commit([f"{staging.folder}/{rank}.unfinished" for rank in empty])
        assert list(tree(tmp_path / f"out{len(empty)}")) == names
        assert tree(tmp_path / f"out{len(empty)}")["data_0.csv"] == ("rows" if len(empty) == 1 else "header")


def test_names(tmp_path: Path) -> None:
    for pattern, expected in (("x", "x0.csv"), ("a_{i}", "a_0.csv")):
        staging = StagedFolder(str(tmp_path / pattern), "csv", pattern, "", False)
        write(staging, {"0.unfinished": "rows"})
        staging.commit(())
        assert list(tree(tmp_path / pattern)) == [expected]
    staging = StagedFolder(str(tmp_path / "u"), "csv", "{uuid}", "append", False)
    write(staging, {"0.unfinished": "a", "1.unfinished": "b"})
    staging.commit(())
    assert len(tree(tmp_path / "u")) == 2


def test_what_cannot_be_written(target: Path) -> None:
    with pytest.raises(OSError, match=r"is not empty! Enable OVERWRITE"):
        folder(target).prepare()
    with pytest.raises(OSError, match=r"it exists and is a file"):
        folder(target / "keep.txt", "append").prepare()
    with pytest.raises(OSError, match=r"Failed to create directory .*nosuch/x.*No such file"):
        folder(target / "nosuch" / "x").prepare()
    with pytest.raises(OSError, match=r"Cannot open file .*nosuch/x.csv.*No such file"):
        StagedFile(str(target / "nosuch" / "x.csv")).prepare()
    staging = folder(target / "keep.txt", "overwrite")
    write(staging, PARTS)
    staging.commit(())
    assert (target / "keep.txt" / "k=2" / "data_0.csv").read_text() == "f"


def test_one_file(target: Path) -> None:
    staging = StagedFile(str(target / "keep.txt"))
    write(staging, {"2.unfinished": "new"})
    assert (target / "keep.txt").read_text() == "1"
    staging.discard()
    staging.discard()
    assert tree(target) == OLD
    staging = StagedFile(str(target / "keep.txt"))
    write(staging, {"2.unfinished": "new"})
    staging.commit(())
    assert tree(target) == OLD | {"keep.txt": "new"}
