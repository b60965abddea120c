"""An evaluator on demand: made once, gone while the judge works, made again after."""

from __future__ import annotations

import threading

from halve.auto.on_demand import OnDemand
from halve.search_types import Trial, UnitSet


class Recorder:
    """Counts what exists, and lets a test hold a run."""

    def __init__(self) -> None:
        self.made = self.alive = 0
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def make(self) -> Recorder:
        self.made += 1
        self.alive += 1
        return self

    def run(self, fp32: UnitSet, sample: int) -> Trial:
        self.entered.set()
        assert self.go_on.wait(10)
        assert self.alive == 1
        return Trial(sample, failure=str(sorted(fp32)))

    def close(self) -> None:
        self.alive -= 1


def test_it_is_made_by_the_first_run_and_again_after_room_was_made() -> None:
    recorder = Recorder()
    evaluator = OnDemand(recorder.make)
    assert recorder.made == 0
    assert evaluator.run(frozenset({2}), 1) == Trial(1, failure="[2]")
    evaluator.run(frozenset(), 0)
    assert (recorder.made, recorder.alive) == (1, 1)
    with evaluator.cleared():
        assert recorder.alive == 0
    evaluator.run(frozenset(), 0)
    assert (recorder.made, recorder.alive) == (2, 1)
    evaluator.close()
    evaluator.close()
    assert recorder.alive == 0


def test_what_was_learnt_is_not_run() -> None:
    recorder = Recorder()
    evaluator = OnDemand(recorder.make)
    known = (Trial(0, failure="first"), Trial(1, failure="second"))
    evaluator.learn(frozenset({2}), known)
    assert tuple(evaluator.run(frozenset({2}), sample) for sample in (0, 1)) == known
    assert recorder.made == 0
    assert evaluator.run(frozenset({2, 3}), 1) == Trial(1, failure="[2, 3]")


def test_room_waits_for_runs_and_runs_wait_for_room() -> None:
    recorder = Recorder()
    evaluator = OnDemand(recorder.make)
    recorder.go_on.clear()
    first = threading.Thread(target=evaluator.run, args=(frozenset(), 0))
    first.start()
    assert recorder.entered.wait(10)
    inside, leave = threading.Event(), threading.Event()

    def judge() -> None:
        with evaluator.cleared():
            inside.set()
            assert leave.wait(10)

    judging = threading.Thread(target=judge)
    judging.start()
    assert not inside.wait(0.05)
    recorder.go_on.set()
    assert inside.wait(10)
    assert recorder.alive == 0
    second = threading.Thread(target=evaluator.run, args=(frozenset(), 0))
    second.start()
    second.join(0.05)
    assert second.is_alive()
    leave.set()
    for thread in (first, judging, second):
        thread.join(10)
        assert not thread.is_alive()
    assert recorder.made == 2
