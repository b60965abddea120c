"""All 2^32 inputs: the scalar kernel against the numpy reference, the others against it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from halve._native.cast import cast_into
from halve._native.features import backends
from halve._native.reference import reference_cast
from halve.types import CastBounds, DType

pytestmark = pytest.mark.slow

VECTOR_BACKENDS = [info.name for info in backends() if info.usable and info.name != "scalar"]
HALVES = [DType.FLOAT16, DType.BFLOAT16]
CHUNK = 1 << 20


def over_all_inputs(check: Callable[[np.ndarray], None]) -> None:
    """`check` on every float32, a chunk at a time, on two threads (the work releases the GIL)."""
    offsets = np.arange(CHUNK, dtype=np.uint32)
    with ThreadPoolExecutor(2) as pool:
        starts = range(0, 1 << 32, CHUNK)
        for _ in pool.map(lambda start: check((offsets + np.uint32(start)).view("f4")), starts):
            pass


@pytest.mark.parametrize("half", HALVES)
def test_scalar_equals_the_reference(half: DType) -> None:
    def check(x: np.ndarray) -> None:
        got = np.empty(x.size, np.uint16)
        counts = cast_into(x, got, half, CastBounds(), threads=1, backend="scalar")
        expected, expected_counts = reference_cast(x, half, CastBounds())
        assert np.array_equal(got, expected), x[got != expected][:4]
        assert counts == expected_counts

    over_all_inputs(check)


@pytest.mark.parametrize("bounds", [CastBounds(), CastBounds(1e-7, 1e4)], ids=["open", "bounded"])
@pytest.mark.parametrize("half", HALVES)
def test_vector_backends_equal_scalar(half: DType, bounds: CastBounds) -> None:
    def check(x: np.ndarray) -> None:
        expected = np.empty(x.size, np.uint16)
        expected_counts = cast_into(x, expected, half, bounds, threads=1, backend="scalar")
        got = np.empty_like(expected)
        for backend in VECTOR_BACKENDS:
            counts = cast_into(x, got, half, bounds, threads=1, backend=backend)
            assert np.array_equal(got, expected), (backend, x[got != expected][:4])
            assert counts == expected_counts, backend

    over_all_inputs(check)
