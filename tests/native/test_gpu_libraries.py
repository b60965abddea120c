"""Arrays that other libraries made on a device: no copy, their streams, and their own results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import halve
from halve._native.device_arrays import open_device_array
from halve.errors import CastError, ComparisonError

pytestmark = pytest.mark.gpu

X = np.random.default_rng(1).standard_normal((300, 1001)).astype(np.float32)
# Multiplications of 4096 x 4096, each some 0.1 ms or more: what does not wait sees no result.
SIZE, PRODUCTS = 4096, 40


@pytest.fixture(params=["cupy", "torch"])
def library(request: pytest.FixtureRequest) -> Any:
    module = pytest.importorskip(request.param)
    if request.param == "torch" and not module.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    return module


def put(library: Any, array: np.ndarray) -> Any:
    if library.__name__ == "cupy":
        return library.asarray(array)
    return library.from_numpy(array).cuda()


def take(library: Any, array: Any) -> np.ndarray:
    """float32 values of a result."""
    if library.__name__ == "cupy":
        return np.asarray(array.get()).astype(np.float32)
    return np.asarray(array.float().cpu().numpy())


def test_nothing_is_copied(library: Any) -> None:
    there = put(library, X)
    pointer = there.data.ptr if library.__name__ == "cupy" else there.data_ptr()
    found = open_device_array("x", there)
    assert (found.pointer, found.shape, found.dtype) == (pointer, X.shape, np.float32)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_casts_are_those_of_the_host_and_of_the_same_library(library: Any, dtype: str) -> None:
    there = put(library, X)
    try:
        result, counts = halve.cast(there, dtype, min_positive=1e-3)
    except CastError as error:
        assert library.__name__ == "cupy"
        pytest.skip(f"this cupy: {error}")
    expected, wanted = halve.cast(X, dtype, min_positive=1e-3)
    assert type(result) is type(there)
    assert counts == wanted
    np.testing.assert_array_equal(take(library, result), expected.astype(np.float32))
    again, counts = halve.cast(there, dtype, min_positive=1e-3, out=result)
    assert again is result
    assert counts == wanted


def test_comparisons_and_statistics_are_those_of_the_host(library: Any) -> None:
    half = X.astype(np.float16)
    there = put(library, half), put(library, X)
    assert halve.compare(*there, rtol=1e-4, atol=0) == halve.compare(half, X, rtol=1e-4, atol=0)
    assert halve.statistics(there[0]) == halve.statistics(half)


def test_torch_has_bfloat16() -> None:
    torch = pytest.importorskip("torch")
    half = X.astype(ml_dtypes.bfloat16)
    there = torch.from_numpy(X).cuda().to(torch.bfloat16)
    assert halve.compare(there, put(torch, X)) == halve.compare(half, X)


# Memory is used again, so every result must differ from all that was there before: `start`, an odd
# number, doubled PRODUCTS times.
def torch_work(torch: Any) -> Callable[[int], Any]:
    square = torch.full((SIZE, SIZE), 2 / SIZE, device="cuda")
    stream = torch.cuda.Stream()

    def work(start: int) -> Any:
        with torch.cuda.stream(stream):
            result = torch.full((SIZE, SIZE), float(start), device="cuda")
            for _ in range(PRODUCTS):
                result = result @ square
            return result, lambda: torch.cuda.stream(stream)

    torch.cuda.synchronize()
    return work


def cupy_work(cupy: Any) -> Callable[[int], Any]:
    square = cupy.full((SIZE, SIZE), 2 / SIZE, cupy.float32)
    stream = cupy.cuda.Stream(non_blocking=True)

    def work(start: int) -> Any:
        with stream:
            result = cupy.full((SIZE, SIZE), start, cupy.float32)
            for _ in range(PRODUCTS):
                result = result @ square
            return result, lambda: stream

    cupy.cuda.Device().synchronize()
    return work


def check_range(measured: halve.TensorStatistics, start: int) -> None:
    assert (measured.minimum, measured.maximum) == (start * 2.0**PRODUCTS,) * 2


def test_the_producers_stream_is_waited_for(library: Any) -> None:
    work = (cupy_work if library.__name__ == "cupy" else torch_work)(library)
    for start in (1, 3, 5, 7, 9):
        result, current = work(start)
        with current():
            check_range(halve.statistics(result), start)


def test_the_array_interface_waits_too() -> None:
    cupy = pytest.importorskip("cupy")

    class Described:
        """What has the array interface and no DLPack."""

        def __init__(self, array: Any) -> None:
            self.array, self.dtype = array, array.dtype

        @property
        def __cuda_array_interface__(self) -> Any:
            return self.array.__cuda_array_interface__

    work = cupy_work(cupy)
    for start in (1, 3, 5, 7, 9):
        result, current = work(start)
        with current():
            check_range(halve.statistics(Described(result)), start)


def test_what_cannot_be_read_in_place_is_refused(library: Any) -> None:
    there = put(library, X)
    with pytest.raises(ComparisonError, match="contiguous first"):
        halve.statistics(there[:, ::2])
    with pytest.raises(CastError, match="contiguous first"):
        halve.cast(there.T, "float16")
    with pytest.raises(ComparisonError, match="a is in a device's memory and b is not"):
        halve.compare(there, X)
    if library.__name__ == "torch":
        with pytest.raises(ComparisonError, match="detached"):
            halve.statistics(there.requires_grad_())


def test_a_result_is_there_when_the_call_returns(library: Any) -> None:
    for value in (1, 3, 5, 7, 9):
        there = put(library, np.full((1 << 24) + 3, value, np.float32))
        result, _ = halve.cast(there, "float16")
        assert (float(result.min()), float(result.max())) == (value, value)
