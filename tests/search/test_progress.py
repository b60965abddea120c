"""What is told while a search runs, and what the options of a problem refuse."""

from __future__ import annotations

import threading

import pytest
from simulated import Simulated, hard, problem, units

from halve.errors import OptionError
from halve.search import Parameters, Problem, Setting, search
from halve.search_types import SearchEvent, Trial, UnitSet


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("kind", ["infinite", "finite", "pairs"])
def test_an_event_a_trial(kind: str, workers: int) -> None:
    events: list[SearchEvent] = []
    threads: set[int] = set()

    def tell(event: SearchEvent) -> None:
        events.append(event)
        threads.add(threading.get_ident())

    setting = Setting(progress=tell, workers=workers)
    outcome = search(problem(100), hard(2, kind, 100), setting=setting)
    assert threads == {threading.get_ident()}
    assert tuple(event.row for event in events if event.row) == outcome.trials
    assert [event.trials for event in events if event.row] == list(
        range(1, len(outcome.trials) + 1)
    )
    assert all(len(event.states) == 100 and set(event.states) <= set("?hf") for event in events)
    assert all(0 <= low <= high < 100 for event in events for low, high in event.clusters)
    last = events[-1].states
    assert {place for place, state in enumerate(last) if state == "f"} == outcome.fp32
    assert "?" not in last
    assert events[-1].best_kept == len(outcome.fp32)
    kept = [event.best_kept for event in events if event.best_kept is not None]
    assert kept == sorted(kept, reverse=True)
    assert any(event.remaining_s is not None for event in events)


def test_an_exception_of_the_callback_ends_the_search() -> None:
    def stop(event: SearchEvent) -> None:
        if event.trials == 5:
            raise KeyboardInterrupt

    evaluator = hard(2, "infinite", 100)
    before = set(threading.enumerate())  # other tests' sessions may have left their watchdog
    with pytest.raises(KeyboardInterrupt):
        search(problem(100), evaluator, setting=Setting(progress=stop, workers=2))
    assert set(threading.enumerate()) <= before


def test_an_error_of_the_evaluator_is_raised() -> None:
    class Broken(Simulated):
        def run(self, fp32: UnitSet, sample: int) -> Trial:
            if len(fp32) < 9:
                raise ZeroDivisionError
            return super().run(fp32, sample)

    with pytest.raises(ZeroDivisionError):
        search(problem(9), Broken(9, lambda _h, _s: 0.0), setting=Setting(workers=2))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"samples": 0}, "no sample is left"),
        ({"samples": 1, "held_out": frozenset({0})}, "no sample is left"),
        ({"samples": 2, "held_out": frozenset({2})}, "beyond 1"),
        ({"samples": 1, "margin": 0.0}, "margin is 0.0; allowed: above 0 and at most 1"),
        ({"samples": 1, "margin": 1.1}, "margin is 1.1; allowed: above 0 and at most 1"),
        ({"samples": 1, "given": frozenset({4})}, "given names unit 4; allowed: 0 to 3"),
        ({"samples": 1, "marked": frozenset({-1})}, "marked names unit -1"),
        ({"samples": 1, "strategy": "luck"}, "strategy is 'luck'"),
        ({"samples": 1, "units": units(4)[::-1]}, "not its place"),
    ],
)
def test_a_problem_that_makes_no_sense(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Problem(**{"units": units(4), **wrong})  # type: ignore[arg-type]


def test_parameters_that_make_no_sense() -> None:
    with pytest.raises(OptionError, match="orders is"):
        Parameters(orders=("luck",))
    with pytest.raises(OptionError, match="refine_until"):
        Parameters(refine_until=-1)
