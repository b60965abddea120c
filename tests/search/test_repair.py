"""Held-out samples, the final judge, and units carried for the cost of casts."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
from simulated import LIMIT, Simulated, budget, problem, units

from halve.search import (
    CheckError,
    Journal,
    Problem,
    SearchOutcome,
    Setting,
    journal_header,
    repair,
    search,
)
from halve.search_types import Trial, UnitSet

COUNT = 64
HELD = 3


def unlike(seed: int) -> Simulated:
    """Unit 5 fails everywhere, and another in the held-out sample alone."""
    hidden = (seed * 11 + 9) % COUNT

    def energy(halves: UnitSet, sample: int) -> float:
        noise = LIMIT / 4 * len(halves) / COUNT
        failing = (5 in halves) + (sample == HELD and hidden in halves)
        return noise + (math.inf if failing and seed % 2 else 50.0 * failing)

    return Simulated(COUNT, energy)


def held_out_problem() -> Problem:
    return problem(COUNT, samples=4, held_out=frozenset({HELD}))


@pytest.mark.parametrize("seed", range(6))
def test_a_held_out_sample_leads_to_repair(seed: int) -> None:
    evaluator = unlike(seed)
    outcome = search(held_out_problem(), evaluator)
    assert outcome.complete
    assert outcome.passed
    assert outcome.held_out_judged
    assert outcome.required == {5, (seed * 11 + 9) % COUNT}
    assert {"holdout", "repair"} <= {row.phase for row in outcome.trials}


def test_held_out_samples_are_not_seen_before_the_end() -> None:
    evaluator = unlike(0)
    outcome = search(held_out_problem(), evaluator)
    first = next(row.number for row in outcome.trials if row.phase == "holdout")
    before = sum(row.runs for row in outcome.trials[:first])
    everything = frozenset(range(COUNT))
    assert all(s != HELD for units, s in evaluator.runs[:before] if units != everything)


def test_held_out_samples_may_pass() -> None:
    evaluator, costs = budget(4, COUNT, over=4)
    searched = problem(COUNT, costs, samples=4, held_out=frozenset({HELD}))
    outcome = search(searched, evaluator)
    assert outcome.passed
    assert outcome.held_out_judged
    phases = {row.phase for row in outcome.trials}
    assert "holdout" in phases
    assert "repair" not in phases


MARGIN = 0.5


def beside_the_margin(*hidden: int) -> Simulated:
    """Unit 5 fails everywhere. In the held-out sample unit 9 uses 0.75 of the whole tolerance, and
    the `hidden` ones more than that.
    """

    def energy(halves: UnitSet, sample: int) -> float:
        noise = LIMIT / 100 * len(halves) / COUNT
        held = (1.5**2 - 0.01) * LIMIT * (9 in halves) + 50 * len(halves & set(hidden))
        return noise + 50 * (5 in halves) + held * (sample == HELD)

    return Simulated(COUNT, energy)


def with_margin() -> Problem:
    return replace(held_out_problem(), margin=MARGIN)


def test_held_out_samples_may_use_the_whole_tolerance() -> None:
    evaluator = beside_the_margin()
    outcome = search(with_margin(), evaluator)
    assert outcome.passed
    assert outcome.required == {5}
    assert 1.4 < evaluator.run(outcome.fp32, HELD).error < 1.5
    last = outcome.trials[-1]
    assert (last.phase, last.passed, last.fp32) == ("holdout", True, (5,))
    assert search(held_out_problem(), evaluator).required == {5, 9}


def test_a_held_out_sample_that_refuses_joins_within_the_margin() -> None:
    evaluator = beside_the_margin(30)
    outcome = search(with_margin(), evaluator)
    assert outcome.passed
    assert outcome.required == {5, 9, 30}


def test_a_repair_works_within_the_margin() -> None:
    found, outcome = judged(Judge(40), beside_the_margin(), with_margin())
    assert found.required == {5}
    assert outcome.required == {5, 9, 40}


def test_units_are_not_carried_where_a_held_out_sample_refuses_them() -> None:
    def energy(halves: UnitSet, sample: int) -> float:
        held = (1.5**2 * LIMIT if 6 in halves else 50) if halves and sample == HELD else 0.0
        return held + 50 * (5 in halves)

    searched = replace(with_margin(), carry=lambda fp32: fp32 | {6})
    outcome = search(searched, Simulated(COUNT, energy))
    assert (outcome.complete, outcome.passed) == (True, True)
    assert outcome.fp32 == {5}
    assert [row.passed for row in outcome.trials if row.fp32 == (5, 6)] == [True, False]


def test_a_budget_leaves_what_withstood_the_held_out_samples() -> None:
    """Where they refuse what minimising made of it, it is as good as before."""
    base, costs = budget(3, COUNT, over=5)

    def energy(halves: UnitSet, sample: int) -> float:
        noise = random.Random(repr((sorted(halves), sample))).uniform(0.9, 1.1)
        return noise * base.energy(halves, sample) * (1.4 if sample == HELD else 0.9)

    searched = replace(with_margin(), units=units(COUNT, costs), margin=0.8)
    refused_later = 0
    for most in range(20, 140):
        outcome = search(replace(searched, max_trials=most), Simulated(COUNT, energy))
        checked = [row for row in outcome.trials if row.phase == "holdout"]
        withstood = [math.fsum(costs[u] for u in row.fp32) for row in checked if row.passed]
        assert outcome.passed
        if withstood and not outcome.complete:
            refused_later += not checked[-1].passed
            assert outcome.price <= min(withstood) + 1e-9
    assert refused_later


def test_float32_itself_must_be_within_the_margin() -> None:
    """Otherwise nothing might pass once the sample decides."""
    evaluator = Simulated(COUNT, lambda _, sample: LIMIT * (1.5**2 if sample == HELD else 0.5))
    with pytest.raises(CheckError, match=f"sample {HELD} fails its check"):
        search(with_margin(), evaluator)


@pytest.mark.parametrize("trusting", [True, False])
def test_validate_is_asked_about_the_whole_tolerance(trusting: bool, tmp_path: Path) -> None:
    asked = []

    def validate(sample: int, trial: Trial) -> bool:
        asked.append((sample, trial.error))
        return trusting or trial.error <= 1

    found = []
    for _ in range(2):
        journal = Journal(tmp_path / "j", journal_header(with_margin(), {}))
        setting = Setting(journal=journal, validate=validate)
        found.append(search(with_margin(), beside_the_margin(), setting=setting))
        journal.close()
        assert any(sample == HELD and 1.4 < error < 1.5 for sample, error in asked)
        assert all(error <= 1 or sample == HELD for sample, error in asked)
    assert found[0] == found[1]
    assert found[0].required == ({5} if trusting else {5, 9})


class Judge:
    """Refuses every set without the given units, and counts its calls."""

    def __init__(self, *needed: int) -> None:
        self.needed = frozenset(needed)
        self.calls: list[UnitSet] = []

    def __call__(self, fp32: UnitSet) -> bool:
        self.calls.append(fp32)
        return self.needed <= fp32


def judged(
    judge: Judge, evaluator: Simulated, searched: Problem, setting: Setting | None = None
) -> tuple[SearchOutcome, SearchOutcome]:
    found = search(searched, evaluator, setting=setting)
    return found, repair(searched, found, evaluator, judge, setting=setting)


@pytest.mark.parametrize("needed", [(40,), (1, 2), (0, 30, 63)])
def test_the_judge_is_satisfied_and_the_set_minimal(needed: tuple[int, ...]) -> None:
    judge, evaluator = Judge(*needed), unlike(1)
    found, outcome = judged(judge, evaluator, held_out_problem())
    assert outcome.passed
    assert outcome.complete
    assert outcome.required == found.required | set(needed)
    for unit in outcome.required:
        fewer = outcome.fp32 - {unit}
        assert not judge(fewer) or not all(evaluator.run(fewer, s).passed for s in range(4))
    assert outcome.trials[: len(found.trials)] == found.trials
    assert len(set(judge.calls)) <= len(judge.calls)


def test_the_judge_sees_only_what_the_evaluator_passes() -> None:
    judge, evaluator = Judge(40), unlike(1)
    judged(judge, evaluator, held_out_problem())
    assert all(all(evaluator.run(f, s).passed for s in range(4)) for f in judge.calls)


def test_a_judge_that_takes_nothing() -> None:
    refuse = Judge(COUNT)  # a unit that does not exist
    _, outcome = judged(refuse, unlike(1), held_out_problem())
    assert not outcome.passed
    assert not outcome.complete
    assert frozenset(range(COUNT)) in refuse.calls


def test_a_judge_that_takes_float32_alone() -> None:
    judge = Judge(*range(COUNT))
    _, outcome = judged(judge, unlike(1), held_out_problem())
    assert outcome.passed
    assert len(outcome.fp32) == COUNT


def test_a_repair_is_resumed_from_the_journal(tmp_path: Path) -> None:
    searched = held_out_problem()
    outcomes = []
    judges = [Judge(40, 41), Judge(40, 41)]
    for judge, workers in zip(judges, (1, 4), strict=True):
        journal = Journal(tmp_path / "j", journal_header(searched, {}))
        setting = Setting(journal=journal, workers=workers)
        outcomes.append(judged(judge, unlike(1), searched, setting))
        journal.close()
    assert outcomes[0] == outcomes[1]
    assert judges[0].calls
    assert not judges[1].calls


def test_a_budget_ends_a_repair() -> None:
    searched, evaluator = held_out_problem(), unlike(1)
    found = search(searched, evaluator)
    few = replace(searched, max_trials=len(found.trials) + 3)
    outcome = repair(few, found, evaluator, Judge(40))
    assert not outcome.complete
    assert outcome.passed
    assert 40 in outcome.fp32
    assert len(outcome.trials) <= len(found.trials) + 3 + 3 * COUNT.bit_length()


def test_a_budget_does_not_make_a_judge_accept() -> None:
    searched, evaluator = held_out_problem(), unlike(1)
    found = search(searched, evaluator)
    few = replace(searched, max_trials=len(found.trials) + 3)
    outcome = repair(few, found, evaluator, Judge(COUNT))
    assert not outcome.complete
    assert not outcome.passed


def test_given_units_stay() -> None:
    evaluator = unlike(0)
    searched = problem(COUNT, given=frozenset({7, 8}))
    outcome = search(searched, evaluator)
    assert outcome.fp32 == {5, 7, 8}
    assert outcome.required == {5}
    assert all({7, 8} <= units for units, _ in evaluator.runs)


def test_marked_units_are_tried_first() -> None:
    evaluator = unlike(1)
    outcome = search(problem(COUNT, marked=frozenset({5, 20})), evaluator)
    assert outcome.fp32 == {5}
    assert [set(row.fp32) for row in outcome.trials[1:3]] == [set(), {5, 20}]
    assert len(outcome.trials) == 5


def neighbours(fp32: UnitSet) -> UnitSet:
    return fp32 | {unit + 1 for unit in fp32}


def test_carried_units_are_verified() -> None:
    outcome = search(problem(COUNT, carry=neighbours), unlike(0))
    assert (outcome.required, outcome.carried) == ({5}, {6})
    assert outcome.fp32 == {5, 6}
    assert outcome.trials[-1].phase == "carry"


def test_carried_units_that_fail_are_dropped() -> None:
    plain = unlike(0)
    evaluator = Simulated(COUNT, lambda h, s: plain.energy(h, s) + 9.0 * (6 not in h and 9 in h))
    outcome = search(problem(COUNT, carry=neighbours), evaluator)
    assert (outcome.required, outcome.carried) == ({5}, frozenset())


def test_carried_units_that_cost_more_are_dropped() -> None:
    searched = problem(COUNT, carry=neighbours, price=lambda fp32: float(len(fp32)))
    assert not search(searched, unlike(0)).carried
    cheaper = replace(searched, price=lambda fp32: -float(len(fp32)) if 6 in fp32 else 9.0)
    assert search(cheaper, unlike(0)).carried == {6}
