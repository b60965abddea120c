"""Sensitivity: which clusters of units hold the energy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from halve.search.asks import Steps, mask_of
from halve.search.energies import Cluster, Energies
from halve.search.ledger import Ledger, Note

__all__ = ["Refiner", "isolate"]

DOMINANT = 0.9
"""A half with this share of its parent's energy hides what the other half has: energies add up
to within a few parts in a hundred, and what is left of several splits adds the errors of all."""
INEXACT = 0.03
"""By how much of itself a sum of energies may be wrong: what is hidden matters only where this
is more than is allowed."""
COVERING = 0.7
"""Neighbours share what they round, so that together they have less than the sum of both. Where a
half has this share of its parent's energy, and the rest of it may matter, the other is measured."""
MATTERS = 0.1
"""The share of what is allowed below which energies are not worth a trial."""
DOUBTFUL = 3
"""After so many splits on inherited energy alone, a cluster is measured itself."""


def isolate(
    ledger: Ledger, energies: Energies, universe: Sequence[int]
) -> Steps[tuple[int, float]]:
    """Find units without which the result is finite: the rest, as a mask, and its energy.

    `universe` as a whole is known not to be finite. A group that keeps the result finite is
    added; one that does not is narrowed to the unit where that begins. Group sizes follow the
    distance between such units.
    """
    base, energy = 0, 0.0
    place, bound = 0, len(universe)
    culprits: list[int] = []
    while place < len(universe):
        if bound == place + 1:
            energies.exclude([universe[place]], measured=True)
            place += 1
            culprits.append(place)
            continue
        units = universe[place : place + _next_size(place, bound, len(universe), culprits)]
        group = mask_of(units, ledger.count)
        fp32 = ledger.every & ~(base | group)
        ledger.view.halves = base
        ledger.view.clusters = ((min(units), max(units)),)
        ahead = _halves(ledger.every, base, units, universe[place + len(units) : bound])
        note = Note(group, ledger.row_of.get(ledger.every & ~base), ahead=ahead)
        value = yield from ledger.measure(fp32, ledger.deciding, note)
        if value < math.inf:
            base, place, energy = base | group, place + len(units), value
        else:
            bound = place + len(units)
    ledger.view.floats |= ledger.every & ~base
    return base, energy


def _halves(
    every: int, base: int, units: Sequence[int], others: Sequence[int]
) -> Callable[[], Iterator[int]]:
    """What follows where a group fails (its own half) and where it does not (half the rest)."""

    def ahead() -> Iterator[int]:
        count = every.bit_length()
        if others:
            yield every & ~(base | mask_of((*units, *others[: max(1, len(others) // 2)]), count))
        if len(units) > 1:
            yield every & ~(base | mask_of(units[: len(units) // 2], count))

    return ahead


def _next_size(place: int, bound: int, length: int, culprits: list[int]) -> int:
    """Half of what is known to fail; else a group that fails about half the time."""
    if bound > place:
        return (bound - place) // 2
    spacing = culprits[-1] / len(culprits)
    left = length - place
    return left if spacing >= left else max(1, min(left, round(0.7 * spacing)))


class Refiner:
    """Splits clusters where knowing more should save most, each measured alone in 16 bits."""

    def __init__(self, ledger: Ledger, energies: Energies, root: Cluster) -> None:
        """Start from one cluster of known, finite energy."""
        self.ledger = ledger
        self.energies = energies
        self.clusters = [root]
        self.interacting = False
        self._splits = 0

    @property
    def unknown(self) -> bool:
        """Whether some cluster's energy is not known."""
        return any(math.isnan(cluster.energy) for cluster in self.clusters)

    def run(self) -> Steps[None]:
        """Split until little is to be gained, or energies turn out not to add up."""
        while self._splits < self._most() and not self.interacting:
            chosen = self._worthwhile()
            if chosen is None:
                break
            self._show(chosen)
            if chosen.inherited >= DOUBTFUL:
                yield from self._confirm(chosen)
            else:
                yield from self._split(chosen)
        self.energies.adopt(self.clusters)

    def _most(self) -> float:
        """How many splits are worth it: the more of the model is to be kept, the more."""
        kept, _ = self._knapsack()
        share = 0.5 + kept / max(math.fsum(cluster.cost for cluster in self.clusters), 1e-300)
        problem = self.ledger.problem
        most = 48 + problem.parameters.refine_share * share * self.ledger.count
        if problem.max_trials is None:
            return most
        return min(most, problem.max_trials / 3)  # the rest is to grow by what was learnt

    def candidate(self) -> int:
        """The 16-bit set that should just pass: clusters by density, while their sum fits."""
        mask, energy = 0, 0.0
        for cluster in sorted(self.clusters, key=lambda c: (c.density, c.units)):
            energy += 0.0 if math.isnan(cluster.energy) else cluster.energy
            if energy > self.ledger.limit:
                break
            mask |= cluster.mask
        return mask

    def pool(self, energy: float) -> bool:
        """Give the clusters of unknown energy, together, what the rest leaves of `energy`.

        Returns whether that is enough to go on splitting.
        """
        unknown = [c for c in self.clusters if math.isnan(c.energy)]
        inside = self.candidate()
        known = math.fsum(
            c.energy for c in self.clusters if c.mask & inside and not math.isnan(c.energy)
        )
        left = energy - known
        if not unknown or left <= self.ledger.limit or not math.isfinite(left):
            return False
        units = sorted(unit for cluster in unknown for unit in cluster.units)
        self.clusters = [c for c in self.clusters if not math.isnan(c.energy)]
        self.clusters.append(self.energies.cluster(units, left))
        return True

    def _worthwhile(self) -> Cluster | None:
        """The cluster whose split should save most; None where no more than a share is left.

        By the fractional knapsack: at the price of energy that the last cluster to fit sets,
        a cluster is worth at most its cost, and at most its energy at that price. All together
        save no more than what is kept beside the units that fail alone.
        """
        kept, price = self._knapsack()
        best, most, total = None, 0.0, 0.0
        for cluster in self.clusters:
            if len(cluster.units) == 1 or math.isnan(cluster.energy):
                continue
            gain = self._gain(cluster, price)
            total += gain
            if gain > most:
                best, most = cluster, gain
        total = min(total, kept - self._doomed())
        until = self.ledger.problem.parameters.refine_until
        return best if kept and total > until * kept else None

    def _doomed(self) -> float:
        """The cost of the units that were seen to fail as the only ones in 16 bits."""
        single = (c for c in self.clusters if len(c.units) == 1)
        return math.fsum(c.cost for c in single if self.energies.fails(c.units[0]))

    def _knapsack(self) -> tuple[float, float]:
        """The cost kept in float32, and the density at which clusters stop fitting."""
        energy, kept, price = 0.0, 0.0, 0.0
        for cluster in sorted(self.clusters, key=lambda c: (c.density, c.units)):
            energy += 0.0 if math.isnan(cluster.energy) else cluster.energy
            if energy > self.ledger.limit:
                kept += cluster.cost
                price = price or cluster.density
        return kept, price or max(cluster.density for cluster in self.clusters)

    def _split(self, parent: Cluster) -> Steps[None]:
        middle = len(parent.units) // 2
        first = self.energies.cluster(parent.units[:middle], parent.energy / 2)
        energy = yield from self._measure(first, parent.energy / 2, parent.row)
        row = self.ledger.row_of[self.ledger.every & ~first.mask]
        second = self.energies.cluster(
            parent.units[middle:], max(0.0, parent.energy - energy), row=row
        )
        if energy > DOMINANT * parent.energy and INEXACT * parent.energy > self.ledger.limit:
            second = replace(second, energy=math.nan)
        elif second.energy > DOMINANT * parent.energy:
            second = replace(second, inherited=parent.inherited + 1)
        self.clusters.remove(parent)
        self.clusters += [replace(first, energy=energy, row=row), second]
        if self._is_covered(second, parent):
            rest = yield from self._measure(second, second.energy, parent.row)
            self.clusters[-1] = replace(second, energy=rest)
        self._splits += 1
        self.interacting = energy > 2 * parent.energy

    def _is_covered(self, second: Cluster, parent: Cluster) -> bool:
        """Whether a half may have far more than its sibling leaves it, and that could change what
        fits.
        """
        if math.isnan(second.energy) or second.energy >= (1 - COVERING) * parent.energy:
            return False
        matters = (1 - COVERING) * parent.energy > MATTERS * self.ledger.limit
        return matters and self._worthwhile() is not None

    def _confirm(self, cluster: Cluster) -> Steps[None]:
        """Measure a cluster that only ever inherited its energy: pairs fail only together."""
        energy = yield from self._measure(cluster, cluster.energy, cluster.row)
        row = self.ledger.row_of[self.ledger.every & ~cluster.mask]
        self.clusters.remove(cluster)
        self.clusters.append(replace(cluster, energy=energy, inherited=0, row=row))
        self.interacting = not 0.5 * cluster.energy < energy < 2 * cluster.energy

    def _measure(self, cluster: Cluster, likely: float, parent: int | None) -> Steps[float]:
        note = Note(
            cluster.mask, parent, likely <= self.ledger.limit, partial(self._ahead, cluster)
        )
        fp32 = self.ledger.every & ~cluster.mask
        return (yield from self.ledger.measure(fp32, self.ledger.deciding, note))

    def _ahead(self, cluster: Cluster) -> Iterator[int]:
        """First halves of the clusters worth most, and the halves of this one."""
        others = [c for c in self.clusters if not c.mask & cluster.mask and len(c.units) > 1]
        _, price = self._knapsack()
        others.sort(key=lambda c: -self._gain(c, price))
        for units in (c.units for c in (*others[:4], cluster, *others[4:8])):
            yield self.ledger.every & ~mask_of(units[: len(units) // 2], self.ledger.count)

    def _gain(self, cluster: Cluster, price: float) -> float:
        if math.isnan(cluster.energy):
            return 0.0
        return min(cluster.cost, cluster.energy / price if price else 0.0)

    def _show(self, cluster: Cluster) -> None:
        self.ledger.view.clusters = tuple((c.units[0], c.units[-1]) for c in self.clusters)
        self.ledger.view.halves = self.candidate() & ~cluster.mask
