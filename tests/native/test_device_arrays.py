"""Arrays on a device: what each protocol says, and what is refused."""

from __future__ import annotations

import sys
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from fake_cuda import STREAM, FakeArray, FakeDlpack, FakeOrtValue, fake_module
from halve._native import cuda
from halve._native.device_arrays import is_on_device, open_device_array
from halve._native.dlpack import read_capsule
from halve.errors import BackendUnavailableError, ComparisonError

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@pytest.fixture(autouse=True)
def _module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "halve._cuda", fake_module())


@pytest.mark.parametrize("wrap", [FakeArray, FakeDlpack, FakeOrtValue])
def test_each_protocol_gives_the_pointer_without_a_copy(wrap: Any) -> None:
    value = wrap(X)
    assert is_on_device(value)
    found = open_device_array("x", value)
    assert found.pointer == X.ctypes.data
    assert (found.shape, found.dtype, found.device) == ((2, 3, 4), np.float32, 0)
    assert (found.size, found.nbytes) == (24, 96)


def test_host_arrays_are_not_on_a_device() -> None:
    for value in (X, [1.0], 2.0, FakeDlpack(X, kind=1), FakeDlpack(X, kind=3)):
        assert not is_on_device(value)
    assert not is_on_device(FakeOrtValue(X, "cpu"))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_types(dtype: Any) -> None:
    x = np.ones(5, dtype)
    assert open_device_array("x", FakeArray(x)).dtype == np.dtype(dtype)
    if dtype is not ml_dtypes.bfloat16:  # which numpy does not export
        assert open_device_array("x", FakeDlpack(x)).dtype == np.dtype(dtype)


def test_the_stream_of_the_array_interface_is_passed_on() -> None:
    assert open_device_array("x", FakeArray(X)).stream == 1
    assert open_device_array("x", FakeArray(X, stream=None)).stream is None
    assert open_device_array("x", FakeArray(X, stream=0x77)).stream == 0x77
    with pytest.raises(ComparisonError, match="stream 0, which is ambiguous"):
        open_device_array("x", FakeArray(X, stream=0))


def test_dlpack_is_told_the_stream_that_reads_it() -> None:
    for versions in (True, False):
        value = FakeDlpack(X, versions=versions)
        assert open_device_array("x", value).stream is None
        assert value.asked == [STREAM]


def test_read_only_arrays_say_so() -> None:
    frozen = X.copy()
    frozen.flags.writeable = False
    assert open_device_array("x", FakeArray(frozen)).read_only
    assert not open_device_array("x", FakeArray(X)).read_only
    capsule = frozen.__dlpack__(max_version=(1, 0))
    assert read_capsule(capsule).read_only


@pytest.mark.parametrize("wrap", [FakeArray, FakeDlpack])
def test_gaps_and_other_orders_are_refused(wrap: Any) -> None:
    for view in (X[:, ::2], X.T, X[:, :2], X[::-1]):
        with pytest.raises(ComparisonError, match=r"x has .*strides.*contiguous first"):
            open_device_array("x", wrap(view))
    for view in (X[:1, :1], X[1:], X[:, :0], np.array(1, np.float32)):
        assert open_device_array("x", wrap(view)).shape == view.shape


def test_strides_that_are_no_whole_elements_are_refused() -> None:
    with pytest.raises(ComparisonError, match="strides of"):
        open_device_array("x", FakeArray(X, strides=(50, 18, 6)))


@pytest.mark.parametrize("wrap", [FakeArray, FakeDlpack, FakeOrtValue])
def test_other_types_are_refused(wrap: Any) -> None:
    with pytest.raises(ComparisonError, match=r"x is of type .*; allowed: float32"):
        open_device_array("x", wrap(np.ones(3, np.int64)))


def test_masks_are_refused() -> None:
    with pytest.raises(ComparisonError, match="mask"):
        open_device_array("x", FakeArray(X, mask=FakeArray(X)))


@pytest.mark.parametrize("value", [FakeDlpack(X, kind=10), FakeOrtValue(X, "dml")])
def test_other_devices_are_refused(value: Any) -> None:
    assert is_on_device(value)
    with pytest.raises(BackendUnavailableError, match=r"x \(Fake\w+\) is on .*copy it to the host"):
        open_device_array("x", value)


def test_host_memory_behind_the_array_interface_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = fake_module(pointer_device=lambda _: None)
    monkeypatch.setitem(sys.modules, "halve._cuda", module)
    with pytest.raises(BackendUnavailableError, match="an address that CUDA does not know"):
        open_device_array("x", FakeArray(X))
    assert open_device_array("x", FakeArray(X[:0])).size == 0


class Unwilling(FakeDlpack):
    """As a tensor that requires a gradient."""

    def __dlpack__(self, **options: Any) -> object:
        raise BufferError("it requires a gradient")


def test_an_array_that_refuses_says_why() -> None:
    with pytest.raises(ComparisonError, match="requires a gradient; pass a plain, detached"):
        open_device_array("x", Unwilling(X))


class UnwillingTensor(Unwilling):
    """As a tensor of torch, which refuses by both protocols, each with its own error."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        raise RuntimeError("use var.detach()")


def test_an_array_that_refuses_by_both_protocols_says_why() -> None:
    with pytest.raises(ComparisonError, match=r"use var\.detach\(\); pass a plain, detached"):
        open_device_array("x", UnwillingTensor(X))


class Nameless(FakeDlpack):
    """As an array of a type that its library does not export by DLPack."""

    def __dlpack__(self, **options: Any) -> object:
        raise ValueError("Unknown dtype")


class Described(Nameless):
    """One that the array interface describes."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return FakeArray(self.array).__cuda_array_interface__

    @property
    def dtype(self) -> Any:
        return self.array.dtype


def test_what_dlpack_does_not_export_is_asked_of_the_interface() -> None:
    x = np.ones(5, ml_dtypes.bfloat16)
    found = open_device_array("x", Described(x))
    assert (found.pointer, found.dtype, found.stream) == (x.ctypes.data, x.dtype, 1)
    with pytest.raises(ComparisonError, match="does not let itself be read: Unknown dtype"):
        open_device_array("x", Nameless(X))


def test_what_is_no_capsule_is_refused() -> None:
    with pytest.raises(ComparisonError, match="allowed: a capsule"):
        read_capsule(object())
    capsule = X.__dlpack__()
    del capsule  # a capsule that nobody consumed frees what it holds
    assert X[0, 0, 1] == 1


def test_without_the_module_the_reason_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "halve._cuda", None)  # type: ignore[arg-type]  # not built
    for value in (FakeArray(X), FakeDlpack(X), FakeOrtValue(X)):
        with pytest.raises(BackendUnavailableError, match="was not built"):
            open_device_array("x", value)


def test_contexts_are_kept_a_device() -> None:
    assert cuda.context(0) is cuda.context(0)
    assert cuda.context(1) is not cuda.context(0)
    with pytest.raises(BackendUnavailableError, match=r"device 4 cannot be used.*halve doctor"):
        cuda.context(4)
