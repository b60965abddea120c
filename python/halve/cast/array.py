"""Cast arrays of float32 to float16 or bfloat16, with bounds and counts."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from halve._native.cast import cast_into
from halve._native.device_arrays import is_on_device
from halve.cast.device import cast_on_device
from halve.errors import CastError
from halve.types import CastBounds, CastCounts, DType

__all__ = ["cast"]

_NUMPY_TYPES: dict[DType, np.dtype[Any]] = {
    DType.FLOAT16: np.dtype(np.float16),
    DType.BFLOAT16: np.dtype(ml_dtypes.bfloat16),
}
# What a finite value is lowered to by default: float16's largest, so that clipping replaces
# overflow; bfloat16 has float32's range.
_DEFAULT_MAX_FINITE = {DType.FLOAT16: 65504.0, DType.BFLOAT16: math.inf}


def cast(  # noqa: PLR0913 - the bounds and the options of one operation
    array: Any,  # noqa: ANN401 - what numpy.asarray takes, or any library's array on a GPU
    dtype: DTypeLike | DType,
    *,
    min_positive: float = 0.0,
    max_finite: float | None = None,
    out: Any = None,  # noqa: ANN401 - an array of the same library
    threads: int = 0,
) -> tuple[Any, CastCounts]:
    """Cast float32 values to a 16-bit float type and count what that did to them.

    For every element x: 0 < |x| < min_positive becomes ±min_positive, finite |x| > max_finite
    becomes ±max_finite, and the result is rounded to nearest, ties to even. Subnormal results are
    kept; beyond the type's range lies ±inf. ±0 and ±inf stay; NaN keeps its sign and the top bits
    of its payload, and becomes quiet. Bounds are compared in float32.

    Args:
        array: float32 of any shape, 0-d and empty included, in any layout, alignment and byte
            order. What is not contiguous or byte-swapped is copied first. It is not changed.
            Or an array in a CUDA device's memory (torch, cupy, OrtValue: DLPack or the CUDA array
            interface), in C order without gaps: it is cast there.
        dtype: float16 or bfloat16, as a name, a numpy dtype or a DType.
        min_positive: finite, 0 or more and at most max_finite; 0 switches the bound off.
        max_finite: more than 0; None is 65504 for float16 and no bound for bfloat16; inf is no
            bound.
        out: receives the result: of the 16-bit type in native byte order and of array's shape,
            writeable, in any layout, sharing no memory with `array`; on the device that it is on.
        threads: the most threads to use; 0 is one a core that this process may use.

    Returns:
        `out`, or a new array of array's shape (Fortran order where array has it; on a device, of
        array's own library), and the counts (see CastCounts), which do not depend on threads,
        machine or layout. A result on a device has been written.

    Raises:
        CastError: array is not float32, dtype is not a 16-bit float, `out` does not fit, a bound
            or `threads` is out of range. `out` is untouched.
        BackendUnavailableError: HALVE_FORCE_BACKEND names a backend that cannot run here, or array
            is on a device and CUDA is not usable here.
    """
    half = _half_type(dtype)
    limit = _DEFAULT_MAX_FINITE[half] if max_finite is None else max_finite
    bounds = CastBounds(min_positive, limit)
    if is_on_device(array):
        return cast_on_device(array, half, bounds, out)
    source = _float32_array(array)
    if isinstance(threads, bool) or not isinstance(threads, int) or not 0 <= threads < 1 << 31:
        raise CastError(f"threads is {threads!r}; allowed: 0 (one a core) or a positive integer")
    if out is not None:
        _check_out(out, source, _NUMPY_TYPES[half])
    dense = _dense(source)
    if out is not None and _same_layout(out, dense):
        return out, cast_into(dense, out, half, bounds, threads=threads)
    result = np.empty_like(dense, dtype=_NUMPY_TYPES[half])
    counts = cast_into(dense, result, half, bounds, threads=threads)
    if out is None:
        return result, counts
    out[...] = result
    return out, counts


def _half_type(dtype: DTypeLike | DType) -> DType:
    if isinstance(dtype, DType):
        wanted = _NUMPY_TYPES.get(dtype)
    else:
        wanted = _NUMPY_TYPES[DType.BFLOAT16] if dtype == "bfloat16" else _numpy_dtype(dtype)
    for half, known in _NUMPY_TYPES.items():
        if wanted == known:
            return half
    raise CastError(f"cast to dtype {dtype!r}; allowed: float16 or bfloat16")


def _numpy_dtype(dtype: DTypeLike) -> np.dtype[Any] | None:
    try:
        return np.dtype(dtype)
    except TypeError:
        return None


def _float32_array(array: ArrayLike) -> NDArray[np.float32]:
    source = np.asarray(array)
    if source.dtype.newbyteorder("=") != np.float32:
        raise CastError(
            f"cast of an array of dtype {source.dtype}; allowed: float32; "
            "convert it with .astype(numpy.float32) first, knowing what that rounds"
        )
    return source


def _check_out(out: NDArray[Any], source: NDArray[np.float32], wanted: np.dtype[Any]) -> None:
    if not isinstance(out, np.ndarray) or out.dtype != wanted:
        received = getattr(out, "dtype", type(out).__name__)
        raise CastError(f"out is of dtype {received}; allowed: a numpy array of {wanted}")
    if out.shape != source.shape:
        raise CastError(f"out has shape {out.shape}; allowed: that of array, {source.shape}")
    if not out.flags.writeable:
        raise CastError("out is read-only; allowed: a writeable array; pass a copy of it")
    # By the ends of their memory: exact sharing of strided arrays is not worth finding out.
    if np.may_share_memory(out, source):
        raise CastError("out shares memory with array; allowed: separate arrays; leave out unset")


def _dense(source: NDArray[np.float32]) -> NDArray[np.float32]:
    """`source` without gaps and in native byte order: itself, or a copy in its own order."""
    if source.dtype.isnative and (source.flags.c_contiguous or source.flags.f_contiguous):
        return source
    return source.astype(np.float32, order="K")


def _same_layout(out: NDArray[Any], dense: NDArray[np.float32]) -> bool:
    """Whether one pass over both, front to back, meets the same elements."""
    both_c = out.flags.c_contiguous and dense.flags.c_contiguous
    return both_c or (out.flags.f_contiguous and dense.flags.f_contiguous)
