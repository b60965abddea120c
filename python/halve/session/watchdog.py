"""Time limits of runs, kept by one thread: a timer each would cost more than a small run."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

__all__ = ["Watchdog"]

_SLACK = 1000

_Value = TypeVar("_Value")


class Watchdog:
    """Calls what is overdue. Its thread starts with the first limit and ends with the process."""

    def __init__(self) -> None:
        """Watch nothing yet."""
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._due: list[tuple[float, int]] = []
        self._calls: dict[int, Callable[[], None]] = {}
        self._numbers = itertools.count()
        self._wakes_s = 0.0
        self._started = False

    def limit(
        self, timeout_s: float, overdue: Callable[[], None], value: _Value
    ) -> AbstractContextManager[_Value]:
        """Call `overdue`, from the watching thread, if the block takes longer than `timeout_s`; the
        block gets `value`.
        """
        return _Limit(self, timeout_s, overdue, value)

    def _start(self, timeout_s: float, overdue: Callable[[], None]) -> int:
        number, due_s = next(self._numbers), time.monotonic() + timeout_s
        with self._lock:
            self._calls[number] = overdue
            heapq.heappush(self._due, (due_s, number))
            if len(self._due) > _SLACK + 2 * len(self._calls):
                self._forget()
            if not self._started:
                self._started = True
                threading.Thread(target=self._watch, name="halve-watchdog", daemon=True).start()
            elif due_s < self._wakes_s:
                self._changed.notify()
        return number

    def _end(self, number: int) -> None:
        with self._lock:
            self._calls.pop(number, None)

    def _watch(self) -> None:
        with self._changed:
            while True:
                for call in self._overdue():
                    call()
                # Limits that ended stay in the heap for a while.
                self._wakes_s = self._due[0][0] if self._due else float("inf")
                left = self._wakes_s - time.monotonic() if self._due else None
                self._changed.wait(left)

    def _forget(self) -> None:
        """Drop the limits that ended."""
        self._due = [entry for entry in self._due if entry[1] in self._calls]
        heapq.heapify(self._due)

    def _overdue(self) -> list[Callable[[], None]]:
        now, found = time.monotonic(), []
        while self._due and self._due[0][0] <= now:
            call = self._calls.pop(heapq.heappop(self._due)[1], None)
            found += [] if call is None else [call]
        return found


class _Limit(AbstractContextManager[_Value], Generic[_Value]):
    """One limit: a class, because a generator takes as long as a small node."""

    __slots__ = ("_dog", "_number", "_overdue", "_timeout_s", "_value")

    def __init__(
        self, dog: Watchdog, timeout_s: float, overdue: Callable[[], None], value: _Value
    ) -> None:
        self._dog, self._timeout_s, self._overdue, self._value = dog, timeout_s, overdue, value
        self._number = -1

    def __enter__(self) -> _Value:
        self._number = self._dog._start(self._timeout_s, self._overdue)
        return self._value

    def __exit__(self, *error: object) -> None:
        self._dog._end(self._number)
