"""Arrays to ONNX Runtime's values and back, for the types that numpy does not have."""

# ruff: noqa: ANN401 - ONNX Runtime's objects have no type outside it

from __future__ import annotations

import ctypes
import math
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from halve.errors import SessionError
from halve.source.payload import data_size
from halve.types import DType

__all__ = ["from_value", "to_value", "value_nbytes", "view_value"]

_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


# What a value of ONNX Runtime holds, by its TensorProto code, where numpy reads it in place.
_VIEWS: dict[int, np.dtype[Any]] = {
    DType.FLOAT: np.dtype(np.float32),
    DType.DOUBLE: np.dtype(np.float64),
    DType.FLOAT16: np.dtype(np.float16),
    DType.BFLOAT16: _BFLOAT16,
}


def view_value(value: Any) -> NDArray[Any] | None:
    """A float tensor in the CPU's memory, in place: keep the value as long as the array. None for
    what is no float tensor.
    """
    if not value.is_tensor():
        return None
    dtype = _VIEWS.get(value.element_type())
    if dtype is None:
        return None
    shape = value.shape()
    size = math.prod(shape)
    if size == 0:
        return np.empty(shape, dtype)
    memory = (ctypes.c_char * (size * dtype.itemsize)).from_address(value.data_ptr())
    return np.ndarray(shape, dtype, memory)


def value_nbytes(value: Any) -> int:
    """About how many bytes a value takes; 0 for what is no tensor."""
    if not value.is_tensor():
        return 0
    size: int = math.prod(value.shape())
    return size * (data_size(value.element_type(), (1,)) or 1)


def to_value(ort: ModuleType, array: NDArray[Any]) -> Any:
    """An OrtValue on the CPU that holds the array (or shares its memory: keep the array)."""
    # ascontiguousarray would turn a scalar into one dimension.
    whole = np.require(array, requirements="C")
    if whole.dtype != _BFLOAT16:
        return ort.OrtValue.ortvalue_from_numpy(whole)
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(whole.view(np.uint16), DType.BFLOAT16)


def from_value(value: Any, where: str) -> NDArray[Any]:
    """A value's content as an array that owns its memory.

    Raises:
        SessionError: a bfloat16 value that is not in the CPU's memory.
    """
    if not value.is_tensor() or value.element_type() != DType.BFLOAT16:
        return value.numpy()  # type: ignore[no-any-return]
    if value.device_name().lower() != "cpu":
        raise SessionError(
            f"{where}: a bfloat16 output lies on {value.device_name()}; allowed: the CPU"
        )
    shape = tuple(value.shape())
    size = int(np.prod(shape, dtype=np.int64))
    if size == 0:
        return np.empty(shape, _BFLOAT16)
    words = ctypes.cast(value.data_ptr(), ctypes.POINTER(ctypes.c_uint16))
    array: NDArray[Any] = np.ctypeslib.as_array(words, (size,)).copy()
    result: NDArray[Any] = array.view(_BFLOAT16).reshape(shape)
    return result
