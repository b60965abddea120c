"""Time limits of runs, kept by one thread: a timer each would cost more than a small run."""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections.abc import Callable

__all__ = ["Limit", "Watchdog"]


class Watchdog:
    """Calls what is overdue. Its thread starts with the first limit and ends with the process."""

    def __init__(self) -> None:
        """Watch nothing yet."""
        self.lock = threading.Lock()
        self.wakes_s = math.inf
        self._changed = threading.Condition(self.lock)
        self._limits: weakref.WeakSet[Limit] = weakref.WeakSet()
        self._started = False

    def limit(self, timeout_s: float, overdue: Callable[[], None]) -> Limit:
        """A limit that calls `overdue`, from the watching thread, where a block takes longer than
        `timeout_s`.
        """
        made = Limit(self, timeout_s, overdue)
        with self.lock:
            self._limits.add(made)
        return made

    def wake(self) -> None:
        """Look at all limits again: one is due before `wakes_s`."""
        with self._changed:
            if not self._started:
                self._started = True
                threading.Thread(target=self._watch, name="halve-watchdog", daemon=True).start()
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while True:
                # What begins during the look may have been passed over: it wakes the thread.
                self.wakes_s = math.inf
                self.wakes_s = self._look()
                left_s = self.wakes_s - time.monotonic()
                self._changed.wait(left_s if left_s < threading.TIMEOUT_MAX else None)

    def _look(self) -> float:
        """Call what is overdue; when the next is due."""
        now, next_s = time.monotonic(), math.inf
        for limit in self._limits:
            if limit.due_s <= now:
                limit.due_s = math.inf
                limit.overdue()
            next_s = min(next_s, limit.due_s)
        return next_s


class Limit:
    """A time limit of one block after another, none inside another.

    A block costs an assignment at each end: the thread wakes when the first due time that it saw
    has come, and sees then what has begun since.
    """

    __slots__ = ("__weakref__", "_dog", "_timeout_s", "due_s", "overdue")

    def __init__(self, dog: Watchdog, timeout_s: float, overdue: Callable[[], None]) -> None:
        """For Watchdog.limit."""
        self._dog, self._timeout_s, self.overdue = dog, timeout_s, overdue
        self.due_s = math.inf

    def __enter__(self) -> None:
        """Begin a block."""
        self.due_s = due_s = time.monotonic() + self._timeout_s
        if due_s < self._dog.wakes_s:
            self._dog.wake()

    def __exit__(self, *error: object) -> None:
        """End it; `overdue` is not called for it from here on."""
        with self._dog.lock:
            self.due_s = math.inf
