"""Every usable backend against the numpy reference: counts, worst elements, and bits of sums."""

from __future__ import annotations

import itertools
import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from halve._native.compare import FLOAT_TYPES, compare_arrays, measure_array, read_array
from halve._native.features import backends
from halve._native.reference_compare import (
    chunk_elements,
    ordered_sum,
    reference_compare,
    reference_statistics,
)
from halve.errors import BackendUnavailableError, ComparisonError
from halve.types import Comparison, TensorStatistics

BACKENDS = [info.name for info in backends() if info.usable]
TYPES = list(FLOAT_TYPES)
PAIRS = list(itertools.product(TYPES, TYPES))
RULE: dict[str, Any] = {"rtol": 1e-2, "atol": 1e-3}
UNSIGNED = {2: np.uint16, 4: np.uint32, 8: np.uint64}

Array = NDArray[Any]

pytestmark = pytest.mark.parametrize("backend", BACKENDS)


def normal(n: int, seed: int, dtype: np.dtype[Any], scale: float = 1.0) -> Array:
    return (np.random.default_rng(seed).standard_normal(n) * scale).astype(dtype)


def patterns(n: int, seed: int, dtype: np.dtype[Any]) -> Array:
    """Uniform in bits: every exponent, infinities, NaN and subnormals among them."""
    unsigned = UNSIGNED[dtype.itemsize]
    high = 1 << 8 * dtype.itemsize
    return np.random.default_rng(seed).integers(0, high, n, dtype=unsigned).view(dtype)


def special(dtype: np.dtype[Any]) -> Array:
    """Zeros, the ends of every class of values, infinities and NaN, of both signs."""
    limits = ml_dtypes.finfo(dtype)
    values = [0.0, 1.0, 1.001, 3.0, math.inf, math.nan]
    ends = [limits.smallest_subnormal, limits.smallest_normal, limits.max]
    with np.errstate(all="ignore"):
        one_sign = np.array([*values, *(float(end) for end in ends)]).astype(dtype)
    below_normal = np.array([limits.smallest_normal], dtype).view(UNSIGNED[dtype.itemsize]) - 1
    return np.concatenate([one_sign, -one_sign, below_normal.view(dtype)])


def assert_compares(a: Array, b: Array, backend: str, **rule: Any) -> None:
    rule = RULE | rule
    expected = reference_compare(a, b, **rule)
    # By their texts, which are exact and where a NaN equals a NaN.
    assert repr(compare_arrays(a, b, backend=backend, **rule)) == repr(expected)


def assert_measures(x: Array, backend: str, ge: float = 1.0, le: float = 1e-2) -> None:
    expected = reference_statistics(x, ge=ge, le=le)
    assert repr(measure_array(x, ge=ge, le=le, backend=backend)) == repr(expected)


@pytest.mark.parametrize(("a_type", "b_type"), PAIRS)
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 1e4], ids=lambda s: f"scale{s:g}")
def test_values_of_every_pairing(
    backend: str, a_type: np.dtype[Any], b_type: np.dtype[Any], scale: float
) -> None:
    x = normal(9000, 1, np.dtype(np.float64), scale)
    noise = 1 + normal(9000, 2, np.dtype(np.float64), 1e-2)
    assert_compares(x.astype(a_type), (x * noise).astype(b_type), backend)


@pytest.mark.parametrize("equal_nan", [False, True])
@pytest.mark.parametrize(("a_type", "b_type"), PAIRS)
def test_random_patterns(
    backend: str, a_type: np.dtype[Any], b_type: np.dtype[Any], equal_nan: bool
) -> None:
    a, b = patterns(20_000, 3, a_type), patterns(20_000, 4, b_type)
    assert_compares(a, b, backend, equal_nan=equal_nan)


@pytest.mark.parametrize("equal_nan", [False, True])
@pytest.mark.parametrize(("a_type", "b_type"), PAIRS)
def test_special_values_meet_each_other(
    backend: str, a_type: np.dtype[Any], b_type: np.dtype[Any], equal_nan: bool
) -> None:
    firsts, seconds = special(a_type), special(b_type)
    a, b = np.repeat(firsts, seconds.size), np.tile(seconds, firsts.size)
    assert_compares(a, b, backend, equal_nan=equal_nan)
    for place in range(0, a.size, 3):
        # Long enough for the vector loop, so that one odd lane is seen there.
        x, y = normal(300, 5, a_type), normal(300, 6, b_type)
        x[77], y[77] = a[place], b[place]
        assert_compares(x, y, backend, equal_nan=equal_nan)


@pytest.mark.parametrize("dtype", TYPES)
def test_statistics_of_values_patterns_and_specials(backend: str, dtype: np.dtype[Any]) -> None:
    for scale in (0.0, 1e-6, 1.0, 1e4):
        assert_measures(normal(9000, 7, dtype, scale), backend)
    assert_measures(patterns(20_000, 8, dtype), backend)
    assert_measures(special(dtype), backend)
    assert_measures(special(dtype), backend, ge=math.inf, le=0.0)
    for value in special(dtype):
        ordinary = normal(300, 9, dtype)
        ordinary[77] = value
        assert_measures(ordinary, backend)


@pytest.mark.parametrize("dtype", TYPES)
def test_thresholds_between_the_values_of_a_type(backend: str, dtype: np.dtype[Any]) -> None:
    x = np.resize(special(dtype), 300)  # the vector loop and what it leaves over
    for value in {0.0, *map(float, np.abs(x[np.isfinite(x)])), math.inf, 1e300}:
        for threshold in (value, math.nextafter(value, 0), math.nextafter(value, math.inf), -value):
            assert_measures(x[np.isfinite(x)], backend, ge=threshold, le=threshold)
            assert_measures(x, backend, ge=threshold, le=threshold)


@pytest.mark.parametrize(("a_type", "b_type"), PAIRS)
def test_every_length_around_lane_multiples(
    backend: str, a_type: np.dtype[Any], b_type: np.dtype[Any]
) -> None:
    a, b = normal(4300, 10, a_type), normal(4300, 11, b_type)
    lengths = [*range(20), *range(120, 140), *range(250, 262), *range(4090, 4104), 4300]
    for n in lengths:
        assert_compares(a[:n], b[:n], backend)
        if b_type == TYPES[0]:
            assert_measures(a[:n], backend)


@pytest.mark.parametrize(("a_type", "b_type"), PAIRS)
def test_misaligned_starts(backend: str, a_type: np.dtype[Any], b_type: np.dtype[Any]) -> None:
    a, b = normal(333, 12, a_type), normal(333, 13, b_type)
    expected = reference_compare(a, b, **RULE)
    for a_shift, b_shift in [(1, 0), (0, 1), (3, 5), (63, 33)]:
        x, y = shifted(a, a_shift), shifted(b, b_shift)
        assert compare_arrays(x, y, backend=backend, **RULE) == expected
        got = measure_array(x, ge=1.0, le=0.1, backend=backend)
        assert got == reference_statistics(a, ge=1.0, le=0.1)


def shifted(x: Array, nbytes: int) -> Array:
    room = np.zeros(x.nbytes + 64, np.uint8)[nbytes : nbytes + x.nbytes].view(x.dtype)
    room[:] = x
    return room


def test_maxima_that_rise_with_every_element(backend: str) -> None:
    n = 5000
    b = np.linspace(1.0, 2.0, n, dtype=np.float32)
    a = b + (np.arange(n) * 1e-6).astype(np.float32)
    assert_compares(a, b, backend)
    assert_compares(a[::-1].copy(), b[::-1].copy(), backend)


def test_the_first_of_equal_errors_is_named(backend: str) -> None:
    b = np.ones(3000, np.float32)
    a = b.copy()
    a[[700, 701, 2999]] = 1.5
    a[100] = 0.75
    got = compare_arrays(a, b, backend=backend, **RULE)
    assert (got.max_abs_error, got.max_abs_index) == (0.5, 700)
    assert (got.max_rel_error, got.max_rel_index) == (0.5, 700)
    assert got.mismatches == 4


def test_differences_from_zero_and_after_them(backend: str) -> None:
    b = normal(3000, 14, np.dtype(np.float32))
    b[1000:2000] = 0
    a = b + normal(3000, 15, np.dtype(np.float32), 1e-3)
    assert_compares(a, b, backend)
    a[::2] = b[::2]
    assert_compares(a, b, backend)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tiny_values_have_exact_relative_errors(backend: str, dtype: type) -> None:
    # Where a test of the quotient without a division could underflow.
    smallest = float(np.finfo(dtype).smallest_subnormal)
    b = (np.arange(1, 1001) * smallest).astype(dtype)
    a = (np.arange(1, 1001)[::-1] * smallest).astype(dtype)
    assert_compares(a, b, backend)
    assert_compares(b, a, backend)
    assert_compares(np.float64(1 + 2**-50) * b.astype(np.float64), b, backend)


def test_agrees_with_numpy_s_allclose_on_widened_arrays(backend: str) -> None:
    a, b = patterns(50_000, 16, np.dtype(np.float32)), patterns(50_000, 17, np.dtype(np.float32))
    with np.errstate(all="ignore"):
        b[::2] = a[::2] * np.float32(1.001)
    for equal_nan in (False, True):
        with np.errstate(all="ignore"):
            x, y = a.astype(np.float64), b.astype(np.float64)
            close = np.isclose(x, y, rtol=1e-3, atol=1e-20, equal_nan=equal_nan)
        got = compare_arrays(a, b, rtol=1e-3, atol=1e-20, equal_nan=equal_nan, backend=backend)
        assert got.mismatches == np.count_nonzero(~close)


def test_sums_are_within_the_documented_bound(backend: str) -> None:
    n = 300_000
    a, b = normal(n, 18, np.dtype(np.float32)), normal(n, 19, np.dtype(np.float32))
    got = compare_arrays(a, b, backend=backend, **RULE)
    terms = a.astype(np.float64) * b.astype(np.float64)
    chunk = chunk_elements(n)
    roundings = 4096 // 8 + 3 + chunk // 4096 + -(-n // chunk) + 1
    bound = roundings * 2.0**-53 * math.fsum(np.abs(terms))
    assert abs(got.sum_ab - math.fsum(terms)) <= bound
    squares = a.astype(np.float64) ** 2
    assert abs(got.sum_aa - math.fsum(squares)) <= roundings * 2.0**-53 * math.fsum(squares)


@pytest.mark.parametrize("dtype", TYPES)
def test_threads_give_the_same_bits(backend: str, dtype: np.dtype[Any]) -> None:
    n = 2 * chunk_elements(0) + 4321
    a, b = normal(n, 20, np.dtype(np.float32)), normal(n, 21, dtype)
    a[[5, 600_000 % n]] = [math.inf, math.nan]
    expected = repr(reference_compare(a, b, **RULE))
    expected_statistics = reference_statistics(b, ge=1.0, le=0.1)
    for threads in (1, 2, 8):
        assert repr(compare_arrays(a, b, threads=threads, backend=backend, **RULE)) == expected
        got = measure_array(b, ge=1.0, le=0.1, threads=threads, backend=backend)
        assert got == expected_statistics


floats = st.floats(width=32) | st.sampled_from([0.0, -0.0, 1.0, math.inf, -math.inf, math.nan])


@given(
    pairs=st.lists(st.tuples(floats, floats), max_size=300),
    types=st.sampled_from(PAIRS),
    rtol=st.floats(0, 1e3),
    atol=st.floats(0, 1e3),
    equal_nan=st.booleans(),
)
@settings(deadline=None, max_examples=150)
def test_any_values_under_any_rule(  # noqa: PLR0917
    backend: str,
    pairs: list[tuple[float, float]],
    types: tuple[np.dtype[Any], np.dtype[Any]],
    rtol: float,
    atol: float,
    equal_nan: bool,
) -> None:
    a, b = columns(pairs)
    with np.errstate(all="ignore"):
        x, y = a.astype(types[0]), b.astype(types[1])
    assert_compares(x, y, backend, rtol=rtol, atol=atol, equal_nan=equal_nan)
    assert_measures(x, backend, ge=rtol, le=atol)


def columns(pairs: list[tuple[float, float]]) -> tuple[Array, Array]:
    table = np.array(pairs, np.float64).reshape(-1, 2)
    return table[:, 0].astype(np.float32), table[:, 1].astype(np.float32)


@given(pairs=st.lists(st.tuples(floats, floats), max_size=300), cut=st.integers(0, 300))
@settings(deadline=None, max_examples=100)
def test_parts_add_up(backend: str, pairs: list[tuple[float, float]], cut: int) -> None:
    a, b = columns(pairs)
    cut = min(cut, a.size)
    whole, head, tail = (
        compare_arrays(a[part], b[part], backend=backend, **RULE)
        for part in (slice(None), slice(cut), slice(cut, None))
    )
    for name in ("elements", "a_nan", "a_inf", "b_nan", "b_inf", "mismatches"):
        assert getattr(whole, name) == getattr(head, name) + getattr(tail, name)
    for name in ("max_abs", "max_rel"):
        assert worst(whole, name, 0) == max(
            (worst(head, name, 0), worst(tail, name, cut)), key=lambda pair: pair[0]
        )
    measured = [measure_array(x, ge=1.0, le=0.1, backend=backend) for x in (a, a[:cut], a[cut:])]
    assert_statistics_add_up(*measured)


def worst(row: Comparison, name: str, before: int) -> tuple[float, int | None]:
    index = getattr(row, f"{name}_index")
    return getattr(row, f"{name}_error"), None if index is None else before + index


def assert_statistics_add_up(
    whole: TensorStatistics, head: TensorStatistics, tail: TensorStatistics
) -> None:
    for name in ("elements", "nan", "inf", "zero", "subnormal", "ge", "le"):
        assert getattr(whole, name) == getattr(head, name) + getattr(tail, name)
    assert whole.minimum == min(head.minimum, tail.minimum)
    assert whole.maximum == max(head.maximum, tail.maximum)
    total = head.sum_squares + tail.sum_squares
    assert math.isclose(whole.sum_squares, total, rel_tol=1e-12)


def test_nothing_is_compared(backend: str) -> None:
    empty = np.zeros(0, np.float32)
    assert compare_arrays(empty, empty, backend=backend, **RULE) == Comparison()
    assert measure_array(empty, ge=1.0, le=0.0, backend=backend) == TensorStatistics()


def test_wrong_arguments_are_refused(backend: str) -> None:
    one = np.ones(3, np.float32)
    with pytest.raises(ComparisonError, match="equal sizes"):
        compare_arrays(one, one[:2], backend=backend, **RULE)
    for bad in (-1.0, math.inf, math.nan):
        with pytest.raises(ComparisonError, match="rtol"):
            compare_arrays(one, one, rtol=bad, atol=0.0, backend=backend)
    with pytest.raises(ComparisonError, match="ge nan"):
        measure_array(one, ge=math.nan, le=0.0, backend=backend)
    with pytest.raises(BackendUnavailableError, match="sse9"):
        compare_arrays(one, one, backend="sse9", **RULE)


def test_the_reference_sums_in_the_stated_order(backend: str) -> None:
    terms = normal(20_000, 22, np.dtype(np.float64))
    blocks = []
    for start in range(0, terms.size, 4096):
        lanes = [0.0] * 8
        for i, term in enumerate(terms[start : start + 4096]):
            lanes[i % 8] += float(term)
        even = (lanes[0] + lanes[4]) + (lanes[2] + lanes[6])
        odd = (lanes[1] + lanes[5]) + (lanes[3] + lanes[7])
        blocks.append(even + odd)
    assert ordered_sum(terms) == sum_in_order(blocks)


def sum_in_order(terms: list[float]) -> float:
    total = 0.0
    for term in terms:  # not sum(), which compensates since Python 3.12
        total += term
    return total


def test_reading_takes_in_every_word(backend: str) -> None:
    words = np.random.default_rng(23).integers(0, 1 << 63, 77, dtype=np.uint64)
    assert read_array(words) == int(np.bitwise_xor.reduce(words))
    assert read_array(words.view(np.uint8)[:20]) == int(words[0] ^ words[1])
