"""Folders that appear complete or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp


@contextmanager
def complete_folder(out: Path) -> Iterator[Path]:
    """A new folder beside `out` that takes its name at the end, if no error came up to here.

    Where somebody else was faster, theirs stays and this one goes.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(mkdtemp(prefix=f".{out.name}.", suffix=".unfinished", dir=out.parent))
    try:
        unfinished.chmod(0o755)
        yield unfinished
        try:
            unfinished.rename(out)
        except OSError:
            if not out.exists():
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
