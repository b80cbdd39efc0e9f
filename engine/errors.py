"""Errors that a user of sord can catch. Mistakes in SQL text raise DuckDB's own exceptions, in DuckDB's words."""

from sord.exec.errors import ExchangeError, FleetError, QueryCancelled, QueryError, WorkerLost
from sord.exec.errors import SordError as Error

__all__ = ["Error", "ExchangeError", "FleetError", "QueryCancelled", "QueryError", "WorkerLost"]
