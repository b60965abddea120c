"""Outputs against their references, judged by tolerances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halve._native.compare import FLOAT_TYPES
from halve.compare.array import compare
from halve.search_types import OutputTolerance, OutputTrial, Tolerances
from halve.types import Comparison

__all__ = ["compare_outputs"]

_CHUNK = 1 << 20
_COMPLEX = "c"


def compare_outputs(
    names: Sequence[str],
    values: Sequence[NDArray[Any]],
    references: Sequence[NDArray[Any]],
    tolerances: Tolerances,
) -> tuple[OutputTrial, ...]:
    """Judge each output by its tolerance (see OutputTolerance and OutputTrial).

    `error` is max |a - b| / (atol + rtol·|b|) over elements, for `cos_sim` (1 - cosine) over
    (1 - cos_sim); with `norm_rel`, or with an `ntol` that forgives elements, it is what decides.
    `energy` is Σ(a - b)² / (n·atol² + rtol²·Σb²).
    """
    return tuple(
        _judge(name, value, reference, tolerances.of(name))
        for name, value, reference in zip(names, values, references, strict=True)
    )


def _judge(
    name: str, value: NDArray[Any], reference: NDArray[Any], tolerance: OutputTolerance
) -> OutputTrial:
    if value.shape != reference.shape:
        return OutputTrial(name, passed=False, error=math.inf, energy=math.inf)
    if reference.dtype.kind == _COMPLEX:
        value, reference = _parts(value), _parts(reference)
    if reference.dtype not in FLOAT_TYPES:
        return _judge_exact(name, value, reference, tolerance)
    found = compare(
        value.astype(np.float32) if value.dtype not in FLOAT_TYPES else value,
        reference,
        rtol=tolerance.rtol,
        atol=tolerance.atol,
        threads=1,
    )
    error = _error(value, reference, found, tolerance)
    return OutputTrial(name, error <= 1, error, _energy(found, tolerance), found)


def _judge_exact(
    name: str, value: NDArray[Any], reference: NDArray[Any], tolerance: OutputTolerance
) -> OutputTrial:
    """Indices, flags and texts are right or wrong."""
    wrong = int(np.count_nonzero(value != reference))
    share = wrong / reference.size if wrong else 0.0
    passed = share <= tolerance.ntol
    error = 0.0 if not wrong else share / tolerance.ntol if tolerance.ntol else math.inf
    return OutputTrial(name, passed, error, share / max(tolerance.ntol, 1e-6))


def _error(
    value: NDArray[Any], reference: NDArray[Any], found: Comparison, tolerance: OutputTolerance
) -> float:
    if tolerance.cos_sim is not None:
        error = _ratio(1 - found.cosine, 1 - tolerance.cos_sim)
    elif tolerance.ntol and found.elements:
        share = found.mismatches / found.elements
        # Below the limit the elements beyond tolerance do not count; how many there are does.
        error = _ratio(share, tolerance.ntol)
    else:
        error = _worst_ratio(value, reference, tolerance)
        # The count is exact where the quotient is at the very limit.
        error = max(error, math.nextafter(1, 2)) if found.mismatches else min(error, 1.0)
    if tolerance.norm_rel is not None:
        error = max(error, _ratio(abs(1 - found.norm_ratio), tolerance.norm_rel))
    return error


def _ratio(difference: float, allowed: float) -> float:
    if math.isnan(difference):
        return math.inf
    if difference <= 0:
        return 0.0
    return difference / allowed if allowed > 0 else math.inf


def _worst_ratio(value: NDArray[Any], reference: NDArray[Any], tolerance: OutputTolerance) -> float:
    worst = 0.0
    a, b = value.reshape(-1), reference.reshape(-1)
    for start in range(0, a.size, _CHUNK):
        x = a[start : start + _CHUNK].astype(np.float64)
        y = b[start : start + _CHUNK].astype(np.float64)
        with np.errstate(all="ignore"):
            ratios = np.abs(x - y) / (tolerance.atol + tolerance.rtol * np.abs(y))
        ratios[x == y] = 0
        finite = np.nan_to_num(ratios, nan=np.inf, posinf=np.inf)
        worst = max(worst, float(finite.max()))
    return worst


def _energy(found: Comparison, tolerance: OutputTolerance) -> float:
    allowed = found.elements * tolerance.atol**2 + tolerance.rtol**2 * found.sum_bb
    if tolerance.cos_sim is not None:
        # A small angle is the norm of the difference over that of the reference.
        allowed = 2 * (1 - tolerance.cos_sim) * found.sum_bb
    if math.isnan(found.sum_ee) or math.isnan(allowed):
        return math.inf
    return _ratio(found.sum_ee, allowed)


def _parts(array: NDArray[Any]) -> NDArray[Any]:
    wide = np.ascontiguousarray(array, np.complex128)
    return wide.view(np.float64)
