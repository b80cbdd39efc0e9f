"""sord: a flock of DuckDBs that answers one SQL query together.

import sord

with sord.connect("local://4") as db:
    db.register_dir("data/tpch/sf1")
    db.sql("SELECT count(*) FROM lineitem").show()
"""

from __future__ import annotations

from sord.connection import Connection, connect
from sord.errors import Error, ExchangeError, FleetError, QueryCancelled, QueryError, WorkerLost
from sord.lakes import delta, iceberg
from sord.relation import Relation
from sord.report import Report

__all__ = [
    "Connection",
    "Error",
    "ExchangeError",
    "FleetError",
    "QueryCancelled",
    "QueryError",
    "Relation",
    "Report",
    "WorkerLost",
    "connect",
    "delta",
    "iceberg",
]
