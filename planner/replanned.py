"""What one plan does otherwise than another: whether it is worth having, and what EXPLAIN ANALYZE says of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set

from sord.planner.logical import Aggregate, Exchange, Join, Plan, Scan, SharedRef, Stage, Values, With
from sord.planner.runtime_filters import keys_source

_LONG = 100
"""Characters after which an order of joins is cut short."""

ORDER = "order of joins"
"""How the subject begins where that is decided."""

Decision = tuple[str, str]
"""What was to be decided, and how that was done."""


def differences(before: list[Decision], after: list[Decision]) -> tuple[str, ...]:
    """In words; none if nothing has been decided otherwise."""
    gone, new = Counter(before) - Counter(after), Counter(after) - Counter(before)
    past: dict[str, list[str]] = {}
    for subject, how in gone.elements():
        past.setdefault(subject, []).append(how)
    lines = []
    for subject, how in new.elements():
        instead = past.get(subject)
        lines.append(
            f"{_short(subject)}: {_short(how)}" + (f" instead of {_short(instead.pop(0))}" if instead else "")
        )
    return (*lines, *(f"{_short(subject)}: not any more" for subject, rest in past.items() for _ in rest))


def _short(text: str) -> str:
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"


def decisions(plan: Plan, exchanges: Mapping[int, int], begun: Set[int]) -> list[Decision]:
    """How rows are read, moved, joined and aggregated by what hasn't begun of a distributed plan.

    ``exchanges`` are numbers by the ``id()`` of an exchange or shared definition; ``begun`` are such numbers.
    """
    found: list[Decision] = []

    def name(node: Plan) -> tuple[str, list[str]]:
        """What stands below, joins and inputs in their order, and the inputs alone."""
        number = node.exchange if isinstance(node, Stage) else exchanges.get(id(node), -1)
        if isinstance(node, Stage) or number in begun:
            return _leaf(f"fragment {number}")
        if isinstance(node, SharedRef):
            return _leaf(node.name)
        if isinstance(node, Values):
            return _leaf("values" if node.rows else "no rows")
        if isinstance(node, Scan):
            found.append((f"reading {node.table.name}", str(node.split)))
            return _leaf(node.table.name)
        if isinstance(node, Join) and node.runtime:
            source = keys_source(node)
            keys = source.exchange if isinstance(source, Stage) else exchanges.get(id(source), -1)
            probe = name(node.left)
            known = isinstance(source, Stage) or keys in begun
            how = f"by keys of fragment {keys}" if known else "by keys"
            found.append((f"filtering {_listed(probe[1])}", how))
            return probe
        texts, inputs = zip(*map(name, node.children), strict=True)
        if isinstance(node, With):
            *shared, body = texts
            found.extend((f"{ORDER} of {a}", b) for a, b in zip(node.names, shared, strict=True))
            return body, inputs[-1]
        if isinstance(node, Exchange):
            half = isinstance(node.input, Aggregate) and node.input.phase == "partial"
            how = f"to {node.target}" + (" after a first phase" if half else "")
            found.append((f"moving {_listed(inputs[0])}", how))
            return texts[0], inputs[0]
        everything = [one for part in inputs for one in part]
        if isinstance(node, Join):
            return f"({texts[0]} {'⋈' if node.kind == 'inner' else node.kind} {texts[1]})", everything
        return ", ".join(texts), everything

    return [(ORDER, name(plan)[0]), *found]


def _leaf(name: str) -> tuple[str, list[str]]:
    return name, [name]


def _listed(inputs: list[str]) -> str:
    return ", ".join(sorted(set(inputs)))
