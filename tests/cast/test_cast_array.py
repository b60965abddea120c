"""`halve.cast` on arrays of every layout, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from halve._native.reference import reference_cast
from halve.cast import cast
from halve.errors import CastError
from halve.types import CastBounds, CastCounts, DType

NUMPY_TYPES = {DType.FLOAT16: np.dtype(np.float16), DType.BFLOAT16: np.dtype(ml_dtypes.bfloat16)}
FLOAT16_NAMES = ["float16", np.float16, np.dtype("<f2"), DType.FLOAT16]
BFLOAT16_NAMES = ["bfloat16", ml_dtypes.bfloat16, np.dtype(ml_dtypes.bfloat16), DType.BFLOAT16]


def sample(*shape: int) -> np.ndarray:
    return (np.random.default_rng(1).standard_normal(shape) * 3e4).astype(np.float32)


def layouts() -> dict[str, np.ndarray]:
    cube = sample(6, 8, 10)
    shifted = np.zeros(4 * 60 + 1, np.uint8)[1:].view(np.float32)
    shifted[:] = sample(60)
    readonly = sample(5, 7)
    readonly.flags.writeable = False
    return {
        "0-d": np.array(np.float32(-70000.0)),
        "empty": np.zeros((3, 0, 2), np.float32),
        "vector": sample(1001),
        "fortran": np.asfortranarray(cube),
        "permuted": cube.transpose(1, 0, 2),
        "strided": cube[::2, 1:, ::3],
        "reversed": cube[::-1, :, ::-1],
        "broadcast": np.broadcast_to(sample(4), (3, 4)),
        "swapped": cube.astype(">f4"),
        "swapped strided": cube.astype(">f4")[:, ::2],
        "misaligned": shifted,
        "read-only": readonly,
    }


@pytest.mark.parametrize("name", layouts())
@pytest.mark.parametrize("half", NUMPY_TYPES)
def test_every_layout(half: DType, name: str) -> None:
    array = layouts()[name]
    before = array.tobytes()
    plain = np.array(array, np.float32, order="C")
    limit = 65504.0 if half is DType.FLOAT16 else math.inf
    expected, counts = reference_cast(plain, half, CastBounds(0.0, limit))
    result, got_counts = cast(array, half)
    assert result.dtype == NUMPY_TYPES[half]
    assert result.shape == array.shape
    got = np.array(result, order="C").view(np.uint16)
    np.testing.assert_array_equal(got, expected)
    assert got_counts == counts
    assert array.tobytes() == before


@pytest.mark.parametrize("name", layouts())
@pytest.mark.parametrize("order", ["C", "F", "strided", "misaligned"])
def test_out_of_every_layout(order: str, name: str) -> None:
    array = layouts()[name]
    expected, expected_counts = cast(array, "float16")
    out = make_out(array.shape, order)
    result, counts = cast(array, "float16", out=out)
    assert result is out
    np.testing.assert_array_equal(out, expected)
    assert counts == expected_counts


def make_out(shape: tuple[int, ...], order: str) -> np.ndarray:
    if order == "strided":
        return np.zeros((*shape, 2), np.float16)[..., 0]
    if order == "misaligned":
        size = math.prod(shape)
        return np.zeros(2 * size + 1, np.uint8)[1:].view(np.float16).reshape(shape)
    return np.zeros(shape, np.float16, order="F" if order == "F" else "C")


@given(
    array=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6),
        elements=st.floats(width=32),
    ),
    data=st.data(),
)
@settings(deadline=None, max_examples=100)
def test_views_give_what_their_copies_give(array: np.ndarray, data: st.DataObject) -> None:
    view = data.draw(hnp.basic_indices(array.shape, allow_ellipsis=True).map(lambda i: array[i]))
    result, counts = cast(view, "float16")
    expected, expected_counts = cast(np.array(view, order="C"), "float16")
    np.testing.assert_array_equal(result.view(np.uint16), expected.view(np.uint16))
    assert counts == expected_counts


@pytest.mark.parametrize("dtype", FLOAT16_NAMES, ids=repr)
def test_names_of_float16(dtype: Any) -> None:
    assert cast(sample(3), dtype)[0].dtype == np.float16


@pytest.mark.parametrize("dtype", BFLOAT16_NAMES, ids=repr)
def test_names_of_bfloat16(dtype: Any) -> None:
    assert cast(sample(3), dtype)[0].dtype == ml_dtypes.bfloat16


def test_default_bounds() -> None:
    large = np.array([1e5, -1e30, np.inf, 1e-30], np.float32)
    half, counts = cast(large, "float16")
    assert half.tolist() == [65504.0, -65504.0, np.inf, 0.0]
    assert (counts.lowered, counts.overflow, counts.inf, counts.flushed) == (2, 0, 1, 1)
    wide, counts = cast(large, "bfloat16")
    assert np.isfinite(wide.astype(np.float32)).tolist() == [True, True, False, True]
    assert (counts.lowered, counts.overflow) == (0, 0)


def test_bounds_given() -> None:
    half, counts = cast(
        np.array([1e-9, -1e-9, 0.0, 5.0], np.float32), "float16", min_positive=1e-7, max_finite=2.0
    )
    assert half.tolist() == [np.float16(1e-7), -np.float16(1e-7), 0.0, 2.0]
    assert (counts.raised, counts.lowered) == (2, 1)
    assert cast(np.float32([1e9]), "float16", max_finite=math.inf)[1].overflow == 1


def test_bounds_beyond_float32_are_off() -> None:
    x = np.array([1e-45, 3e38], np.float32)
    counts = cast(x, "bfloat16", min_positive=1e-60, max_finite=1e300)[1]
    assert (counts.raised, counts.lowered) == (0, 0)


def test_lists_of_float32_and_threads() -> None:
    assert cast([np.float32(1), np.float32(2)], "float16")[0].tolist() == [1.0, 2.0]
    x = sample(1 << 21)
    one, counts = cast(x, "bfloat16", threads=1)
    two, counts_two = cast(x, "bfloat16", threads=2)
    assert one.tobytes() == two.tobytes()
    assert counts == counts_two


def test_empty_has_empty_counts() -> None:
    assert cast(np.zeros(0, np.float32), "float16")[1] == CastCounts()


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros(3, np.float16), [1, 2], "text"], ids=repr)
def test_only_float32_is_cast(array: Any) -> None:
    with pytest.raises(CastError, match="allowed: float32"):
        cast(array, "float16")


@pytest.mark.parametrize("dtype", ["float32", "half precision", np.int16, DType.FLOAT, ">f2", 3.5])
def test_only_halves_are_cast_to(dtype: Any) -> None:
    with pytest.raises(CastError, match="allowed: float16 or bfloat16"):
        cast(sample(3), dtype)


def test_out_that_does_not_fit_is_refused_untouched() -> None:
    x = sample(2, 3)
    readonly = np.zeros((2, 3), np.float16)
    readonly.flags.writeable = False
    shared = np.zeros(12, np.float16)
    for out, array, message in (
        (np.zeros((2, 3), np.float32), x, "out is of dtype float32"),
        (np.zeros((2, 3), ml_dtypes.bfloat16), x, "out is of dtype bfloat16"),
        (np.zeros((2, 3), ">f2"), x, "out is of dtype >f2"),
        ([0.0], x, "out is of dtype list"),
        (np.zeros((3, 2), np.float16), x, r"out has shape \(3, 2\)"),
        (readonly, x, "read-only"),
        (shared[:6], shared.view(np.float32), "shares memory"),
    ):
        with pytest.raises(CastError, match=message):
            cast(array, "float16", out=out)  # type: ignore[arg-type]
        assert not np.any(out)


@pytest.mark.parametrize(
    ("low", "high"), [(-1.0, None), (math.nan, None), (math.inf, None), (0.0, 0.0), (1e5, None)]
)
def test_wrong_bounds(low: float, high: float | None) -> None:
    with pytest.raises(CastError, match="min_positive"):
        cast(sample(3), "float16", min_positive=low, max_finite=high)


@pytest.mark.parametrize("threads", [-1, 1.5, True, 1 << 40])
def test_wrong_threads(threads: Any) -> None:
    with pytest.raises(CastError, match="threads is"):
        cast(sample(3), "float16", threads=threads)
