"""The cast in numpy: the executable definition that every compiled backend must equal.

Slow and plain on purpose. The rules are those of csrc/include/halve/cast.h.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from halve.types import CastBounds, CastCounts, DType

__all__ = ["reference_cast"]

_NUMPY_TYPES: dict[DType, np.dtype[Any]] = {
    DType.FLOAT16: np.dtype(np.float16),
    DType.BFLOAT16: np.dtype(ml_dtypes.bfloat16),
}
# Bits of infinity, which are also the exponent field; the quiet bit; how far a payload shifts.
_FORMATS = {DType.FLOAT16: (0x7C00, 0x0200, 13), DType.BFLOAT16: (0x7F80, 0x0040, 16)}


def reference_cast(
    x: NDArray[np.float32], dtype: DType, bounds: CastBounds
) -> tuple[NDArray[np.uint16], CastCounts]:
    """The 16-bit patterns of `x` cast to `dtype` (FLOAT16 or BFLOAT16), and the counts.

    `x` is native-endian float32 of any shape, which the result has too. `bounds` are rounded to
    float32. Nothing is raised for NaN, infinities or results out of range.
    """
    with np.errstate(all="ignore"):
        return _cast(x, dtype, np.float32(bounds.min_positive), np.float32(bounds.max_finite))


def _cast(
    x: NDArray[np.float32], dtype: DType, low: np.float32, high: np.float32
) -> tuple[NDArray[np.uint16], CastCounts]:
    infinity, quiet, shift = _FORMATS[dtype]
    pattern = x.view(np.uint32)
    magnitude = np.abs(x)
    finite = np.isfinite(x)
    nan = np.isnan(x)
    raised = (magnitude > 0) & (magnitude < low)
    lowered = finite & (magnitude > high)
    bounded = np.where(raised, low, np.where(lowered, high, magnitude))
    rounded = np.where(nan, np.float32(0), bounded).astype(_NUMPY_TYPES[dtype])
    half = rounded.view(np.uint16)
    half = np.where(nan, infinity | quiet | ((pattern & 0x7FFFFF) >> shift), half)
    overflow = finite & (half == infinity)
    judged = finite & ~overflow
    error = np.where(judged, np.abs(rounded.astype(np.float32) - magnitude), np.float32(0))
    relative = error / np.where(judged & (magnitude > 0), magnitude, np.float32(1))
    counts = CastCounts(
        elements=x.size,
        raised=int(np.count_nonzero(raised)),
        lowered=int(np.count_nonzero(lowered)),
        flushed=int(np.count_nonzero((bounded != 0) & (half == 0))),
        subnormal=int(np.count_nonzero((half != 0) & (half & infinity == 0))),
        overflow=int(np.count_nonzero(overflow)),
        nan=int(np.count_nonzero(nan)),
        inf=int(np.count_nonzero(np.isinf(x))),
        max_abs=float(np.where(finite, magnitude, np.float32(0)).max(initial=0)),
        max_abs_error=float(error.max(initial=0)),
        max_rel_error=float(relative.max(initial=0)),
    )
    return (half | (pattern >> 16 & 0x8000)).astype(np.uint16), counts
