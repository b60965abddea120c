"""The search on simulated evaluators: what it finds, and in how many trials."""

from __future__ import annotations

import math

import pytest
from simulated import LIMIT, Simulated, budget, hard, problem

from halve.errors import VerdictError
from halve.search import CheckError, SearchOutcome, search
from halve.search_types import UnitSet

KINDS = ("infinite", "finite", "pairs", "infinite pairs", "both", "mixed")


def is_one_minimal(evaluator: Simulated, outcome: SearchOutcome, samples: int = 1) -> bool:
    """No required unit can be left out: each was tried with every sample."""
    return all(
        any(not evaluator.run(outcome.fp32 - {unit}, s).passed for s in range(samples))
        for unit in outcome.required
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_hard_failures_are_found(kind: str, seed: int) -> None:
    evaluator = hard(seed, kind)
    outcome = search(problem(300), evaluator)
    assert outcome.complete
    assert outcome.passed
    assert evaluator.run(outcome.fp32, 0).passed
    assert 0 < len(outcome.fp32) <= 6
    assert is_one_minimal(evaluator, outcome)


def test_every_trial_is_counted() -> None:
    evaluator = hard(1, "mixed")
    outcome = search(problem(300), evaluator)
    assert sum(row.runs for row in outcome.trials) == len(evaluator.runs)
    assert len(set(evaluator.runs)) == len(evaluator.runs)
    assert [row.number for row in outcome.trials] == list(range(len(outcome.trials)))


def test_a_budget_is_met_and_minimal() -> None:
    evaluator, costs = budget(0, 80, over=5)
    outcome = search(problem(80, costs), evaluator)
    assert outcome.complete
    assert evaluator.run(outcome.fp32, 0).passed
    assert is_one_minimal(evaluator, outcome)


def test_nothing_needs_float32() -> None:
    evaluator = Simulated(50, lambda halves, _: LIMIT / 2 * len(halves) / 50)
    outcome = search(problem(50), evaluator)
    assert outcome.fp32 == frozenset()
    assert len(outcome.trials) == 2


def test_everything_needs_float32() -> None:
    evaluator = Simulated(9, lambda halves, _: math.inf if halves else 0.0)
    assert search(problem(9), evaluator).fp32 == frozenset(range(9))


def test_float32_fails_its_own_check() -> None:
    evaluator = Simulated(9, lambda _halves, sample: 1.0 * (sample == 1))
    with pytest.raises(CheckError, match=r"sample 1 fails its check .output 'y'"):
        search(problem(9, samples=3), evaluator)
    assert issubclass(CheckError, VerdictError)


def test_no_units_at_all() -> None:
    outcome = search(problem(0), Simulated(0, lambda _halves, _sample: 0.0))
    assert outcome.passed
    assert outcome.fp32 == frozenset()


@pytest.mark.parametrize("seed", range(6))
def test_one_minimal_without_monotonicity(seed: int) -> None:
    """Neighbours of unlike precision fail too, so adding float32 units may break what passed."""

    def energy(halves: UnitSet, _sample: int) -> float:
        torn = sum((u in halves) != (u + 1 in halves) for u in range(0, 40, seed + 3))
        return 0.04 * torn * (7 in halves or 20 + seed in halves) + 1e3 * (11 in halves)

    evaluator = Simulated(40, energy)
    outcome = search(problem(40), evaluator)
    assert outcome.passed
    assert evaluator.run(outcome.fp32, 0).passed
    assert is_one_minimal(evaluator, outcome)
