"""Errors that a user of sord can catch."""

from __future__ import annotations


class Error(Exception):
    """Base of sord's own errors. Mistakes in SQL text raise DuckDB's own exceptions, with DuckDB's message."""
