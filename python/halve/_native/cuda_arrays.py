"""The GPU's cast, comparison and statistics on arrays in its memory: records in, records out."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halve._native import cuda
from halve._native.compare import FLOAT_TYPES
from halve._native.device_arrays import DeviceArray
from halve.errors import BackendUnavailableError, CastError, ComparisonError
from halve.types import CastBounds, CastCounts, Comparison, DType, TensorStatistics

__all__ = [
    "PIECE_ELEMENTS",
    "cast_array",
    "cast_through",
    "compare_array",
    "measure_array",
    "measure_ratios",
]

_HALF_TYPES = {DType.FLOAT16: 0, DType.BFLOAT16: 1}
# Of float32, on their way to the device: large enough for its bus, small enough to overlap.
PIECE_ELEMENTS = 4 << 20


def cast_array(src: DeviceArray, dst: DeviceArray, dtype: DType, bounds: CastBounds) -> CastCounts:
    """Cast `src` (float32) into `dst`, as many 16-bit elements on the same device.

    Returns when `dst` is written. `bounds` are rounded to float32.

    Raises:
        CastError: the bounds are out of range.
        BackendUnavailableError: CUDA is not usable here, or fails.
    """
    context = _ready(src, dst)
    low, high = _as_float32(bounds)
    with _cuda_errors(CastError, bounds):
        (counts,) = context.cast(
            _HALF_TYPES[dtype], [(src.pointer, dst.pointer, src.size)], low, high
        )
    return CastCounts(*counts)


def cast_through(  # noqa: PLR0913 - arrays, rule, and two independent options
    src: NDArray[np.float32],
    dst: NDArray[Any],
    dtype: DType,
    bounds: CastBounds,
    *,
    device: int,
    piece: int = PIECE_ELEMENTS,
) -> CastCounts:
    """As halve._native.cast.cast_into, by way of a device: `piece` elements at a time.

    Raises:
        CastError: the bounds are out of range.
        BackendUnavailableError: CUDA is not usable here, or fails.
    """
    context = cuda.context(device)
    low, high = _as_float32(bounds)
    with _cuda_errors(CastError, bounds):
        counts = context.cast_through(
            _HALF_TYPES[dtype], src.ctypes.data, dst.ctypes.data, src.size, low, high, piece
        )
    return CastCounts(*counts)


def compare_array(
    a: DeviceArray, b: DeviceArray, *, rtol: float, atol: float, equal_nan: bool
) -> Comparison:
    """Compare `a` with the reference `b`, as large and on the same device.

    Raises:
        ComparisonError: a tolerance is negative, NaN or infinite.
        BackendUnavailableError: CUDA is not usable here, or fails.
    """
    context = _ready(a, b)
    types = FLOAT_TYPES[a.dtype], FLOAT_TYPES[b.dtype]
    with _cuda_errors(ComparisonError, f"rtol {rtol}, atol {atol}"):
        (totals,) = context.compare(*types, [(a.pointer, b.pointer, a.size)], rtol, atol, equal_nan)
    return Comparison(*totals)


def measure_array(x: DeviceArray, *, ge: float, le: float) -> TensorStatistics:
    """Statistics of an array.

    Raises:
        ComparisonError: a threshold is NaN.
        BackendUnavailableError: CUDA is not usable here, or fails.
    """
    context = _ready(x)
    with _cuda_errors(ComparisonError, f"ge {ge}, le {le}"):
        (totals,) = context.statistics(FLOAT_TYPES[x.dtype], [(x.pointer, x.size)], ge, le)
    return TensorStatistics(*totals)


def measure_ratios(
    a: DeviceArray, b: DeviceArray, *, rtol: float, atol: float
) -> tuple[float, float]:
    """The largest share of the tolerance that an element uses, and the sum of the shares' fourth
    powers, each divided by the largest first (0 where that is 0 or infinite).

    The share is |a - b| / (atol + rtol·|b|): 0 where a equals b, infinite where it would be NaN.
    `b` is float32; `a` is as large, on the same device, and of at most 32 bits an element.

    Raises:
        ComparisonError: a tolerance is negative, NaN or infinite.
        BackendUnavailableError: CUDA is not usable here, or fails.
    """
    context = _ready(a, b)
    items = [(a.pointer, b.pointer, a.size)]
    kind = FLOAT_TYPES[a.dtype]
    with _cuda_errors(ComparisonError, f"rtol {rtol}, atol {atol}"):
        ((worst, _),) = context.ratios(kind, items, rtol, atol, 0.0)
        # A tiny largest share has an infinite inverse; nothing is lost by calling it 0.
        scale = 1 / worst if 0 < worst < math.inf else 0.0
        if not 0 < scale < math.inf:
            return worst, 0.0
        ((_, total),) = context.ratios(kind, items, rtol, atol, scale)
    return worst, total


def _ready(*arrays: DeviceArray) -> Any:  # noqa: ANN401 - the compiled module has no types
    """This thread's context of the arrays' device, behind what their makers still do."""
    context = cuda.context(arrays[0].device)
    for array in arrays:
        if array.stream is not None:
            with _cuda_errors(ComparisonError, f"stream {array.stream}"):
                context.follow(array.stream)
    return context


def _as_float32(bounds: CastBounds) -> tuple[float, float]:
    with np.errstate(over="ignore", under="ignore"):
        return float(np.float32(bounds.min_positive)), float(np.float32(bounds.max_finite))


@contextlib.contextmanager
def _cuda_errors(wrong: type[CastError | ComparisonError], received: object) -> Iterator[None]:
    """CUDA's failures and the kernels' refusals as errors of halve."""
    failure = cuda.load().CudaError
    try:
        yield
    except failure as error:
        raise BackendUnavailableError(f"the GPU failed: {error}; see `halve doctor`") from error
    except ValueError as error:
        raise wrong(f"{error}: received {received}") from error
