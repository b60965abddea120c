"""The search on simulated evaluators: what it finds, and in how many trials."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from simulated import LIMIT, Simulated, budget, hard, problem, saturating, shared

from halve.errors import VerdictError
from halve.search import CheckError, Parameters, SearchOutcome, search
from halve.search.engine import Setting
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


@pytest.mark.parametrize("kind", KINDS)
def test_trials_against_bisection_where_failures_are_hard(kind: str) -> None:
    """At most 1.2 times the trials, and the kept set is 1-minimal, which bisection's need not be.

    The mean over seeds: one seed says little, since both depend on where the failures lie.
    """
    ours, classic = [], []
    for seed in range(12):
        ours.append(len(search(problem(300), hard(seed, kind)).trials))
        bisection = search(problem(300, strategy="bisection"), hard(seed, kind))
        assert bisection.passed
        classic.append(len(bisection.trials))
    share = {"finite": 0.75, "infinite": 0.8, "infinite pairs": 0.85}.get(kind, 1.2)
    assert statistics.mean(ours) <= share * statistics.mean(classic)


@pytest.mark.parametrize(("count", "failing"), [(5, 1), (48, 6), (100, 4)])
def test_no_choice_is_looked_for_where_every_kept_unit_fails_alone(
    count: int, failing: int
) -> None:
    """Energies that hide each other leave open whether it does; trying it costs little."""
    ours, classic = [], []
    for seed in range(12):
        evaluator, rng = saturating(seed, count, failing), random.Random(seed)
        costs = [rng.lognormvariate(0, 1) for _ in range(count)]
        orders = Parameters(orders=("density", "energy", "graph"))
        found = search(problem(count, costs, parameters=orders), evaluator)
        bisection = search(problem(count, costs, strategy="bisection"), evaluator)
        assert found.fp32 == bisection.fp32
        assert is_one_minimal(evaluator, found)
        ours.append(len(found.trials))
        classic.append(len(bisection.trials))
    assert statistics.mean(ours) <= 1.2 * statistics.mean(classic)


@pytest.mark.parametrize(("seed", "over"), [(0, 3.0), (1, 3.0), (2, 10.0)])
def test_half_the_cost_of_bisection_within_an_error_budget(seed: int, over: float) -> None:
    evaluator, costs = budget(seed, 200, over=over)
    ours = search(problem(200, costs), evaluator)
    classic = search(problem(200, costs, strategy="bisection"), evaluator)
    assert ours.passed
    assert ours.price <= 0.5 * classic.price
    assert len(ours.trials) <= 1.2 * len(classic.trials)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("over", [2.0, 15.0])
def test_neighbours_that_share_roundings(seed: int, over: float) -> None:
    evaluator, costs = shared(seed, 100, over)
    orders = Parameters(orders=("density", "energy", "graph"))
    ours = search(problem(100, costs, parameters=orders), evaluator)
    classic = search(problem(100, costs, strategy="bisection"), evaluator)
    assert ours.passed
    assert is_one_minimal(evaluator, ours)
    assert ours.price <= classic.price


def test_a_dear_unit_is_exchanged_for_a_cheaper_one() -> None:
    energies = {10: 0.5 * LIMIT, 40: 0.6 * LIMIT}  # either fits, not both
    costs = [1.0] * 60
    costs[10], costs[40] = 5.5, 6.0  # by energy per cost 10 comes first and leaves 40 out
    evaluator = Simulated(60, lambda h, _: math.fsum(energies.get(u, 1e-4 * LIMIT) for u in h))
    assert search(problem(60, costs), evaluator).fp32 == {10}


def test_one_unit_is_found_where_all_in_16_bits_nearly_passes() -> None:
    count, one, loud = 40, 33, range(10, 15)

    def energy(halves: UnitSet, _: int) -> float:
        """What the unit adds shows beside nearly all others only: energies do not tell."""
        alone = math.fsum(0.05 if u in loud else 0.04 if u == one else 0.01 for u in halves)
        beside = 0.6 if one in halves and len(halves) > 35 else 0.0
        return LIMIT * (alone + beside)

    outcome = search(problem(count), Simulated(count, energy))
    assert outcome.fp32 == {one}
    beside = search(problem(count), Simulated(count, energy), setting=Setting(workers=4))
    assert beside.trials == outcome.trials


def test_bisection_counts_and_does_not_minimise() -> None:
    evaluator = hard(3, "infinite")
    outcome = search(problem(300, strategy="bisection"), evaluator)
    assert len(outcome.fp32) == 5
    assert {row.phase for row in outcome.trials} == {"check", "grow"}
    assert sum(row.runs for row in outcome.trials) == len(evaluator.runs)


@pytest.mark.parametrize("orders", [("graph",), ("energy",), ("density", "energy", "graph")])
def test_every_order_of_the_portfolio(orders: tuple[str, ...]) -> None:
    evaluator, costs = budget(0, 60, over=5)
    searched = problem(60, costs, parameters=Parameters(orders=orders))
    outcome = search(searched, evaluator)
    assert outcome.passed
    assert is_one_minimal(evaluator, outcome)


def test_samples_that_fail_most_run_first() -> None:
    evaluator = Simulated(
        64, lambda halves, sample: math.inf if sample == 2 and halves & {9, 50} else 0.0
    )
    outcome = search(problem(64, samples=4), evaluator)
    assert outcome.required == {9, 50}
    last = [row for row in outcome.trials if row.phase == "minimise" and not row.passed]
    assert last
    assert all(row.runs == 1 for row in last)


def test_sensitivity_is_what_a_unit_alone_adds() -> None:
    evaluator = hard(0, "finite")
    outcome = search(problem(300), evaluator)
    everything = frozenset(range(300))
    for unit in outcome.required:
        alone = evaluator.run(everything - {unit}, 0).energy
        assert outcome.sensitivity[unit] == pytest.approx(alone, rel=0.05)


def test_ten_thousand_units() -> None:
    evaluator = hard(7, "mixed", 10_000)
    outcome = search(problem(10_000), evaluator)
    assert outcome.passed
    assert len(outcome.required) == 4
    assert len(outcome.trials) < 100
