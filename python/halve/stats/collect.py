"""One sample's values, measured as a walk hands them out and kept as numbers only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from halve._native.cast import cast_into
from halve._native.compare import compare_pairs, measure_arrays
from halve._native.twin import TwinRow, TwinRule
from halve.compare import statistics
from halve.manual_types import OutputStatistics, RunStatistics, merge_comparisons
from halve.search_types import OutputTolerance
from halve.session.twin_program import LocalSource
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
    the 16-bit type's largest value. `tolerance` judges a tensor. `exact_local`: whether
    local runs were made. `distribution`: whether to look at magnitudes. `threads` are those of the
    counting.
    """

    ge: float
    le: float
    limit: float
    tolerance: OutputTolerance = field(default_factory=OutputTolerance)
    exact_local: bool = True
    distribution: bool = False
    threads: int = 1

    @property
    def rule(self) -> TwinRule:
        """How a value is measured where it is made."""
        return TwinRule(
            self.ge,
            self.le,
            self.limit,
            self.tolerance.rtol,
            self.tolerance.atol,
            samples=_SAMPLED if self.distribution else 0,
            threads=self.threads,
        )


_Pair = tuple[NDArray[Any], NDArray[Any]]


@dataclass(slots=True)
class _Seen:
    """A value's float arrays in both runs and their statistics, or what was measured where it was
    made.
    """

    exact: NDArray[Any] | None
    stored: NDArray[Any] | None
    first: TensorStatistics | None = None
    second: TensorStatistics | None = None
    row: TwinRow | None = None

    @property
    def pair(self) -> _Pair | None:
        if self.exact is None or self.stored is None or self.exact.shape != self.stored.shape:
            return None
        return self.stored, self.exact


@dataclass(slots=True)
class Collector:
    """The statistics of each output, by (node id, position); a value that a body makes again is
    merged with what was there.
    """

    limits: Limits
    outputs: dict[tuple[int, int], OutputStatistics] = field(default_factory=dict)
    _seen: list[_Seen] = field(default_factory=list)
    _scratch: NDArray[np.uint16] = field(default_factory=lambda: np.empty(0, np.uint16))
    _used: int = 0

    def look(self, values: Sequence[TwinValue]) -> list[tuple[bool, bool]]:
        """See halve.session.twin_walk.Visitor."""
        self._seen = [_seen(value) for value in values]
        arrays = [a for seen in self._seen for a in (seen.exact, seen.stored) if a is not None]
        limits = self.limits
        found = iter(measure_arrays(arrays, ge=limits.ge, le=limits.le, threads=limits.threads))
        for seen in self._seen:
            if seen.row is None:
                seen.first = None if seen.exact is None else next(found)
                seen.second = None if seen.stored is None else next(found)
        return [(_is_finite(seen.first), _is_finite(seen.second)) for seen in self._seen]

    def settle(self, values: Sequence[TwinValue], reads: Sequence[tuple[bool, bool]]) -> None:
        """See halve.session.twin_walk.Visitor."""
        totals = [
            found if seen.row is None else seen.row.total
            for found, seen in zip(
                self._compared([seen.pair for seen in self._seen]), self._seen, strict=True
            )
        ]
        locals_ = self._locals(values, totals)
        for place, (value, seen) in enumerate(zip(values, self._seen, strict=True)):
            if seen.first is None and seen.second is None:
                continue
            found = self._output(value, seen, reads[place], (totals[place], locals_[place]))
            key = (value.output.node, value.output.slot)
            known = self.outputs.get(key)
            self.outputs[key] = found if known is None else merge_outputs(known, found)
        self._seen = []

    def _output(
        self,
        value: TwinValue,
        seen: _Seen,
        reads: tuple[bool, bool],
        compared: tuple[Comparison | None, Comparison | None],
    ) -> OutputStatistics:
        exponents, count = self._distribution(seen)
        total, local = compared
        tolerance = self.limits.tolerance
        return OutputStatistics(
            value.output.slot,
            value.output.name,
            dtype=_dtype_name(value, seen),
            shape=_shape(seen),
            fp32=self._exact_run(seen, finite=reads[0]),
            fp16=self._half_run(value, seen, finite=reads[1]),
            total=total,
            local=local,
            passed=None if total is None else within(total, tolerance),
            close=None if total is None else _is_close(total, tolerance),
            exponents=exponents,
            sampled=count,
        )

    def _distribution(self, seen: _Seen) -> tuple[tuple[tuple[int, int], ...], int]:
        if seen.row is not None:
            return seen.row.exponents, seen.row.sampled
        wanted = seen.exact is not None and self.limits.distribution
        return _exponents(seen.exact) if wanted else ((), 0)

    def _exact_run(self, seen: _Seen, *, finite: bool) -> RunStatistics | None:
        found = seen.first
        if found is None:
            return None
        over = 0
        if finite and seen.row is not None:
            over = seen.row.exact_over
        elif finite and seen.exact is not None and self._may_exceed(found):
            over = self._beyond(seen.exact)
        return _run(found, over, inherits=not finite)

    def _may_exceed(self, found: TensorStatistics) -> bool:
        return bool(found.inf or found.max_abs >= self.limits.limit)

    def _half_run(self, value: TwinValue, seen: _Seen, *, finite: bool) -> RunStatistics | None:
        found = seen.second
        if found is None:
            return None
        if not finite:
            return _run(found, 0, inherits=True)
        over = found.inf
        if value.raw is not None and self._may_exceed(found):
            over = self._beyond(value.raw)
        if seen.row is not None and value.output.raw is not None:
            over = seen.row.half_over
        if seen.first is None or not seen.first.nan:
            over += found.nan
        return _run(found, over, inherits=False)

    def _beyond(self, array: NDArray[Any]) -> int:
        above = math.nextafter(self.limits.limit, math.inf)
        return statistics(array, ge=above, threads=self.limits.threads).ge

    def _compared(self, pairs: Sequence[_Pair | None]) -> list[Comparison | None]:
        limits = self.limits
        found = iter(
            compare_pairs(
                [pair for pair in pairs if pair is not None],
                rtol=limits.tolerance.rtol,
                atol=limits.tolerance.atol,
                threads=limits.threads,
            )
        )
        return [None if pair is None else next(found) for pair in pairs]

    def _locals(
        self, values: Sequence[TwinValue], totals: Sequence[Comparison | None]
    ) -> list[Comparison | None]:
        """What rounding changes at each node; see ManualReport.local."""
        self._used = 0
        rows = zip(values, self._seen, totals, strict=True)
        known = [self._local(*row) for row in rows]
        pairs = [item if isinstance(item, tuple) else None for item in known]
        found = self._compared(pairs)
        return [
            new if isinstance(item, tuple) else item for item, new in zip(known, found, strict=True)
        ]

    def _local(
        self, value: TwinValue, seen: _Seen, total: Comparison | None
    ) -> Comparison | _Pair | None:
        """An output's local comparison, where that is known, or what is to be compared."""
        if value.measured is not None:
            return _local_of_row(value.measured.local, seen, total)
        if self.limits.exact_local:
            return None if total is None else self._exact_local(value, seen, total)
        own = _own_pair(value, seen)
        return own if own is not None or seen.second is None else _unchanged(seen.second)

    def _exact_local(
        self, value: TwinValue, seen: _Seen, total: Comparison
    ) -> Comparison | _Pair | None:
        """An output's local run compared, where that is known, or what is to be compared."""
        output, exact, stored, local = value.output, seen.exact, seen.stored, value.local
        if exact is None or stored is None or local is None or local.shape != exact.shape:
            return None
        if output.local in (output.raw, output.stored):
            return total
        half = _half_of(stored)
        if half is None and output.local == output.exact:
            return _equal(total)
        if half is None or local.dtype != _FLOAT:
            return local, exact
        rounded = self._space(local.size).view(stored.dtype).reshape(local.shape)
        cast_into(local, rounded, half, CastBounds(), threads=self.limits.threads)
        return rounded, exact

    def _space(self, size: int) -> NDArray[np.uint16]:
        """Room for rounded values, which is used again for the next part: fresh memory is slow."""
        if self._used + size > self._scratch.size:
            self._scratch, self._used = np.empty(max(size, 2 * self._scratch.size), np.uint16), 0
        space = self._scratch[self._used : self._used + size]
        self._used += size
        return space


def _seen(value: TwinValue) -> _Seen:
    if value.row is None:
        return _Seen(_floats(value.exact), _floats(value.stored))
    return _Seen(None, None, value.row.exact, value.row.half, value.row)


def _local_of_row(source: LocalSource, seen: _Seen, total: Comparison | None) -> Comparison | None:
    """The local comparison of what was measured where it was made."""
    if source == "row" and seen.row is not None:
        return seen.row.local
    if source == "unchanged":
        return None if seen.second is None else _unchanged(seen.second)
    if source == "equal":
        return None if total is None else _equal(total)
    return total if source == "total" else None


def _own_pair(value: TwinValue, seen: _Seen) -> _Pair | None:
    """What is stored against the result before it was rounded, where rounding can change it."""
    raw, stored = _floats(value.raw), seen.stored
    if raw is None or stored is None or value.output.neutral:
        return None
    return stored, raw


def merge_outputs(first: OutputStatistics, second: OutputStatistics) -> OutputStatistics:
    """Two makings of one output, or those of two samples, together."""
    counts = dict(first.exponents)
    for exponent, count in second.exponents:
        counts[exponent] = counts.get(exponent, 0) + count
    return replace(
        first,
        shape=max(first.shape, second.shape, key=math.prod),
        dtype=first.dtype if first.fp16 is not None else second.dtype,
        fp32=_merged(first.fp32, second.fp32),
        fp16=_merged(first.fp16, second.fp16),
        total=merge_comparisons(first.total, second.total),
        local=merge_comparisons(first.local, second.local),
        passed=_all((first.passed, second.passed)),
        close=_all((first.close, second.close)),
        exponents=tuple(sorted(counts.items())),
        sampled=first.sampled + second.sampled,
    )


def within(found: Comparison, tolerance: OutputTolerance) -> bool:
    """Whether a comparison is within a tolerance (see OutputTolerance)."""
    if tolerance.norm_rel is not None and not abs(1 - found.norm_ratio) <= tolerance.norm_rel:
        return False
    if tolerance.cos_sim is not None:
        return found.cosine >= tolerance.cos_sim
    return _is_close(found, tolerance)


def _is_close(found: Comparison, tolerance: OutputTolerance) -> bool:
    return found.mismatches <= tolerance.ntol * found.elements


def _all(judged: Sequence[bool | None]) -> bool | None:
    known = [item for item in judged if item is not None]
    return all(known) if known else None


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


def _unchanged(found: TensorStatistics) -> Comparison:
    """What comparing a value with itself gives."""
    squares = math.nan if found.nan else math.inf if found.inf else found.sum_squares
    return Comparison(
        found.elements, found.nan, found.inf, found.nan, found.inf,
        mismatches=found.nan, sum_aa=squares, sum_bb=squares, sum_ab=squares,
    )  # fmt: skip


def _floats(array: NDArray[Any] | None) -> NDArray[Any] | None:
    """The array where it is one of floats of 32 bits or fewer."""
    return array if array is not None and (array.dtype == _FLOAT or _half_of(array)) else None


def _half_of(array: NDArray[Any]) -> DType | None:
    return _HALF.get(array.dtype)


def _dtype_name(value: TwinValue, seen: _Seen) -> str:
    if value.measured is not None:
        return _NAMES.get(value.measured.half, "float32")
    half = None if seen.stored is None else _half_of(seen.stored)
    return "float32" if half is None else _NAMES[half]


def _shape(seen: _Seen) -> tuple[int, ...]:
    if seen.row is not None:
        exact = seen.row.exact_shape
        return (seen.row.half_shape or ()) if exact is None else exact
    array = seen.stored if seen.exact is None else seen.exact
    return () if array is None else array.shape


def _is_finite(found: TensorStatistics | None) -> bool:
    return found is None or not (found.nan or found.inf)


def _exponents(array: NDArray[Any] | None) -> tuple[tuple[tuple[int, int], ...], int]:
    """See OutputStatistics.exponents; float32's subnormals count as 2^-127."""
    if array is None or array.dtype != _FLOAT or array.size == 0:
        return (), 0
    step = -(-array.size // _SAMPLED)
    sample = np.ascontiguousarray(array.reshape(-1)[::step])
    counts = np.bincount(sample[sample != 0].view(np.uint32) >> 23 & 0xFF, minlength=256)
    found = tuple((int(e) - 127, int(counts[e])) for e in np.flatnonzero(counts[:255]))
    return found, len(sample)
