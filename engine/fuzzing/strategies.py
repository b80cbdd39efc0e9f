"""What the planner is made to believe, so that small tables are treated in all the ways that large ones are."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Final
from unittest import mock

from sord.planner import cost
from sord.planner.context import Options
from sord.planner.distribution import Hashed, Ranged, Replicated, Single, Sorted, Spread
from sord.planner.logical import Exchange, Join, Plan, Scan
from sord.planner.physical import DistributedPlan

_PLACES: Final = {
    "scan": "cost.SCAN",
    "stage": "cost.STAGE",
    "build": "cost.BUILD",
    "few_rows": "distribute._FEW_ROWS",
    "sort_at_client": "distribute._SORT_AT_CLIENT",
    "small": "distribute_joins._SMALL",
    "split": "split_aggregates._SHRINKS",
    "push": "push_aggregates._SHRINKS",
    "reduce": "reduce_aggregates._WORTHWHILE",
    "surprise": "physical._SURPRISE",
    "replan": "physical._WORTH",
    "reorder": "order_joins._WORTH",
    "share": "order_joins._SHARE",
    "pairs": "join_search._PAIRS",
}
"""Where the planner keeps a cost or a limit."""

Costs = Mapping[str, float]


def draw_costs(rng: random.Random) -> Costs:
    """Costs and limits under which the planner takes ways that small tables wouldn't make it take."""
    return {
        "scan": rng.choice((cost.SCAN, 0.0, 1e3)),
        "stage": rng.choice((cost.STAGE, 0.0, 0.0, 1e3)),
        "build": rng.choice((cost.BUILD, 1.0)),
        "few_rows": rng.choice((100_000, -1, -1)),
        "sort_at_client": rng.choice((64e6, -1.0)),
        "small": rng.choice((1e6, -1.0)),
        "split": rng.choice((0.7, 1e9, -1.0)),
        "push": rng.choice((0.5, 1e9)),
        "reduce": rng.choice((0.25, 1e9)),
        "surprise": rng.choice((2.0, 1.0, 1.0)),
        "replan": rng.choice((20e-3, -1.0, -1.0)),
        "reorder": rng.choice((0.0, -math.inf, -math.inf)),
        "share": rng.choice((0.8, math.inf, math.inf)),
        "pairs": rng.choice((20_000, 20_000, 0)),
    }


def draw_options(rng: random.Random, workers: int) -> Options:
    """A fleet's options, each switch off now and then."""
    on = [rng.random() < 0.85 for _ in range(3)]
    return Options(workers, adapt=on[0], runtime_filters=on[1], split_skew=on[2])


@contextmanager
def believing(costs: Costs) -> Iterator[None]:
    """Let the planner believe in these costs."""
    with ExitStack() as stack:
        for name, value in costs.items():
            stack.enter_context(mock.patch(f"sord.planner.{_PLACES[name]}", value))
        yield


def strategies(plan: DistributedPlan) -> Counter[str]:
    """What a plan does, for the statistics."""
    found: Counter[str] = Counter()
    stack: list[Plan] = [plan.physical]
    names = {
        Single: "gather",
        Replicated: "broadcast",
        Hashed: "shuffle by hash",
        Ranged: "shuffle by range",
        Sorted: "sort range",
        Spread: "spread",
    }
    while stack:
        node = stack.pop()
        if isinstance(node, Exchange):
            found[names[type(node.target)]] += 1
        if isinstance(node, Scan) and isinstance(node.split, (Replicated, Ranged)):
            found["scan everywhere" if isinstance(node.split, Replicated) else "scan by range"] += 1
        if isinstance(node, Join):
            found[f"{node.kind} join"] += 1
        stack.extend(node.children)
    return Counter(dict.fromkeys(found, 1))
