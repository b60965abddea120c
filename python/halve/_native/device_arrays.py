"""Arrays in a GPU's memory, whoever made them, as a pointer, a shape and a type: without a copy.

Understood are ONNX Runtime's OrtValue, DLPack and the CUDA array interface, asked in that order. A
type that DLPack has no name for is asked of the interface. None of their libraries is imported.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from halve._native import cuda, dlpack
from halve.errors import BackendUnavailableError, ComparisonError

__all__ = ["DeviceArray", "is_on_device", "open_device_array"]

_ORT_TYPES: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(bfloat16)": np.dtype(ml_dtypes.bfloat16),
    "tensor(double)": np.dtype(np.float64),
}
_FLOATS = "float32, float16, bfloat16 or float64"


@dataclass(frozen=True, slots=True)
class DeviceArray:
    """An array in C order without gaps. `owner` keeps the memory alive.

    `stream` is the producer's stream to wait for (a cudaStream_t as a number, 1 the legacy default
    stream, 2 the thread's default stream), or None where nothing needs waiting for.
    """

    pointer: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    device: int
    read_only: bool
    stream: int | None
    owner: object

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The size in bytes."""
        return self.size * self.dtype.itemsize


def is_on_device(value: object) -> bool:
    """Whether an array lies in memory that the processor does not read; false for all else."""
    if isinstance(value, np.ndarray):
        return False
    if _is_ort_value(value):
        return str(value.device_name()).lower() != "cpu"  # type: ignore[attr-defined]  # checked
    device = getattr(value, "__dlpack_device__", None)
    if device is not None:
        return int(device()[0]) not in dlpack.HOST_DEVICES
    return hasattr(value, "__cuda_array_interface__")


def open_device_array(name: str, value: Any) -> DeviceArray:  # noqa: ANN401 - any library's array
    """What `value`, called `name` in messages, describes.

    Work on the array must wait for `stream` (see `DeviceArray`); where the array speaks DLPack, its
    maker has made this thread's stream of its device wait already.

    Raises:
        BackendUnavailableError: the memory is no CUDA device's, or CUDA is not usable here.
        ComparisonError: the type is no float, or there are gaps or another order.
    """
    if _is_ort_value(value):
        return _open_ort_value(name, value)
    if not (hasattr(value, "__dlpack_device__") and hasattr(value, "__dlpack__")):
        return _open_interface(name, value)
    try:
        return _open_dlpack(name, value)
    except (TypeError, ValueError) as error:
        if hasattr(type(value), "__cuda_array_interface__"):
            return _open_interface(name, value)
        raise _unreadable(name, value, error) from error


def _is_ort_value(value: object) -> bool:
    return callable(getattr(value, "data_ptr", None)) and hasattr(value, "device_name")


def _open_ort_value(name: str, value: Any) -> DeviceArray:  # noqa: ANN401 - an OrtValue
    where = str(value.device_name()).lower()
    if where not in ("cuda", "gpu"):
        raise _not_cuda(name, value, f"device {where!r}")
    given = str(value.data_type())
    dtype = _ORT_TYPES.get(given)
    if dtype is None:
        raise _wrong_type(name, given)
    pointer = int(value.data_ptr())
    shape = tuple(int(size) for size in value.shape())
    # ONNX Runtime has waited for its own stream when a run returns.
    device = _device_of(name, value, pointer, shape)
    return DeviceArray(pointer, shape, dtype, device, False, None, value)


def _open_dlpack(name: str, value: Any) -> DeviceArray:  # noqa: ANN401 - any library's array
    kind, device = (int(number) for number in value.__dlpack_device__())
    if kind not in dlpack.CUDA_DEVICES:
        raise _not_cuda(name, value, f"DLPack device type {kind}")
    capsule = _export(name, value, cuda.context(device).stream)
    tensor = dlpack.read_capsule(capsule)
    if tensor.dtype is None:
        raise _wrong_type(name, tensor.type_name)
    _check_dense(name, tensor.shape, tensor.strides)
    return DeviceArray(
        tensor.pointer, tensor.shape, tensor.dtype, device, tensor.read_only, None, capsule
    )


def _export(name: str, value: Any, stream: int) -> object:  # noqa: ANN401 - any library's array
    try:
        try:
            return value.__dlpack__(stream=stream, max_version=(1, 0))
        except TypeError:  # from before DLPack had versions
            return value.__dlpack__(stream=stream)
    except (BufferError, RuntimeError) as error:
        raise _unreadable(name, value, error) from error


def _open_interface(name: str, value: Any) -> DeviceArray:  # noqa: ANN401 - any library's array
    try:
        described = value.__cuda_array_interface__
    except (AttributeError, RuntimeError) as error:
        raise _unreadable(name, value, error) from error
    pointer, read_only = described["data"]
    shape = tuple(int(size) for size in described["shape"])
    dtype = _interface_type(name, str(described["typestr"]), getattr(value, "dtype", None))
    if described.get("mask") is not None:
        raise ComparisonError(f"{name} has a mask; allowed: arrays without one")
    strides = described.get("strides")
    if strides is not None:
        if any(int(stride) % dtype.itemsize for stride in strides):
            raise _gaps(name, f"strides of {tuple(strides)} bytes")
        strides = tuple(int(stride) // dtype.itemsize for stride in strides)
    _check_dense(name, shape, strides)
    stream = described.get("stream")
    if stream == 0:
        raise ComparisonError(
            f"{name} names stream 0, which is ambiguous; allowed: None, 1, 2 or a stream's address"
        )
    device = _device_of(name, value, int(pointer), shape)
    return DeviceArray(int(pointer), shape, dtype, device, bool(read_only), stream, value)


def _interface_type(name: str, typestr: str, dtype: object) -> np.dtype[Any]:
    bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    # The interface has no letter for bfloat16; those who have the type say it beside.
    if typestr[1:] == "V2" and str(dtype).rpartition(".")[2] == "bfloat16":
        return bfloat16
    if typestr[:1] in "<|=" and typestr[1:] in ("f2", "f4", "f8"):
        plain: np.dtype[Any] = np.dtype(typestr[1:])
        return plain
    raise _wrong_type(name, typestr)


def _device_of(name: str, value: object, pointer: int, shape: Sequence[int]) -> int:
    if math.prod(shape) == 0:
        return 0
    device = cuda.pointer_device(pointer)
    if device is None:
        raise _not_cuda(name, value, "an address that CUDA does not know")
    return device


def _check_dense(name: str, shape: Sequence[int], strides: Sequence[int] | None) -> None:
    """Refuse what is not in C order without gaps; dimensions of 1 may have any stride."""
    if strides is None or 0 in shape:
        return
    expected = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != expected:
            raise _gaps(name, f"shape {tuple(shape)} and strides {tuple(strides)}")
        expected *= size


def _gaps(name: str, received: str) -> ComparisonError:
    return ComparisonError(
        f"{name} has {received}; allowed on a GPU: C order without gaps; make it contiguous first "
        "(torch: .contiguous(), cupy: cupy.ascontiguousarray)"
    )


def _unreadable(name: str, value: object, error: Exception) -> ComparisonError:
    return ComparisonError(
        f"{name} ({type(value).__name__}) does not let itself be read: {error}; pass a plain, "
        "detached array"
    )


def _wrong_type(name: str, received: str) -> ComparisonError:
    return ComparisonError(f"{name} is of type {received}; allowed: {_FLOATS}")


def _not_cuda(name: str, value: object, received: str) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"{name} ({type(value).__name__}) is on {received}; allowed: memory of the processor or of"
        " a CUDA device; copy it to the host first"
    )
