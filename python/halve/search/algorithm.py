"""The search as a generator: asks for runs, is sent answers, and returns an outcome.

It depends on nothing but the problem and the answers, so replaying the answers replays the search.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import islice

from halve.search.asks import Answer, Key, Steps, bits, mask_of
from halve.search.bisect import bisect
from halve.search.energies import Energies
from halve.search.grow import Grower
from halve.search.ledger import Ledger, Note, OutOfBudgetError, Row, Verdict
from halve.search.problem import CheckError, Problem, SearchOutcome
from halve.search.refine import Refiner, isolate
from halve.search_types import UnitSet

__all__ = ["Algorithm"]

RUNNERS_UP = 16
"""So many sets that passed are tried on a held-out sample that refused the cheapest."""

EXCHANGES = 0.5
"""So many trials, as a share of those before, go into exchanging dear units for cheaper ones, and
into single units."""

NEARLY = 1.5
"""Where all in 16 bits uses at most so many times what is allowed, one unit may be all it takes."""

NEGLIGIBLE = 0.02
"""Kept units that have this share of the kept cost together are not worth another order."""

AHEAD = 8
"""So many of the single units that are tried next are foretold."""

HOPELESS = 4.0
"""A group that should have so many times the energy that is allowed is not judged in graph order.
What neighbours share makes it two or three times less than that."""


class Algorithm:
    """One search and its phases. `search` and `repair` are run by the driver, one at a time."""

    def __init__(self, problem: Problem) -> None:
        """Nothing is known but the problem."""
        self.problem = problem
        self.ledger = Ledger(problem)
        self.energies = Energies(self.ledger)
        self.verdict = self._candidate = Verdict(self.ledger, problem.searched)
        self._withstood: int | None = None

    @classmethod
    def resumed(cls, problem: Problem, outcome: SearchOutcome) -> Algorithm:
        """Go on from a finished search: its answers, trials and energies."""
        algorithm = cls(problem)
        ledger = algorithm.ledger
        for (fp32, sample), answer in outcome.memo.items():
            ledger.answers.setdefault(fp32, {})[sample] = answer
        ledger.rows = [Row.packed(row, ledger.count) for row in outcome.trials]
        ledger.row_of = {row.fp32: row.number for row in ledger.rows}
        ledger.calibrate()
        algorithm.energies.of_unit = [
            density * max(cost, 1e-300)
            for density, cost in zip(outcome.density, ledger.costs, strict=True)
        ]
        algorithm.energies.alone = dict(outcome.sensitivity)
        return algorithm

    def search(self) -> Steps[SearchOutcome]:
        """Find a verified set; raises CheckError where float32 itself fails."""
        every = self.ledger.every
        failed = None
        try:
            failed = yield from self.ledger.check(range(self.problem.samples))
        except OutOfBudgetError:
            return self._outcome(every, 0, complete=False)
        if failed is not None:
            raise CheckError(failed, self.ledger.answers[every][failed])
        self.verdict.keep(every)
        self.ledger.deciding = self.problem.searched
        return (yield from self._within_budget(self._phases()))

    def repair(self, failing: UnitSet) -> Steps[SearchOutcome]:
        """Find a set that the final judge accepts, starting from one that it did not.

        The outcome has `passed` false where the judge refuses even all units in float32, or
        where the time ended before anything was accepted. Where the trials did, a few more go into
        widening alone: all that was found so far would be lost without an accepted set.
        """
        self.verdict = Verdict(self.ledger, tuple(range(self.problem.samples)), judge=True)
        start = mask_of(failing, self.ledger.count) | self.ledger.given
        outcome = yield from self._within_budget(self._repair_and_carry(start))
        if outcome.complete or self.verdict.best is not None or self.ledger.unlimited:
            return outcome
        self.ledger.unlimited = True
        return (yield from self._within_budget(self._widened_only(start)))

    def _widened_only(self, start: int) -> Steps[tuple[int, int]]:
        self._enter("repair")
        yield from self._widened(start)
        raise OutOfBudgetError

    def _within_budget(self, phases: Steps[tuple[int, int]]) -> Steps[SearchOutcome]:
        try:
            fp32, carried = yield from phases
        except OutOfBudgetError:
            return self._outcome(self._best(), 0, complete=False)
        return self._outcome(fp32, carried, complete=True)

    def _best(self) -> int:
        """The cheapest set that passed what it was judged by, held-out samples included."""
        if self.verdict.best is None:
            return self.ledger.every
        if self.verdict.judge:
            return self.verdict.best
        ledger, everything = self.ledger, range(self.problem.samples)
        passing = self.verdict.passing()
        unrefuted = (fp32 for fp32 in passing if ledger.known(fp32, everything) is not False)
        best = min(unrefuted, key=lambda fp32: (ledger.price(fp32), fp32))
        if self._withstood is None or ledger.price(self._withstood) >= ledger.price(best):
            return best
        # When it passed, held-out samples were not used yet, and so had the whole tolerance.
        ledger.deciding = self.problem.searched
        return self._withstood

    def _phases(self) -> Steps[tuple[int, int]]:
        if self.problem.strategy == "bisection":
            fp32 = yield from self._bisection()
        else:
            fp32 = yield from self._portfolio()
            if not (yield from self._withstands(fp32)):
                fp32 = yield from self._grown_again(fp32)
            fp32 = yield from self._minimised(fp32)
        carried = yield from self._carry(fp32)
        if carried and (yield from self._checked(fp32 | carried)):
            return fp32, carried
        if (yield from self._withstands(fp32)):
            return fp32, 0
        return (yield from self._repair_and_carry(fp32))

    def _withstands(self, fp32: int) -> Steps[bool]:
        """Whether a set passes on the samples held out as well, by the whole tolerance where the
        search has not used them; else they decide like the others from there on.
        """
        passed = yield from self._checked(fp32)
        if not passed:
            self.ledger.deciding = tuple(range(self.problem.samples))
            self.verdict = Verdict(self.ledger, self.ledger.deciding)
            self.verdict.keep(self.ledger.every)
        return passed

    def _checked(self, fp32: int) -> Steps[bool]:
        """Whether a set passes on the samples held out as well."""
        if not self.problem.held_out:
            return True
        self._enter("holdout")
        passed = yield from self.ledger.passes(fp32, range(self.problem.samples), Note(0))
        price = self.ledger.price
        if passed and (self._withstood is None or price(fp32) < price(self._withstood)):
            self._withstood = fp32
        return passed

    def _grown_again(self, refused: int) -> Steps[int]:
        """Grow with all samples to decide, after a little more than what was refused, and what was
        cheapest else; what failed before is known to fail.
        """
        runners_up = sorted(self._candidate.passing(), key=lambda f: (self.ledger.price(f), f))
        for fp32 in runners_up[:RUNNERS_UP]:
            if (yield from self.verdict(fp32, Note(0))):
                break
        self._enter("repair")
        yield from self._widened(refused)
        return (yield from self._grow(self.ledger.every & ~self.ledger.given))

    def _cheapest(self) -> int:
        """The cheapest set that passes all that is asked of it now."""
        self.verdict.recall()
        return self.ledger.every if self.verdict.best is None else self.verdict.best

    def _minimised(self, fp32: int) -> Steps[int]:
        self._enter("minimise")
        grower = Grower(self.ledger, self.energies, self.verdict)
        base = yield from grower.minimise(self.ledger.every & ~fp32)
        return self.ledger.every & ~base

    def _bisection(self) -> Steps[int]:
        self._enter("grow")
        free = self.ledger.every & ~self.ledger.given
        base = yield from bisect(self.ledger, self.verdict, bits(free))
        return self.ledger.every & ~base

    def _portfolio(self) -> Steps[int]:
        ledger = self.ledger
        everything = ledger.every & ~ledger.given
        ledger.phase = "check"
        energy = yield from self._measure(everything)
        if (yield from self.verdict(ledger.given, Note(everything))):
            return ledger.given
        universe = everything & ~mask_of(self.problem.marked, ledger.count)
        if universe != everything:
            self.energies.exclude(bits(everything & ~universe), measured=False)
            energy = yield from self._measure(universe)
        self._enter("sensitivity")
        yield from self._sensitivity(universe, energy)
        return (yield from self._grow(everything))

    def _measure(self, base: int) -> Steps[float]:
        """The energy with `base` in 16 bits; a pass counts for the verdict."""
        fp32 = self.ledger.every & ~base
        energy = yield from self.ledger.measure(fp32, self.ledger.deciding, Note(base))
        if self.ledger.known(fp32, self.ledger.deciding):
            self.verdict.keep(fp32)
        return energy

    def _sensitivity(self, base: int, energy: float) -> Steps[None]:
        if energy == math.inf:
            universe = self.energies.order(bits(base), "graph")
            base, energy = yield from isolate(self.ledger, self.energies, universe)
        fp32 = self.ledger.every & ~base
        if not base or self.ledger.known(fp32, self.ledger.deciding):
            return
        root = self.energies.cluster(
            self.energies.order(bits(base), "graph"), energy, row=self.ledger.row_of.get(fp32)
        )
        refiner = Refiner(self.ledger, self.energies, root)
        while True:
            yield from refiner.run()
            if refiner.interacting or not refiner.unknown:
                break
            if not refiner.pool((yield from self._measure(refiner.candidate()))):
                break

    def _grow(self, free: int) -> Steps[int]:
        """The cheapest set of the portfolio; later orders are tried where energies decide."""
        grower = Grower(self.ledger, self.energies, self.verdict)
        first, *others = self.problem.parameters.orders
        self._enter("grow")
        base = yield from self._grown(grower, free, first)
        if (yield from self._undecided(free & ~base)):
            for order in others:
                yield from self._grown(grower, free, order, first_failure=True)
            most = len(self.ledger.rows) * (1 + EXCHANGES)
            yield from self._exchanged(most)
            yield from self._single(most)
        return self._cheapest()

    def _exchanged(self, most: float) -> Steps[None]:
        """Convert the dearest units of the cheapest set after all, each with as few cheaper ones in
        float32 as make up for it, while that makes it cheaper and there are not `most` trials.
        """
        tried = 0
        while len(self.ledger.rows) < most:
            unit = self._dearest(self._cheapest() & ~tried)
            if unit is None:
                return
            tried |= 1 << unit
            yield from self._widened(self._cheapest() & ~(1 << unit), without=1 << unit)

    def _single(self, most: float) -> Steps[None]:
        """Where all in 16 bits nearly passes, try single units in float32 that are cheaper than the
        cheapest set, those with the most energy per cost first, until there are `most` trials.
        """
        ledger, given = self.ledger, self.ledger.given
        answers = ledger.answers.get(given, {})
        errors = [answers[sample].error for sample in self.verdict.samples if sample in answers]
        if not errors or max(errors) > NEARLY:
            return
        units = self.energies.order(bits(ledger.every & ~given), "density")
        sets = [given | 1 << unit for unit in reversed(units)]
        sets = [fp32 for fp32 in sets if ledger.price(fp32) < self.verdict.best_price]
        for place, fp32 in enumerate(sets, start=1):
            if len(ledger.rows) >= most:
                return
            if ledger.price(fp32) < self.verdict.best_price:
                ahead = partial(islice, sets, place, place + AHEAD)
                ledger.view.halves, ledger.view.clusters = ledger.every & ~fp32, ()
                note = Note(fp32 & ~given, likely=False, ahead=ahead)
                yield from self.verdict(fp32, note)

    def _dearest(self, kept: int) -> int | None:
        """The dearest of the units that should fit alone; None where it is hardly dear."""
        ledger = self.ledger
        worth = self.problem.parameters.refine_until * self.verdict.best_price
        units = [u for u in bits(kept & ~ledger.given) if ledger.costs[u] > worth]
        fitting = [u for u in units if self.energies.may_fit(u)]
        return max(fitting, key=lambda u: (ledger.costs[u], -u), default=None)

    def _grown(
        self, grower: Grower, free: int, order: str, *, first_failure: bool = False
    ) -> Steps[int]:
        units = self.energies.order(bits(free), order)
        if order == "graph":
            return (yield from bisect(self.ledger, self.verdict, units, self._hopeless))
        return (yield from grower.extend(0, units, first_failure=first_failure))

    def _hopeless(self, base: int, units: Sequence[int]) -> bool:
        return self.energies.expected(base, units) > HOPELESS * self.ledger.limit

    def _undecided(self, kept: int) -> Steps[bool]:
        """Whether another set may be cheaper: not where nearly all that is kept fails unit by unit.

        Units that should fail, by their energies, are taken to; the others are tried, dear ones
        first, until one passes alone or those left are hardly worth a search.
        """
        ledger = self.ledger
        doubtful = [u for u in bits(kept) if self.energies.may_fit(u)]
        doubtful.sort(key=lambda u: (ledger.costs[u], -u))
        left = math.fsum(ledger.costs[u] for u in doubtful)
        worth = NEGLIGIBLE * self.verdict.best_price
        while doubtful and left > worth:
            unit = doubtful.pop()
            others = [ledger.every & ~(1 << other) for other in reversed(doubtful[-AHEAD:])]
            note = Note(1 << unit, likely=False, ahead=partial(iter, others))
            if (yield from self.verdict(ledger.every & ~(1 << unit), note)):
                return True
            left -= ledger.costs[unit]
        return False

    def _carry(self, fp32: int) -> Steps[int]:
        """Units that are cheaper in float32 than the casts around them, where that passes."""
        if self.problem.carry is None:
            return 0
        self._enter("carry")
        wider = mask_of(self.problem.carry(frozenset(bits(fp32))), self.ledger.count) | fp32
        if wider == fp32 or self._dearer(wider, fp32):
            return 0
        passed = yield from self.verdict(wider, Note(wider & ~fp32))
        return wider & ~fp32 if passed else 0

    def _dearer(self, wider: int, fp32: int) -> bool:
        return self.problem.price is not None and self.ledger.price(wider) > self.ledger.price(fp32)

    def _repair_and_carry(self, fp32: int) -> Steps[tuple[int, int]]:
        repaired = yield from self._repair(fp32)
        carried = yield from self._carry(repaired)
        return repaired, carried

    def _repair(self, fp32: int) -> Steps[int]:
        """Widen what was refused until all is well, and minimise."""
        self._enter("repair")
        yield from self._widened(fp32)
        return (yield from self._minimised(self._cheapest()))

    def _widened(self, fp32: int, without: int = 0) -> Steps[None]:
        """Add units by sensitivity in doubling steps, and search inside the last one.

        It ends early where that costs as much as the cheapest set that passed. Units in `without`
        are not added.
        """
        order = self.energies.order(bits(self.ledger.every & ~(fp32 | without)), "density")
        step, added = 1, 0
        while not (yield from self.verdict(fp32, Note(added))):
            if not order and without:
                return
            if not order:
                raise OutOfBudgetError
            added = mask_of(order[-step:], self.ledger.count)
            del order[-step:]
            fp32 |= added
            step *= 2
            if self.ledger.price(fp32) >= self.verdict.best_price:
                return
        grower = Grower(self.ledger, self.energies, self.verdict)
        inside = self.energies.order(bits(added), "density")
        yield from grower.extend(self.ledger.every & ~fp32, inside, searching=True)

    def _enter(self, phase: str) -> None:
        self.ledger.phase = phase
        self.ledger.view.expected = None

    def _outcome(self, fp32: int, carried: int, *, complete: bool) -> SearchOutcome:
        ledger, samples = self.ledger, range(self.problem.samples)
        final = fp32 | carried
        ledger.view.halves, ledger.view.floats = ledger.every & ~final, final
        ledger.view.clusters = ()
        return SearchOutcome(
            fp32=frozenset(bits(final)),
            required=frozenset(bits(fp32 & ~ledger.given)),
            carried=frozenset(bits(carried)),
            trials=tuple(row.listed() for row in ledger.rows),
            sensitivity=dict(sorted(self.energies.alone.items())),
            complete=complete,
            passed=self._passed(final),
            held_out_judged=ledger.known(final, samples) is not None,
            price=ledger.price(final),
            memo=dict(_flat(ledger)),
            density=tuple(self.energies.density(unit) for unit in range(ledger.count)),
        )

    def _passed(self, final: int) -> bool:
        """Whether the set satisfied all that it was judged by."""
        ledger = self.ledger
        if self.verdict.judge and not ledger.accepted(final):
            return False
        searched = ledger.known(final, self.problem.searched)
        return bool(searched) and ledger.known(final, range(self.problem.samples)) is not False


def _flat(ledger: Ledger) -> Iterable[tuple[Key, Answer]]:
    for fp32, answers in ledger.answers.items():
        for sample, answer in answers.items():
            yield (fp32, sample), answer
