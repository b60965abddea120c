"""A trial in a child process may crash, hang or run out of memory; the next one works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from halve.errors import SessionError
from halve.search_types import Trial, UnitSet
from halve.session.isolation import Isolated

CRASH, HANG, HUNGRY, RAISE, LEAVE = range(1, 6)
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes are passed to children")


class Rogue:
    """Does what the unit that is in float32 stands for."""

    def run(self, fp32: UnitSet, sample: int) -> Trial:
        """Misbehave, or answer."""
        if CRASH in fp32:
            os.kill(os.getpid(), signal.SIGSEGV)
        if HANG in fp32:
            time.sleep(600)
        if HUNGRY in fp32:
            np.ones(1 << 40, np.uint8)
        if RAISE in fp32:
            raise RuntimeError("out of luck")
        if LEAVE in fp32:
            os._exit(3)
        return Trial(sample, failure=f"process {os.getpid()}")

    def close(self) -> None:
        """Nothing is held."""


def broken() -> Rogue:
    raise ValueError("no evaluator today")


def isolated(**options: object) -> Isolated:
    return Isolated(partial(Rogue), **{"workers": 1, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        (CRASH, "ended by signal 11"),
        (HANG, "no answer within 1 s"),
        (HUNGRY, "MemoryError"),
        (RAISE, "RuntimeError: out of luck"),
        (LEAVE, "ended by exit status 3"),
    ],
)
def test_a_bad_trial_fails_and_the_next_one_works(unit: int, words: str) -> None:
    evaluator = isolated(timeout_s=1.0, memory_bytes=8 << 30)
    try:
        bad = evaluator.run(frozenset({unit}), 0)
        assert words in bad.failure
        assert not bad.passed
        assert evaluator.run(frozenset(), 4).failure.startswith("process")
        assert evaluator.run(frozenset(), 4).sample == 4
    finally:
        evaluator.close()


def test_a_factory_that_fails_is_told_at_once() -> None:
    with pytest.raises(SessionError, match="ValueError: no evaluator today"):
        Isolated(broken, workers=1)


def test_a_closed_evaluator_has_no_children() -> None:
    evaluator = isolated(workers=2)
    number = int(evaluator.run(frozenset(), 0).failure.split()[1])
    evaluator.close()
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)
    assert evaluator.run(frozenset(), 0).failure == "the search was ended"


def mortal(marker: Path) -> Rogue:
    if marker.exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return Rogue()


def sleeper() -> Rogue:
    time.sleep(600)
    return Rogue()


def test_a_child_that_ends_before_it_is_ready_fails_its_trial(tmp_path: Path) -> None:
    evaluator = Isolated(partial(mortal, tmp_path / "now"), workers=1)
    try:
        assert "exit status 3" in evaluator.run(frozenset({LEAVE}), 0).failure
        (tmp_path / "now").touch()
        trial = evaluator.run(frozenset(), 0)
        assert not trial.passed
        assert "ended by signal 9 before its evaluator was ready" in trial.failure
        with pytest.raises(SessionError, match="ended by signal 9 before"):
            Isolated(partial(mortal, tmp_path / "now"), workers=1)
    finally:
        evaluator.close()


def test_a_child_that_is_not_ready_in_time_is_ended(
    children: list[subprocess.Popen[bytes]],
) -> None:
    with pytest.raises(SessionError, match=r"no answer within 0\.2 s"):
        Isolated(sleeper, workers=1, start_timeout_s=0.2)
    assert [child.poll() for child in children] == [-signal.SIGKILL]


def test_a_child_does_not_see_a_terminals_interrupt() -> None:
    evaluator = isolated()
    try:
        number = int(evaluator.run(frozenset(), 0).failure.split()[1])
        os.kill(number, signal.SIGINT)
        assert evaluator.run(frozenset(), 0).failure == f"process {number}"
    finally:
        evaluator.close()
