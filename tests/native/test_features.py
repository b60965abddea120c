"""Backends are told apart, and a forced choice fails loudly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from halve._native.features import backend_number, backends, chosen_backend, forced_backend
from halve.errors import BackendUnavailableError

CPUINFO = Path("/proc/cpuinfo")
CAST_ONE = """
import numpy as np
from halve.cast import cast
from halve._native.features import chosen_backend
from halve.errors import BackendUnavailableError
try:
    half, _ = cast(np.float32([1.5]), "float16")
    print(chosen_backend(), half[0])
except BackendUnavailableError as error:
    print("refused:", error)
"""


def cast_with(forced: str | None) -> str:
    """What a fresh process prints: the variable is read once a process."""
    environment = {k: v for k, v in os.environ.items() if k != "HALVE_FORCE_BACKEND"}
    if forced is not None:
        environment["HALVE_FORCE_BACKEND"] = forced
    command = [sys.executable, "-c", CAST_ONE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_scalar_is_always_usable_and_usable_means_compiled() -> None:
    by_name = {info.name: info for info in backends()}
    assert set(by_name) == {"scalar", "avx2", "avx512", "neon"}
    assert by_name["scalar"].usable
    assert all(info.compiled for info in backends() if info.usable)
    assert [info.name for info in backends() if info.chosen] == [chosen_backend()]


@pytest.mark.skipif(not CPUINFO.exists(), reason="this system has no /proc/cpuinfo")
def test_usable_agrees_with_the_kernel_of_the_system() -> None:
    flags = set(CPUINFO.read_text().split())
    needs = {
        "avx2": {"avx2", "f16c", "fma"},
        "avx512": {"avx512f", "avx512bw", "avx512vl", "avx512dq"},
        "neon": {"asimd"},
    }
    for info in backends():
        if info.compiled and info.name in needs:
            assert info.usable == (needs[info.name] <= flags), info.name


@pytest.mark.parametrize("name", [info.name for info in backends() if info.usable])
def test_a_usable_backend_can_be_forced(name: str) -> None:
    assert cast_with(name) == f"{name} 1.5"


@pytest.mark.parametrize("name", [info.name for info in backends() if not info.usable])
def test_a_backend_that_is_not_usable_fails_loudly(name: str) -> None:
    said = cast_with(name)
    assert said.startswith("refused: HALVE_FORCE_BACKEND is")
    assert repr(name) in said


def test_an_unknown_backend_fails_loudly() -> None:
    said = cast_with("sse9")
    assert said.startswith("refused: HALVE_FORCE_BACKEND is 'sse9'")
    assert "scalar" in said


def test_unset_and_empty_choose_the_best() -> None:
    assert cast_with(None) == cast_with("")


def test_asking_for_an_unknown_backend() -> None:
    with pytest.raises(BackendUnavailableError, match="'sse9'"):
        backend_number("sse9")


def test_forced_name_is_reported() -> None:
    assert forced_backend() == (os.environ.get("HALVE_FORCE_BACKEND") or None)
