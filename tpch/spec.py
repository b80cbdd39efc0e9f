"""What the TPC-H specification fixes: tables, query texts, the order and the precision of the answers."""

from __future__ import annotations

from importlib.resources import files
from typing import Final, Literal

QUERIES: Final = range(1, 23)

ROWS_PER_SCALE_FACTOR: Final = {
    "customer": 150_000,
    "lineitem": 6_000_000,  # approximate: every order has one to seven lines
    "nation": 25,
    "orders": 1_500_000,
    "part": 200_000,
    "partsupp": 800_000,
    "region": 5,
    "supplier": 10_000,
}
TABLES: Final = tuple(ROWS_PER_SCALE_FACTOR)

# The columns of each ORDER BY (as named in the result); rows with equal keys may come in any order.
ORDER_BY: Final[dict[int, tuple[str, ...]]] = {
    1: ("l_returnflag", "l_linestatus"),
    2: ("s_acctbal", "n_name", "s_name", "p_partkey"),
    3: ("revenue", "o_orderdate"),
    4: ("o_orderpriority",),
    5: ("revenue",),
    6: (),
    7: ("supp_nation", "cust_nation", "l_year"),
    8: ("o_year",),
    9: ("nation", "o_year"),
    10: ("revenue",),
    11: ("value",),
    12: ("l_shipmode",),
    13: ("custdist", "c_count"),
    14: (),
    15: ("s_suppkey",),
    16: ("supplier_cnt", "p_brand", "p_type", "p_size"),
    17: (),
    18: ("o_totalprice", "o_orderdate"),
    19: (),
    20: ("s_name",),
    21: ("numwait", "s_name"),
    22: ("cntrycode",),
}

Precision = Literal["exact", "sum", "average", "ratio"]

# Columns whose validation output may differ (clause 2.1.3.5). Every other column is exact: single values,
# counts, and the sums of zeros and ones of query 12 (comment 2 of that clause).
PRECISION: Final[dict[int, dict[str, Precision]]] = {
    1: {
        "sum_qty": "sum",
        "sum_base_price": "sum",
        "sum_disc_price": "sum",
        "sum_charge": "sum",
        "avg_qty": "average",
        "avg_price": "average",
        "avg_disc": "average",
    },
    3: {"revenue": "sum"},
    5: {"revenue": "sum"},
    6: {"revenue": "sum"},
    7: {"revenue": "sum"},
    8: {"mkt_share": "ratio"},
    9: {"sum_profit": "sum"},
    10: {"revenue": "sum"},
    11: {"value": "sum"},
    14: {"promo_revenue": "ratio"},
    15: {"total_revenue": "sum"},
    17: {"avg_yearly": "ratio"},
    18: {"sum(l_quantity)": "sum"},
    19: {"revenue": "sum"},
    22: {"totacctbal": "sum"},
}

_FRACTION_AT_SCALE_FACTOR_1: Final = "0.0001000000"


def query_text(number: int, scale_factor: float = 1) -> str:
    """The SQL text of query `number` (1 to 22) with the validation parameters, without a semicolon.

    Query 11 compares with a fraction of 0.0001 / SF of the total (clause 2.4.11.3), so its text depends on
    the scale factor. Below 1, where the specification has none, the fraction stays 0.0001: a larger one would
    leave hardly a row.
    """
    text = (files(__package__) / "queries" / f"q{number:02d}.sql").read_text(encoding="utf-8")
    if number == 11 and scale_factor > 1:
        fraction = f"{0.0001 / scale_factor:.15f}".rstrip("0")
        text = text.replace(_FRACTION_AT_SCALE_FACTOR_1, fraction)
    return text
