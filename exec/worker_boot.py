"""What a worker is told when it is started."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Boot:
    """All that a worker is told at its start, as one line of JSON on its standard input."""

    rank: int
    size: int
    epoch: int
    fleet: str
    key: str
    control: tuple[str, int]
    listen: tuple[str, int]
    threads: int
    memory_bytes: int
    spill_directory: str
    """This worker's own, below the fleet's; both are removed with the last worker."""

    def to_line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Boot:
        fields: dict[str, Any] = json.loads(line)
        return cls(**{**fields, "control": tuple(fields["control"]), "listen": tuple(fields["listen"])})
