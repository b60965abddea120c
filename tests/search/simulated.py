"""Simulated evaluators: what a set of float32 units gives is a formula."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from halve.search import Problem
from halve.search_types import OutputTrial, Trial, Unit, UnitNode, UnitSet

LIMIT = 0.05


def units(count: int, costs: list[float] | None = None) -> tuple[Unit, ...]:
    return tuple(
        Unit(i, (UnitNode(i, (0,), (0,)),), "", f"u{i}", costs[i] if costs else 1.0)
        for i in range(count)
    )


@dataclass
class Simulated:
    """Energy is a function of the 16-bit units and the sample; it passes up to LIMIT."""

    count: int
    energy: Callable[[UnitSet, int], float]
    runs: list[tuple[UnitSet, int]] = field(default_factory=list)
    delay_s: float = 0.0

    def run(self, fp32: UnitSet, sample: int) -> Trial:
        self.runs.append((fp32, sample))
        if self.delay_s:
            time.sleep(random.random() * self.delay_s)
        energy = self.energy(frozenset(range(self.count)) - fp32, sample)
        if not math.isfinite(energy):
            return Trial(sample, (OutputTrial("y", False, math.inf, math.inf),))
        error = math.sqrt(energy / LIMIT)
        return Trial(sample, (OutputTrial("y", error <= 1, error, energy),))

    def close(self) -> None:
        pass


def hard(seed: int, kind: str, count: int = 300) -> Simulated:
    """Five units or three pairs that fail beside a little noise.

    "infinite" and "finite" say what the failing units give; "pairs" fail only together (finite),
    "infinite pairs" likewise; "both" are adjacent units that both must be float32; "mixed" has
    some of each.
    """
    rng = random.Random(seed)
    noise = [LIMIT / count * 0.5 * rng.lognormvariate(-0.5, 1.0) for _ in range(count)]
    bad = rng.sample(range(count), 6)
    size = {u: 10 ** rng.uniform(1, 6) for u in bad}
    starts = rng.sample(range(count - 1), 3)

    def failing(halves: UnitSet) -> float:
        if kind == "infinite":
            return math.inf if halves & set(bad[:5]) else 0.0
        if kind == "finite":
            return sum(size[u] for u in bad[:5] if u in halves)
        if kind in ("pairs", "infinite pairs"):
            pairs = list(zip(bad[::2], bad[1::2], strict=True))
            both = [p for p in pairs if halves.issuperset(p)]
            return (math.inf if both else 0.0) if "inf" in kind else sum(size[a] for a, _ in both)
        if kind == "both":
            return 1e3 * sum(u in halves or u + 1 in halves for u in starts)
        one = math.inf if halves & set(bad[:2]) else 0.0
        return (
            one
            + size[bad[2]] * (bad[2] in halves)
            + (size[bad[4]] if {bad[4], bad[5]} <= halves else 0.0)
        )

    return Simulated(count, lambda h, _: failing(h) + math.fsum(noise[u] for u in h))


def budget(seed: int, count: int = 300, over: float = 30.0) -> tuple[Simulated, list[float]]:
    """Every unit adds a lognormal energy, `over` times what is allowed in all; costs vary."""
    rng = random.Random(seed)
    energies = [rng.lognormvariate(0, 2.0) for _ in range(count)]
    scale = over * LIMIT / sum(energies)
    costs = [rng.lognormvariate(0, 1.0) for _ in range(count)]
    table = [e * scale for e in energies]
    return Simulated(count, lambda h, _: math.fsum(table[u] for u in h)), costs


def shared(seed: int, count: int, over: float) -> tuple[Simulated, list[float]]:
    """What is rounded is the tensor between two units: it counts once where either is 16-bit."""
    rng = random.Random(seed)
    energies = [rng.lognormvariate(0, 1.5) for _ in range(count + 1)]
    scale = over * LIMIT / sum(energies)
    costs = [rng.lognormvariate(0, 1.0) for _ in range(count)]

    def energy(halves: UnitSet, _: int) -> float:
        rounded = {*halves, *(unit + 1 for unit in halves)}
        return scale * math.fsum(energies[tensor] for tensor in sorted(rounded))

    return Simulated(count, energy), costs


def problem(count: int, costs: list[float] | None = None, **more: object) -> Problem:
    return Problem(units=units(count, costs), **{"samples": 1, **more})  # type: ignore[arg-type]


def saturating(seed: int, count: int, failing: int) -> Simulated:
    """Some units fail alone, and together they have little more energy than the worst of them."""
    rng = random.Random(seed)
    worst = {unit: LIMIT * 10 ** rng.uniform(0.3, 2) for unit in rng.sample(range(count), failing)}

    def energy(halves: UnitSet, _: int) -> float:
        whole = math.fsum(worst.get(unit, 0.3 * LIMIT / count) for unit in halves)
        return whole if whole < LIMIT else LIMIT * (1 + math.log(whole / LIMIT))

    return Simulated(count, energy)
