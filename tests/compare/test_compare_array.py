"""`halve.compare` and `halve.statistics` on arrays of every layout, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import halve
from halve._native.reference_compare import reference_compare, reference_statistics
from halve.errors import ComparisonError, OptionError
from halve.types import Comparison, TensorStatistics


def sample(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def layouts() -> dict[str, np.ndarray]:
    cube = sample(6, 8, 10)
    shifted = np.zeros(4 * 60 + 1, np.uint8)[1:].view(np.float32)
    shifted[:] = sample(60)
    return {
        "0-d": np.array(np.float32(-3.0)),
        "empty": np.zeros((3, 0, 2), np.float32),
        "vector": sample(1001),
        "fortran": np.asfortranarray(cube),
        "permuted": cube.transpose(1, 0, 2),
        "strided": cube[::2, 1:, ::3],
        "reversed": cube[::-1, :, ::-1],
        "broadcast": np.broadcast_to(sample(4), (3, 4)),
        "swapped": cube.astype(">f4"),
        "misaligned": shifted,
    }


@pytest.mark.parametrize("name", layouts())
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_every_layout(name: str, dtype: Any) -> None:
    array = layouts()[name]
    before = array.tobytes()
    plain = np.array(array, np.float32, order="C")
    other = plain.astype(dtype)
    expected = reference_compare(plain, other, rtol=1e-5, atol=1e-8)
    assert halve.compare(array, np.asarray(other, order="F")) == expected
    assert halve.statistics(array) == reference_statistics(plain, ge=65504.0, le=2.0**-14)
    assert array.tobytes() == before


def test_the_package_s_name_is_the_function() -> None:
    import halve.compare.array  # binds the module, which must not hide the function

    assert callable(halve.compare)
    assert halve.compare([1.0], [1.0]).allclose


def test_numbers_and_lists_are_float64() -> None:
    got = halve.compare([1.0, 2.0], [1.0, 4.0], rtol=0.1, atol=0.0)
    assert (got.elements, got.mismatches) == (2, 1)
    assert (got.max_abs_error, got.max_abs_index) == (2.0, 1)
    assert halve.compare(1.5, np.float32(1.5)) == Comparison(
        1, sum_aa=2.25, sum_bb=2.25, sum_ab=2.25
    )


def test_indices_are_in_c_order() -> None:
    b = np.zeros((3, 4), np.float32, order="F")
    a = b.copy(order="F")
    a[1, 2] = 1.0
    assert halve.compare(a, b).max_abs_index == 6


def test_metrics_are_those_of_numpy() -> None:
    a, b = sample(5000), sample(5000) + np.float32(0.1)
    got = halve.compare(a, b)
    x, y = a.astype(np.float64), b.astype(np.float64)
    norms = np.linalg.norm(x), np.linalg.norm(y)
    assert math.isclose(got.cosine, float(x @ y / (norms[0] * norms[1])), rel_tol=1e-12)
    assert math.isclose(got.norm_ratio, float(norms[0] / norms[1]), rel_tol=1e-12)
    assert math.isclose(got.mse, float(np.mean((x - y) ** 2)), rel_tol=1e-12)
    assert math.isclose(got.dot, float(x @ y), rel_tol=1e-12)
    assert got.allclose == np.allclose(x, y)


@pytest.mark.parametrize(
    ("a", "b", "cosine", "ratio"),
    [
        ([0.0], [0.0], 1.0, 1.0),
        ([0.0], [2.0], 0.0, 0.0),
        ([2.0], [0.0], 0.0, math.inf),
        ([3.0], [3.0], 1.0, 1.0),
        ([-3.0], [1.5], -1.0, 2.0),
        ([math.inf], [1.0], math.nan, math.inf),
        ([math.nan], [1.0], math.nan, math.nan),
        ([], [], 1.0, 1.0),
        ([1e200], [1e200], math.nan, math.nan),  # squares beyond float64
        ([1e100], [1e100], 1.0, 1.0),  # whose products are not
    ],
)
def test_cosine_and_norm_ratio(a: list[float], b: list[float], cosine: float, ratio: float) -> None:
    got = halve.compare(a, b)
    assert got.cosine == pytest.approx(cosine, nan_ok=True, abs=1e-15)
    assert got.norm_ratio == pytest.approx(ratio, nan_ok=True)


def test_cosine_never_leaves_its_range() -> None:
    for seed in range(50):
        x = np.random.default_rng(seed).standard_normal(7)
        assert -1.0 <= halve.compare(x, -x).cosine <= halve.compare(x, x).cosine <= 1.0


def test_mean_square_error_of_special_values() -> None:
    assert halve.compare([math.inf, 1.0], [math.inf, 3.0]).mse == 2.0
    assert halve.compare([math.nan], [1.0]).mse == math.inf
    assert halve.compare([math.nan], [math.nan], equal_nan=True).mse == 0.0
    assert halve.compare([], []).mse == 0.0


def test_derived_statistics() -> None:
    got = halve.statistics(np.array([-7.0, 2.0, 0.0, math.inf, math.nan]), ge=2.0, le=2.0)
    assert (got.max_abs, got.ge_ratio, got.le_ratio) == (7.0, 0.6, 0.4)
    none = halve.statistics(np.array([math.nan]))
    assert (none.max_abs, none.ge_ratio) == (0.0, 0.0)
    assert halve.statistics([]) == TensorStatistics()
    assert (TensorStatistics().ge_ratio, TensorStatistics().le_ratio) == (0.0, 0.0)


def test_shapes_are_not_broadcast() -> None:
    with pytest.raises(ComparisonError, match=r"shape \(2, 3\) with \(3,\)"):
        halve.compare(sample(2, 3), sample(3))
    with pytest.raises(ComparisonError, match="equal shapes"):
        halve.compare(sample(1), np.float32(1))


@pytest.mark.parametrize(
    "wrong", [np.zeros(3, np.int32), np.zeros(3, np.complex64), ["a"], np.zeros(3, bool)]
)
def test_other_types_are_refused(wrong: Any) -> None:
    with pytest.raises(ComparisonError, match="b is of dtype"):
        halve.compare(sample(3), wrong)
    with pytest.raises(ComparisonError, match="array is of dtype"):
        halve.statistics(wrong)


@pytest.mark.parametrize("bad", [-1e-9, math.inf, math.nan])
def test_tolerances_out_of_range_are_refused(bad: float) -> None:
    with pytest.raises(OptionError, match="rtol is"):
        halve.compare(sample(3), sample(3), rtol=bad)
    with pytest.raises(OptionError, match="atol is"):
        halve.compare(sample(3), sample(3), atol=bad)


def test_thresholds_and_threads_out_of_range_are_refused() -> None:
    with pytest.raises(OptionError, match="ge is nan"):
        halve.statistics(sample(3), ge=math.nan)
    with pytest.raises(OptionError, match="le is nan"):
        halve.statistics(sample(3), le=math.nan)
    for threads in (-1, 1 << 31, True, 1.5):
        with pytest.raises(OptionError, match="threads is"):
            halve.statistics(sample(3), threads=threads)  # type: ignore[arg-type]
        with pytest.raises(OptionError, match="threads is"):
            halve.compare(sample(3), sample(3), threads=threads)  # type: ignore[arg-type]


class OnDevice:
    """What DLPack says of an array on a device: its kind, and nothing to read."""

    def __init__(self, kind: int) -> None:
        self.kind = kind

    def __dlpack_device__(self) -> tuple[int, int]:
        return (self.kind, 0)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.ones(3, np.float32)


def test_memories_are_not_mixed() -> None:
    with pytest.raises(ComparisonError, match="b is in a device's memory and a is not"):
        halve.compare(sample(3), OnDevice(2))


def test_host_memory_of_another_library_is_taken() -> None:
    assert halve.compare(OnDevice(1), np.ones(3, np.float16)).allclose
