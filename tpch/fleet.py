"""How many threads a fleet has, so that plain DuckDB gets as many."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

EMBEDDED: Final = "embedded"


@dataclass(frozen=True, slots=True)
class Fleet:
    """What `sord.connect` is called with, and the threads of all workers together."""

    name: str
    url: str | None
    total_threads: int
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, name: str, total_threads: int | None = None) -> Fleet:
        """A fleet from its URL, or `embedded`.

        Local workers without `threads=` in the URL share this machine's cores evenly, at least one each. For
        fleets on other machines `total_threads` must say how many threads they have together.

        Raises ValueError with what is wrong.
        """
        cores = os.cpu_count() or 1
        if name in ("", EMBEDDED):
            threads = total_threads or cores
            return cls(EMBEDDED, None, threads, {"threads": threads})
        url = urlsplit(name)
        if url.scheme != "local":
            if total_threads is None:
                raise ValueError(
                    f"--total-threads must say how many threads {name} has, so that DuckDB gets as many"
                )
            return cls(name, name, total_threads)
        if not (url.netloc.isdigit() and int(url.netloc) > 0):
            raise ValueError(f"{name}: a local fleet is local://WORKERS, such as local://4?threads=1")
        workers = int(url.netloc)
        given = parse_qs(url.query).get("threads")
        if given is None:
            threads = max(1, (total_threads or cores) // workers)
            return cls(name, name, workers * threads, {"threads": threads})
        if not (given[-1].isdigit() and int(given[-1]) > 0):
            raise ValueError(f"{name}: threads must be a whole number greater than 0")
        return cls(name, name, workers * int(given[-1]))
