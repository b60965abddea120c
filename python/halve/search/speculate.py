"""Running ahead: workers try what the search is likely to ask next."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice

from halve.search.asks import Ask, Key, bits
from halve.search_types import Evaluator, Trial

__all__ = ["Runner"]


class Runner:
    """Runs asks on worker threads, and likely next ones on the workers that are free.

    A run is used only if the search really asks for it, so results do not depend on workers.
    """

    def __init__(self, evaluator: Evaluator, workers: int) -> None:
        """Start `workers` threads, at least one."""
        self._evaluator = evaluator
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers, "halve-trial") if workers > 1 else None
        self._pending: dict[Key, Future[Trial]] = {}
        self._ahead: dict[Key, Trial] = {}

    def run(self, ask: Ask) -> Trial:
        """The trial that answers an ask."""
        if self._pool is None:
            return self._evaluator.run(frozenset(bits(ask.fp32)), ask.sample)
        while ask.key not in self._ahead:
            self._submit(ask.key)
            self._fill(ask)
            self._collect(ask.key)
        return self._ahead.pop(ask.key)

    def close(self) -> None:
        """Wait for runs in progress and drop their results."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, key: Key) -> None:
        if self._pool is not None and key not in self._pending and key not in self._ahead:
            units = frozenset(bits(key[0]))
            self._pending[key] = self._pool.submit(self._evaluator.run, units, key[1])

    def _fill(self, ask: Ask) -> None:
        """Give free workers the asks that are likely to follow."""
        free = self._workers - len(self._pending)
        for key in islice(ask.ahead() if free > 0 else (), 4 * self._workers):
            if len(self._pending) >= self._workers:
                return
            self._submit(key)

    def _collect(self, key: Key) -> None:
        """Wait until some run has ended; keep the results of a bounded number."""
        done, _ = wait(self._pending.values(), return_when=FIRST_COMPLETED)
        for name in [name for name, future in self._pending.items() if future in done]:
            future = self._pending.pop(name)
            if name == key or future.exception() is None:
                self._ahead[name] = future.result()
        while len(self._ahead) > 16 * self._workers:
            self._ahead.pop(next(name for name in self._ahead if name != key))
