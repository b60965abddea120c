"""Values of two runs measured in one pass, and the operators that do so inside ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halve import _core
from halve._native.compare import address
from halve._native.features import backend_number
from halve.errors import ComparisonError
from halve.types import Comparison, DType, TensorStatistics

__all__ = [
    "ROUNDINGS",
    "SECOND",
    "TwinBoard",
    "TwinRow",
    "TwinRule",
    "TwinTotals",
    "measure_twin",
    "operators_library",
]

ROUNDINGS = {None: 0, DType.FLOAT16: 1, DType.BFLOAT16: 2}
"""halve::TwinRounding of csrc/include/halve/twin.h."""
SECOND = {"none": 0, "own": 1, "rounded": 2, "plain": 3}
"""halve::TwinLocal of the same file."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TwinRule:
    """What is counted: magnitudes of at least `ge` and at most `le`, results beyond `limit`, and
    differences beyond `rtol` and `atol`. `samples` elements of a float32 value are looked at for
    their exponents. `threads` 0 is one a core that this process may use.
    """

    ge: float
    le: float
    limit: float
    rtol: float
    atol: float
    samples: int = 0
    threads: int = 1


@dataclass(frozen=True, slots=True)
class TwinTotals:
    """The statistics of both values, the 16-bit one's after rounding (of float32 elements, which
    is what its `subnormal` counts); `total` compares it with the float32 value, `local` as asked
    for. `exact_over` and `half_over` are elements beyond the limit before rounding, infinities too.
    """

    exact: TensorStatistics
    half: TensorStatistics
    total: Comparison
    local: Comparison
    exact_over: int
    half_over: int


@dataclass(slots=True)
class TwinRow:
    """What an operator found, as TwinTotals has it; None where there is no such value, or where
    shapes differ. `exponents` are pairs of an exponent and how many of `sampled` elements have it.
    """

    exact_shape: tuple[int, ...] | None
    half_shape: tuple[int, ...] | None
    exact: TensorStatistics | None
    half: TensorStatistics | None
    total: Comparison | None
    local: Comparison | None
    exact_over: int
    half_over: int
    exponents: tuple[tuple[int, int], ...]
    sampled: int


def measure_twin(  # noqa: PLR0913 - values, what to do with them, and where to run
    exact: Floats | None,
    half: Floats | None,
    rule: TwinRule,
    *,
    local: Floats | None = None,
    rounding: DType | None = None,
    second: str = "none",
    rounded: Floats | None = None,
    backend: str | None = None,
) -> TwinTotals:
    """Measure float32 values of both runs, contiguous and of one size; releases the GIL.

    `half` is rounded to `rounding` first; `rounded` (which may be `half`) takes the result.
    `second` is of SECOND: compare `half` with itself before it was rounded ("own"), or `local`
    with `exact`, rounded likewise or as it is ("plain"). Every number is the one that
    `measure_array` and `compare_arrays` give, to the bit, on any backend and threads.

    Raises:
        BackendUnavailableError: the backend is unknown or not usable here.
        ComparisonError: sizes differ, a value that `second` needs is not there, or the rule has a
            negative or infinite tolerance, or NaN.
    """
    arrays = (exact, half, local, rounded)
    sizes = {array.size for array in arrays if array is not None}
    status, totals = 1, None
    if len(sizes) <= 1:
        places = [0 if array is None else address(array) for array in arrays]
        status, totals = _core.twin(
            backend_number(backend), places, max(sizes, default=0), ROUNDINGS[rounding],
            SECOND[second], rule.ge, rule.le, rule.limit, rule.rtol, rule.atol, rule.threads,
        )  # fmt: skip
    if status != 0 or totals is None:
        raise ComparisonError(
            f"values of {sorted(sizes)} elements, second {second!r}, {rule}; allowed: equal sizes,"
            " what the second comparison reads, finite tolerances, and no NaN"
        )
    first, after, total, other, *over = totals
    return TwinTotals(
        TensorStatistics(*first),
        TensorStatistics(*after),
        Comparison(*total),
        Comparison(*other),
        *over,
    )


class TwinBoard:
    """Where the measuring operators of a session leave what they found, by row.

    `number` is how operators refer to it, for as long as this object lives. Not to be read while
    the session runs.
    """

    def __init__(self, rows: int, rule: TwinRule) -> None:
        """A board of empty rows.

        Raises:
            BackendUnavailableError: HALVE_FORCE_BACKEND names a backend that is not usable here.
        """
        limits = (rule.ge, rule.le, rule.limit, rule.rtol, rule.atol)
        self._board = _core.TwinBoard(
            backend_number(None), rows, *limits, rule.threads, rule.samples
        )
        self.number: int = self._board.number

    def take(self) -> list[TwinRow | None]:
        """What was found since the last call; None for a row that nothing was written to."""
        return [None if row is None else _row(row) for row in self._board.take()]


def _row(row: Sequence[Any]) -> TwinRow:
    exact_shape, half_shape, exact, half, total, local, exact_over, half_over, found, sampled = row
    return TwinRow(
        exact_shape,
        half_shape,
        exact and TensorStatistics(*exact),
        half and TensorStatistics(*half),
        total and Comparison(*total),
        local and Comparison(*local),
        exact_over,
        half_over,
        tuple(found),
        sampled,
    )


def operators_library() -> str:
    """The library that ONNX Runtime is told to take the operators of the domain "halve" from."""
    path = _core.__file__
    assert path is not None
    return path
