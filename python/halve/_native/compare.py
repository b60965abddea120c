"""The compiled comparison and statistics on numpy arrays: addresses in, records out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from halve import _core
from halve._native.features import backend_number
from halve.errors import ComparisonError
from halve.types import Comparison, TensorStatistics

__all__ = [
    "FLOAT_TYPES",
    "Reference",
    "address",
    "compare_arrays",
    "compare_pairs",
    "measure_array",
    "measure_arrays",
    "read_array",
]

_Found = TypeVar("_Found")

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
        raise _unequal(a, b)
    status, totals = _core.compare(
        backend_number(backend),
        FLOAT_TYPES[a.dtype],
        address(a),
        FLOAT_TYPES[b.dtype],
        address(b),
        a.size,
        rtol,
        atol,
        equal_nan,
        threads,
    )
    if status != 0:
        raise _not_tolerances(rtol, atol)
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


def compare_pairs(
    pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]],
    *,
    rtol: float,
    atol: float,
    threads: int = 0,
) -> list[Comparison]:
    """`compare_arrays` of each pair, in one call.

    Raises:
        BackendUnavailableError, ComparisonError: as `compare_arrays`.
    """
    for a, b in pairs:
        if a.size != b.size:
            raise _unequal(a, b)
    jobs = [
        (FLOAT_TYPES[a.dtype], address(a), FLOAT_TYPES[b.dtype], address(b), a.size)
        for a, b in pairs
    ]
    status, rows = _core.compare_many(backend_number(None), jobs, rtol, atol, False, threads)
    if status != 0:
        raise _not_tolerances(rtol, atol)
    return [Comparison(*row) for row in rows]


def measure_arrays(
    arrays: Sequence[NDArray[Any]], *, ge: float, le: float, threads: int = 0
) -> list[TensorStatistics]:
    """`measure_array` of each, in one call.

    Raises:
        BackendUnavailableError, ComparisonError: as `measure_array`.
    """
    jobs = [(FLOAT_TYPES[x.dtype], address(x), x.size) for x in arrays]
    status, rows = _core.stats_many(backend_number(None), jobs, ge, le, threads)
    if status != 0:
        raise ComparisonError(f"thresholds are ge {ge}, le {le}; allowed: numbers that are not NaN")
    return [TensorStatistics(*row) for row in rows]


class Reference:
    """An array that others are compared with, prepared for many comparisons."""

    __slots__ = ("_array", "_backend", "_size", "_tolerance", "_type")

    def __init__(self, array: NDArray[Any], *, rtol: float, atol: float) -> None:
        """`array` is contiguous and of a dtype in FLOAT_TYPES; it is not copied.

        Raises:
            BackendUnavailableError: as `compare_arrays`.
        """
        self._backend = backend_number(None)
        self._array, self._size, self._type = array, array.size, FLOAT_TYPES[array.dtype]
        self._tolerance = rtol, atol

    def compare(self, value: NDArray[Any]) -> tuple[Comparison, float, float]:
        """`compare_arrays`, the largest share of the tolerance that an element uses, and the sum of
        the shares' fourth powers, each divided by the largest first (csrc/include/halve/ratio.h);
        both inf where a share is. On the calling thread, without the GIL.

        Raises:
            ComparisonError: as `compare_arrays`.
        """
        totals, worst, total = self._judged(_core.judge, value)
        return Comparison(*totals), worst, total

    def ratios(self, value: NDArray[Any]) -> tuple[int, float, float]:
        """As `compare`, with the number of mismatches for the comparison: for small arrays the
        whole record takes longer than finding it.

        Raises:
            ComparisonError: as `compare_arrays`.
        """
        return self._judged(_core.judge_briefly, value)

    def _judged(
        self, judge: Callable[..., tuple[int, _Found, float, float]], value: NDArray[Any]
    ) -> tuple[_Found, float, float]:
        if value.size != self._size:
            raise _unequal(value, self._array)
        rtol, atol = self._tolerance
        status, found, worst, total = judge(
            self._backend, FLOAT_TYPES[value.dtype], value, self._type, self._array, rtol, atol
        )
        if status != 0:
            raise _not_tolerances(rtol, atol)
        return found, worst, total


def address(x: NDArray[Any]) -> int:
    """Where an array's memory begins."""
    place: int = x.__array_interface__["data"][0]
    return place


def read_array(x: NDArray[Any]) -> int:
    """The exclusive or of the 8-byte words of a contiguous array, on one thread.

    What reading costs, for benchmarks; bytes after the last whole word are left out.
    """
    return _core.xor_words(x.ctypes.data, x.nbytes)


def _unequal(a: NDArray[Any], b: NDArray[Any]) -> ComparisonError:
    return ComparisonError(f"compare of {a.size} elements with {b.size}; allowed: equal sizes")


def _not_tolerances(rtol: float, atol: float) -> ComparisonError:
    return ComparisonError(
        f"tolerances are rtol {rtol}, atol {atol}; allowed: finite numbers, 0 or more"
    )
