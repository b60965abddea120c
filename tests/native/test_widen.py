"""Widening and rounding on numpy arrays, by every usable backend."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from halve._native.cast import cast_into, round_into, widen_into
from halve._native.features import backends
from halve.errors import CastError
from halve.types import CastBounds, DType

BACKENDS = [info.name for info in backends() if info.usable]
TYPES: dict[DType, Any] = {DType.FLOAT16: np.float16, DType.BFLOAT16: ml_dtypes.bfloat16}
EVERY = np.arange(1 << 16, dtype=np.uint16)

pytestmark = [
    pytest.mark.parametrize("backend", BACKENDS),
    pytest.mark.parametrize("half", TYPES),
]


def test_every_pattern_is_what_numpy_says(backend: str, half: DType) -> None:
    values = EVERY.view(TYPES[half])
    wide = np.empty(EVERY.shape, np.float32)
    widen_into(values, wide, half, backend=backend)
    expected = values.astype(np.float32)
    np.testing.assert_array_equal(wide, expected)
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(wide[numbers].view(np.uint32), expected[numbers].view(np.uint32))
    assert (np.signbit(wide) == (EVERY >> 15).astype(bool)).all()


@pytest.mark.parametrize("bounds", [CastBounds(), CastBounds(1e-7, 1e4)], ids=str)
def test_rounding_is_the_cast_and_back(backend: str, half: DType, bounds: CastBounds) -> None:
    x = np.random.default_rng(1).integers(0, 1 << 32, 9001, dtype=np.uint32).view(np.float32)
    narrow, expected = np.empty(x.shape, np.uint16), np.empty_like(x)
    counts = cast_into(x, narrow, half, bounds, backend=backend)
    widen_into(narrow, expected, half, backend=backend)
    got = np.empty_like(x)
    assert round_into(x, got, half, bounds, backend=backend) == counts
    np.testing.assert_array_equal(got.view(np.uint32), expected.view(np.uint32))
    assert round_into(x, x, half, bounds, backend=backend, threads=1) == counts
    np.testing.assert_array_equal(x.view(np.uint32), expected.view(np.uint32))


def test_unequal_sizes_and_wrong_bounds_are_refused(backend: str, half: DType) -> None:
    three, four = np.ones(3, np.float32), np.full(4, 7, np.float32)
    with pytest.raises(CastError, match="equal sizes"):
        round_into(three, four, half, CastBounds(), backend=backend)
    with pytest.raises(CastError, match="equal sizes"):
        widen_into(three.view(np.uint16), four, half, backend=backend)
    with pytest.raises(CastError, match="min_positive"):
        round_into(four, four, half, CastBounds(2.0, 1.0), backend=backend)
    assert (four == 7).all()
