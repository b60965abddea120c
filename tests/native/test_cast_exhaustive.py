"""All 2^32 inputs: every backend against the numpy reference, and within bounds against scalar."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from halve._native.cast import cast_into
from halve._native.features import backends
from halve._native.reference import reference_cast
from halve.types import CastBounds, CastCounts, DType

pytestmark = pytest.mark.slow

BACKENDS = [info.name for info in backends() if info.usable]
HALVES = [DType.FLOAT16, DType.BFLOAT16]
# Small enough for the arrays of a chunk to stay in the caches.
CHUNK = 1 << 16
SIGN = np.uint32(1 << 31)
HALF_SIGN = np.uint16(1 << 15)
INFINITY = np.uint16(0x7C00)  # float16's

Patterns = NDArray[np.uint32]


def expected_cast(x: NDArray[np.float32], half: DType) -> tuple[NDArray[np.uint16], CastCounts]:
    """What the reference says, for a chunk of non-negative values in increasing order.

    Where float16 has nothing but zero, or nothing but infinity for finite values, its answer is
    written out: numpy takes minutes there.
    """
    least, largest = float(x[0]), float(x[-1])
    if half is DType.FLOAT16 and largest < 2.0**-27:
        counts = CastCounts(
            elements=x.size,
            flushed=int(np.count_nonzero(x)),
            max_abs=largest,
            max_abs_error=largest,
            max_rel_error=1.0,
        )
        return np.zeros(x.size, np.uint16), counts
    if half is DType.FLOAT16 and least >= 65536.0 and np.isfinite(largest):
        counts = CastCounts(elements=x.size, overflow=x.size, max_abs=largest)
        return np.full(x.size, INFINITY, np.uint16), counts
    return reference_cast(x, half, CastBounds())


def over_magnitudes(check: Callable[[Patterns], None]) -> None:
    """`check` on all patterns without a sign, a chunk at a time, on two threads (the work releases
    the GIL).
    """
    offsets = np.arange(CHUNK, dtype=np.uint32)
    starts = range(0, 1 << 31, CHUNK)
    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(lambda start: check(offsets + np.uint32(start)), starts):
            pass


def assert_cast(
    pattern: Patterns,
    half: DType,
    bounds: CastBounds,
    expected: NDArray[np.uint16],
    counts: CastCounts,
) -> None:
    """Every backend casts the patterns as expected, and their negatives to negatives of that."""
    for sign, half_sign in ((np.uint32(0), np.uint16(0)), (SIGN, HALF_SIGN)):
        x, signed = (pattern | sign).view(np.float32), expected | half_sign
        got = np.empty(x.size, np.uint16)
        for backend in BACKENDS:
            found = cast_into(x, got, half, bounds, threads=1, backend=backend)
            assert np.array_equal(got, signed), (backend, x[got != signed][:4])
            assert found == counts, backend


@pytest.mark.parametrize("half", HALVES)
def test_backends_equal_the_reference(half: DType) -> None:
    def check(pattern: Patterns) -> None:
        expected, counts = expected_cast(pattern.view(np.float32), half)
        assert_cast(pattern, half, CastBounds(), expected, counts)

    over_magnitudes(check)


@pytest.mark.parametrize("half", HALVES)
def test_backends_equal_scalar_within_bounds(half: DType) -> None:
    bounds = CastBounds(1e-7, 1e4)

    def check(pattern: Patterns) -> None:
        x = pattern.view(np.float32)
        expected = np.empty(x.size, np.uint16)
        counts = cast_into(x, expected, half, bounds, threads=1, backend="scalar")
        assert_cast(pattern, half, bounds, expected, counts)

    over_magnitudes(check)
