"""The watchdog: what is overdue is called, what ended in time is not."""

from __future__ import annotations

import gc
import threading

from halve.session.watchdog import Watchdog


def test_what_takes_too_long_is_told() -> None:
    late = threading.Event()
    with Watchdog().limit(0.01, late.set):
        assert late.wait(10)


def test_a_shorter_limit_is_kept_beside_a_longer_one() -> None:
    dog, late, never = Watchdog(), threading.Event(), threading.Event()
    with dog.limit(1000, never.set), dog.limit(0.01, late.set):
        assert late.wait(10)
    assert not never.is_set()


def test_what_ended_is_not_called_and_not_kept() -> None:
    dog, late, called = Watchdog(), threading.Event(), list[int]()
    for number in range(100):
        with dog.limit(0.02 if number % 2 else 1000, lambda: called.append(1)):
            pass
    with dog.limit(0.05, late.set):
        assert late.wait(10)
    assert not called
    gc.collect()
    assert not dog._limits


def test_a_limit_holds_for_one_block_after_another() -> None:
    dog, called, rest = Watchdog(), threading.Semaphore(0), threading.Event()
    limit = dog.limit(0.05, called.release)
    for _ in range(2):
        for _ in range(100):
            with limit:
                pass
        with limit:
            assert called.acquire(timeout=10)
        # Overdue once, and never again for the block that has ended.
        assert not rest.wait(0.1)
        assert not called.acquire(blocking=False)


def test_a_limit_begun_after_the_thread_fell_asleep_is_kept() -> None:
    dog, first, second = Watchdog(), threading.Event(), threading.Event()
    short, long = dog.limit(0.01, second.set), dog.limit(1000, first.set)
    with long:
        with short:
            assert second.wait(10)
        second.clear()
        with short:
            assert second.wait(10)
    assert not first.is_set()


def test_after_a_rest_a_limit_is_still_kept() -> None:
    dog = Watchdog()
    for _ in range(2):
        late = threading.Event()
        with dog.limit(0.01, late.set):
            assert late.wait(10)
