"""One output against its reference: the verdict, every metric, and the worst elements."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halve.compare.verdict import compare_outputs
from halve.comparisons import ComparedOutput, WorstElement
from halve.search_types import OutputTolerance, Tolerances

__all__ = ["compare_pair", "worst_elements"]

_CHUNK = 1 << 20
# Objects, bytes, texts: no numbers.
_TEXTS = "OUST"


def compare_pair(
    name: str,
    value: NDArray[Any],
    reference: NDArray[Any],
    tolerances: Tolerances,
    *,
    worst: int = 5,
) -> ComparedOutput:
    """Judge an output (see compare_outputs), and find its `worst` elements.

    Shapes that differ, and texts against numbers, do not pass; `reason` says so.
    """
    reason = _unlike(value, reference)
    passed, error, comparison = False, math.inf, None
    if not reason:
        (trial,) = compare_outputs({name: value}, {name: reference}, tolerances)
        passed, error, comparison = trial.passed, trial.error, trial.comparison
    if comparison is not None:
        mismatches = comparison.mismatches
    else:
        mismatches = reference.size if reason else int(np.count_nonzero(value != reference))
        reason = reason or f"{reference.dtype} is compared for equality"
    return ComparedOutput(
        name=name,
        a_dtype=str(value.dtype),
        b_dtype=str(reference.dtype),
        a_shape=value.shape,
        b_shape=reference.shape,
        passed=passed,
        error=error,
        mismatches=mismatches,
        comparison=comparison,
        worst=worst_elements(value, reference, tolerances.of(name), worst),
        reason=reason,
    )


def _unlike(value: NDArray[Any], reference: NDArray[Any]) -> str:
    if value.shape != reference.shape:
        return f"shape {list(value.shape)} against {list(reference.shape)}"
    if (value.dtype.kind in _TEXTS) != (reference.dtype.kind in _TEXTS):
        return f"type {value.dtype} against {reference.dtype}"
    return ""


def worst_elements(
    value: NDArray[Any], reference: NDArray[Any], tolerance: OutputTolerance, count: int
) -> tuple[WorstElement, ...]:
    """The `count` elements that use the most of atol and rtol, the worst first.

    Equals come in C order. Elements that are equal are not among them, so there may be fewer;
    nothing is found where the shapes or kinds differ. Only `count` of a chunk are kept at a time.
    """
    if count < 1 or _unlike(value, reference):
        return ()
    rows = [row for chunk in _chunks(value, reference, tolerance, count) for row in chunk]
    rows.sort(key=lambda row: (-row[0], row[1]))
    return tuple(_element(place, value, reference, tolerance) for _, place in rows[:count])


def _chunks(
    value: NDArray[Any], reference: NDArray[Any], tolerance: OutputTolerance, count: int
) -> Iterator[list[tuple[float, int]]]:
    """(error, place in C order) of the worst of each chunk."""
    a, b = value.reshape(-1), reference.reshape(-1)
    for start in range(0, a.size, _CHUNK):
        errors = _errors(a[start : start + _CHUNK], b[start : start + _CHUNK], tolerance)
        if errors.size > count:
            limit = np.partition(errors, -count)[-count]
            # All that are above the limit, and as many at it as there is room for.
            above = np.flatnonzero(errors > limit)
            places = np.concatenate([above, np.flatnonzero(errors == limit)[:count]])
        else:
            places = np.arange(errors.size)
        yield [(float(errors[i]), start + int(i)) for i in places if errors[i] >= 0]


def _errors(a: NDArray[Any], b: NDArray[Any], tolerance: OutputTolerance) -> NDArray[np.float64]:
    """The share of the tolerance that each element uses; -1 where the two are equal."""
    unequal = np.asarray(a != b)
    if a.dtype.kind in _TEXTS:
        return np.where(unequal, np.inf, -1.0)
    wide = np.complex128 if "c" in a.dtype.kind + b.dtype.kind else np.float64
    x, y = a.astype(wide), b.astype(wide)
    with np.errstate(all="ignore"):
        errors = np.abs(x - y) / (tolerance.atol + tolerance.rtol * np.abs(y))
    errors = np.nan_to_num(errors, nan=np.inf, posinf=np.inf)
    return np.where(unequal, errors, -1.0)


def _element(
    place: int, value: NDArray[Any], reference: NDArray[Any], tolerance: OutputTolerance
) -> WorstElement:
    index = tuple(int(i) for i in np.unravel_index(place, reference.shape))
    a, b = value.reshape(-1)[place], reference.reshape(-1)[place]
    if value.dtype.kind in _TEXTS:
        return WorstElement(index, str(a), str(b), math.inf, math.inf, math.inf)
    kind = complex if "c" in value.dtype.kind + reference.dtype.kind else float
    x, y = kind(a), kind(b)
    difference = abs(x - y)
    if math.isnan(difference):
        difference = math.inf
    relative = _quotient(difference, abs(y))
    error = _quotient(difference, tolerance.atol + tolerance.rtol * abs(y))
    return WorstElement(index, _plain(a), _plain(b), difference, relative, error)


def _quotient(difference: float, by: float) -> float:
    quotient = difference / by if by else math.inf
    return math.inf if math.isnan(quotient) else quotient


def _plain(item: Any) -> float | int | str:  # noqa: ANN401 - any of numpy's scalars
    if item.dtype.kind in "biu":
        return int(item)
    return str(item) if item.dtype.kind == "c" else float(item)
