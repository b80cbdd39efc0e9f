"""A fixed budget of random queries at 1, 2, 3 and 8 workers; ``fuzz.py`` runs more of them by the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz import fuzz

WORKERS = (1, 2, 3, 8)


@pytest.mark.parametrize("seed", [0, 20, 40])
def test_duckdb_agrees_on_random_queries(seed: int, tmp_path: Path) -> None:
    report = fuzz(seed, 14, WORKERS, tmp_path)
    assert not report.findings, "\n".join(map(str, report.findings))
    assert report.ran.total() >= 14 * len(WORKERS) / 2, "most queries must be planned, or this proves nothing"
