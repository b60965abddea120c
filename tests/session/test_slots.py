"""Places on devices: how many run at a time, and what happens when memory does not do."""

from __future__ import annotations

import threading

from halve.session.slots import Slots


def most_at_a_time(slots: Slots, device: int, runs: int) -> int:
    """The most of `runs` threads that were inside together."""
    lock, inside, most = threading.Lock(), 0, 0
    gate = threading.Barrier(runs)

    def work() -> None:
        nonlocal inside, most
        gate.wait()
        with slots.take(device):
            with lock:
                inside += 1
                most = max(most, inside)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(runs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return most


def test_no_more_than_the_limit_are_inside() -> None:
    slots = Slots([0, 1], 2)
    for _ in range(20):
        assert most_at_a_time(slots, 0, 6) <= 2


def test_devices_do_not_wait_for_each_other() -> None:
    slots = Slots([0, 1], 1)
    with slots.take(0) as first, slots.take(1) as second:
        assert first
        assert second


def test_a_device_keeps_one_place() -> None:
    slots = Slots([0, 3], 5)
    limits = []
    for _ in range(4):
        slots.shrink(3)
        limits.append(slots.limit(3))
    assert limits == [2, 1, 1, 1]
    assert slots.limit(0) == 5
    with slots.take(0) as alone:
        assert not alone
    with slots.take(3) as alone:
        assert alone


def test_places_come_back_after_an_error() -> None:
    slots = Slots([0], 1)
    for _ in range(3):
        try:
            with slots.take(0):
                raise MemoryError
        except MemoryError:
            pass
    with slots.take(0):
        assert slots.limit(0) == 1
