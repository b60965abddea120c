"""Running ahead: workers try what the search is likely to ask next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace

from halve.search.asks import JUDGE, Answer, Ask, Key, Steps, answer_of, bits
from halve.search.problem import CheckError
from halve.search_types import Evaluator, Trial

__all__ = ["Replay", "Runner", "opposite", "run_ahead"]

Replay = Callable[[], Steps[object]]
"""Starts the search again from nothing."""


def run_ahead(
    replay: Replay, answers: Callable[[Key], Answer | None], flip: Key | None
) -> Iterator[Ask]:
    """Yield what the search asks and `answers` does not know, in order, as it expects to go on.

    The first ask named by `flip` gets the opposite of what is expected.
    """
    steps = replay()
    try:
        ask = next(steps)
        while True:
            answer = answers(ask.key)
            if answer is None:
                if ask.sample == JUDGE:
                    return
                yield ask
                answer = opposite(ask.likely) if ask.key == flip else ask.likely
            ask = steps.send(answer)
    except (StopIteration, CheckError):  # both are ends of a search
        return
    finally:
        steps.close()


def opposite(likely: Answer) -> Answer:
    """The other way that an ask may end."""
    passed = not likely.passed
    return replace(likely, passed=passed, error=0.5 if passed else 2.0)


# Of a search's time, at most this much goes into finding out what may be asked next.
_REPLAY_SHARE = 0.1


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
        self._replays_s = 0.0
        self._started_s = time.monotonic()
        self._ahead: dict[Key, Trial] = {}

    def run(self, ask: Ask, memo: Mapping[Key, Answer], replay: Replay) -> Trial:
        """The trial that answers an ask."""
        if self._pool is None:
            return self._evaluator.run(frozenset(bits(ask.fp32)), ask.sample)
        while ask.key not in self._ahead:
            self._submit(ask.key)
            self._fill(ask, memo, replay)
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

    def _fill(self, ask: Ask, memo: Mapping[Key, Answer], replay: Replay) -> None:
        """Give free workers the asks that are likely to follow."""
        if len(self._pending) >= self._workers or not self._worthwhile():
            return
        started_s = time.monotonic()
        for key in self._wishes(ask, memo, replay):
            if len(self._pending) >= self._workers:
                break
            self._submit(key)
        self._replays_s += time.monotonic() - started_s

    def _worthwhile(self) -> bool:
        """Replays grow with the search; where trials are short they would cost more than they
        save. Only time is at stake, never the result.
        """
        elapsed_s = time.monotonic() - self._started_s
        return self._replays_s <= _REPLAY_SHARE * elapsed_s

    def _wishes(self, ask: Ask, memo: Mapping[Key, Answer], replay: Replay) -> Iterator[Key]:
        def known(key: Key) -> Answer | None:
            if key in memo:
                return memo[key]
            return answer_of(self._ahead[key]) if key in self._ahead else None

        likely = run_ahead(replay, known, None)
        others = run_ahead(replay, known, ask.key)
        for _, ahead, other in zip(range(4 * self._workers), likely, others, strict=False):
            yield ahead.key
            yield other.key

    def _collect(self, key: Key) -> None:
        """Wait until some run has ended; keep the results of a bounded number."""
        done, _ = wait(self._pending.values(), return_when=FIRST_COMPLETED)
        for name in [name for name, future in self._pending.items() if future in done]:
            future = self._pending.pop(name)
            if name == key or future.exception() is None:
                self._ahead[name] = future.result()
        while len(self._ahead) > 16 * self._workers:
            self._ahead.pop(next(name for name in self._ahead if name != key))
