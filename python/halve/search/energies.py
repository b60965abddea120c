"""What is known of the energy of each unit, and what it predicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from halve.search.asks import bits, mask_of
from halve.search.ledger import Ledger

__all__ = ["Cluster", "Energies"]

HARMLESS = 0.1
"""Clusters with this share of what is allowed, together, are converted first, however cheap: they
leave room for the others, and what is tried after them is tried on nearly the final set."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Units whose energy is known together.

    `energy` is NaN where it is not known: it was lost beside a far larger one. `inherited` counts
    the splits since it was last measured itself. `row` is the trial that it came from.
    """

    units: tuple[int, ...]
    mask: int
    energy: float
    cost: float
    inherited: int = 0
    row: int | None = None

    @property
    def density(self) -> float:
        """Energy per cost; what is not known counts as nothing."""
        return 0.0 if math.isnan(self.energy) else self.energy / max(self.cost, 1e-300)


class Energies:
    """Energy of each unit: its cluster's, shared by cost.

    Units without a cluster count as nothing; those found impossible, as infinite.
    """

    def __init__(self, ledger: Ledger) -> None:
        """Nothing is known."""
        self.ledger = ledger
        self.of_unit = [0.0] * ledger.count
        self.alone: dict[int, float] = {}
        self.harmless: set[int] = set()
        hints = ledger.problem.hints
        self._risk = [hints.get(unit, 0.0) for unit in range(ledger.count)]

    def cluster(
        self, units: Sequence[int], energy: float, inherited: int = 0, row: int | None = None
    ) -> Cluster:
        """A cluster of units with its energy."""
        costs = self.ledger.costs
        cost = math.fsum(costs[unit] for unit in units)
        mask = mask_of(units, self.ledger.count)
        return Cluster(tuple(units), mask, energy, cost, inherited, row)

    def adopt(self, clusters: Sequence[Cluster]) -> None:
        """Take the energies of clusters as those of their units."""
        self._find_harmless(clusters)
        for cluster in clusters:
            for unit in cluster.units:
                cost = max(self.ledger.costs[unit], 1e-300)
                self.of_unit[unit] = min(cluster.density * cost, 1e300)
            if len(cluster.units) == 1 and not math.isnan(cluster.energy):
                self.alone[cluster.units[0]] = cluster.energy

    def _find_harmless(self, clusters: Sequence[Cluster]) -> None:
        energy, self.harmless = 0.0, set[int]()
        for cluster in sorted(clusters, key=lambda c: (c.energy, c.units)):
            energy += cluster.energy
            if not energy <= HARMLESS * self.ledger.limit:
                break
            self.harmless.update(cluster.units)

    def exclude(self, units: Sequence[int], *, measured: bool) -> None:
        """These make the result infinite: last in every order."""
        for unit in units:
            self.of_unit[unit] = math.inf
            if measured:
                self.alone[unit] = math.inf

    def density(self, unit: int) -> float:
        """Energy per cost of a unit."""
        return self.of_unit[unit] / max(self.ledger.costs[unit], 1e-300)

    def order(self, units: Sequence[int], by: str) -> list[int]:
        """Sort units so that those to convert first come first; ties are in graph order."""
        if by == "energy":
            return sorted(units, key=lambda u: (self.of_unit[u], self._risk[u], u))
        if by == "graph":
            return sorted(units, key=lambda u: (self.of_unit[u] == math.inf, self._risk[u], u))
        return sorted(
            units, key=lambda u: (u not in self.harmless, self.density(u), self._risk[u], u)
        )

    def remaining(self, kept: int, base: int) -> list[int]:
        """Kept units, those that should fit alone on top of `base` first."""
        slack = self.ledger.limit - self.energy(base)
        order = self.order(bits(kept), "density")
        return sorted(order, key=lambda unit: self.of_unit[unit] > slack)

    def energy(self, base: int) -> float:
        """The energy of a 16-bit set: measured where it was, else the sum of its units'."""
        measured = self.ledger.energy(self.ledger.every & ~base, self.ledger.deciding)
        if measured is not None:
            return measured
        return math.fsum(self.of_unit[unit] for unit in bits(base))

    def expected(self, base: int, group: Sequence[int]) -> float:
        """The energy of a 16-bit set with a group added."""
        return self.energy(base) + math.fsum(self.of_unit[unit] for unit in group)

    def unresolved(self, units: Sequence[int]) -> int:
        """How many units, from the first on, have no energy of their own."""
        return next((n for n, unit in enumerate(units) if self.resolved(unit)), len(units))

    def resolved(self, unit: int) -> bool:
        """Whether a unit's energy is known to be its own."""
        return unit in self.alone or self.of_unit[unit] == math.inf

    def may_fit(self, unit: int) -> bool:
        """Whether a unit may pass as the only one in 16 bits: not where it fails, or has more
        energy than is allowed.
        """
        return self.of_unit[unit] <= self.ledger.limit and not self.fails(unit)

    def fails(self, unit: int) -> bool:
        """Whether a unit was seen to fail as the only one in 16 bits, or to make all infinite."""
        alone, samples = self.ledger.every & ~(1 << unit), self.ledger.deciding
        return self.alone.get(unit) == math.inf or self.ledger.known(alone, samples) is False

    def fitting(self, base: int, units: Sequence[int]) -> int:
        """How many of the units, from the first on, should fit on top of a 16-bit set."""
        energy, limit = self.energy(base), self.ledger.limit
        for number, unit in enumerate(units):
            energy += self.of_unit[unit]
            if energy > limit:
                return number
        return len(units)
