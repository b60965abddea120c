"""The compiled cast on numpy arrays: addresses and numbers in, `CastCounts` out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halve import _core
from halve._native.features import backend_number
from halve.errors import CastError
from halve.types import CastBounds, CastCounts, DType

__all__ = ["STORE_POLICIES", "cast_into", "copy_into", "round_into", "widen_into"]

STORE_POLICIES = {"automatic": 0, "cached": 1, "streaming": 2}
_HALF_TYPES = {DType.FLOAT16: 0, DType.BFLOAT16: 1}


def cast_into(  # noqa: PLR0913 - arrays, rule, and three independent options
    src: NDArray[np.float32],
    dst: NDArray[Any],
    dtype: DType,
    bounds: CastBounds,
    *,
    threads: int = 0,
    store: str = "automatic",
    backend: str | None = None,
) -> CastCounts:
    """Cast `src` into `dst`, element by element in memory order; releases the GIL.

    `src` is native-endian float32 and `dst` has 2-byte elements, as many; both are contiguous
    (C or Fortran, the same), at any alignment, and do not overlap. `bounds` are rounded to
    float32. `threads` 0 is one a core that this process may use; `store` is a key of
    STORE_POLICIES and only a matter of speed; `backend` None is the one in use.

    Raises:
        BackendUnavailableError: the backend is unknown or not usable here.
        CastError: the bounds are negative, NaN or contradict each other.
    """
    low, high = _as_float32(bounds.min_positive), _as_float32(bounds.max_finite)
    status, counts = _core.cast(
        backend_number(backend),
        _HALF_TYPES[dtype],
        src.ctypes.data,
        dst.ctypes.data,
        src.size,
        low,
        high,
        threads,
        STORE_POLICIES[store],
    )
    return _checked(status, counts, low, high)


def round_into(  # noqa: PLR0913 - arrays, rule, and two independent options
    src: NDArray[np.float32],
    dst: NDArray[np.float32],
    dtype: DType,
    bounds: CastBounds,
    *,
    threads: int = 0,
    backend: str | None = None,
) -> CastCounts:
    """Cast `src` to `dtype` and back into `dst`, in one pass; releases the GIL.

    The result is what `cast_into` makes, widened by `widen_into`. Both arrays are native-endian
    float32, contiguous (C or Fortran, the same), of one size, at any alignment; `dst` may be `src`,
    but they do not overlap otherwise. `bounds`, `threads` and `backend` as of `cast_into`.

    Raises:
        BackendUnavailableError: the backend is unknown or not usable here.
        CastError: the sizes differ, or the bounds are negative, NaN or contradict each other.
    """
    _check_sizes(src, dst)
    low, high = _as_float32(bounds.min_positive), _as_float32(bounds.max_finite)
    status, counts = _core.round(
        backend_number(backend),
        _HALF_TYPES[dtype],
        src.ctypes.data,
        dst.ctypes.data,
        src.size,
        low,
        high,
        threads,
    )
    return _checked(status, counts, low, high)


def widen_into(
    src: NDArray[Any],
    dst: NDArray[np.float32],
    dtype: DType,
    *,
    threads: int = 0,
    backend: str | None = None,
) -> None:
    """Widen the `dtype` values of `src` into `dst`, exactly; releases the GIL.

    `src` has 2-byte elements and `dst` is native-endian float32, as many; both are contiguous (C or
    Fortran, the same), at any alignment, and do not overlap. A float16 NaN keeps its sign and
    payload and becomes quiet; a bfloat16 NaN keeps every bit. `threads` and `backend` as of
    `cast_into`.

    Raises:
        BackendUnavailableError: the backend is unknown or not usable here.
        CastError: the sizes differ.
    """
    _check_sizes(src, dst)
    number, half = backend_number(backend), _HALF_TYPES[dtype]
    # The status has nothing left to say: backend, type and sizes have been checked.
    _core.widen(number, half, src.ctypes.data, dst.ctypes.data, src.size, threads)


def copy_into(
    src: NDArray[Any], dst: NDArray[Any], *, threads: int = 0, streaming: bool = False
) -> None:
    """Copy the bytes of `src` into `dst`: what `cast_into` is measured against.

    Both are contiguous, of equal size in bytes, and do not overlap. `streaming` uses stores past
    the caches where the processor has them, else the C library's memcpy is used.
    """
    if src.nbytes != dst.nbytes:
        raise CastError(f"copy of {src.nbytes} bytes into {dst.nbytes}; allowed: equal sizes")
    _core.copy(int(streaming), dst.ctypes.data, src.ctypes.data, src.nbytes, threads)


def _check_sizes(src: NDArray[Any], dst: NDArray[Any]) -> None:
    if src.size != dst.size:
        raise CastError(f"cast of {src.size} elements into {dst.size}; allowed: equal sizes")


def _checked(status: int, counts: Sequence[Any], low: float, high: float) -> CastCounts:
    if status != 0:
        raise CastError(
            f"cast bounds are min_positive {low}, max_finite {high}; allowed: "
            "0 <= min_positive < inf (0 is off), max_finite > 0 and >= min_positive (inf is off)"
        )
    return CastCounts(*counts)


def _as_float32(value: float) -> float:
    with np.errstate(over="ignore", under="ignore"):
        return float(np.float32(value))
