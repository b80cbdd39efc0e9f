"""Files that appear all or not at all: written into a hidden folder, moved to their places when all are there.

The folder lies beside the destination, in the same file system, so that moving is renaming. For a store without
renaming another :class:`Staging` would upload parts and complete the uploads in :meth:`Staging.commit`.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import uuid
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Protocol

from sord.exec.cleanup import remove_staging

UNFINISHED = ".unfinished"
"""What staged files' names end with, so that no pattern such as ``**/*.parquet`` finds them."""

_NUMBER = re.compile(r"\d+")
_NAME_LENGTH = 100


class Staging(Protocol):
    """Where the parts of one result are written before they can be seen."""

    @property
    def folder(self) -> str:
        """The absolute path below which all parts are written."""

    def place(self, rank: int) -> str:
        """Where a rank writes its part, one file or a folder of files."""

    def prepare(self) -> None:
        """Make the folder. Raises ``OSError``, in words for people, if the destination can't be written."""

    def commit(self, empty: Collection[str]) -> dict[str, str]:
        """Show all files at their destination; the final paths by the staged ones, in order.

        ``empty`` are staged files without rows: none of them is kept if another file is. Raises ``OSError``, and
        then everything is as it was before.
        """

    def discard(self) -> None:
        """Remove all that was written and not committed. Idempotent."""


class StagedFile:
    """One file, which replaces the one that is there."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._target = Path(os.path.abspath(os.path.expanduser(path)))
        self.folder = str(_hidden(self._target.parent, self._target.name))

    def place(self, rank: int) -> str:
        return os.path.join(self.folder, f"{rank}{UNFINISHED}")

    def prepare(self) -> None:
        try:
            os.mkdir(self.folder)
        except OSError as error:
            raise OSError(f'Cannot open file "{self._path}": {error.strerror}') from error

    def commit(self, empty: Collection[str]) -> dict[str, str]:
        (part,) = os.listdir(self.folder)
        staged = os.path.join(self.folder, part)
        os.replace(staged, self._target)
        self.discard()
        return {staged: self._path}

    def discard(self) -> None:
        remove_staging(Path(self.folder))


class StagedFolder:
    """A folder of files, with sub-folders if rows are partitioned by their values."""

    def __init__(
        self, path: str, extension: str, pattern: str, existing: str, parts_are_folders: bool
    ) -> None:
        """``pattern`` names files: ``{i}`` is a number, ``{uuid}`` random.

        ``existing`` says what becomes of files that are there: '' (there may be none), ``ignore`` (those of the same
        name are replaced), ``append`` (none is), ``overwrite`` (all are removed).
        """
        self._path = path.rstrip("/") or "/"
        self._target = Path(os.path.abspath(os.path.expanduser(path)))
        self._extension = extension
        self._pattern = pattern
        self._existing = existing
        self._parts_are_folders = parts_are_folders
        self._new = not self._target.is_dir()
        parent = self._target.parent if self._new else self._target
        self.folder = str(_hidden(parent, self._target.name))

    def place(self, rank: int) -> str:
        return os.path.join(self.folder, str(rank) if self._parts_are_folders else f"{rank}{UNFINISHED}")

    def prepare(self) -> None:
        if self._target.exists() and self._new and self._existing != "overwrite":
            raise FileExistsError(
                f'Cannot write to "{self._path}" - it exists and is a file, not a directory! '
                "Enable OVERWRITE option to overwrite the file"
            )
        if not self._existing and any(names for _, _, names in os.walk(self._target)):
            raise FileExistsError(
                f'Directory "{self._path}" is not empty! Enable OVERWRITE option to overwrite files'
            )
        try:
            os.mkdir(self.folder)
        except OSError as error:
            raise OSError(f'Failed to create directory "{self._path}": {error.strerror}') from error

    def commit(self, empty: Collection[str]) -> dict[str, str]:
        staged = _parts(Path(self.folder))
        with_rows = [path for path in staged if str(path) not in empty]
        names = self._names(with_rows or staged[:1])
        if self._new:
            self._show_new(names)
        else:
            self._show_beside(names)
        self.discard()
        return {str(path): os.path.join(self._path, name) for path, name in names.items()}

    def discard(self) -> None:
        remove_staging(Path(self.folder))

    def _names(self, staged: Iterable[Path]) -> dict[Path, str]:
        """The final paths, relative to the target."""
        pattern = self._pattern
        if "{i}" not in pattern and "{uuid" not in pattern:
            pattern += "{i}"
        numbers: dict[Path, int] = {}
        names: dict[Path, str] = {}
        for path in staged:
            inside = path.relative_to(self.folder).parent
            folder = Path(*inside.parts[1:])
            number = numbers[folder] = numbers.get(folder, -1) + 1
            name = re.sub(
                r"\{uuid(v4|v7)?\}", lambda _: str(uuid.uuid4()), pattern.replace("{i}", str(number))
            )
            relative = folder / f"{name}.{self._extension}"
            names[path] = str(relative)
        return names

    def _show_new(self, names: dict[Path, str]) -> None:
        """One renaming shows the whole folder."""
        shown = Path(self.folder, "shown")
        shown.mkdir()
        for path, name in names.items():
            (shown / name).parent.mkdir(parents=True, exist_ok=True)
            path.rename(shown / name)
        moved: list[tuple[Path, Path]] = []
        try:
            if self._target.exists():
                _move(self._target, Path(self.folder, "replaced"), moved)
            shown.rename(self._target)
        except BaseException:
            _undo(moved)
            raise

    def _show_beside(self, names: dict[Path, str]) -> None:
        """File by file, and back if one can't be moved."""
        replaced = Path(self.folder, "replaced")
        moved: list[tuple[Path, Path]] = []
        made: list[Path] = []
        try:
            old = {self._target / name for name in names.values()}
            if self._existing == "overwrite":
                old.update(path for path in self._target.rglob("*") if not path.is_dir() or path.is_symlink())
            for path in sorted(old):
                if not path.is_relative_to(self.folder) and os.path.lexists(path):
                    _move(path, replaced / path.relative_to(self._target), moved)
            for path, name in names.items():
                final = self._target / name
                for parent in reversed(final.relative_to(self._target).parents[:-1]):
                    if not (self._target / parent).exists():
                        (self._target / parent).mkdir()
                        made.append(self._target / parent)
                _move(path, final, moved)
        except BaseException:
            _undo(moved)
            for folder in reversed(made):
                with contextlib.suppress(OSError):
                    folder.rmdir()
            raise


def _hidden(parent: Path, name: str) -> Path:
    return parent / f".{name[:_NAME_LENGTH]}.sord-{secrets.token_hex(6)}"


def _parts(folder: Path) -> list[Path]:
    """Staged files by rank, then by folder and number."""

    def order(path: Path) -> tuple[int, str, list[int]]:
        inside = path.relative_to(folder)
        rank = int(inside.parts[0].removesuffix(UNFINISHED))
        return rank, str(inside.parent), [int(number) for number in _NUMBER.findall(path.name)]

    return sorted((path for path in folder.rglob("*") if path.is_file()), key=order)


def _move(source: Path, target: Path, moved: list[tuple[Path, Path]]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Noted first: an interruption may come between any two steps.
    moved.append((source, target))
    source.rename(target)


def _undo(moved: list[tuple[Path, Path]]) -> None:
    for source, target in reversed(moved):
        if os.path.lexists(target) and not os.path.lexists(source):
            with contextlib.suppress(OSError):
                target.rename(source)
