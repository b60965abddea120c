"""Growing the 16-bit set: groups of adaptive size, and keeping what remains 1-minimal."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from halve.search.asks import Steps, mask_of
from halve.search.energies import Energies
from halve.search.ledger import Ledger, Note, Verdict

__all__ = ["Grower"]


class Grower:
    """Adds units to a 16-bit set while a verdict passes.

    Nothing here assumes that a subset of a passing set passes: a unit is kept only where the set
    with it was judged, or where the group that it ends was, on top of the same set.
    """

    def __init__(self, ledger: Ledger, energies: Energies, verdict: Verdict) -> None:
        """Grow within `verdict`, guided by what is known of the energies."""
        self.ledger = ledger
        self.energies = energies
        self.verdict = verdict

    def extend(
        self,
        base: int,
        order: Sequence[int],
        *,
        first_failure: bool = False,
        searching: bool = False,
    ) -> Steps[int]:
        """Go through `order` once, adding to `base` what passes; returns the 16-bit set.

        Units that were seen to fail alone are left out: `minimise` tries them on the final set. It
        ends early where the units that failed cost as much as the cheapest set that passed.
        With `first_failure` it ends at the first unit that fails. With `searching`, all of
        `order` on top of `base` is known to fail, whatever the energies say.

        A failing group is narrowed from its front: a first half that passes is added, and the
        second is then known to fail on top of it, so it is not judged as a whole.
        """
        doomed = () if searching else {unit for unit in order if self.energies.fails(unit)}
        kept = math.fsum(self.ledger.costs[unit] for unit in sorted(doomed))
        order = [unit for unit in order if unit not in doomed]
        sweep = _Sweep(tuple(order), bound=len(order) if searching else 0)
        while sweep.place < len(order):
            if sweep.bound == sweep.place + 1:  # all that is left of a failing group: it stays
                kept += self.ledger.costs[sweep.keep_one()]
                if first_failure or kept >= self.verdict.best_price:
                    break
                continue
            units = sweep.order[sweep.place : sweep.place + self._size(base, sweep)]
            group = mask_of(units, self.ledger.count)
            fp32 = self.ledger.every & ~(base | group)
            self._show(base, sweep, units)
            if (yield from self.verdict(fp32, self._note(base, sweep, units))):
                base |= group
                sweep.passed(len(units))
            else:
                sweep.failed(len(units), self.ledger.row_of.get(fp32))
        return base

    def minimise(self, base: int) -> Steps[int]:
        """Add kept units until none can be added alone: the rest is 1-minimal.

        They are tried in turns. Whatever was seen to fail counts for the set that it was tried on
        only, so that it ends when all have failed since the last that was added. Each unit that
        passes doubles how many are tried at once next, and a failure ends that.
        """
        ledger = self.ledger
        queue = deque(self.energies.remaining(ledger.every & ~base & ~ledger.given, base))
        size, failed = 1, 0
        while failed < len(queue):
            units = tuple(itertools.islice(queue, min(size, len(queue) - failed)))
            group = mask_of(units, ledger.count)
            ledger.view.halves, ledger.view.clusters = base, ((min(units), max(units)),)
            ledger.view.expected = len(queue) - failed
            ahead = partial(_turns, ledger, base, tuple(queue), len(units))
            note = Note(group, ledger.row_of.get(ledger.every & ~base), ahead=ahead)
            if (yield from self.verdict(ledger.every & ~(base | group), note)):
                base |= group
                for _ in units:
                    queue.popleft()
                size, failed = 2 * size, 0
            elif len(units) == 1:
                queue.rotate(-1)
                size, failed = 1, failed + 1
            else:
                size = 1
        return base

    def _size(self, base: int, sweep: _Sweep) -> int:
        """How many units to add next: as many as should fit, or as the pace of failures says."""
        units = sweep.ahead
        fitting = self.energies.fitting(base, units)
        if sweep.narrowing:
            trusted = 0 < fitting < len(units) and sweep.misses < 2
            return fitting if trusted else max(1, len(units) // 2)
        if not fitting and not self.energies.resolved(units[0]):
            fitting = self.energies.unresolved(units)
        return max(1, min(fitting, sweep.pace()))

    def _note(self, base: int, sweep: _Sweep, units: Sequence[int]) -> Note:
        likely = self.energies.expected(base, units) <= self.ledger.limit
        group = mask_of(units, self.ledger.count)
        ahead = partial(self._ahead, base, sweep, len(units), likely)
        return Note(group, sweep.parent, likely, ahead)

    def _ahead(self, base: int, sweep: _Sweep, size: int, likely: bool) -> Iterator[int]:
        """What follows: where the group passes, more; where it fails, its half, or the next."""
        units, rest = sweep.ahead[:size], sweep.order[sweep.place + size :]
        taken = base | mask_of(units, self.ledger.count)
        fails = [units[: size // 2]] if size > 1 else [(unit,) for unit in rest[:8]]
        passes = [rest[: max(1, (len(sweep.ahead) - size) // 2 if sweep.narrowing else 1)]]
        after = [(taken, passes), (base, fails)]
        for start, groups in after if likely else reversed(after):
            for group in groups:
                yield self.ledger.every & ~(start | mask_of(group, self.ledger.count))

    def _show(self, base: int, sweep: _Sweep, units: Sequence[int]) -> None:
        view = self.ledger.view
        view.halves = base
        view.clusters = ((min(units), max(units)),)
        view.expected = len(sweep.order) - sweep.place if len(units) == 1 else None


def _turns(ledger: Ledger, base: int, queue: Sequence[int], size: int) -> Iterator[int]:
    """What follows in turns where a group fails: single units, its own first."""
    for unit in (*queue[: size if size > 1 else 0], *queue[size : size + 8]):
        yield ledger.every & ~(base | 1 << unit)


@dataclass(slots=True)
class _Sweep:
    """A way through an order: what is behind `place` is decided; up to `bound` is known to fail."""

    order: tuple[int, ...]
    bound: int = 0
    place: int = 0
    parent: int | None = None
    misses: int = 0
    gaps: list[int] = field(default_factory=list)
    last: int = 0
    streak: int = 0

    @property
    def narrowing(self) -> bool:
        """Whether the units ahead are known to fail together."""
        return self.bound > self.place

    @property
    def ahead(self) -> tuple[int, ...]:
        """The units to choose the next group from."""
        return self.order[self.place : self.bound if self.narrowing else None]

    def passed(self, size: int) -> None:
        """The next `size` units were added."""
        self.streak = 0 if self.narrowing else self.streak + 1
        self.place += size

    def failed(self, size: int, row: int | None) -> None:
        """The next `size` units failed together."""
        self.bound = self.place + size
        self.streak = 0
        self.parent = row
        self.misses += 1

    def keep_one(self) -> int:
        """The next unit, which stays float32."""
        self.place += 1
        self.bound, self.misses, self.parent = self.place, 0, None
        self.gaps.append(self.place - self.last)
        self.last = self.place
        return self.order[self.place - 1]

    def pace(self) -> int:
        """How many units to take at once, from how far apart failing ones lie.

        A group passes half the time where it holds 0.7 of the distance between failures; the last
        two distances count, as their geometric mean, since failures come in runs. Every group
        that passes at once doubles the next.
        """
        recent = self.gaps[-2:]
        if not recent:
            return len(self.order)
        mean = math.exp(math.fsum(math.log(gap) for gap in recent) / len(recent))
        return max(1, round(0.7 * mean)) << min(self.streak, 20)
