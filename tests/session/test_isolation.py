"""A trial in a child process may crash, hang or run out of memory; the next one works."""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial

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
