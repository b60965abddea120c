"""Search and repair: the algorithm driven by an evaluator, a journal, workers and a clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TypeVar

from halve.search.algorithm import Algorithm
from halve.search.asks import JUDGE, Answer, Ask, Key, Steps, answer_of, bits
from halve.search.journal import Journal, judged
from halve.search.ledger import Ledger, OutOfBudgetError
from halve.search.problem import Problem, SearchOutcome
from halve.search.speculate import Runner
from halve.search_types import Evaluator, SearchEvent, Trial, UnitSet

__all__ = ["Setting", "repair", "search"]

_T = TypeVar("_T")
Judge = Callable[[UnitSet], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What surrounds a search and does not change what it finds, but for `validate`."""

    journal: Journal | None = None
    """Where answers are kept, and found again when resumed."""
    workers: int = 1
    """Runs at a time; the outcome and the journal's bytes do not depend on it."""
    validate: Callable[[int, Trial], bool] | None = None
    """Asked (sample, trial) in the calling thread, in order, about trials that the search
    consumes: those within the margin of the tolerances (of a sample that is held out, within the
    whole), or all that ran with `validate_only`. A trial found in the journal is not asked about
    again."""
    validate_only: bool = False
    """Whether `validate` replaces the tolerances; the journal must be opened with the same."""
    progress: Callable[[SearchEvent], None] | None = None
    """Called from the calling thread after every trial; an exception it raises ends the search."""


def search(
    problem: Problem, evaluator: Evaluator, *, setting: Setting | None = None
) -> SearchOutcome:
    """Find the smallest, cheapest verified set of units that must stay float32.

    The evaluator is not closed.

    Raises:
        CheckError: a sample fails with all units in float32.
        WorkspaceError: the journal cannot be written.
    """
    run = _Run(problem, evaluator, setting or Setting())
    return run.drive(Algorithm(problem), Algorithm.search)


def repair(
    problem: Problem,
    outcome: SearchOutcome,
    evaluator: Evaluator,
    judge: Judge,
    *,
    setting: Setting | None = None,
) -> SearchOutcome:
    """Go on where the final judge refused the outcome's set.

    Units are added by sensitivity in doubling steps until the evaluator (on all samples, those held
    out within the margin as well) and `judge(units)` accept, then the last step is searched and the
    set made 1-minimal with respect to both. `judge` is called in the calling thread, only for sets
    that the evaluator passes; its words go to the journal. Where even all units in float32 are
    refused, or no budget is left, the outcome's `passed` is false unless some set was accepted
    before. The time budget starts anew, the trials' does not.

    Raises:
        WorkspaceError: the journal cannot be written.
    """
    run = _Run(problem, evaluator, setting or Setting(), judge)
    run.memo.update(outcome.memo)
    return run.drive(
        Algorithm.resumed(problem, outcome),
        lambda algorithm: algorithm.repair(outcome.fp32),
    )


@dataclass
class _Run:
    """One call of search or repair: answers asks from the memo or by running them."""

    problem: Problem
    evaluator: Evaluator
    setting: Setting
    judge: Judge | None = None
    memo: dict[Key, Answer] = field(default_factory=dict)
    started_s: float = field(default_factory=time.monotonic)
    spent_s: float = 0.0
    fresh: int = 0

    def drive(self, algorithm: Algorithm, start: Callable[[Algorithm], Steps[_T]]) -> _T:
        """Run the generator to its end; an exception leaves no run in progress."""
        steps = start(algorithm)
        runner = Runner(self.evaluator, max(1, self.setting.workers))
        try:
            return self._loop(algorithm, steps, runner)
        finally:
            steps.close()
            runner.close()

    def _loop(self, algorithm: Algorithm, steps: Steps[_T], runner: Runner) -> _T:
        ledger, seen = algorithm.ledger, len(algorithm.ledger.rows)
        advance: Callable[[], Ask] = lambda: next(steps)  # noqa: E731
        while True:
            try:
                ask = advance()
            except StopIteration as stop:
                self._tell(algorithm, len(ledger.rows) > seen)
                value: _T = stop.value
                return value
            if len(ledger.rows) > seen:
                seen = len(ledger.rows)
                self._tell(algorithm, True)
            advance = self._next(steps, ask, runner)

    def _next(
        self, steps: Generator[Ask, Answer, _T], ask: Ask, runner: Runner
    ) -> Callable[[], Ask]:
        """How the generator goes on: with an answer, or with the end of the budget."""
        known = self.setting.journal.memo.get(ask.key) if self.setting.journal else None
        if known is None and self._late(ask):
            return lambda: steps.throw(OutOfBudgetError())
        answer = known or self._run(ask, runner)
        self.memo[ask.key] = answer
        if self.setting.journal:
            self.setting.journal.record(ask.key, answer)
        return lambda: steps.send(answer)

    def _late(self, ask: Ask) -> bool:
        """Whether no time is left, but for the first trial: without it there is no answer."""
        budget = self.problem.time_budget_s
        first = ask.sample != JUDGE and ask.fp32 == (1 << len(self.problem.units)) - 1
        return budget is not None and not first and time.monotonic() - self.started_s > budget

    def _run(self, ask: Ask, runner: Runner) -> Answer:
        started_s = time.monotonic()
        if ask.sample == JUDGE:
            answer = self._judged(ask.fp32)
        else:
            answer = self._weigh(ask.sample, runner.run(ask))
        self.spent_s += time.monotonic() - started_s
        self.fresh += 1
        return answer

    def _judged(self, fp32: int) -> Answer:
        if self.judge is None:
            raise RuntimeError("a search asks no final judge")
        return judged(bool(self.judge(frozenset(bits(fp32)))))

    def _weigh(self, sample: int, trial: Trial) -> Answer:
        word = None
        held_out = sample in self.problem.held_out
        tolerated = trial.passed or (held_out and trial.error <= self.problem.most_error)
        if (
            self.setting.validate
            and not trial.failure
            and (self.setting.validate_only or tolerated)
        ):
            word = self.setting.validate(sample, trial)
        return answer_of(trial, word, validate_only=self.setting.validate_only)

    def _tell(self, algorithm: Algorithm, row: bool) -> None:
        """Tell the caller of the trial that just ended."""
        if self.setting.progress is None:
            return
        ledger = algorithm.ledger
        best = algorithm.verdict.best
        view = ledger.view
        self.setting.progress(
            SearchEvent(
                ledger.phase,
                len(ledger.rows),
                _states(ledger),
                view.clusters,
                ledger.rows[-1].listed() if row and ledger.rows else None,
                None if best is None else best.bit_count(),
                time.monotonic() - self.started_s,
                self._remaining_s(ledger),
            )
        )

    def _remaining_s(self, ledger: Ledger) -> float | None:
        """What the phase expects still to ask, at the mean time of a run."""
        if ledger.view.expected is None or not self.fresh:
            return None
        return ledger.view.expected * self.spent_s / self.fresh


def _states(ledger: Ledger) -> str:
    """A character a unit, the first unit first."""
    halves = f"{ledger.view.halves:0{ledger.count}b}"[::-1]
    floats = f"{ledger.view.floats:0{ledger.count}b}"[::-1]
    return "".join(
        "f" if f == "1" else "h" if h == "1" else "?" for h, f in zip(halves, floats, strict=True)
    )
