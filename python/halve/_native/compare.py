"""The compiled comparison and statistics on numpy arrays: addresses in, records out."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from halve import _core
from halve._native.features import backend_number
from halve.errors import ComparisonError
from halve.types import Comparison, TensorStatistics

__all__ = ["FLOAT_TYPES", "compare_arrays", "measure_array", "read_array"]

# halve::FloatType of csrc/include/halve/float_type.h, by numpy's type.
FLOAT_TYPES: dict[np.dtype[Any], int] = {
    np.dtype(np.float32): 0,
    np.dtype(np.float16): 1,
    np.dtype(ml_dtypes.bfloat16): 2,
    np.dtype(np.float64): 3,
}


def compare_arrays(  # noqa: PLR0913 - arrays, rule, and two independent options
    a: NDArray[Any],
    b: NDArray[Any],
    *,
    rtol: float,
    atol: float,
    equal_nan: bool = False,
    threads: int = 0,
    backend: str | None = None,
) -> Comparison:
    """Compare `a` with the reference `b` in memory order; releases the GIL.

    Both are contiguous, in the same order, of as many elements, of a dtype in FLOAT_TYPES, at any
    alignment. `threads` 0 is one a core that this process may use; `backend` None is the one in
    use. The result does not depend on either.

    Raises:
        BackendUnavailableError: the backend is unknown or not usable here.
        ComparisonError: the sizes differ, or a tolerance is negative, NaN or infinite.
    """
    if a.size != b.size:
        raise ComparisonError(f"compare of {a.size} elements with {b.size}; allowed: equal sizes")
    status, totals = _core.compare(
        backend_number(backend),
        FLOAT_TYPES[a.dtype],
        a.ctypes.data,
        FLOAT_TYPES[b.dtype],
        b.ctypes.data,
        a.size,
        rtol,
        atol,
        equal_nan,
        threads,
    )
    if status != 0:
        raise ComparisonError(
            f"tolerances are rtol {rtol}, atol {atol}; allowed: finite numbers, 0 or more"
        )
    return Comparison(*totals)


def measure_array(
    x: NDArray[Any],
    *,
    ge: float,
    le: float,
    threads: int = 0,
    backend: str | None = None,
) -> TensorStatistics:
    """Statistics of `x`, contiguous and of a dtype in FLOAT_TYPES; releases the GIL.

    `threads` and `backend` are as for `compare_arrays`.

    Raises:
        BackendUnavailableError: the backend is unknown or not usable here.
        ComparisonError: a threshold is NaN.
    """
    status, totals = _core.stats(
        backend_number(backend), FLOAT_TYPES[x.dtype], x.ctypes.data, x.size, ge, le, threads
    )
    if status != 0:
        raise ComparisonError(f"thresholds are ge {ge}, le {le}; allowed: numbers that are not NaN")
    return TensorStatistics(*totals)


def read_array(x: NDArray[Any]) -> int:
    """The exclusive or of the 8-byte words of a contiguous array, on one thread.

    What reading costs, for benchmarks; bytes after the last whole word are left out.
    """
    return _core.xor_words(x.ctypes.data, x.nbytes)
