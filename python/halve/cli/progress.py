"""Progress of a conversion on a terminal: stage, bytes, rate and time left; silent in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from halve.options import Progress

__all__ = ["conversion_progress"]

_STAGES = {
    "open": "reading the graph",
    "plan": "planning",
    "rewrite": "rewriting the graph",
    "write": "converting weights",
}


@contextmanager
def conversion_progress(*, quiet: bool) -> Iterator[Callable[[Progress], None] | None]:
    """A callback for ConvertOptions.progress, or None where stderr is no terminal or `quiet`."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        SpinnerColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bars

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("starting", total=None)

        def update(step: Progress) -> None:
            stage = _STAGES.get(step.stage, step.stage)
            total = step.total_bytes or None
            bars.update(task, description=stage, completed=step.done_bytes, total=total)

        yield update
