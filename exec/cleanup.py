"""Removing the fleet's temporary files, whoever is the last one there."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path

CLIENT_DIRECTORY = "client"
_ATTEMPTS = 20


def remove_staging(folder: Path) -> None:
    """Remove a folder that somebody who has been told to stop may still write into. Idempotent."""
    for attempt in range(_ATTEMPTS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            break
        time.sleep(0.01 * attempt)


def remove_spill(directory: Path) -> None:
    """Remove one rank's spill directory, and the fleet's, above it, if no other worker's is left in it.

    For a worker whose client is gone.
    """
    remove_staging(directory)
    fleet = directory.parent
    with contextlib.suppress(OSError):
        if {entry.name for entry in fleet.iterdir()} <= {CLIENT_DIRECTORY}:
            shutil.rmtree(fleet, ignore_errors=True)
