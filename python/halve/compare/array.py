"""Compare arrays of any float types, and measure one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halve._native.compare import FLOAT_TYPES, compare_arrays, measure_array
from halve._native.device_arrays import is_on_device
from halve.compare.device import compare_on_device, on_device, statistics_on_device
from halve.errors import ComparisonError, OptionError
from halve.types import Comparison, TensorStatistics

__all__ = ["compare", "statistics"]

# float16's largest value and its smallest normal one.
_FLOAT16_MAX = 65504.0
_FLOAT16_SMALLEST_NORMAL = 2.0**-14


def compare(  # noqa: PLR0913 - the rule and the options of one operation
    a: Any,  # noqa: ANN401 - what numpy.asarray takes, or any library's array on a GPU
    b: Any,  # noqa: ANN401 - likewise
    *,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    equal_nan: bool = False,
    threads: int = 0,
) -> Comparison:
    """Compare `a` with the reference `b` in one pass.

    Every pair is widened to float64, which is exact, and judged there: it matches where
    |a - b| <= atol + rtol·|b| with a finite b, where both are the same infinity, or, with
    equal_nan, where both are NaN. That is numpy.isclose of the widened arrays; numpy itself
    rounds the difference to the arrays' own type first. Subnormals are never taken as 0.

    Args:
        a: float32, float16, bfloat16 or float64 of any shape, 0-d and empty included, in any
            layout, alignment and byte order. What is not contiguous in C order or is byte-swapped
            is copied first. It is not changed. Or an array in a CUDA device's memory (torch, cupy,
            OrtValue: DLPack or the CUDA array interface), in C order without gaps, with b on the
            same device: they are compared there, and only the result comes back.
        b: likewise, of a's shape and of any of these types.
        rtol: finite, 0 or more; the default is numpy.allclose's, as atol's is.
        atol: finite, 0 or more.
        equal_nan: whether a NaN matches a NaN.
        threads: the most threads to use; 0 is one a core that this process may use.

    Returns:
        Counts, worst elements and sums (see Comparison). They are the same bits for any number of
        threads, any machine and any layout.

    Raises:
        ComparisonError: the shapes differ (nothing is broadcast), an array is of another type, or
            the arrays are in different memories.
        OptionError: a tolerance or `threads` is out of range.
        BackendUnavailableError: HALVE_FORCE_BACKEND names a backend that cannot run here, or the
            arrays are on a device and CUDA is not usable here.
    """
    _check_nonnegative("rtol", rtol)
    _check_nonnegative("atol", atol)
    _check_threads(threads)
    if on_device(a, b):
        return compare_on_device(a, b, rtol=rtol, atol=atol, equal_nan=bool(equal_nan))
    first, second = _float_array("a", a), _float_array("b", b)
    if first.shape != second.shape:
        raise ComparisonError(
            f"compare of shape {first.shape} with {second.shape}; allowed: equal shapes; reshape "
            "or broadcast one of them first"
        )
    return compare_arrays(
        first, second, rtol=rtol, atol=atol, equal_nan=bool(equal_nan), threads=threads
    )


def statistics(
    array: Any,  # noqa: ANN401 - as `a` of `compare`
    *,
    ge: float = _FLOAT16_MAX,
    le: float = _FLOAT16_SMALLEST_NORMAL,
    threads: int = 0,
) -> TensorStatistics:
    """Extremes, sum of squares and counts of an array in one pass.

    Args:
        array: as `a` of `compare`.
        ge: |x| >= ge is counted, infinities included; not NaN. The default is float16's largest.
        le: |x| <= le is counted, zeros included; not NaN. The default is float16's smallest
            normal value.
        threads: the most threads to use; 0 is one a core that this process may use.

    Returns:
        See TensorStatistics; the same bits for any number of threads, any machine and any layout.

    Raises:
        ComparisonError: the array is of another type.
        OptionError: a threshold is NaN or `threads` is out of range.
        BackendUnavailableError: as for `compare`.
    """
    for name, value in (("ge", ge), ("le", le)):
        if math.isnan(value):
            raise OptionError(f"{name} is {value!r}; allowed: a number that is not NaN")
    _check_threads(threads)
    if is_on_device(array):
        return statistics_on_device(array, ge=ge, le=le)
    return measure_array(_float_array("array", array), ge=ge, le=le, threads=threads)


def _check_nonnegative(name: str, value: float) -> None:
    """Refuse what is no finite number of 0 or more, with an OptionError."""
    if not (math.isfinite(value) and value >= 0):
        raise OptionError(f"{name} is {value!r}; allowed: a finite number, 0 or more")


def _check_threads(threads: int) -> None:
    """Refuse what is no count of threads, with an OptionError."""
    if isinstance(threads, bool) or not isinstance(threads, int) or not 0 <= threads < 1 << 31:
        raise OptionError(f"threads is {threads!r}; allowed: 0 (one a core) or a positive integer")


def _float_array(name: str, value: Any) -> NDArray[Any]:  # noqa: ANN401 - what numpy.asarray takes
    """`value` as a native-endian array, contiguous in C order: itself, or a copy."""
    array = np.asarray(value)
    native = array.dtype.newbyteorder("=")
    if native not in FLOAT_TYPES:
        allowed = ", ".join(str(dtype) for dtype in FLOAT_TYPES)
        raise ComparisonError(f"{name} is of dtype {array.dtype}; allowed: {allowed}")
    return np.asarray(array, dtype=native, order="C")
