"""Runs of an evaluator: limited in time, ended together, their handles used again."""

from __future__ import annotations

import threading
import time

import pytest

from halve.errors import SessionError
from halve.session.runs import Run, Runs


def test_a_handle_is_used_again() -> None:
    runs = Runs(60.0)
    first = runs.begin()
    assert runs.begin() is not first  # that one is busy
    runs.finish(first)
    assert runs.begin() is first


def test_a_handle_that_was_ended_is_not_used_again() -> None:
    runs = Runs(0.01)
    first = runs.begin()
    with first.limit():
        until_ended(first)
    assert first.options.terminate
    runs.finish(first)
    second = runs.begin()
    assert second is not first
    assert not second.options.terminate


def test_a_handle_of_its_own_configuration_is_not_used_again() -> None:
    runs, config = Runs(None), {"memory.enable_memory_arena_shrinkage": "cpu:0"}
    first = runs.begin(config)
    assert first.options.get_run_config_entry("memory.enable_memory_arena_shrinkage") == "cpu:0"
    runs.finish(first)
    second = runs.begin()
    assert second is not first
    runs.finish(second)
    assert runs.begin(config) is not second


def test_all_that_are_in_progress_are_ended_and_none_begins() -> None:
    runs = Runs(60.0)
    done, first, second = (runs.begin() for _ in range(3))
    runs.finish(done)
    runs.end()
    assert (first.ended, second.ended, done.ended) == ("it was ended", "it was ended", "")
    with pytest.raises(SessionError, match="the search was ended"):
        runs.begin()


def test_threads_do_not_share_a_handle() -> None:
    runs, clashes = Runs(60.0), list[int]()
    using: set[int] = set()
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        for _ in range(300):
            run = runs.begin()
            if id(run) in using:
                clashes.append(id(run))
            using.add(id(run))
            time.sleep(0)
            using.discard(id(run))
            runs.finish(run)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not clashes


def until_ended(run: Run) -> None:
    end_s = time.monotonic() + 10
    while not run.ended and time.monotonic() < end_s:
        time.sleep(0.001)
    assert "time limit of 0.01 s" in run.ended
