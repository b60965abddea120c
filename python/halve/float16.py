"""Drop-in replacement of onnxconverter-common's `float16` module."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from halve.cast.array import cast
from halve.errors import CastError
from halve.types import CastCounts

__all__ = ["convert_np_to_float16"]


def convert_np_to_float16(
    np_array: ArrayLike, min_positive_val: float = 1e-7, max_finite_val: float = 1e4
) -> NDArray[np.float16]:
    """Clip the magnitudes of an array to a range and round it to float16.

    |x| in (0, min_positive_val) becomes ±min_positive_val, finite |x| > max_finite_val becomes
    ±max_finite_val; 0, -0, NaN and ±inf stay and the sign never changes; then each value is
    rounded to nearest, ties to even. Bounds of float32 arrays are compared in float32; arrays of
    other real types are clipped in their own precision and rounded once.

    Args:
        np_array: an array of real numbers of any shape, 0-d and empty included; not changed.
        min_positive_val: finite, at least 0 (off) and at most max_finite_val.
        max_finite_val: more than 0; inf is no bound.

    Returns:
        A new float16 array of the same shape.

    Warns:
        UserWarning: values were clipped: one warning an array, with the counts.

    Raises:
        CastError: the array is not of real numbers, or a bound is out of range.
    """
    array = np.asarray(np_array)
    if array.dtype.newbyteorder("=") == np.float32:
        half, counts = cast(
            array, np.float16, min_positive=min_positive_val, max_finite=max_finite_val
        )
    else:
        half, counts = _clip_other(array, min_positive_val, max_finite_val)
    if counts.raised or counts.lowered:
        warnings.warn(_message(counts, min_positive_val, max_finite_val), stacklevel=2)
    return half


def _message(counts: CastCounts, low: float, high: float) -> str:
    return (
        f"float16 conversion clipped {counts.raised + counts.lowered} of {counts.elements} values: "
        f"{counts.raised} nonzero magnitudes below {low} were raised to it, "
        f"{counts.lowered} above {high} were lowered to it"
    )


def _clip_other(
    array: NDArray[Any], low: float, high: float
) -> tuple[NDArray[np.float16], CastCounts]:
    if array.dtype.kind not in "fiub":
        raise CastError(f"array has dtype {array.dtype}; allowed: real numbers, such as float32")
    if not (0 <= low < np.inf and high > 0 and low <= high):
        raise CastError(
            f"min_positive_val is {low}, max_finite_val {high}; allowed: "
            "0 <= min_positive_val < inf, max_finite_val > 0 and >= min_positive_val"
        )
    # Integers are exact in float64 as far as float16 can tell; wider floats keep their type.
    values = array if array.dtype.kind == "f" else array.astype(np.float64)
    magnitude = np.abs(values)
    raised = (magnitude > 0) & (magnitude < low)
    lowered = np.isfinite(values) & (magnitude > high)
    bounded = np.where(raised, low, np.where(lowered, high, magnitude))
    with np.errstate(all="ignore"):
        half = np.asarray(np.copysign(bounded, values).astype(np.float16))
    counts = CastCounts(elements=array.size, raised=int(raised.sum()), lowered=int(lowered.sum()))
    return half, counts
