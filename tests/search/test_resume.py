"""One answer and one journal, whatever the workers and however often the search is killed."""

from __future__ import annotations

import contextlib
import math
import random
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from simulated import Simulated, budget, hard, problem

from halve.errors import WorkspaceError
from halve.search import Journal, Problem, SearchOutcome, Setting, journal_header, search
from halve.search_types import Evaluator, Trial, UnitSet


class KilledError(Exception):
    """Stands in for the end of the process."""


@dataclass
class Mortal:
    """An evaluator that ends the search at its n-th run."""

    inner: Simulated
    left: int

    def run(self, fp32: UnitSet, sample: int) -> Trial:
        self.left -= 1
        if self.left < 0:
            raise KilledError
        return self.inner.run(fp32, sample)

    def close(self) -> None:
        pass


def case(name: str) -> tuple[Problem, Simulated]:
    if name == "budget":
        evaluator, costs = budget(2, 60, over=5)
        return problem(60, costs), evaluator
    evaluator = hard(3, name, 120)
    first = evaluator.energy
    evaluator.energy = lambda halves, sample: first(halves, 0) if sample % 2 else 1e-9 * len(halves)
    return problem(120, samples=5, held_out=frozenset({3})), evaluator


CASES = ("infinite", "mixed", "pairs", "budget")


def run(name: str, path: Path, workers: int = 1, delay_s: float = 0.0) -> SearchOutcome:
    searched, evaluator = case(name)
    evaluator.delay_s = delay_s
    journal = Journal(path, journal_header(searched, {"model": "m"}))
    try:
        return search(searched, evaluator, setting=Setting(journal=journal, workers=workers))
    finally:
        journal.close()


@pytest.mark.parametrize("name", CASES)
def test_workers_change_nothing(name: str, tmp_path: Path) -> None:
    one = run(name, tmp_path / "1")
    for workers in (2, 4):
        path = tmp_path / str(workers)
        assert run(name, path, workers, delay_s=0.002) == one
        assert path.read_bytes() == (tmp_path / "1").read_bytes()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", range(4))
def test_killed_and_resumed(name: str, seed: int, tmp_path: Path) -> None:
    whole = run(name, tmp_path / "whole")
    searched, evaluator = case(name)
    header, path = journal_header(searched, {"model": "m"}), tmp_path / "killed"
    rng = random.Random(seed)
    outcome = None
    while outcome is None:
        journal = Journal(path, header)
        mortal = Mortal(evaluator, rng.randrange(5, 40))
        setting = Setting(journal=journal, workers=rng.choice((1, 2, 4)))
        try:
            outcome = search(searched, mortal, setting=setting)
        except KilledError:
            torn = path.read_bytes()
            path.write_bytes(torn[: len(torn) - rng.choice((0, 0, 1, 7))])
        finally:
            journal.close()
    assert outcome == whole
    assert path.read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_finished_search_asks_nothing_again(tmp_path: Path) -> None:
    whole = run("mixed", tmp_path / "j")
    searched, evaluator = case("mixed")
    journal = Journal(tmp_path / "j", journal_header(searched, {"model": "m"}))
    assert search(searched, evaluator, setting=Setting(journal=journal)) == whole
    journal.close()
    assert evaluator.runs == []


@pytest.mark.parametrize("field", ["model", "seed", "given"])
def test_another_search(field: str, tmp_path: Path) -> None:
    run("mixed", tmp_path / "j")
    searched, _ = case("mixed")
    header = {**journal_header(searched, {"model": "m"}), field: [17]}
    with pytest.raises(WorkspaceError, match=rf"{field} is .* there and \[17\] here"):
        Journal(tmp_path / "j", header)


@pytest.mark.parametrize(
    "content",
    [b"PK\x03\x04", b"[1]\n", b'{"a":1}\n', b"\xff\xfe\n"],
    ids=["zip", "list", "dict", "bytes"],
)
def test_not_a_journal(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(content)
    with pytest.raises(WorkspaceError, match="j: "):
        Journal(path, {"model": "m"})
    assert path.read_bytes() == content


def test_a_broken_line_inside(tmp_path: Path) -> None:
    path = tmp_path / "j"
    run("mixed", path)
    lines = path.read_bytes().split(b"\n")
    lines[4] = lines[4][:9]
    path.write_bytes(b"\n".join(lines))
    searched, _ = case("mixed")
    with pytest.raises(WorkspaceError, match="line 5 is not one of a journal"):
        Journal(path, journal_header(searched, {"model": "m"}))


def test_a_line_that_the_search_does_not_ask_for(tmp_path: Path) -> None:
    """It is cut with all that follows, and answers among those are used all the same."""
    run("mixed", tmp_path / "j")
    whole = (tmp_path / "j").read_bytes()
    lines = whole.split(b"\n")
    lines.insert(6, b'{"fp32":"1ff","sample":0,"passed":false,"failure":"gone"}')
    (tmp_path / "j").write_bytes(b"\n".join(lines))
    run("mixed", tmp_path / "j")
    assert (tmp_path / "j").read_bytes() == whole


def test_the_journal_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="cannot be opened"):
        Journal(tmp_path / "no" / "j", {})


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("only", [False, True])
def test_validate_is_asked_once_a_consumed_trial(only: bool, workers: int, tmp_path: Path) -> None:
    searched, evaluator = case("infinite")
    header = journal_header(searched, {})
    calls: list[tuple[int, float]] = []

    def validate(sample: int, trial: Trial) -> bool:
        calls.append((sample, trial.energy))
        return trial.energy < 0.02

    def again() -> SearchOutcome:
        journal = Journal(tmp_path / "j", header, validate_only=only)
        setting = Setting(journal=journal, workers=workers, validate=validate, validate_only=only)
        try:
            return search(searched, evaluator, setting=setting)
        finally:
            journal.close()

    outcome = again()
    count = len(calls)
    lines = (tmp_path / "j").read_text().splitlines()[1:]
    assert count == sum("validated" in line for line in lines)
    assert only == (count == len(lines))
    assert again() == outcome
    assert len(calls) == count


def test_a_failing_run_fails_its_trial_only() -> None:
    inner = hard(5, "finite", 60)

    class Crashing(Simulated):
        def run(self, fp32: UnitSet, sample: int) -> Trial:
            if 13 not in fp32:
                return Trial(sample, failure="the worker ran out of memory")
            return super().run(fp32, sample)

    outcome = search(problem(60), Crashing(60, inner.energy))
    assert outcome.passed
    assert outcome.complete
    assert 13 in outcome.required
    assert math.isinf(outcome.sensitivity[13])


class Breaking(Simulated):
    """Runs with unit 13 in 16 bits break, up to a number of them."""

    breaks = 10**9

    def run(self, fp32: UnitSet, sample: int) -> Trial:
        if 13 not in fp32 and self.breaks:
            self.breaks -= 1
            return Trial(sample, failure="a run has no result: it passed its time limit of 1 s")
        return super().run(fp32, sample)


def searched_in(path: Path, evaluator: Evaluator) -> SearchOutcome:
    journal = Journal(path, journal_header(problem(60), {}))
    try:
        return search(problem(60), evaluator, setting=Setting(journal=journal))
    finally:
        journal.close()


@pytest.mark.parametrize("breaks", [1, 2, 5, 10**9])
def test_a_run_that_broke_is_asked_again(breaks: int, tmp_path: Path) -> None:
    """As if it had not broken, where it ends at last, whatever was concluded in between."""
    energy = hard(5, "finite", 60).energy
    whole = searched_in(tmp_path / "whole", Simulated(60, energy))
    breaking = Breaking(60, energy)
    breaking.breaks = breaks
    broken = searched_in(tmp_path / "j", breaking)
    assert b"time limit" in (tmp_path / "j").read_bytes()
    assert 13 in broken.fp32 or breaks < 10**9
    assert searched_in(tmp_path / "j", Simulated(60, energy)) == whole
    assert (tmp_path / "j").read_bytes() == (tmp_path / "whole").read_bytes()
    assert 13 not in whole.fp32


@pytest.mark.parametrize("seed", range(4))
def test_killed_and_resumed_with_runs_that_always_break(seed: int, tmp_path: Path) -> None:
    evaluator = Breaking(60, hard(5, "finite", 60).energy)
    whole = searched_in(tmp_path / "whole", evaluator)
    rng, outcome = random.Random(seed), None
    while outcome is None:
        with contextlib.suppress(KilledError):
            outcome = searched_in(tmp_path / "j", Mortal(evaluator, rng.randrange(15, 60)))
    assert outcome == whole
    assert (tmp_path / "j").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("most", [1, 2, 3, 10, 20, 30])
def test_a_budget_of_trials(most: int) -> None:
    searched, evaluator = case("mixed")
    outcome = search(replace(searched, max_trials=most), evaluator)
    assert len(outcome.trials) <= most
    assert not outcome.complete
    assert outcome.passed
    assert all(evaluator.run(outcome.fp32, s).passed for s in searched.searched)


def test_more_trials_never_cost_more() -> None:
    evaluator, costs = budget(1, 60, over=5)
    prices = [
        search(problem(60, costs, max_trials=most), evaluator).price for most in (5, 40, 80, 400)
    ]
    assert prices == sorted(prices, reverse=True)
    assert prices[-1] < prices[0]


def test_no_time_left() -> None:
    searched, evaluator = case("mixed")
    outcome = search(replace(searched, time_budget_s=1e-9), evaluator)
    assert not outcome.complete
    assert len(outcome.fp32) == 120
    assert outcome.passed
    assert [row.phase for row in outcome.trials] == ["check"]
