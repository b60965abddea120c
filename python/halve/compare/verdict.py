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
# Of the power mean: 2 adds up exactly over independent errors and says little of the largest one,
# which decides; the larger, the reverse.
_POWER = 4
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
    `energy` is the power mean of the elements' errors e, squared: (Σe⁴ / n)^(2/4). With a cosine it
    is Σ(a - b)² / (2·(1 - cos_sim)·Σb²), and where elements may miss, or one has no tolerance at
    all, Σ(a - b)² / (n·atol² + rtol²·Σb²).
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
    if tolerance.cos_sim is not None or (tolerance.ntol and found.elements):
        error, energy = _counted_error(found, tolerance), _energy(found, tolerance)
    else:
        error, energy = _worst_ratio(value, reference, tolerance)
        # The count is exact where the quotient is at the very limit.
        error = max(error, math.nextafter(1, 2)) if found.mismatches else min(error, 1.0)
        energy = energy if math.isfinite(energy) else _energy(found, tolerance)
    if tolerance.norm_rel is not None:
        error = max(error, _ratio(abs(1 - found.norm_ratio), tolerance.norm_rel))
    return OutputTrial(name, error <= 1, error, energy, found)


def _judge_exact(
    name: str, value: NDArray[Any], reference: NDArray[Any], tolerance: OutputTolerance
) -> OutputTrial:
    """Indices, flags and texts are right or wrong."""
    wrong = int(np.count_nonzero(value != reference))
    share = wrong / reference.size if wrong else 0.0
    passed = share <= tolerance.ntol
    error = 0.0 if not wrong else share / tolerance.ntol if tolerance.ntol else math.inf
    return OutputTrial(name, passed, error, share / max(tolerance.ntol, 1e-6))


def _counted_error(found: Comparison, tolerance: OutputTolerance) -> float:
    if tolerance.cos_sim is not None:
        return _ratio(1 - found.cosine, 1 - tolerance.cos_sim)
    # Below the limit the elements beyond tolerance do not count; how many there are does.
    return _ratio(found.mismatches / found.elements, tolerance.ntol)


def _ratio(difference: float, allowed: float) -> float:
    if math.isnan(difference):
        return math.inf
    if difference <= 0:
        return 0.0
    return difference / allowed if allowed > 0 else math.inf


def _worst_ratio(
    value: NDArray[Any], reference: NDArray[Any], tolerance: OutputTolerance
) -> tuple[float, float]:
    """The largest error of an element, and the errors' power mean, squared."""
    worst, total = 0.0, 0.0
    a, b = value.reshape(-1), reference.reshape(-1)
    for start in range(0, a.size, _CHUNK):
        x = a[start : start + _CHUNK].astype(np.float64)
        y = b[start : start + _CHUNK].astype(np.float64)
        with np.errstate(all="ignore"):
            ratios = np.abs(x - y) / (tolerance.atol + tolerance.rtol * np.abs(y))
        ratios[x == y] = 0
        largest = float(np.nan_to_num(ratios.max(), nan=np.inf, posinf=np.inf))
        if largest == math.inf:
            return math.inf, math.inf
        if largest > worst:
            total *= (worst / largest) ** _POWER
            worst = largest
        if worst:
            ratios /= worst  # so that no power overflows
            total += float(np.sum(ratios**_POWER))
    mean = (total / max(a.size, 1)) ** (1 / _POWER)
    return worst, (worst * mean) * (worst * mean)  # `**` would raise where the square is inf


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
