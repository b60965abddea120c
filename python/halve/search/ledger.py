"""What a search has asked and learnt so far; the one funnel through which sets are judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from halve.search.asks import JUDGE, Answer, Ask, Key, Steps, bits, mask_of
from halve.search.problem import Problem
from halve.search_types import TrialRow

__all__ = ["Ledger", "Note", "OutOfBudgetError", "Row", "Verdict", "View"]


class OutOfBudgetError(Exception):
    """No trial is left, or no time; the best verified set is the answer."""


@dataclass(frozen=True, slots=True)
class Note:
    """Why a set is judged: the units it asks about, and the trial they come from.

    `likely` is whether it should pass, `ahead` the sets that will probably be judged next.
    """

    tested: int
    parent: int | None = None
    likely: bool = True
    ahead: Callable[[], Iterable[int]] = tuple


@dataclass(frozen=True, slots=True)
class Row:
    """A TrialRow with its sets as masks, which are cheap to make."""

    number: int
    phase: str
    fp32: int
    tested: int
    parent: int | None
    passed: bool
    error: float
    energy: float
    runs: int

    def listed(self) -> TrialRow:
        """The row as the report keeps it."""
        fp32, tested = tuple(bits(self.fp32)), tuple(bits(self.tested))
        return TrialRow(
            self.number,
            self.phase,
            fp32,
            tested,
            self.parent,
            self.passed,
            self.error,
            self.energy,
            self.runs,
        )

    @classmethod
    def packed(cls, row: TrialRow, count: int) -> Row:
        """The reverse of `listed`."""
        fp32, tested = mask_of(row.fp32, count), mask_of(row.tested, count)
        return cls(
            row.number,
            row.phase,
            fp32,
            tested,
            row.parent,
            row.passed,
            row.error,
            row.energy,
            row.runs,
        )


@dataclass(slots=True)
class View:
    """What people see of a search: 16-bit and float32 units, groups decided together."""

    halves: int = 0
    floats: int = 0
    clusters: tuple[tuple[int, int], ...] = ()
    expected: int | None = None
    """Trials still to come, as far as the phase knows."""


class Ledger:
    """Every answer so far by set, the rows of the trials, and what energies are allowed."""

    def __init__(self, problem: Problem) -> None:
        """Start with nothing known."""
        self.problem = problem
        self.count = len(problem.units)
        self.every = (1 << self.count) - 1
        self.given = mask_of(problem.given, self.count)
        self.costs = [unit.cost for unit in problem.units]
        self.rows: list[Row] = []
        self.row_of: dict[int, int] = {}
        self.answers: dict[int, dict[int, Answer]] = {}
        self.phase = "check"
        self.limit = math.inf
        self.unlimited = problem.max_trials is None
        self.deciding = tuple(range(problem.samples))
        """Samples to decide by; others are checked on only, and may use the whole tolerance."""
        self.view = View(floats=self.given)
        self._fails = [0] * problem.samples
        self._closest = math.inf

    def price(self, fp32: int) -> float:
        """What a float32 set costs."""
        units = bits(fp32)
        if self.problem.price is not None:
            return self.problem.price(frozenset(units))
        return sum(self.costs[unit] for unit in units)

    def accepts(self, sample: int, answer: Answer) -> bool:
        """Whether an answer is within what its sample may use now."""
        if answer.passed or sample == JUDGE or sample in self.deciding:
            return answer.passed
        return answer.within(self.problem.most_error)

    def known(self, fp32: int, samples: Iterable[int]) -> bool | None:
        """The verdict where the answers so far decide it, else None."""
        answers = self.answers.get(fp32, {})
        if any(s in answers and not self.accepts(s, answers[s]) for s in samples):
            return False
        return True if all(s in answers for s in samples) else None

    def passes(self, fp32: int, samples: Iterable[int], note: Note) -> Steps[bool]:
        """Judge a set: samples that failed most often first, until one fails."""
        known = self.known(fp32, samples)
        if known is not None:
            return known
        yield from self._run(fp32, samples, note, whole=False)
        return self.known(fp32, samples) is True

    def measure(self, fp32: int, samples: Iterable[int], note: Note) -> Steps[float]:
        """The energy of a set: all samples, until one is not finite."""
        energy = self.energy(fp32, samples)
        if energy is None:
            yield from self._run(fp32, samples, note, whole=True)
            energy = self.energy(fp32, samples)
        return math.inf if energy is None else energy

    def energy(self, fp32: int, samples: Iterable[int]) -> float | None:
        """The mean over the samples of all outputs' energy, None where a sample is missing."""
        answers = self.answers.get(fp32, {})
        if any(answers[s].total == math.inf for s in samples if s in answers):
            return math.inf
        totals = [answers[s].total if s in answers else None for s in samples]
        if any(total is None for total in totals):
            return None
        return math.fsum(t for t in totals if t is not None) / len(totals)

    def check(self, samples: Iterable[int]) -> Steps[int | None]:
        """Judge all units in float32; the first sample that fails, None where all pass."""
        yield from self.passes(self.every, samples, Note(0))
        answers = self.answers[self.every]
        return next((s for s in samples if s in answers and not answers[s].passed), None)

    def judged(self, fp32: int, note: Note) -> Steps[bool]:
        """Ask the final judge."""
        if self.known(fp32, (JUDGE,)) is None:
            yield from self._run(fp32, (JUDGE,), note, whole=False)
        return self.accepted(fp32)

    def accepted(self, fp32: int) -> bool:
        """Whether the final judge accepted a set."""
        answer = self.answers.get(fp32, {}).get(JUDGE)
        return answer is not None and answer.passed

    def calibrate(self) -> None:
        """Learn the allowed energy from answers and rows that were put here from outside."""
        for row in self.rows:
            self._estimate_limit(row.error, row.energy)

    def _run(self, fp32: int, samples: Iterable[int], note: Note, *, whole: bool) -> Steps[None]:
        limit = None if self.unlimited else self.problem.max_trials
        if limit is not None and len(self.rows) >= limit:
            raise OutOfBudgetError
        answers = self.answers.setdefault(fp32, {})
        ran: list[Answer] = []
        passed = True
        order = sorted(samples, key=self._failing_first)
        todo = [sample for sample in order if sample not in answers]
        for place, sample in enumerate(todo):
            ahead = partial(self._ahead, fp32, todo[place + 1 :], order, note, whole)
            answer = yield Ask(fp32, sample, ahead)
            answers[sample] = answer
            ran.append(answer)
            accepted = self.accepts(sample, answer)
            passed = passed and accepted
            if sample != JUDGE:
                self._fails[sample] += not accepted
            if answer.total == math.inf if whole else not accepted:
                break
        self._learn(fp32, ran, passed, note)

    def _ahead(
        self, fp32: int, rest: Sequence[int], order: Sequence[int], note: Note, whole: bool
    ) -> Iterator[Key]:
        """What will probably be asked after an ask: more samples of the set, and other sets."""
        same = [(fp32, sample) for sample in rest]
        if whole or note.likely:
            yield from same
        for mask in note.ahead():
            known = self.answers.get(mask, {})
            todo = [(mask, sample) for sample in order if sample not in known]
            yield from todo if whole else todo[:1]
        yield from same

    def _failing_first(self, sample: int) -> tuple[int, int]:
        return (0 if sample == JUDGE else -self._fails[sample], sample)

    def _learn(self, fp32: int, ran: list[Answer], passed: bool, note: Note) -> None:
        number = len(self.rows)
        error = max(answer.error for answer in ran)
        self.row_of[fp32] = number
        self.rows.append(
            Row(
                number,
                self.phase,
                fp32,
                note.tested,
                note.parent,
                passed,
                error,
                max(answer.energy for answer in ran),
                len(ran),
            )
        )
        self._estimate_limit(error, math.fsum(answer.total for answer in ran) / len(ran))

    def _estimate_limit(self, error: float, energy: float) -> None:
        """Estimate the energy that is allowed.

        The energy grows with the square of the largest error, so one trial that uses the share
        `error` of the tolerance tells at which energy it would use all; the closer it is to that
        point, the better it tells.
        """
        if not (0 < error < math.inf and 0 < energy < math.inf):
            return
        distance = abs(math.log(error))
        if distance <= self._closest:
            self._closest = distance
            self.limit = energy / error**2


class Verdict:
    """What a set must satisfy: some samples, and the final judge where one is asked.

    Remembers the cheapest set that satisfied it.
    """

    def __init__(self, ledger: Ledger, samples: tuple[int, ...], *, judge: bool = False) -> None:
        """Nothing has passed yet."""
        self.ledger = ledger
        self.samples = samples
        self.judge = judge
        self.best: int | None = None
        self.best_price = math.inf

    def __call__(self, fp32: int, note: Note) -> Steps[bool]:
        """Judge a set of float32 units."""
        passed = yield from self.ledger.passes(fp32, self.samples, note)
        if passed and self.judge:
            passed = yield from self.ledger.judged(fp32, note)
        if passed:
            self.keep(fp32)
        return passed

    def keep(self, fp32: int) -> None:
        """Remember a set that passed, if it is the cheapest."""
        price = self.ledger.price(fp32)
        if price < self.best_price:
            self.best, self.best_price = fp32, price

    def recall(self) -> None:
        """Remember the cheapest of all sets that passed, those of the sensitivity phase too."""
        for fp32 in self.passing():
            self.keep(fp32)

    def passing(self) -> list[int]:
        """All sets that are known to satisfy it."""
        ledger = self.ledger
        passed = [fp32 for fp32 in ledger.answers if ledger.known(fp32, self.samples)]
        return [fp32 for fp32 in passed if not self.judge or ledger.accepted(fp32)]
