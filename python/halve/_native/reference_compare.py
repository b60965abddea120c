"""Comparison and statistics in numpy: what every compiled backend must equal, bit for bit.

Slow and plain on purpose. The rules are those of csrc/include/halve/{compare,stats,reduce}.h.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from halve.types import Comparison, TensorStatistics

__all__ = ["chunk_elements", "ordered_sum", "reference_compare", "reference_statistics"]

_LANES = 8
_BLOCK = 4096
_MAX_CHUNKS = 512
_LEAST_CHUNK = 1 << 18
_SMALLEST_NORMAL: dict[np.dtype[Any], float] = {
    np.dtype(np.float16): 2.0**-14,
    np.dtype(ml_dtypes.bfloat16): 2.0**-126,
    np.dtype(np.float32): 2.0**-126,
    np.dtype(np.float64): 2.0**-1022,
}


def reference_compare(
    a: NDArray[Any], b: NDArray[Any], *, rtol: float, atol: float, equal_nan: bool = False
) -> Comparison:
    """The comparison of two float arrays of equal shape, in C order.

    Nothing is raised for NaN, infinities or results out of range.
    """
    with np.errstate(all="ignore"):
        x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
        return _compare(x, y, rtol, atol, equal_nan)


def reference_statistics(x: NDArray[Any], *, ge: float, le: float) -> TensorStatistics:
    """The statistics of a float array."""
    with np.errstate(all="ignore"):
        return _measure(x.astype(np.float64).ravel(), _SMALLEST_NORMAL[x.dtype], ge, le)


def chunk_elements(n: int) -> int:
    """Elements of a chunk in an array of n."""
    share = -(-n // _MAX_CHUNKS)
    return max(-(-share // _BLOCK) * _BLOCK, _LEAST_CHUNK)


def ordered_sum(terms: NDArray[np.float64]) -> float:
    """The sum of a vector in the order that every backend keeps to."""
    chunk = chunk_elements(terms.size)
    chunks = [_chunk_sum(terms[i : i + chunk]) for i in range(0, terms.size, chunk)]
    return float(_in_order(np.array(chunks)))


def _chunk_sum(terms: NDArray[np.float64]) -> float:
    padded = np.zeros(-(-terms.size // _BLOCK) * _BLOCK)
    padded[: terms.size] = terms
    lanes = np.cumsum(padded.reshape(-1, _BLOCK // _LANES, _LANES), axis=1)[:, -1]
    halves = lanes[:, :4] + lanes[:, 4:]
    quarters = halves[:, :2] + halves[:, 2:]
    return float(_in_order(quarters[:, 0] + quarters[:, 1]))


def _in_order(terms: NDArray[np.float64]) -> np.float64:
    # The last of the running sums: numpy.sum would pair the terms.
    return np.cumsum(terms)[-1] + 0.0 if terms.size else np.float64(0)


def _compare(
    x: NDArray[np.float64], y: NDArray[np.float64], rtol: float, atol: float, equal_nan: bool
) -> Comparison:
    equal = (x == y) | (equal_nan & np.isnan(x) & np.isnan(y))
    distance = np.abs(x - y)
    error = np.where(equal, 0.0, np.where(np.isnan(distance), np.inf, distance))
    ratio = error / np.abs(y)
    relative = np.where(error == 0, 0.0, np.where(np.isnan(ratio), np.inf, ratio))
    near = np.isfinite(y) & (distance <= atol + rtol * np.abs(y))
    return Comparison(
        x.size,
        int(np.isnan(x).sum()),
        int(np.isinf(x).sum()),
        int(np.isnan(y).sum()),
        int(np.isinf(y).sum()),
        int(np.count_nonzero(~(equal | near))),
        *_worst(error),
        *_worst(relative),
        ordered_sum(x * x),
        ordered_sum(y * y),
        ordered_sum(x * y),
        ordered_sum(error * error),
    )


def _worst(values: NDArray[np.float64]) -> tuple[float, int | None]:
    worst = float(values.max(initial=0))
    return worst, int(values.argmax()) if worst > 0 else None


def _measure(x: NDArray[np.float64], min_normal: float, ge: float, le: float) -> TensorStatistics:
    size = np.abs(x)
    finite = np.isfinite(x)
    return TensorStatistics(
        elements=x.size,
        nan=int(np.isnan(x).sum()),
        inf=int(np.isinf(x).sum()),
        zero=int((x == 0).sum()),
        subnormal=int(((size > 0) & (size < min_normal)).sum()),
        ge=int((size >= ge).sum()),
        le=int((size <= le).sum()),
        minimum=float(x[finite].min(initial=np.inf)) + 0.0,
        maximum=float(x[finite].max(initial=-np.inf)) + 0.0,
        sum_squares=ordered_sum(np.where(finite, x * x, 0.0)),
    )
