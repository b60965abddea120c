"""The fused pass on every usable backend: against numpy, and to the bit against separate passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from halve._native.compare import compare_arrays, measure_array
from halve._native.features import backends
from halve._native.reference_compare import reference_compare, reference_statistics
from halve._native.twin import SECOND, TwinRule, TwinTotals, measure_twin
from halve.errors import BackendUnavailableError, ComparisonError
from halve.types import DType

BACKENDS = [info.name for info in backends() if info.usable]
HALVES: dict[DType, Any] = {DType.FLOAT16: np.float16, DType.BFLOAT16: ml_dtypes.bfloat16}
RULE = TwinRule(ge=65504.0, le=2.0**-14, limit=65504.0, rtol=1e-2, atol=1e-2)
# Where no tolerance is wide enough to take rounding for granted.
STRICT = replace(RULE, rtol=1e-4, atol=0.0, ge=1.0)
SIZES = (0, 1, 127, 128, 129, 4095, 4097, 9000)
ROUNDINGS = (None, DType.FLOAT16, DType.BFLOAT16)

Floats = NDArray[np.float32]
Values = tuple[Floats, Floats, Floats]

pytestmark = pytest.mark.parametrize("backend", BACKENDS)


def normal(n: int, scale: float = 1.0, noise: float = 1e-3) -> Values:
    """A value in the float32 run, the other run, and the local run."""
    rng = np.random.default_rng(n)
    x = (rng.standard_normal(n) * scale).astype(np.float32)
    others = (x * (1 + noise * rng.standard_normal((2, n)))).astype(np.float32)
    return x, others[0], others[1]


def patterns(n: int) -> Values:
    """Uniform in bits: every exponent, infinities, NaN and subnormals among them."""
    bits = np.random.default_rng(n).integers(0, 1 << 32, (3, n), dtype=np.uint32)
    first, second, third = bits.view(np.float32)
    return first, second, third


def with_zeros(n: int) -> Values:
    x, half, local = (np.maximum(a, 0) for a in normal(n))
    return x, half, local


def with_specials(n: int, every: int = 5000) -> Values:
    """Mostly usual blocks, and some with a value that is not finite."""
    values = normal(n)
    for place, array in enumerate(values):
        array[place + 7 :: every] = (np.nan, np.inf, -np.inf)[place]
    return values


def rounded(x: Floats, rounding: DType | None) -> Floats:
    with np.errstate(all="ignore"):
        return x if rounding is None else x.astype(HALVES[rounding]).astype(np.float32)


def over(x: Floats, limit: float) -> int:
    return int(np.count_nonzero(np.abs(x) > limit))


def compared(values: Values, rounding: DType | None, second: str) -> tuple[Floats, Floats] | None:
    """What the second comparison is of."""
    exact, half, local = values
    pairs = {
        "own": (rounded(half, rounding), half),
        "rounded": (rounded(local, rounding), exact),
        "plain": (local, exact),
    }
    return pairs.get(second)


def fused(
    values: Values, rounding: DType | None, second: str, rule: TwinRule, backend: str
) -> tuple[TwinTotals, Floats]:
    exact, half, local = values
    out = np.full_like(half, 7)
    totals = measure_twin(
        exact, half, rule, local=local, rounding=rounding, second=second, rounded=out,
        backend=backend,
    )  # fmt: skip
    return totals, out


def assert_as_separate(
    values: Values, rounding: DType | None, second: str, rule: TwinRule, backend: str
) -> None:
    totals, out = fused(values, rounding, second, rule, backend)
    exact, half, _ = values
    after = rounded(half, rounding)
    np.testing.assert_array_equal(out, after)
    zeros = after == 0
    np.testing.assert_array_equal(np.signbit(out[zeros]), np.signbit(after[zeros]))
    limits = {"ge": rule.ge, "le": rule.le, "backend": backend}
    tolerance = {"rtol": rule.rtol, "atol": rule.atol, "backend": backend}
    # By their texts, which are exact and where a NaN equals a NaN.
    assert repr(totals.exact) == repr(measure_array(exact, **limits))
    assert repr(totals.half) == repr(measure_array(after, **limits))
    assert repr(totals.total) == repr(compare_arrays(after, exact, **tolerance))
    assert (totals.exact_over, totals.half_over) == (
        over(exact, rule.limit),
        over(half, rule.limit),
    )
    pair = compared(values, rounding, second)
    if pair is not None:
        assert repr(totals.local) == repr(compare_arrays(*pair, **tolerance))
    else:
        assert totals.local.elements == 0


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("second", SECOND)
@pytest.mark.parametrize("rule", [RULE, STRICT], ids=["usual", "strict"])
def test_every_size(backend: str, rounding: DType | None, second: str, rule: TwinRule) -> None:
    for n in SIZES:
        assert_as_separate(normal(n), rounding, second, rule, backend)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("second", SECOND)
@pytest.mark.parametrize("scale", [1e-40, 1e-7, 1e-4, 3e4, 1e30])
def test_every_scale(backend: str, rounding: DType | None, second: str, scale: float) -> None:
    """Subnormals of either type, what rounding takes to zero, and overflow."""
    assert_as_separate(normal(9000, scale), rounding, second, RULE, backend)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("second", SECOND)
@pytest.mark.parametrize("made", [patterns, with_zeros, with_specials])
def test_every_kind_of_value(backend: str, rounding: DType | None, second: str, made: Any) -> None:
    assert_as_separate(made(20_000), rounding, second, RULE, backend)


@pytest.mark.parametrize("rounding", [DType.FLOAT16, DType.BFLOAT16])
def test_ties_and_the_ends_of_types(backend: str, rounding: DType) -> None:
    """Values halfway between two of the 16-bit type, just beside those, and at its ends."""
    halves = np.arange(0, 1 << 16, dtype=np.uint16).view(HALVES[rounding]).astype(np.float32)
    with np.errstate(all="ignore"):
        middle = ((halves[:-1].astype(np.float64) + halves[1:]) / 2).astype(np.float32)
    values = np.concatenate([halves[:-1], middle, np.nextafter(middle, np.float32(np.inf))])
    for exact in (values, values[::-1].copy()):
        assert_as_separate((exact, values, values), rounding, "own", RULE, backend)


def test_against_numpy(backend: str) -> None:
    values = with_specials(9000, every=4000)
    totals, out = fused(values, DType.FLOAT16, "own", RULE, backend)
    exact, half, _ = values
    tolerance = {"rtol": RULE.rtol, "atol": RULE.atol}
    assert repr(totals.exact) == repr(reference_statistics(exact, ge=RULE.ge, le=RULE.le))
    assert repr(totals.half) == repr(reference_statistics(out, ge=RULE.ge, le=RULE.le))
    assert repr(totals.total) == repr(reference_compare(out, exact, **tolerance))
    assert repr(totals.local) == repr(reference_compare(out, half, **tolerance))


def test_rounding_in_place_and_not_keeping(backend: str) -> None:
    exact, half, _ = normal(9000)
    expected, out = fused((exact, half, half), DType.FLOAT16, "own", RULE, backend)
    own = half.copy()
    options: dict[str, Any] = {"rounding": DType.FLOAT16, "second": "own", "backend": backend}
    assert measure_twin(exact, own, RULE, rounded=own, **options) == expected
    np.testing.assert_array_equal(own, out)
    assert measure_twin(exact, half, RULE, **options) == expected


def test_one_run_alone(backend: str) -> None:
    exact, half, _ = normal(5000, 3e4)
    first = measure_twin(exact, None, RULE, backend=backend)
    second = measure_twin(None, half, RULE, rounding=DType.FLOAT16, second="own", backend=backend)
    both, _ = fused((exact, half, half), DType.FLOAT16, "own", RULE, backend)
    assert (first.exact, first.exact_over) == (both.exact, both.exact_over)
    assert (second.half, second.half_over, second.local) == (both.half, both.half_over, both.local)
    assert first.half.elements == second.exact.elements == second.total.elements == 0


def test_memory_at_any_address(backend: str) -> None:
    values = normal(5000)
    for shift in (1, 2, 3):
        memory = [np.zeros(4 * 5000 + 4, np.uint8) for _ in values]
        moved = [room[shift : shift + 4 * 5000].view(np.float32) for room in memory]
        for array, value in zip(moved, values, strict=True):
            array[:] = value
        exact, half, local = moved
        got = measure_twin(exact, half, RULE, local=local, second="plain", backend=backend)
        assert got == fused(values, None, "plain", RULE, backend)[0]


def test_threads_change_nothing(backend: str) -> None:
    values = with_specials(1_200_000, every=300_000)
    results = {
        repr(fused(values, DType.FLOAT16, "rounded", replace(RULE, threads=threads), backend)[0])
        for threads in (1, 2, 3)
    }
    assert len(results) == 1


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_values(backend: str, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 400))
    seed = data.draw(st.integers(0, 1 << 20))
    x, half, local = normal(n + 1, 10.0 ** data.draw(st.integers(-8, 5)))
    for array in (x, half, local):
        array[np.random.default_rng(seed).integers(0, n, 2)] = data.draw(
            st.floats(width=32, allow_nan=True, allow_infinity=True)
        )
    rounding = data.draw(st.sampled_from(ROUNDINGS))
    rule = data.draw(st.sampled_from([RULE, STRICT]))
    assert_as_separate((x, half, local), rounding, data.draw(st.sampled_from(list(SECOND))), rule,
                       backend)  # fmt: skip


def test_what_cannot_be_measured(backend: str) -> None:
    x, short = np.ones(4, np.float32), np.ones(3, np.float32)
    with pytest.raises(ComparisonError, match=r"values of \[3, 4\] elements"):
        measure_twin(x, short, RULE, backend=backend)
    with pytest.raises(ComparisonError, match="second 'rounded'"):
        measure_twin(x, x, RULE, second="rounded", backend=backend)
    with pytest.raises(ComparisonError, match="second 'own'"):
        measure_twin(x, None, RULE, second="own", backend=backend)
    for wrong in ({"rtol": -1.0}, {"atol": np.inf}, {"ge": np.nan}, {"limit": np.nan}):
        with pytest.raises(ComparisonError, match="allowed"):
            measure_twin(x, x, replace(RULE, **wrong), backend=backend)
    with pytest.raises(BackendUnavailableError):
        measure_twin(x, x, RULE, backend="sse9")
