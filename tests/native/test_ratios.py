"""How much of a tolerance elements use, against numpy."""

from __future__ import annotations

import itertools
import math
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from halve._native.compare import FLOAT_TYPES, Reference, compare_arrays
from halve.errors import ComparisonError

RTOL, ATOL = 1e-2, 1e-3
# Around the ends of the kernel's blocks and lanes.
SIZES = (0, 1, 3, 4, 5, 511, 512, 513, 1023, 2049)


def shares(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    x, y = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(all="ignore"):
        found = np.abs(x - y) / (ATOL + RTOL * np.abs(y))
    found[np.isnan(found)] = np.inf
    found[x == y] = 0
    return found


def measure_ratios(
    a: NDArray[Any], b: NDArray[Any], *, rtol: float, atol: float
) -> tuple[float, float]:
    found, worst, total = Reference(b, rtol=rtol, atol=atol).compare(a)
    np.testing.assert_equal(astuple(found), astuple(compare_arrays(a, b, rtol=rtol, atol=atol)))
    return worst, total


def values(size: int, seed: int) -> NDArray[np.float64]:
    generator = np.random.default_rng(seed)
    return generator.standard_normal(size) * 10.0 ** generator.integers(-4, 4, size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("a_type", "b_type"), list(itertools.product(FLOAT_TYPES, repeat=2)))
def test_every_pairing(a_type: np.dtype[Any], b_type: np.dtype[Any], size: int) -> None:
    b = values(size, 1).astype(b_type)
    a = (b.astype(np.float64) * (1 + 1e-2 * values(size, 2))).astype(a_type)
    expected = shares(a, b)
    worst, total = measure_ratios(a, b, rtol=RTOL, atol=ATOL)
    assert worst == expected.max(initial=0.0)
    if worst:
        assert total == pytest.approx(float(((expected / worst) ** 4).sum()), rel=1e-12)
    else:
        assert total == 0


@pytest.mark.parametrize("place", [0, 600, 1999])
def test_the_worst_may_stand_in_any_block(place: int) -> None:
    b = values(2000, 3).astype(np.float32)
    a = b.copy()
    a[7] += 1
    a[place] += 1e30
    expected = shares(a, b)
    worst, total = measure_ratios(a, b, rtol=RTOL, atol=ATOL)
    assert worst == expected.max()
    assert total == pytest.approx(float(((expected / worst) ** 4).sum()), rel=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "worst"),
    [
        (math.inf, math.inf, 0.0),
        (-math.inf, math.inf, math.inf),
        (math.inf, 1.0, math.inf),
        (1.0, math.inf, math.inf),
        (math.nan, math.nan, math.inf),
        (0.0, -0.0, 0.0),
    ],
)
def test_what_is_not_finite(a: float, b: float, worst: float) -> None:
    first = np.array([1.0, a], np.float32)
    found = measure_ratios(first, np.array([1.0, b], np.float32), rtol=RTOL, atol=ATOL)
    assert found == (worst, worst)


def test_tiny_shares_do_not_vanish() -> None:
    a = np.array([1e-320, 2e-320], np.float64)
    worst, total = measure_ratios(a, np.zeros(2), rtol=0.0, atol=1.0)
    assert worst == 2e-320
    assert total == pytest.approx(1 + 2**-4, rel=1e-3)


def test_what_is_refused() -> None:
    one = np.ones(1, np.float32)
    with pytest.raises(ComparisonError, match="equal sizes"):
        measure_ratios(one, np.ones(2, np.float32), rtol=RTOL, atol=ATOL)
    with pytest.raises(ComparisonError, match="finite"):
        measure_ratios(one, one, rtol=math.nan, atol=ATOL)
