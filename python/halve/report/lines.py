"""Progress as plain lines on stderr, for the drop-in modules."""

from __future__ import annotations

import os
import sys

from halve.report.bar import event_line
from halve.search_types import SearchEvent

__all__ = ["ProgressLines", "progress_lines"]


class ProgressLines:
    """Prints a line whenever the phase or the clusters change; with `every`, one an event."""

    def __init__(self, *, every: bool) -> None:
        """Nothing is printed yet."""
        self._every = every
        self._last: tuple[object, ...] = ()

    def __call__(self, event: SearchEvent) -> None:
        """Print the event's line, or nothing."""
        now = (event.phase, event.clusters)
        if self._every or now != self._last:
            print(f"halve: {event_line(event)}", file=sys.stderr)
        self._last = now


def progress_lines(*, every: bool = False) -> ProgressLines | None:
    """A callback for SearchOptions.progress; None where HALVE_QUIET is 1."""
    return None if os.environ.get("HALVE_QUIET") == "1" else ProgressLines(every=every)
