"""Outputs against their references, judged by tolerances."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halve._native.compare import FLOAT_TYPES, Reference
from halve.compare.array import compare
from halve.compare.device import ratios_on_device
from halve.search_types import OutputTolerance, OutputTrial, Tolerances
from halve.types import Comparison

__all__ = ["References", "compare_on", "compare_outputs"]

# Of the power mean: 2 adds up exactly over independent errors and says little of the largest one,
# which decides; the larger, the reverse.
_POWER = 4
_ABOVE_ONE = math.nextafter(1, 2)
_COMPLEX = "c"


def compare_outputs(
    values: Mapping[str, NDArray[Any]],
    references: Mapping[str, NDArray[Any]],
    tolerances: Tolerances,
) -> tuple[OutputTrial, ...]:
    """Judge each output that has a reference by its tolerance (see OutputTolerance and
    OutputTrial), in the references' order.

    `error` is max |a - b| / (atol + rtol·|b|) over elements, for `cos_sim` (1 - cosine) over
    (1 - cos_sim); with `norm_rel`, or with an `ntol` that forgives elements, it is what decides.
    `energy` is the power mean of the elements' errors e, squared: (Σe⁴ / n)^(2/4). With a cosine it
    is Σ(a - b)² / (2·(1 - cos_sim)·Σb²), and where elements may miss, or one has no tolerance at
    all, Σ(a - b)² / (n·atol² + rtol²·Σb²).
    """
    return References(references, tolerances).judge(values)


class References:
    """Reference outputs, prepared for any number of trials: what a small output needs to be looked
    up takes longer than comparing it.
    """

    def __init__(
        self,
        references: Mapping[str, NDArray[Any]],
        tolerances: Tolerances,
        *,
        brief: bool = False,
    ) -> None:
        """The arrays are not copied where the kernels read them as they are. `brief` leaves out
        comparisons where the verdict needs none.
        """
        self._judges = [
            _judge_of(name, reference, tolerances.of(name), brief)
            for name, reference in references.items()
        ]

    def judge(self, values: Mapping[str, NDArray[Any]]) -> tuple[OutputTrial, ...]:
        """As compare_outputs."""
        return tuple([judge.judge(values[judge.name]) for judge in self._judges])


def compare_on(
    name: str,
    value: Any,  # noqa: ANN401 - any library's array on a device
    reference: Any,  # noqa: ANN401 - likewise
    tolerance: OutputTolerance,
) -> OutputTrial:
    """As compare_outputs, of one output where it lies, on a device; `reference` is float32.

    Only the metrics come back. `error` is the same to the last bit; `energy` is summed in another
    order.
    """
    rtol, atol = tolerance.rtol, tolerance.atol
    found = compare(value, reference, rtol=rtol, atol=atol)
    return _verdict(
        name, found, tolerance, lambda: ratios_on_device(value, reference, rtol=rtol, atol=atol)
    )


def _judge_of(
    name: str, reference: NDArray[Any], tolerance: OutputTolerance, brief: bool
) -> _FloatJudge | _ExactJudge:
    if reference.dtype.kind == _COMPLEX or reference.dtype in FLOAT_TYPES:
        return _FloatJudge(name, reference, tolerance, brief)
    return _ExactJudge(name, reference, tolerance)


class _FloatJudge:
    """Numbers are within their tolerance or not."""

    __slots__ = ("_brief", "_complex", "_reference", "_shape", "_tolerance", "name")

    def __init__(
        self, name: str, reference: NDArray[Any], tolerance: OutputTolerance, brief: bool
    ) -> None:
        self.name, self._tolerance, self._shape = name, tolerance, reference.shape
        counts = tolerance.norm_rel is not None or _counts(tolerance, reference.size)
        self._brief = brief and not counts
        self._complex = reference.dtype.kind == _COMPLEX
        plain = _plain(_parts(reference) if self._complex else reference)
        self._reference = Reference(plain, rtol=tolerance.rtol, atol=tolerance.atol)

    def judge(self, value: NDArray[Any]) -> OutputTrial:
        if value.shape != self._shape:
            return _misshapen(self.name)
        plain = _plain(_parts(value) if self._complex else value)
        if self._brief:
            mismatches, worst, total = self._reference.ratios(plain)
            error, energy = _at_the_limit(worst, mismatches), _energy_of(worst, total, plain.size)
            # With a tolerance everywhere, only what is not finite uses infinitely much of it.
            if math.isfinite(energy) or (worst == math.inf and self._tolerance.atol > 0):
                return OutputTrial(self.name, error <= 1, error, energy)
        found, worst, total = self._reference.compare(plain)
        return _verdict(self.name, found, self._tolerance, lambda: (worst, total))


class _ExactJudge:
    """Indices, flags and texts are right or wrong."""

    __slots__ = ("_reference", "_tolerance", "name")

    def __init__(self, name: str, reference: NDArray[Any], tolerance: OutputTolerance) -> None:
        self.name, self._reference, self._tolerance = name, reference, tolerance

    def judge(self, value: NDArray[Any]) -> OutputTrial:
        reference, ntol = self._reference, self._tolerance.ntol
        if value.shape != reference.shape:
            return _misshapen(self.name)
        wrong = int(np.count_nonzero(value != reference))
        share = wrong / reference.size if wrong else 0.0
        error = 0.0 if not wrong else share / ntol if ntol else math.inf
        return OutputTrial(self.name, share <= ntol, error, share / max(ntol, 1e-6))


def _misshapen(name: str) -> OutputTrial:
    return OutputTrial(name, passed=False, error=math.inf, energy=math.inf)


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """Contiguous in C order and of a type that the kernels read: itself where it is."""
    if array.dtype in FLOAT_TYPES and array.flags.c_contiguous:
        return array
    dtype = array.dtype if array.dtype in FLOAT_TYPES else np.dtype(np.float32)
    return np.asarray(array, dtype, order="C")


def _verdict(
    name: str,
    found: Comparison,
    tolerance: OutputTolerance,
    ratios: Callable[[], tuple[float, float]],
) -> OutputTrial:
    """`ratios` gives the largest share of the tolerance, and the sum of _energy_of."""
    # Also where rounding keeps a cosine from being 1; of infinities it says nothing.
    if found.max_abs_error == 0 and math.isfinite(found.sum_bb):
        return OutputTrial(name, True, 0.0, 0.0, found)
    if _counts(tolerance, found.elements):
        error, energy = _counted_error(found, tolerance), _energy(found, tolerance)
    else:
        worst, total = ratios()
        error = _at_the_limit(worst, found.mismatches)
        energy = _energy_of(worst, total, found.elements)
        energy = energy if math.isfinite(energy) else _energy(found, tolerance)
    if tolerance.norm_rel is not None:
        error = max(error, _ratio(abs(1 - found.norm_ratio), tolerance.norm_rel))
    return OutputTrial(name, error <= 1, error, energy, found)


def _counts(tolerance: OutputTolerance, elements: int) -> bool:
    """Whether a number over all elements decides, and not the worst of them."""
    return tolerance.cos_sim is not None or (tolerance.ntol > 0 and elements > 0)


def _at_the_limit(worst: float, mismatches: int) -> float:
    """The largest share; the count is exact where the quotient is at the very limit."""
    return max(worst, _ABOVE_ONE) if mismatches else min(worst, 1.0)


def _counted_error(found: Comparison, tolerance: OutputTolerance) -> float:
    if tolerance.cos_sim is not None:
        return _ratio(1 - found.cosine, 1 - tolerance.cos_sim)
    # Below the limit the elements beyond tolerance do not count; how many there are does.
    return _ratio(found.mismatches / found.elements, tolerance.ntol)


def _ratio(difference: float, allowed: float) -> float:
    if not math.isfinite(difference):
        return math.inf
    if difference <= 0:
        return 0.0
    return difference / allowed if allowed > 0 else math.inf


def _energy_of(worst: float, total: float, elements: int) -> float:
    """The power mean of the elements' errors, squared; `total` is the sum of their powers, each
    divided by the largest first. inf where that is beyond float64.
    """
    if worst == math.inf:
        return math.inf
    mean: float = worst * (total / max(elements, 1)) ** (1 / _POWER)
    return mean * mean  # `**` would raise where the square is inf


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
