"""The drop-in `halve.float16`: what it promises, and agreement with the original."""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import numpy as np
import pytest

from halve.errors import CastError
from halve.float16 import convert_np_to_float16

has_original = pytest.mark.skipif(
    importlib.util.find_spec("onnxconverter_common") is None,
    reason="onnxconverter-common is not installed (extra: bench)",
)


def convert(array: Any, *bounds: float) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return convert_np_to_float16(array, *bounds)


def test_clips_both_ends_and_keeps_signs_and_specials() -> None:
    x = np.array([0.0, -0.0, 1e-9, -1e-9, 2e4, -2e4, 1.5, np.inf, -np.inf, np.nan], np.float32)
    half = convert(x)
    tiny = np.float16(1e-7)
    expected = np.array([0.0, -0.0, tiny, -tiny, 1e4, -1e4, 1.5, np.inf, -np.inf, np.nan], "f2")
    np.testing.assert_array_equal(half, expected)
    np.testing.assert_array_equal(np.signbit(half), np.signbit(x))


def test_one_warning_an_array_with_counts() -> None:
    x = np.array([1e-9, 1e-8, 3e4, 1.0], np.float32)
    with pytest.warns(UserWarning, match=r"clipped 3 of 4 values: 2 .* below 1e-07 .* 1 above"):
        convert_np_to_float16(x)


def test_nothing_clipped_is_silent() -> None:
    x = np.array([0.0, 1e-6, 9999.0, np.inf], np.float32)
    np.testing.assert_array_equal(convert_np_to_float16(x), x.astype(np.float16))


@pytest.mark.parametrize("value", [0.0, 1e-9, -3e5, 2.5])
def test_zero_dimensional(value: float) -> None:
    half = convert(np.array(value, np.float32))
    assert half.shape == ()
    assert half == convert(np.array([value], np.float32))[0]


@pytest.mark.parametrize("dtype", ["f8", "f2", "i4", ">f4", "u1", "?"])
def test_other_real_types(dtype: str) -> None:
    x = np.array([[0, 1, 0], [1, 1, 0]], dtype)
    half = convert(x)
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, x.astype(np.float16))


def test_float64_is_clipped_and_rounded_once() -> None:
    # Through float32 this would become a tie and go to even, 1.0.
    between = 1 + 2.0**-11 + 2.0**-40
    half = convert(np.array([between, 1e-9, -1e300, np.nan]))
    assert half[0] == np.float16(1 + 2.0**-10)
    assert half[1] == np.float16(1e-7)
    assert half[2] == -1e4
    assert np.isnan(half[3])


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("bounds", [(-1.0, 1e4), (1e-7, 0.0), (2.0, 1.0), (float("nan"), 1e4)])
def test_wrong_bounds(bounds: tuple[float, float], dtype: str) -> None:
    with pytest.raises(CastError, match="min_positive"):
        convert_np_to_float16(np.ones(3, dtype), *bounds)


def test_not_numbers() -> None:
    with pytest.raises(CastError, match="real numbers"):
        convert_np_to_float16(np.array(["a"]))
    with pytest.raises(CastError, match="real numbers"):
        convert_np_to_float16(np.zeros(2, np.complex64))


@has_original
@pytest.mark.parametrize("bounds", [(), (1e-5, 100.0), (1e-7, 65504.0), (6e-8, 3e38)])
def test_agrees_with_the_original(bounds: tuple[float, ...]) -> None:
    from onnxconverter_common import float16 as original

    random = np.random.default_rng(4)
    patterns = random.integers(0, 1 << 32, 200_000, dtype=np.uint32).view(np.float32)
    normal = random.standard_normal(100_000).astype(np.float32)
    x = np.concatenate([patterns[~np.isnan(patterns)], normal, normal * 1e-6])
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        expected = original.convert_np_to_float16(x.copy(), *bounds)
    np.testing.assert_array_equal(convert(x, *bounds).view("u2"), expected.view("u2"))
