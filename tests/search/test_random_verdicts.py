"""Whatever the verdicts are, random ones included: what is returned passes and is 1-minimal."""

from __future__ import annotations

import math
import random

import pytest
from simulated import LIMIT, Simulated, problem

from halve.search import Problem, Setting, repair, search
from halve.search_types import UnitSet

KINDS = ("random", "random and finite", "noisy", "crashing")


def random_case(seed: int, kind: str) -> tuple[Problem, Simulated]:
    """Few units, some samples, and answers that depend on nothing but set and sample."""
    rng = random.Random(seed)
    count, samples = rng.choice((1, 2, 3, 8, 17, 40)), rng.choice((1, 2, 5))
    table = [rng.lognormvariate(0, 2) * LIMIT / count for _ in range(count)]
    for unit in rng.sample(range(count), min(count, rng.randrange(4))):
        table[unit] += 10 ** rng.uniform(0, 6)

    def energy(halves: UnitSet, sample: int) -> float:
        if not halves:
            return 0.0
        own = random.Random(repr((sorted(halves), sample, seed)))
        if kind == "random":
            return own.choice((math.inf, 0.0, 1.0, LIMIT / 2))
        if kind == "random and finite":
            return own.lognormvariate(-3, 2)
        crashed = kind == "crashing" and own.random() < 0.2
        return math.inf if crashed else sum(table[u] for u in halves) * own.uniform(0.9, 1.1)

    searched = problem(
        count,
        [rng.choice((0.0, 1.0, rng.random() * 9)) for _ in range(count)],
        samples=samples,
        held_out=frozenset(rng.sample(range(samples), rng.randrange(samples))),
        margin=rng.choice((1.0, 0.8, 0.3)),
        given=frozenset(rng.sample(range(count), rng.randrange(count) // 3)),
        marked=frozenset(rng.sample(range(count), rng.randrange(count) // 3)),
        hints={unit: rng.random() for unit in range(0, count, 3)},
    )
    return searched, Simulated(count, energy)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(25))
def test_any_verdict(seed: int, kind: str) -> None:
    searched, evaluator = random_case(seed, kind)
    outcome = search(searched, evaluator)
    assert (outcome.complete, outcome.passed, outcome.held_out_judged) == (True, True, True)
    assert sum(row.runs for row in outcome.trials) == len(evaluator.runs)

    joined = any(row.phase == "holdout" and not row.passed for row in outcome.trials)

    def passes_on(fp32: UnitSet, sample: int) -> bool:
        apart = sample in searched.held_out and not joined
        return evaluator.run(fp32, sample).error <= (1 / searched.margin if apart else 1)

    def passes(fp32: UnitSet) -> bool:
        return all(passes_on(fp32, sample) for sample in range(searched.samples))

    assert passes(outcome.fp32)
    assert not any(passes(outcome.fp32 - {unit}) for unit in outcome.required)
    assert search(searched, evaluator, setting=Setting(workers=3)) == outcome

    def judge(fp32: UnitSet) -> bool:
        own = random.Random(repr((sorted(fp32), seed)))
        return len(fp32) == evaluator.count or own.random() < 0.6

    joined = True  # what a judge refused is repaired by all samples
    final = repair(searched, outcome, evaluator, judge)
    assert (final.complete, final.passed) == (True, True)
    assert passes(final.fp32)
    assert judge(final.fp32)
    fewer = [final.fp32 - {unit} for unit in final.required]
    assert not any(passes(fp32) and judge(fp32) for fp32 in fewer)
