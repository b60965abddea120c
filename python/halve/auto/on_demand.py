"""An evaluator that makes room for the judge, and is made anew when it is needed again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from halve.search_types import Evaluator, Trial, UnitSet

__all__ = ["OnDemand"]


class OnDemand:
    """Passes runs on to an evaluator that exists from the first run on, but for `cleared`."""

    def __init__(self, make: Callable[[], Evaluator]) -> None:
        """Nothing is made yet."""
        self._make = make
        self._evaluator: Evaluator | None = None
        self._known: tuple[UnitSet, tuple[Trial, ...]] | None = None
        self._running = 0
        self._cleared = False
        self._changed = threading.Condition()

    def run(self, fp32: UnitSet, sample: int) -> Trial:
        """See Evaluator.run; waits while others have `cleared`.

        Raises:
            HalveError: as making the evaluator raises.
        """
        if self._known is not None and self._known[0] == fp32:
            return self._known[1][sample]
        evaluator = self._enter()
        try:
            return evaluator.run(fp32, sample)
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def learn(self, fp32: UnitSet, trials: Sequence[Trial]) -> None:
        """Keep a set's trials on all samples, which are not run again."""
        self._known = fp32, tuple(trials)

    def close(self) -> None:
        """See Evaluator.close."""
        with self._changed:
            if self._evaluator is not None:
                self._evaluator.close()
            self._evaluator = None

    @contextmanager
    def cleared(self) -> Iterator[None]:
        """While this lasts nothing is held; runs in progress end first, others wait."""
        with self._changed:
            self._cleared = True
            self._changed.wait_for(lambda: not self._running)
        self.close()
        try:
            yield
        finally:
            with self._changed:
                self._cleared = False
                self._changed.notify_all()

    def _enter(self) -> Evaluator:
        with self._changed:
            self._changed.wait_for(lambda: not self._cleared)
            if self._evaluator is None:
                self._evaluator = self._make()
            self._running += 1
            return self._evaluator
