"""Memory of this process, as the operating system sees it."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def resident_bytes() -> int:
    """Memory that is resident now, or its peak where the system doesn't tell."""
    return _status("VmRSS:") or _peak_of_life()


def peak_bytes() -> int:
    """Highest resident memory since :func:`reset_peak`, or since the start where that isn't possible."""
    # Not ru_maxrss where it can be helped: a child inherits its parent's.
    return _status("VmHWM:") or _peak_of_life()


def reset_peak() -> None:
    """Begin a new peak, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(key: str) -> int:
    try:
        with _STATUS.open() as lines:
            return next((int(line.split()[1]) << 10 for line in lines if line.startswith(key)), 0)
    except OSError:
        return 0


def _peak_of_life() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10
