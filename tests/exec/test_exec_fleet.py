"""Fleets: their URLs, their start, their end."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from exec_flock import Flock, gathered

from sord.exec.errors import FleetError
from sord.exec.fleet import parse_fleet
from sord.exec.local import LocalFleet


@pytest.mark.parametrize(
    ("url", "size", "threads", "memory"),
    [
        ("local://4?threads=3&memory=2GB", 4, 3, 2 * 10**9),
        ("local://1?threads=1&memory=1.5GiB", 1, 1, 3 << 29),
        ("local://2?threads=2&memory=512mb", 2, 2, 512 * 10**6),
    ],
)
def test_urls(url: str, size: int, threads: int, memory: int) -> None:
    fleet = parse_fleet(url)
    assert isinstance(fleet, LocalFleet)
    assert (fleet.size, fleet.threads, fleet.memory_bytes) == (size, threads, memory)


def test_options_win_over_the_url() -> None:
    fleet = parse_fleet("local://2?threads=1", threads=5, memory=None)
    assert isinstance(fleet, LocalFleet)
    assert fleet.threads == 5


def test_defaults_share_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sord.exec.fleet.available_cores", lambda: 8)
    monkeypatch.setattr("sord.exec.fleet.machine_memory", lambda: 100 * 10**9)
    three, all_cores = parse_fleet("local://3"), parse_fleet("local://")
    assert isinstance(three, LocalFleet)
    assert (three.threads, three.memory_bytes) == (2, 20 * 10**9)
    assert isinstance(all_cores, LocalFleet)
    assert (all_cores.size, all_cores.threads) == (8, 1)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("lokal://2", "one of local://"),
        ("2", "one of local://"),
        ("local://0", "a whole number from 1 on, got '0'"),
        ("local://two", "the number of workers"),
        ("local://2?threads=x", "threads: expected a whole number"),
        ("local://2?cores=1", "unknown option 'cores'; local:// takes threads, memory and bandwidth"),
        ("local://2?memory=lots", "write it like 2GB"),
        ("local://2?memory=1MB", "memory=1MB is too little"),
        ("local://2?bandwidth=fast", "bandwidth=fast is no size"),
        ("local://2?bandwidth=0", "bandwidth=0 is too little"),
        ("local://2/path", "'/path'"),
        ("local://2?threads=1#memory=2GB", "'#memory=2GB'"),
        ("local://2#", "'#'"),
        ("local://2?threads=1&threads=2", "threads more than once"),
        ("local://2?threads=1&memory=1GB&threads=1", "threads more than once"),
    ],
)
def test_wrong_urls(url: str, message: str) -> None:
    with pytest.raises(FleetError, match=message):
        parse_fleet(url)


def test_close_is_idempotent_and_leaves_nothing(frail: Flock, tmp_path: Path) -> None:
    frail.rows(gathered("SELECT 1 AS n", 2))
    assert list(tmp_path.iterdir())
    pids = frail.coordinator.pids
    frail.coordinator.close()
    frail.coordinator.close()
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert not list(tmp_path.iterdir())
    with pytest.raises(FleetError, match="closed"):
        frail.coordinator.run(gathered("SELECT 1 AS n", 2))


def test_a_worker_that_cannot_start_says_why(
    frail: Flock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\ncat > /dev/null\necho no luck today >&2\nexit 3\n")
    python.chmod(0o700)
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", str(python))
        with pytest.raises(FleetError, match=r"(?s)exit status 3.*no luck today"):
            frail.coordinator.start()
    frail.coordinator.start()
    assert len(frail.coordinator.pids) == 2


def test_a_stranger_is_turned_away(frail: Flock) -> None:
    """Somebody who connects to a worker without the key can't do anything there."""
    frail.coordinator.start()
    member = frail.coordinator.members[0]
    with socket.create_connection((member.host, member.port), timeout=10) as sock:
        sock.sendall(b"x" * 1000)
        with contextlib.suppress(ConnectionResetError):
            while sock.recv(4096):
                pass
    assert frail.rows(gathered("SELECT 1 AS n", 2)) == [(1,), (1,)]


def test_nobody_sees_the_key(frail: Flock) -> None:
    frail.coordinator.start()
    for pid in frail.coordinator.pids:
        seen = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
        assert frail.key.hex().encode() not in seen


def test_importing_the_package_is_cheap() -> None:
    code = (
        "import sys, sord; before = set(sys.modules); import sord.exec, sord.exec.errors, sord.exec.fleet; "
        "print(*set(sys.modules) - before)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"pyarrow", "numpy", "duckdb", "sqlglot"} & set(loaded)
