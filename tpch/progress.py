"""A live line on the terminal that says which query runs; nothing where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """What a run tells while it goes on."""

    def started(self, query: int, repetition: int) -> None:
        """A repetition of a query begins."""

    def finished(self) -> None:
        """A query with all its repetitions is done."""


class _Silent:
    def started(self, query: int, repetition: int) -> None:
        pass

    def finished(self) -> None:
        pass


@contextmanager
def live_progress(queries: int, repeat: int) -> Iterator[Progress]:
    """A progress bar on stderr when that is a terminal and rich is installed."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar
    except ModuleNotFoundError:
        yield _Silent()
        return
    if not sys.stderr.isatty():
        yield _Silent()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Results are printed while the bar is up: on a terminal rich must move the bar out of their way.
    # Elsewhere it must not touch them, for it would send them to its own console, which is stderr.
    with Bar(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()
    ) as bar:
        task = bar.add_task("starting", total=queries)

        class _Live:
            def started(self, query: int, repetition: int) -> None:
                again = f" ({repetition + 1} of {repeat})" if repeat > 1 else ""
                bar.update(task, description=f"query {query}{again}")

            def finished(self) -> None:
                bar.advance(task)

        yield _Live()
