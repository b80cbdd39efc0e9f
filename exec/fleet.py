"""Fleets: how workers come to be. A fleet is named by one URL."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl, urlsplit

from sord.exec.errors import FleetError

if TYPE_CHECKING:
    from sord.transport.messages import MessageSocket

MEMORY_SHARE = 0.6
"""How much of the machine's memory all local workers together take unless told otherwise."""

_UNITS = {
    "": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Member:
    """A running worker: its process, its authenticated control connection, where it receives batches."""

    rank: int
    epoch: int
    pid: int
    host: str
    port: int
    control: MessageSocket


class Fleet(Protocol):
    """Starts, mends and ends the workers ``0 .. size-1``. Not thread-safe."""

    @property
    def size(self) -> int: ...

    @property
    def bandwidth(self) -> float:
        """Bytes per second that a worker sends or receives, roughly: what plans depend on."""

    @property
    def name(self) -> str:
        """The id that both ends of a connection prove to know."""

    @property
    def key(self) -> bytes:
        """The secret of the fleet, new for each."""

    @property
    def spill_directory(self) -> Path:
        """Where the client may spill; removed with the fleet."""

    def start(self) -> tuple[Member, ...]:
        """Start all workers; they come in the order of ranks.

        Raises :class:`FleetError` and then leaves none behind.
        """

    def mend(self, lost: Collection[int]) -> tuple[Member, ...]:
        """End what is left of the ``lost`` ranks, start them anew with a higher epoch, return all members.

        Raises :class:`FleetError`; the ranks are then still lost.
        """

    def why_lost(self, rank: int) -> str:
        """How a worker ended, ``died: killed by SIGKILL`` for instance; empty if that isn't known."""

    def close(self) -> None:
        """End all workers and remove all files. Idempotent."""


def parse_fleet(url: str, **options: object) -> Fleet:
    """The fleet that a URL names, ``local://4?threads=1&memory=2GB`` for instance; nothing is started yet.

    ``options`` are the same as in the URL's query and win over it. Raises :class:`FleetError` if the URL
    isn't understood; the message says what is allowed.
    """
    parts = urlsplit(url)
    make = _SCHEMES.get(parts.scheme)
    if make is None:
        allowed = ", ".join(f"{scheme}://" for scheme in sorted(_SCHEMES))
        raise FleetError(f"{url!r} is no fleet: it has to begin with one of {allowed}")
    if "#" in url:
        raise FleetError(f"{url!r} is no fleet: what is {url[url.index('#') :]!r} for?")
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    asked = dict(pairs)
    if len(asked) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise FleetError(f"{url!r} is no fleet: it says {twice} more than once")
    asked |= {name: str(value) for name, value in options.items() if value is not None}
    if parts.path.strip("/"):
        raise FleetError(f"{url!r} is no fleet: what is the path {parts.path!r} for?")
    try:
        return make(parts.netloc, asked)
    except FleetError as error:
        raise FleetError(f"{url!r}: {error}") from None


def _local(place: str, options: Mapping[str, str]) -> Fleet:
    from sord.exec.local import LocalFleet

    unknown = sorted(options.keys() - {"threads", "memory", "bandwidth"})
    if unknown:
        raise FleetError(f"unknown option {unknown[0]!r}; local:// takes threads, memory and bandwidth")
    cores = available_cores()
    size = _count(place, "the number of workers") if place else cores
    threads = _count(options["threads"], "threads") if "threads" in options else max(1, cores // size)
    fair_share = int(machine_memory() * MEMORY_SHARE) // size
    memory = parse_size("memory", options["memory"], least=64 * 10**6) if "memory" in options else fair_share
    bandwidth = parse_size("bandwidth", options.get("bandwidth", "2GB"), least=10**3)
    return LocalFleet(size, threads=threads, memory_bytes=memory, bandwidth=bandwidth)


_SCHEMES: dict[str, Callable[[str, Mapping[str, str]], Fleet]] = {"local": _local}


def parse_size(name: str, text: str, least: int) -> int:
    """Bytes in ``2GB``, ``512MiB`` and the like. Raises :class:`FleetError`, for fewer than ``least`` too."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    unit = _UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None:
        raise FleetError(f"{name}={text} is no size: write it like 2GB or 512MiB")
    size = int(float(match[1]) * unit)
    if size < least:
        raise FleetError(f"{name}={text} is too little: a worker needs {least:,} bytes at least")
    return size


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def machine_memory() -> int:
    """Bytes of memory of this machine, or of the control group that this process is in if that has less."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return memory
    return min(memory, int(limit)) if limit.isdigit() else memory


def _count(text: str, what: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,4}", text):
        raise FleetError(f"{what}: expected a whole number from 1 on, got {text!r}")
    return int(text)
