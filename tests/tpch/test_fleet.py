"""DuckDB gets as many threads as the fleet has."""

from __future__ import annotations

import os

import pytest

from sord.tpch.fleet import Fleet


def test_threads_of_all_workers_count() -> None:
    assert Fleet.parse("local://4?threads=3&memory=2GB") == Fleet(
        "local://4?threads=3&memory=2GB", "local://4?threads=3&memory=2GB", 12
    )


def test_without_threads_the_cores_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert Fleet.parse("local://3").options == {"threads": 2}
    assert Fleet.parse("local://3").total_threads == 6
    assert Fleet.parse("local://16").total_threads == 16
    assert Fleet.parse("embedded") == Fleet("embedded", None, 8, {"threads": 8})
    assert Fleet.parse("embedded", 2) == Fleet("embedded", None, 2, {"threads": 2})


def test_a_fleet_elsewhere_must_be_told() -> None:
    assert Fleet.parse("tcp://coordinator:4000", 32).total_threads == 32
    with pytest.raises(ValueError, match="--total-threads"):
        Fleet.parse("tcp://coordinator:4000")


@pytest.mark.parametrize(
    "url", ["local://", "local://0", "local://four", "local://2?threads=0", "local://2?threads=x"]
)
def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="local://"):
        Fleet.parse(url)
