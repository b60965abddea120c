"""All 2^32 inputs: the scalar kernel against the numpy reference, the others against it."""

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

VECTOR_BACKENDS = [info.name for info in backends() if info.usable and info.name != "scalar"]
HALVES = [DType.FLOAT16, DType.BFLOAT16]
# Small enough for the arrays of a chunk to stay in the caches.
CHUNK = 1 << 16
SIGN = np.uint32(1 << 31)
HALF_SIGN = np.uint16(1 << 15)

Patterns = NDArray[np.uint32]


def expected_cast(x: NDArray[np.float32], half: DType) -> tuple[NDArray[np.uint16], CastCounts]:
    """What the reference says, for a chunk of non-negative values in increasing order.

    Where float16 has nothing but zero, its answer is written out: numpy takes minutes there.
    """
    largest = float(x[-1])
    if half is not DType.FLOAT16 or not largest < 2.0**-27:
        return reference_cast(x, half, CastBounds())
    counts = CastCounts(
        elements=x.size,
        flushed=int(np.count_nonzero(x)),
        max_abs=largest,
        max_abs_error=largest,
        max_rel_error=1.0,
    )
    return np.zeros(x.size, np.uint16), counts


def over_patterns(end: int, check: Callable[[Patterns], None]) -> None:
    """`check` on 0 to end - 1, a chunk at a time, on two threads (the work releases the GIL)."""
    offsets = np.arange(CHUNK, dtype=np.uint32)
    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(lambda start: check(offsets + np.uint32(start)), range(0, end, CHUNK)):
            pass


@pytest.mark.parametrize("half", HALVES)
def test_scalar_equals_the_reference(half: DType) -> None:
    """Positive patterns against numpy, negative ones against their positive twins."""

    def check(pattern: Patterns) -> None:
        x = pattern.view(np.float32)
        got, mirrored = np.empty(x.size, np.uint16), np.empty(x.size, np.uint16)
        counts = cast_into(x, got, half, CastBounds(), threads=1, backend="scalar")
        expected, expected_counts = expected_cast(x, half)
        assert np.array_equal(got, expected), x[got != expected][:4]
        assert counts == expected_counts
        negative = (pattern | SIGN).view(np.float32)
        counts = cast_into(negative, mirrored, half, CastBounds(), threads=1, backend="scalar")
        assert np.array_equal(mirrored, expected | HALF_SIGN)
        assert counts == expected_counts

    over_patterns(1 << 31, check)


@pytest.mark.parametrize("bounds", [CastBounds(), CastBounds(1e-7, 1e4)], ids=["open", "bounded"])
@pytest.mark.parametrize("half", HALVES)
def test_vector_backends_equal_scalar(half: DType, bounds: CastBounds) -> None:
    def check(pattern: Patterns) -> None:
        x = pattern.view(np.float32)
        expected, got = np.empty(x.size, np.uint16), np.empty(x.size, np.uint16)
        expected_counts = cast_into(x, expected, half, bounds, threads=1, backend="scalar")
        for backend in VECTOR_BACKENDS:
            counts = cast_into(x, got, half, bounds, threads=1, backend=backend)
            assert np.array_equal(got, expected), (backend, x[got != expected][:4])
            assert counts == expected_counts, backend

    over_patterns(1 << 32, check)
