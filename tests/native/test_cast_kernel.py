"""Every usable backend against the numpy reference: bits and counts."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from halve._native.cast import STORE_POLICIES, cast_into
from halve._native.features import backends
from halve._native.reference import reference_cast
from halve.errors import CastError
from halve.types import CastBounds, CastCounts, DType

BACKENDS = [info.name for info in backends() if info.usable]
HALVES = [DType.FLOAT16, DType.BFLOAT16]
BOUNDS = [
    CastBounds(),
    CastBounds(1e-7, 1e4),
    CastBounds(0.0, 65504.0),
    CastBounds(1e-30, 1e30),
    CastBounds(1.0, 1.0),
    CastBounds(1e-40, 1e-39),  # everything is flushed or subnormal
    CastBounds(7e4, 7e5),  # every nonzero value overflows float16
    CastBounds(1e-45, 3.4028234e38),
]
SPECIAL_PATTERNS = [
    *(0x00000000, 0x00000001, 0x00007FFF, 0x00008000, 0x00008001, 0x007F7FFF, 0x007F8000),
    *(0x007FFFFF, 0x00800000, 0x1C7FFFFF, 0x1C800000, 0x32FFFFFF, 0x33000000, 0x33000001),
    *(0x33800000, 0x387FDFFF, 0x387FE000, 0x387FFFFF, 0x38800000, 0x3F7FFFFF, 0x3F800000),
    *(0x3F801000, 0x3F801001, 0x3F803000, 0x3F808000, 0x3F818000, 0x461C4000, 0x461C4001),
    *(0x477FE000, 0x477FE001, 0x477FEFFF, 0x477FF000, 0x477FFFFF, 0x7F7F7FFF, 0x7F7F8000),
    *(0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7F802000, 0x7FBFFFFF, 0x7FC00000, 0x7FFFFFFF),
]

pytestmark = pytest.mark.parametrize("backend", BACKENDS)


def run(
    x: NDArray[np.float32], half: DType, bounds: CastBounds, backend: str, **options: Any
) -> tuple[NDArray[np.uint16], CastCounts]:
    result = np.empty(x.shape, np.uint16)
    return result, cast_into(x, result, half, bounds, backend=backend, **options)


def assert_equals_reference(
    x: NDArray[np.float32], half: DType, bounds: CastBounds, backend: str
) -> None:
    expected, expected_counts = reference_cast(x, half, bounds)
    got, counts = run(x, half, bounds, backend)
    np.testing.assert_array_equal(got, expected)
    assert counts == expected_counts


def patterns(n: int, seed: int) -> NDArray[np.float32]:
    """Uniform in bits: every exponent, infinities, NaN and subnormals among them."""
    random = np.random.default_rng(seed)
    return random.integers(0, 1 << 32, n, dtype=np.uint32).view(np.float32)


def weights(n: int, seed: int, scale: float) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).standard_normal(n) * scale).astype(np.float32)


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("scale", [0.0, 2e-2, 2e-5, 1e-8, 3e4], ids=lambda s: f"scale{s:g}")
def test_values_like_weights(backend: str, half: DType, bounds: CastBounds, scale: float) -> None:
    assert_equals_reference(weights(5000, 1, scale), half, bounds, backend)


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
@pytest.mark.parametrize("half", HALVES)
def test_random_patterns(backend: str, half: DType, bounds: CastBounds) -> None:
    assert_equals_reference(patterns(50_000, 2), half, bounds, backend)


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
@pytest.mark.parametrize("half", HALVES)
def test_special_values_alone_and_together(backend: str, half: DType, bounds: CastBounds) -> None:
    positive = np.array(SPECIAL_PATTERNS, np.uint32)
    special = np.concatenate([positive, positive | np.uint32(1 << 31)]).view(np.float32)
    assert_equals_reference(special, half, bounds, backend)
    for value in special:
        # Long enough for the vector loop, so that one odd lane is seen there.
        ordinary = weights(300, 3, 1.0)
        ordinary[77] = value
        assert_equals_reference(ordinary, half, bounds, backend)


@pytest.mark.parametrize("half", HALVES)
def test_bits_around_every_power_of_two(backend: str, half: DType) -> None:
    around = np.arange(-300, 300) + (np.arange(256)[:, None] << 23)
    x = (around.ravel() & 0xFFFFFFFF).astype(np.uint32).view(np.float32)
    for bounds in BOUNDS[:3]:
        assert_equals_reference(x, half, bounds, backend)


@pytest.mark.parametrize("half", HALVES)
def test_every_length_around_lane_multiples(backend: str, half: DType) -> None:
    mixed, plain = patterns(211, 4), weights(211, 4, 0.1)
    for n in range(212):
        assert_equals_reference(mixed[:n], half, CastBounds(1e-7, 1e4), backend)
        assert_equals_reference(plain[:n], half, CastBounds(), backend)


@pytest.mark.parametrize("store", STORE_POLICIES)
@pytest.mark.parametrize("half", HALVES)
def test_misaligned_starts(backend: str, half: DType, store: str) -> None:
    n = 333
    x = patterns(n, 5)
    expected, expected_counts = reference_cast(x, half, CastBounds())
    for src_shift in (0, 1, 2, 3, 4, 20, 63):
        source = np.zeros(4 * n + 64, np.uint8)[src_shift : src_shift + 4 * n].view(np.float32)
        source[:] = x
        for dst_shift in (0, 1, 2, 31, 62, 63):
            room = np.full(2 * n + 128, 0xAB, np.uint8)
            result = room[dst_shift : dst_shift + 2 * n].view(np.uint16)
            counts = cast_into(
                source, result, half, CastBounds(), store=store, backend=backend, threads=1
            )
            np.testing.assert_array_equal(result, expected)
            assert counts == expected_counts
            assert (room[:dst_shift] == 0xAB).all()
            assert (room[dst_shift + 2 * n :] == 0xAB).all()


@given(
    pattern=st.lists(st.integers(0, (1 << 32) - 1), max_size=150),
    low=st.floats(0, 2.0**100, width=32),
    width=st.floats(1, 2.0**26, width=32),
    half=st.sampled_from(HALVES),
    unbounded=st.booleans(),
)
@settings(deadline=None, max_examples=150)
def test_any_bits_under_any_bounds(  # noqa: PLR0917
    backend: str,
    pattern: list[int],
    low: float,
    width: float,
    half: DType,
    unbounded: bool,
) -> None:
    high = math.inf if unbounded else max(low * width, 1e-45)
    x = np.array(pattern, np.uint32).view(np.float32)
    assert_equals_reference(x, half, CastBounds(low, high), backend)


@given(
    pattern=st.lists(st.integers(0, (1 << 32) - 1), min_size=2, max_size=150),
    cut=st.integers(0, 150),
)
@settings(deadline=None, max_examples=50)
def test_counts_of_parts_add_up(backend: str, pattern: list[int], cut: int) -> None:
    x = np.array(pattern, np.uint32).view(np.float32)
    bounds = CastBounds(1e-7, 1e4)
    whole = run(x, DType.FLOAT16, bounds, backend)[1]
    head = run(x[:cut], DType.FLOAT16, bounds, backend)[1]
    tail = run(x[cut:], DType.FLOAT16, bounds, backend)[1]
    for name in ("elements", "raised", "lowered", "flushed", "subnormal", "overflow", "nan", "inf"):
        assert getattr(whole, name) == getattr(head, name) + getattr(tail, name)
    for name in ("max_abs", "max_abs_error", "max_rel_error"):
        assert getattr(whole, name) == max(getattr(head, name), getattr(tail, name))


@pytest.mark.parametrize("half", HALVES)
def test_threads_and_store_policies_give_the_same(backend: str, half: DType) -> None:
    x = np.concatenate([patterns(1 << 19, 6), weights((1 << 21) + 77, 6, 1e-3)])
    expected, expected_counts = reference_cast(x, half, CastBounds(0.0, 65504.0))
    for threads in (1, 2, 8):
        for store in STORE_POLICIES:
            got, counts = run(
                x, half, CastBounds(0.0, 65504.0), backend, threads=threads, store=store
            )
            np.testing.assert_array_equal(got, expected)
            assert counts == expected_counts


@pytest.mark.parametrize(
    "bounds",
    [
        CastBounds(-1.0, 1.0),
        CastBounds(math.nan, 1.0),
        CastBounds(math.inf, math.inf),
        CastBounds(0.0, 0.0),
        CastBounds(0.0, math.nan),
        CastBounds(2.0, 1.0),
    ],
    ids=str,
)
def test_wrong_bounds_are_refused(backend: str, bounds: CastBounds) -> None:
    result = np.full(3, 0xABAB, np.uint16)
    with pytest.raises(CastError, match="min_positive"):
        cast_into(np.ones(3, np.float32), result, DType.FLOAT16, bounds, backend=backend)
    assert (result == 0xABAB).all()


def test_agrees_with_numpy_and_ml_dtypes_without_nan(backend: str) -> None:
    x = patterns(100_000, 8)
    x = x[~np.isnan(x)]
    with np.errstate(all="ignore"):
        numpy_half = x.astype(np.float16).view(np.uint16)
    np.testing.assert_array_equal(run(x, DType.FLOAT16, CastBounds(), backend)[0], numpy_half)
    bfloat = x.astype(ml_dtypes.bfloat16).view(np.uint16)
    np.testing.assert_array_equal(run(x, DType.BFLOAT16, CastBounds(), backend)[0], bfloat)
