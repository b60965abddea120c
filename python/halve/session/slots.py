"""How many runs are on each device at a time, and fewer when its memory does not do."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

__all__ = ["Slots"]


class Slots:
    """Places for runs: up to `each` on every device at a time. Safe to use from several threads."""

    def __init__(self, devices: Sequence[int], each: int) -> None:
        """`each` is 1 or more; a device is named once."""
        self._limits = dict.fromkeys(devices, each)
        self._taken = dict.fromkeys(devices, 0)
        self._changed = threading.Condition()

    def limit(self, device: int) -> int:
        """The most runs at a time on a device now."""
        with self._changed:
            return self._limits[device]

    @contextmanager
    def take(self, device: int) -> Iterator[bool]:
        """Wait for a place and hold it; whether the run is alone on the device for as long."""
        with self._changed:
            self._changed.wait_for(lambda: self._taken[device] < self._limits[device])
            self._taken[device] += 1
            alone = self._limits[device] == 1
        try:
            yield alone
        finally:
            with self._changed:
                self._taken[device] -= 1
                self._changed.notify_all()

    def shrink(self, device: int) -> None:
        """Halve the places of a device, which keeps one; runs in progress are not ended."""
        with self._changed:
            self._limits[device] = max(1, self._limits[device] // 2)
