"""Values chosen against the shortcuts of the vector kernels, held to the numpy reference."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from halve._native.compare import FLOAT_TYPES, compare_arrays, measure_array
from halve._native.features import backends
from halve._native.reference_compare import (
    chunk_elements,
    reference_compare,
    reference_statistics,
)

BACKENDS = [info.name for info in backends() if info.usable]
FLOAT32, FLOAT16, BFLOAT16, FLOAT64 = FLOAT_TYPES
NARROW = list(itertools.product((FLOAT32, FLOAT16, BFLOAT16), repeat=2))
HALVES = list(itertools.product((FLOAT16, BFLOAT16), repeat=2))
N = 9001  # two blocks, groups of the third, and a remainder

Array = NDArray[Any]

pytestmark = pytest.mark.parametrize("backend", BACKENDS)
every_narrow_pairing = pytest.mark.parametrize(("a_type", "b_type"), NARROW)
every_16_bit_pairing = pytest.mark.parametrize(("a_type", "b_type"), HALVES)


def uniform(n: int, seed: int, low: float = 0.5, high: float = 1.0) -> Array:
    return np.random.default_rng(seed).uniform(low, high, n)


def cast(x: Array, dtype: np.dtype[Any]) -> Array:
    with np.errstate(all="ignore"):
        return x.astype(dtype)


def assert_compares(a: Array, b: Array, backend: str, rtol: float, atol: float) -> None:
    expected = repr(reference_compare(a, b, rtol=rtol, atol=atol))
    assert repr(compare_arrays(a, b, rtol=rtol, atol=atol, backend=backend)) == expected


def just_around(value: float) -> tuple[float, float, float]:
    return math.nextafter(value, 0), value, math.nextafter(value, math.inf)


@every_narrow_pairing
def test_errors_at_the_tolerance(
    backend: str, a_type: np.dtype[Any], b_type: np.dtype[Any]
) -> None:
    # The first pair leaves maxima behind that the others do not reach.
    b = cast(uniform(N, 1), b_type)
    b[::5] = 0.5
    a = cast(b.astype(np.float64) + 2.0**-6, a_type)
    a[0], b[0] = 1, 0
    error = np.abs(a.astype(np.float64) - b.astype(np.float64))
    for tie in np.unique(error[1:])[-3:]:
        size = float(np.abs(b[1:].astype(np.float64)).min())
        for rtol, atol in [(0.0, tie), (tie / size, 0.0), (tie / 2 / size, tie / 2)]:
            for r, t in itertools.product(just_around(rtol), just_around(atol)):
                assert_compares(a, b, backend, r, t)


@every_narrow_pairing
def test_maxima_that_are_reached_again_and_again(
    backend: str, a_type: np.dtype[Any], b_type: np.dtype[Any]
) -> None:
    b = cast(uniform(N, 2), b_type)
    for a in (np.zeros(N), b.astype(np.float64) * 2, b.astype(np.float64) + 0.5):
        assert_compares(cast(a, a_type), b, backend, 0.25, 1e-3)
        assert_compares(cast(a, a_type), b, backend, 4.0, 0.0)
    steps = np.repeat(np.arange(10), 1000)[:N]  # each a little more
    assert_compares(cast(b + 2.0**-7 * steps, a_type), b, backend, 1e-2, 1e-3)


@every_narrow_pairing
def test_mismatches_that_exceed_no_maximum(
    backend: str, a_type: np.dtype[Any], b_type: np.dtype[Any]
) -> None:
    b = np.ones(N, b_type)
    a = np.ones(N, a_type)
    a[0] = 1.75
    a[5000:5003] = 1.5
    for bound in (*just_around(0.5), 0.6, *just_around(0.75)):
        for rtol, atol in [(0.0, bound), (bound, 0.0), (bound / 2, bound / 2), (bound - 0.4, 0.4)]:
            assert_compares(a, b, backend, rtol, atol)


@every_narrow_pairing
def test_lengths_around_those_of_groups_and_blocks(
    backend: str, a_type: np.dtype[Any], b_type: np.dtype[Any]
) -> None:
    b = cast(uniform(8200, 12, -1.0, 1.0), b_type)
    a = cast(b.astype(np.float64) * 1.001, a_type)
    for n in (1, 255, 256, 257, 511, 513, 4095, 4097, 4351, 4353, 8191, 8193):
        assert_compares(a[:n], b[:n], backend, 1e-2, 1e-3)
        a[n - 1] = math.nan
        assert_compares(a[:n], b[:n], backend, 1e-2, 1e-3)
        a[n - 1] = 0


@pytest.mark.parametrize("sign", [-1, 1])
def test_maxima_that_rise_by_less_than_float32_resolves(backend: str, sign: int) -> None:
    # |x - y| is 1 and a little that float64 holds and float32 does not, more of it each time.
    n = 3000
    b = (sign * np.arange(n) * 2.0**-40).astype(np.float32)
    a = np.full(n, -sign, np.float32)
    assert_compares(a, b, backend, 1e-2, 1e-3)
    # Ratios around a running maximum, in an order of their own.
    b = (1 + np.random.default_rng(3).integers(0, 1 << 20, n) * 2.0**-23).astype(np.float32)
    a = (b * np.float32(1.25) + sign * np.float32(2.0**-23)).astype(np.float32)
    assert_compares(a, b, backend, 0.25, 0.0)
    tiny = (np.random.default_rng(4).integers(0, 1 << 12, n) * 2.0**-45).astype(np.float32)
    assert_compares(-sign * tiny, b, backend, 1.0, 0.0)


@pytest.mark.parametrize(("a_type", "b_type"), [(FLOAT32, FLOAT32), (BFLOAT16, FLOAT32)])
@pytest.mark.parametrize(("rtol", "atol"), [(0.6, 0.0), (0.5, 2.0**-149), (1e-300, 1e-300)])
def test_the_smallest_subnormals(
    backend: str, a_type: np.dtype[Any], b_type: np.dtype[Any], rtol: float, atol: float
) -> None:
    step = 2.0 ** (-149 if a_type == FLOAT32 else -133)
    random = np.random.default_rng(5)
    b = (random.integers(0, 9, N) * step).astype(b_type)
    a = ((random.integers(0, 2, N) * (random.random(N) < 0.01) * step) + b).astype(a_type)
    assert_compares(a, b, backend, rtol, atol)
    a[0], b[0] = 1, 1.5  # and with maxima far above them
    assert_compares(a, b, backend, rtol, atol)
    a[1], b[1] = 0, 1e-30
    assert_compares(a, b, backend, rtol, atol)


@pytest.mark.parametrize(("a_type", "b_type"), [(FLOAT32, FLOAT32), (BFLOAT16, BFLOAT16)])
@pytest.mark.parametrize(
    ("rtol", "atol"),
    [(1e30, 0.0), (0.0, 1e39), (2.5, 0.0), (1e300, 1e300), (0.0, 6.5e38), (1.9, 3e38)],
)
def test_differences_beyond_float32(
    backend: str, a_type: np.dtype[Any], b_type: np.dtype[Any], rtol: float, atol: float
) -> None:
    most = float(np.finfo(np.float32).max)
    b = cast(uniform(N, 6, 0.9, 1.0) * most, b_type)
    a = cast(-uniform(N, 7, 0.9, 1.0) * most, a_type)
    a[::3] = b[::3]
    assert_compares(a, b, backend, rtol, atol)
    b[:7000] = 0
    a[:7000] = 0
    assert_compares(a, b, backend, rtol, atol)


@every_narrow_pairing
def test_mismatches_come_and_go(backend: str, a_type: np.dtype[Any], b_type: np.dtype[Any]) -> None:
    # Every path follows on every other, with something in it that must be counted.
    n = 40 * 4096 + 77
    b = cast(uniform(n, 8, -1.0, 1.0), b_type)
    a = cast(b, a_type)
    random = np.random.default_rng(9)
    a[3 * 4096 : 5 * 4096] = random.standard_normal(2 * 4096).astype(a_type)
    a[5 * 4096 :: 1777] += np.asarray(0.5, a_type)
    b[[9 * 4096 + 5, 30 * 4096 + 9]] = [math.nan, math.inf]
    a[12 * 4096 : 12 * 4096 + 300] = math.inf
    a[22 * 4096], b[22 * 4096] = 100, 1
    b[35 * 4096 + 1] = 0
    assert_compares(a, b, backend, 1e-2, 1e-3)
    clean = ~np.isnan(b.astype(np.float64)) & ~np.isinf(a.astype(np.float64) - b)
    assert_compares(a[clean], b[clean], backend, 1e-2, 1e-3)
    assert_compares(b[clean].astype(a_type), b[clean], backend, 1e-2, 1e-3)


def finite_words(n: int, seed: int, least: int, most: int) -> Array:
    """16-bit patterns of both signs whose magnitudes are between two."""
    random = np.random.default_rng(seed)
    return (random.integers(least, most, n) | random.integers(0, 2, n) << 15).astype(np.uint16)


@every_16_bit_pairing
@pytest.mark.parametrize(("least", "most"), [(3, 200), (16, 0x7B00), (0x3800, 0x4400)])
def test_pairs_a_few_places_apart(
    backend: str, a_type: np.dtype[Any], b_type: np.dtype[Any], least: int, most: int
) -> None:
    # Subnormal values, every magnitude, and ordinary ones; places are those of the reference.
    words = finite_words(N, 13, least, most)
    b = words.view(b_type)
    random = np.random.default_rng(14)
    for share in (0.01, 1.0):
        steps = random.integers(-1, 2, N) * (random.random(N) < share)
        a = cast((words + steps).astype(np.uint16).view(b_type), a_type)
        ordinary = np.isfinite(a.astype(np.float64)) & (a != 0)
        for rtol, atol in [(1.0, 0.0), (1e-2, 1e-3), (2.0**-9, 1e-30), (0.0, 1e300), (0.0, 0.0)]:
            assert_compares(a[ordinary], b[ordinary], backend, rtol, atol)


def one_a_group(values: Array, other: float) -> Array:
    """Each value as the first of 256 elements, of which the others are `other`."""
    spread = np.full(values.size * 256, other, values.dtype)
    spread[::256] = values
    return spread


@every_16_bit_pairing
@pytest.mark.parametrize("scale", [-120, -14, 0, 4])
def test_maxima_that_rise_by_the_least_possible(
    backend: str, a_type: np.dtype[Any], b_type: np.dtype[Any], scale: int
) -> None:
    # Ratios just below one half, of which the nearest are some 2^-22 apart.
    size, error = np.meshgrid(np.arange(2048, 4096, 2), np.arange(999, 2012))
    near = np.abs(error - 0.49 * size) < 4
    scale = max(scale, -14) if FLOAT16 in (a_type, b_type) else scale
    b, a = (np.ldexp(v[near], scale - 11) for v in (size, size - error))
    there = (a == cast(a, a_type)) & (b == cast(b, b_type))
    a, b = a[there], b[there]
    for key in ((b - a) / b, b - a):
        order = np.argsort(key, kind="stable")
        x, y = cast(a[order], a_type), cast(b[order], b_type)
        assert_compares(x, y, backend, 1.0, 0.0)
        gaps = np.diff(key[order]) / key[order][1:]
        for i in np.flatnonzero(gaps > 0)[np.argsort(gaps[gaps > 0], kind="stable")[:12]]:
            pairs = one_a_group(x[i : i + 2], 1), one_a_group(y[i : i + 2], 1)
            assert_compares(*pairs, backend, 1.0, 0.0)
            assert_compares(-pairs[0], -pairs[1], backend, 0.49, 1e-3)


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16])
def test_16_bit_differences_that_float32_rounds(backend: str, dtype: np.dtype[Any]) -> None:
    # 1 and ever a little more, after a ratio that none reaches again.
    least = 1 if dtype == FLOAT16 else 0x3000
    small = np.arange(least, least + 70).astype(np.uint16).view(dtype)
    for b in (-small, -small[::-1]):
        pairs = one_a_group(np.ones(b.size, dtype), 1), one_a_group(b, 1)
        for rtol, atol in [(1e30, 0.0), (0.0, 10.0), (0.5, 0.5)]:
            assert_compares(*pairs, backend, rtol, atol)


@every_16_bit_pairing
def test_close_pairs_and_all_that_are_not(
    backend: str, a_type: np.dtype[Any], b_type: np.dtype[Any]
) -> None:
    n = 3 * 4096 + 100
    b = cast(uniform(n, 16, -2.0, 2.0), b_type)
    a = cast(b, a_type)
    others = [(0, -0.0), (-0.0, 0), (-0.0, -0.0), (1.0, -1.0), (1e-4, 1.0), (0, 1e-4), (1e-4, 0)]
    others += [(1.0, 2.0), (2.0, 1.0), (0.75, 0.5), (math.nan, 1), (1, math.inf), (math.inf,) * 2]
    for place in (0, 31, 4096 + 300, n - 1):
        for x, y in others:
            a[place], b[place] = x, y
            for rtol, atol in [(1e-2, 1e-3), (1.0, 1.0)]:
                assert_compares(a, b, backend, rtol, atol)
        a[place], b[place] = 1, 1


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_the_first_worst_element_of_several_chunks(backend: str, threads: int) -> None:
    chunk = chunk_elements(0)
    b = np.ones(6 * chunk, np.float16)
    a = b.copy()
    worst = [chunk + 5, 2 * chunk, 5 * chunk + 1]
    a[worst] = 3
    a[chunk + 4], b[chunk + 4] = 2.5, 0.5  # a larger ratio, and as large a difference
    a[3], b[4 * chunk + 9] = 1.5, 0.25
    got = compare_arrays(a, b, rtol=1e-2, atol=1e-3, threads=threads, backend=backend)
    assert (got.max_abs_error, got.max_abs_index) == (2.0, chunk + 4)
    assert (got.max_rel_error, got.max_rel_index) == (4.0, chunk + 4)
    assert got.mismatches == 6


@pytest.mark.parametrize("threads", [1, 3])
def test_a_maximum_in_the_last_chunk_and_none_at_all(backend: str, threads: int) -> None:
    a = np.ones(3 * chunk_elements(0) + 11, np.float32)
    b = a.copy()
    none = compare_arrays(a, b, rtol=0.0, atol=0.0, threads=threads, backend=backend)
    assert (none.max_abs_index, none.max_rel_index, none.mismatches) == (None, None, 0)
    a[[7, -1]] = [1.5, 2]
    got = compare_arrays(a, b, rtol=0.0, atol=0.0, threads=threads, backend=backend)
    assert (got.max_abs_index, got.max_rel_index, got.mismatches) == (a.size - 1, a.size - 1, 2)


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16])
def test_thresholds_among_all_16_bit_values(backend: str, dtype: np.dtype[Any]) -> None:
    words = np.random.default_rng(10).permutation(1 << 16).astype(np.uint16)
    every = words.view(dtype)
    with np.errstate(invalid="ignore"):
        finite = every[np.isfinite(every.astype(np.float64))]
    sizes = np.abs(finite[:12].astype(np.float64))
    for size in [*sizes, 0.0, float(np.abs(finite.astype(np.float64)).max()), 1e-50, 1e60]:
        for threshold in (*just_around(float(size)), -float(size), math.inf):
            assert_measures(finite, backend, threshold, threshold)
    assert_measures(every, backend, 1.0, 2.0**-14)


def assert_measures(x: Array, backend: str, ge: float, le: float) -> None:
    expected = repr(reference_statistics(x, ge=ge, le=le))
    assert repr(measure_array(x, ge=ge, le=le, backend=backend)) == expected


@pytest.mark.parametrize("dtype", list(FLOAT_TYPES))
def test_statistics_of_blocks_side_by_side(backend: str, dtype: np.dtype[Any]) -> None:
    ordinary = cast(uniform(3 * 8192 + 300, 11, -2.0, 2.0), dtype)
    for n in (8191, 8192, 8193, 12288, 16384, ordinary.size):
        assert_measures(ordinary[:n], backend, 1.9, 1e-3)
    for place in (0, 255, 256, 4095, 4096, 4097, 8191, 8192, 12287, 12288, 24575, 24576):
        for value in (math.nan, -math.inf, 0.0, -0.0, 1000.0, -1000.0, 2.0**-24):
            x = ordinary.copy()
            x[place] = value
            assert_measures(x, backend, 500.0, 2.0**-14)


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16])
@pytest.mark.parametrize("n", [200, 2 * 4096, 3 * 4096 + 300])
def test_extremes_of_one_sign(backend: str, dtype: np.dtype[Any], n: int) -> None:
    sizes = cast(uniform(n, 17), dtype)
    for x in (sizes, -sizes, np.zeros(n, dtype), -np.zeros(n, dtype), sizes - sizes[0]):
        assert_measures(x, backend, 500.0, 1e-3)
        for value in (math.nan, -math.inf, -0.0, 0.0, 3.0, -3.0):
            changed = x.copy()
            changed[n // 2] = value
            assert_measures(changed, backend, 500.0, 1e-3)
    for value in (math.nan, math.inf, -math.inf):
        assert_measures(np.full(n, value, dtype), backend, 500.0, 1e-3)


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16])
def test_thresholds_at_an_extreme_of_either_sign(backend: str, dtype: np.dtype[Any]) -> None:
    x = cast(uniform(8192 + 512, 18), dtype)
    for place, sign in itertools.product((5, 4096 + 5, 8192 + 5), (-1, 1)):
        for size in (0.25, 4.0):
            changed = x.copy()
            changed[place] = sign * size
            for threshold in just_around(size):
                assert_measures(changed, backend, max(threshold, 2.0), min(threshold, 0.4))
