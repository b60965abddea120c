"""Casts of arrays in a GPU's memory, into arrays of the same library."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from halve._native.cuda_arrays import cast_array
from halve._native.device_arrays import DeviceArray, is_on_device, open_device_array
from halve.errors import CastError, ComparisonError
from halve.types import CastBounds, CastCounts, DType

__all__ = ["cast_on_device"]

_NUMPY_TYPES: dict[DType, np.dtype[Any]] = {
    DType.FLOAT16: np.dtype(np.float16),
    DType.BFLOAT16: np.dtype(ml_dtypes.bfloat16),
}


def cast_on_device(
    array: Any,  # noqa: ANN401 - any library's array
    half: DType,
    bounds: CastBounds,
    out: Any,  # noqa: ANN401 - any library's array
) -> tuple[Any, CastCounts]:
    """As halve.cast, of a float32 array on a device; the result is there, too.

    `out` None makes an array of the same library (torch, cupy, ONNX Runtime).

    Raises:
        CastError: array is not float32, or `out` does not fit.
        BackendUnavailableError: CUDA is not usable here.
    """
    source = _open("array", array)
    if source.dtype != np.float32:
        raise CastError(f"cast of an array of dtype {source.dtype}; allowed: float32")
    if out is None:
        out = _empty_like(array, source, half)
    elif not is_on_device(out):
        raise CastError(
            f"out ({type(out).__name__}) is not on a GPU, but array is; allowed: both on one device"
        )
    target = _open("out", out)
    _check_target(source, target, _NUMPY_TYPES[half])
    return out, cast_array(source, target, half, bounds)


def _open(name: str, array: object) -> DeviceArray:
    try:
        return open_device_array(name, array)
    except ComparisonError as error:
        raise CastError(str(error)) from error


def _check_target(source: DeviceArray, target: DeviceArray, wanted: np.dtype[Any]) -> None:
    if target.dtype != wanted:
        raise CastError(f"out is of dtype {target.dtype}; allowed: {wanted}")
    if target.shape != source.shape:
        raise CastError(f"out has shape {target.shape}; allowed: that of array, {source.shape}")
    if target.read_only:
        raise CastError("out is read-only; allowed: a writeable array; pass a copy of it")
    if source.size and target.device != source.device:
        raise CastError(
            f"out is on device {target.device}, array on {source.device}; allowed: one device"
        )
    ends = source.pointer + source.nbytes, target.pointer + target.nbytes
    if source.size and source.pointer < ends[1] and target.pointer < ends[0]:
        raise CastError("out shares memory with array; allowed: separate arrays")


def _empty_like(array: Any, source: DeviceArray, half: DType) -> Any:  # noqa: ANN401 - any library's
    shape = source.shape
    if hasattr(array, "ortvalue_from_shape_and_type"):
        return _empty_ort_value(type(array), shape, half, source.device)
    library = type(array).__module__.partition(".")[0]
    if library == "torch":
        torch: Any = sys.modules["torch"]
        return array.new_empty(shape, dtype=getattr(torch, half.name.lower()))
    if library == "cupy":
        # cupy before 14 has no bfloat16.
        with contextlib.suppress(TypeError, ValueError):
            cupy: Any = sys.modules["cupy"]
            with cupy.cuda.Device(source.device):
                return cupy.empty(shape, _NUMPY_TYPES[half])
    raise CastError(
        f"no {half.name.lower()} array can be made on the device for {type(array).__name__}; "
        "give one as out"
    )


def _empty_ort_value(kind: Any, shape: Sequence[int], half: DType, device: int) -> Any:  # noqa: ANN401 - an OrtValue's class
    # Types that numpy lacks go by ONNX's number.
    element = np.float16 if half is DType.FLOAT16 else int(half)
    return kind.ortvalue_from_shape_and_type(list(shape), element, "cuda", device)
