"""The watchdog: what is overdue is called, what ended in time is not."""

from __future__ import annotations

import threading

from halve.session import watchdog
from halve.session.watchdog import Watchdog


def test_what_takes_too_long_is_told() -> None:
    late = threading.Event()
    with Watchdog().limit(0.01, late.set, "value") as value:
        assert late.wait(10)
    assert value == "value"


def test_a_shorter_limit_is_kept_beside_a_longer_one() -> None:
    dog, late, never = Watchdog(), threading.Event(), threading.Event()
    with dog.limit(1000, never.set, None), dog.limit(0.01, late.set, None):
        assert late.wait(10)
    assert not never.is_set()


def test_what_ended_is_not_called_and_not_kept() -> None:
    dog, late, called = Watchdog(), threading.Event(), list[int]()
    for number in range(3 * watchdog._SLACK):
        with dog.limit(0.02 if number % 2 else 1000, lambda: called.append(1), None):
            pass
    assert len(dog._due) <= watchdog._SLACK + 2
    with dog.limit(0.05, late.set, None):
        assert late.wait(10)
    assert not called


def test_after_a_rest_a_limit_is_still_kept() -> None:
    dog = Watchdog()
    for _ in range(2):
        late = threading.Event()
        with dog.limit(0.01, late.set, None):
            assert late.wait(10)
