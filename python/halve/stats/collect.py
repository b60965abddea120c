"""One sample's values, measured as a walk hands them out and kept as numbers only."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from halve._native.cast import cast_into
from halve.compare import compare, statistics
from halve.manual_types import OutputStatistics, RunStatistics, merge_comparisons
from halve.search_types import OutputTolerance
from halve.session.twin_walk import TwinValue
from halve.types import CastBounds, Comparison, DType, TensorStatistics

__all__ = ["Collector", "Limits", "merge_outputs", "within"]

_HALF = {np.dtype(np.float16): DType.FLOAT16, np.dtype(ml_dtypes.bfloat16): DType.BFLOAT16}
_NAMES = {DType.FLOAT16: "float16", DType.BFLOAT16: "bfloat16"}
_FLOAT = np.dtype(np.float32)
# Elements of a tensor whose magnitudes are looked at for their distribution.
_SAMPLED = 4096


@dataclass(frozen=True, slots=True)
class Limits:
    """What is counted: magnitudes of at least `ge` and at most `le`, and results beyond `limit`,
    the 16-bit type's largest value. `tolerance` judges a tensor. `distribution`: whether to look
    at magnitudes. `threads` are those of the counting.
    """

    ge: float
    le: float
    limit: float
    tolerance: OutputTolerance = field(default_factory=OutputTolerance)
    distribution: bool = True
    threads: int = 1


@dataclass(slots=True)
class Collector:
    """The statistics of each output, by (node id, position); a value that a body makes again is
    merged with what was there.
    """

    limits: Limits
    outputs: dict[tuple[int, int], OutputStatistics] = field(default_factory=dict)

    def visit(self, value: TwinValue) -> tuple[bool, bool]:
        """Measure a value of both runs; says whether it is finite in each."""
        exact, stored = _floats(value.exact), _floats(value.stored)
        first = None if exact is None else self._statistics(exact)
        second = None if stored is None else self._statistics(stored)
        found = OutputStatistics(
            value.output.slot,
            value.output.name,
            dtype=_dtype_name(stored),
            shape=_shape(exact, stored),
            fp32=self._exact_run(value, exact, first),
            fp16=self._half_run(value, stored, second, first),
        )
        if exact is not None and stored is not None and exact.shape == stored.shape:
            found = self._compared(found, value, exact, stored)
        if exact is not None and self.limits.distribution:
            exponents, count = _exponents(exact)
            found = replace(found, exponents=exponents, sampled=count)
        if exact is not None or stored is not None:
            key = (value.output.node, value.output.slot)
            known = self.outputs.get(key)
            self.outputs[key] = found if known is None else merge_outputs(known, found)
        return _is_finite(first), _is_finite(second)

    def _statistics(self, array: NDArray[Any]) -> TensorStatistics:
        limits = self.limits
        return statistics(array, ge=limits.ge, le=limits.le, threads=limits.threads)

    def _exact_run(
        self, value: TwinValue, array: NDArray[Any] | None, found: TensorStatistics | None
    ) -> RunStatistics | None:
        if array is None or found is None:
            return None
        over = 0
        if value.exact_finite and (found.inf or found.max_abs > self.limits.limit):
            over = self._beyond(array)
        return _run(found, over, inherits=not value.exact_finite)

    def _half_run(
        self,
        value: TwinValue,
        stored: NDArray[Any] | None,
        found: TensorStatistics | None,
        exact: TensorStatistics | None,
    ) -> RunStatistics | None:
        if stored is None or found is None:
            return None
        if not value.half_finite:
            return _run(found, 0, inherits=True)
        over = found.inf
        raw = value.raw
        if raw is not None and (found.inf or found.max_abs >= self.limits.limit):
            over = self._beyond(raw)
        if exact is None or not exact.nan:
            over += found.nan
        return _run(found, over, inherits=False)

    def _beyond(self, array: NDArray[Any]) -> int:
        above = math.nextafter(self.limits.limit, math.inf)
        return statistics(array, ge=above, threads=self.limits.threads).ge

    def _compared(
        self,
        found: OutputStatistics,
        value: TwinValue,
        exact: NDArray[Any],
        stored: NDArray[Any],
    ) -> OutputStatistics:
        total = self._compare(stored, exact)
        return replace(
            found,
            total=total,
            local=self._local(value, exact, stored, total),
            passed=within(total, self.limits.tolerance),
        )

    def _local(
        self, value: TwinValue, exact: NDArray[Any], stored: NDArray[Any], total: Comparison
    ) -> Comparison | None:
        output = value.output
        if output.local in (output.raw, output.stored):
            return total
        if value.local is None or value.local.shape != exact.shape:
            return None
        half = _half_of(stored)
        if half is None:
            return (
                _equal(total) if output.local == output.exact else self._compare(value.local, exact)
            )
        rounded = np.empty(exact.shape, stored.dtype)
        cast_into(value.local, rounded, half, CastBounds(), threads=self.limits.threads)
        return self._compare(rounded, exact)

    def _compare(self, a: NDArray[Any], b: NDArray[Any]) -> Comparison:
        tolerance = self.limits.tolerance
        return compare(a, b, rtol=tolerance.rtol, atol=tolerance.atol, threads=self.limits.threads)


def merge_outputs(first: OutputStatistics, second: OutputStatistics) -> OutputStatistics:
    """Two makings of one output, or those of two samples, together."""
    counts = dict(first.exponents)
    for exponent, count in second.exponents:
        counts[exponent] = counts.get(exponent, 0) + count
    judged = [item.passed for item in (first, second) if item.passed is not None]
    return replace(
        first,
        shape=max(first.shape, second.shape, key=math.prod),
        dtype=first.dtype if first.fp16 is not None else second.dtype,
        fp32=_merged(first.fp32, second.fp32),
        fp16=_merged(first.fp16, second.fp16),
        total=merge_comparisons(first.total, second.total),
        local=merge_comparisons(first.local, second.local),
        passed=all(judged) if judged else None,
        exponents=tuple(sorted(counts.items())),
        sampled=first.sampled + second.sampled,
    )


def within(found: Comparison, tolerance: OutputTolerance) -> bool:
    """Whether a comparison is within a tolerance (see OutputTolerance)."""
    if tolerance.norm_rel is not None and not abs(1 - found.norm_ratio) <= tolerance.norm_rel:
        return False
    if tolerance.cos_sim is not None:
        return found.cosine >= tolerance.cos_sim
    return found.mismatches <= tolerance.ntol * found.elements


def _merged(first: RunStatistics | None, second: RunStatistics | None) -> RunStatistics | None:
    if first is None or second is None:
        return first or second
    return first.merged(second)


def _run(found: TensorStatistics, over: int, *, inherits: bool) -> RunStatistics:
    return RunStatistics(
        found.elements,
        found.nan,
        found.inf,
        found.ge,
        found.le,
        over,
        found.nan + found.inf if inherits else 0,
        found.minimum,
        found.maximum,
        runs=1,
    )


def _equal(total: Comparison) -> Comparison:
    """What comparing the float32 values with themselves gives."""
    return Comparison(
        total.elements, total.b_nan, total.b_inf, total.b_nan, total.b_inf,
        mismatches=total.b_nan, sum_aa=total.sum_bb, sum_bb=total.sum_bb, sum_ab=total.sum_bb,
    )  # fmt: skip


def _floats(array: NDArray[Any] | None) -> NDArray[Any] | None:
    """The array where it is one of floats of 32 bits or fewer."""
    return array if array is not None and (array.dtype == _FLOAT or _half_of(array)) else None


def _half_of(array: NDArray[Any]) -> DType | None:
    return _HALF.get(array.dtype)


def _dtype_name(stored: NDArray[Any] | None) -> str:
    half = None if stored is None else _half_of(stored)
    return "float32" if half is None else _NAMES[half]


def _shape(exact: NDArray[Any] | None, stored: NDArray[Any] | None) -> tuple[int, ...]:
    array = stored if exact is None else exact
    return () if array is None else array.shape


def _is_finite(found: TensorStatistics | None) -> bool:
    return found is None or not (found.nan or found.inf)


def _exponents(array: NDArray[Any]) -> tuple[tuple[tuple[int, int], ...], int]:
    """See OutputStatistics.exponents; float32's subnormals count as 2^-127."""
    if array.dtype != _FLOAT or array.size == 0:
        return (), 0
    step = -(-array.size // _SAMPLED)
    sample = np.ascontiguousarray(array.reshape(-1)[::step])
    counts = np.bincount(sample[sample != 0].view(np.uint32) >> 23 & 0xFF, minlength=256)
    found = tuple((int(e) - 127, int(counts[e])) for e in np.flatnonzero(counts[:255]))
    return found, len(sample)
