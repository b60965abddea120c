"""`halve.cast`, `halve.compare` and `halve.statistics` on arrays in a device's memory."""

from __future__ import annotations

import sys
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import halve
from fake_cuda import (
    FakeArray,
    FakeContext,
    FakeCudaError,
    FakeDlpack,
    FakeOrtValue,
    fake_module,
)
from halve._native import cuda
from halve._native.cuda_arrays import cast_through
from halve.errors import BackendUnavailableError, CastError, ComparisonError
from halve.types import CastBounds, DType

X = np.random.default_rng(1).standard_normal((3, 1000)).astype(np.float32)
WRAPPERS = [FakeArray, FakeDlpack, FakeOrtValue]


@pytest.fixture(autouse=True)
def _module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "halve._cuda", fake_module())


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_a_cast_into_out_is_that_of_the_host(wrap: Any) -> None:
    expected, counts = halve.cast(X, "float16", min_positive=1e-3)
    out = wrap(np.zeros(X.shape, np.float16))
    result, found = halve.cast(wrap(X), "float16", min_positive=1e-3, out=out)
    assert result is out
    assert found == counts
    np.testing.assert_array_equal(out.array, expected)


def test_a_cast_makes_an_array_of_the_same_library() -> None:
    result, counts = halve.cast(FakeOrtValue(X), "float16")
    assert isinstance(result, FakeOrtValue)
    np.testing.assert_array_equal(result.array, X.astype(np.float16))
    assert counts == halve.cast(X, "float16")[1]


class FakeTensor(FakeDlpack):
    """As a torch.Tensor makes others."""

    __module__ = "torch.fake"

    def new_empty(self, shape: tuple[int, ...], *, dtype: object) -> FakeDlpack:
        assert dtype == "torch's float16"
        return FakeTensor(np.zeros(shape, np.float16))


class FakeCupyArray(FakeArray):
    """As cupy.ndarray says where it comes from."""

    __module__ = "cupy.fake"


def test_torch_and_cupy_make_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    torch: Any = type(sys)("torch")
    torch.float16 = "torch's float16"
    monkeypatch.setitem(sys.modules, "torch", torch)
    result, _ = halve.cast(FakeTensor(X), "float16")
    np.testing.assert_array_equal(result.array, X.astype(np.float16))
    cupy: Any = type(sys)("cupy")
    cupy.empty = lambda shape, dtype: FakeArray(np.zeros(shape, dtype))
    cupy.cuda = type("cuda", (), {"Device": FakeDevice})
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    result, _ = halve.cast(FakeCupyArray(X), "bfloat16")
    np.testing.assert_array_equal(result.array, X.astype(ml_dtypes.bfloat16))


class FakeDevice:
    def __init__(self, number: int) -> None:
        assert number == 0

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def test_without_a_known_library_out_must_be_given() -> None:
    with pytest.raises(CastError, match=r"no float16 array can be made .*give one as out"):
        halve.cast(FakeDlpack(X), "float16")


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.zeros(X.shape, np.float16), "is not on a GPU, but array is"),
        (FakeArray(np.zeros(3, np.float16)), "out has shape"),
        (FakeArray(np.zeros(X.shape, np.float32)), "out is of dtype float32"),
        (FakeArray(np.zeros(X.shape, np.float16), data=(8, True)), "out is read-only"),
        (FakeArray(X.view(np.float16)[:, :1000].copy(), data=(X.ctypes.data + 8, False)), "shares"),
    ],
)
def test_out_that_does_not_fit_is_refused(out: Any, message: str) -> None:
    with pytest.raises(CastError, match=message):
        halve.cast(FakeArray(X), "float16", out=out)


def test_other_casts_are_refused() -> None:
    with pytest.raises(CastError, match="allowed: float32"):
        halve.cast(FakeArray(X.astype(np.float64)), "float16")
    with pytest.raises(CastError, match="contiguous first"):
        halve.cast(FakeArray(X[:, ::2]), "float16")
    out = FakeArray(np.zeros(X.shape, np.float16))
    with pytest.raises(CastError, match=r"bounds out of range: received .*min_positive=2.0"):
        halve.cast(FakeArray(X), "float16", min_positive=2.0, max_finite=1.0, out=out)


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_comparison_and_statistics_are_those_of_the_host(wrap: Any) -> None:
    half = X.astype(np.float16)
    found = halve.compare(wrap(half), wrap(X), rtol=1e-4, atol=0)
    assert found == halve.compare(half, X, rtol=1e-4, atol=0)
    assert halve.statistics(wrap(X)) == halve.statistics(X)


def test_comparisons_across_memories_and_shapes_are_refused() -> None:
    with pytest.raises(ComparisonError, match="a is in a device's memory and b is not"):
        halve.compare(FakeArray(X), X)
    with pytest.raises(ComparisonError, match="b is in a device's memory and a is not"):
        halve.compare(X, FakeDlpack(X))
    with pytest.raises(ComparisonError, match="equal shapes"):
        halve.compare(FakeArray(X), FakeArray(X[:1]))


def test_arrays_on_two_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = X.copy()
    module = fake_module(pointer_device=lambda p: int(p == other.ctypes.data))
    monkeypatch.setitem(sys.modules, "halve._cuda", module)
    with pytest.raises(ComparisonError, match="a is on device 0, b on 1"):
        halve.compare(FakeArray(X), FakeArray(other))
    out = FakeArray(np.zeros(X.shape, np.float16), data=(other.ctypes.data, False))
    with pytest.raises(CastError, match="out is on device 1, array on 0"):
        halve.cast(FakeArray(X), "float16", out=out)


def test_kernels_wait_for_the_producers_stream() -> None:
    halve.compare(FakeArray(X, stream=5), FakeArray(X, stream=None))
    assert cuda.context(0).followed == [5]


def test_a_stream_that_cannot_be_waited_for_is_an_error_with_its_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise FakeCudaError("cudaEventRecord failed: invalid resource handle")

    monkeypatch.setattr(FakeContext, "follow", refuse)
    with pytest.raises(BackendUnavailableError, match="the GPU failed: cudaEventRecord failed"):
        halve.statistics(FakeArray(X, stream=5))


def test_a_cast_through_the_device_is_that_of_the_host() -> None:
    expected, counts = halve.cast(X, "bfloat16")
    out = np.zeros_like(expected)
    assert cast_through(X, out, DType.BFLOAT16, CastBounds(0.0, np.inf), device=0) == counts
    np.testing.assert_array_equal(out, expected)


def test_a_failing_device_is_an_error_with_its_words() -> None:
    cuda.context(0).broken = True
    out = FakeArray(np.zeros(X.shape, np.float16))
    with pytest.raises(BackendUnavailableError, match=r"out of memory; see `halve doctor`"):
        halve.cast(FakeArray(X), "float16", out=out)
