"""Outputs against references: what passes, and how much of the tolerance is used."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from fake_cuda import FakeArray, fake_module
from halve.compare import compare_outputs
from halve.compare.verdict import References, compare_on
from halve.search_types import OutputTolerance, OutputTrial, Tolerances

RNG = np.random.default_rng(11)


def judge(a: Any, b: Any, **fields: Any) -> OutputTrial:
    """Also shows that a brief verdict is the same one."""
    tolerances = Tolerances(OutputTolerance(**fields))
    values, references = {"y": np.asarray(a)}, {"y": np.asarray(b)}
    (trial,) = compare_outputs(values, references, tolerances)
    (brief,) = References(references, tolerances, brief=True).judge(values)
    assert replace(brief, comparison=None) == replace(trial, comparison=None)
    return trial


def pair(noise: float, size: int = 4096) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    b = RNG.standard_normal(size).astype(np.float32)
    return (b + noise * RNG.standard_normal(size)).astype(np.float32), b


@pytest.mark.parametrize("noise", [0.0, 1e-4, 1e-3, 1e-2, 0.1])
def test_tolerances_are_those_of_allclose(noise: float) -> None:
    a, b = pair(noise)
    trial = judge(a, b, rtol=1e-2, atol=1e-3)
    wide, reference = a.astype(np.float64), b.astype(np.float64)
    ratios = np.abs(wide - reference) / (1e-3 + 1e-2 * np.abs(reference))
    assert trial.passed == np.allclose(wide, reference, rtol=1e-2, atol=1e-3)
    assert trial.error == pytest.approx(ratios.max(), rel=1e-12)
    assert trial.energy == pytest.approx((ratios**4).mean() ** 0.5, rel=1e-9)


def test_an_element_without_tolerance_leaves_the_energy_finite() -> None:
    trial = judge(np.array([1e-3, 1], np.float32), np.array([0, 1], np.float32), rtol=0.5, atol=0.0)
    assert trial.error == math.inf
    assert trial.energy == pytest.approx(4e-6, rel=1e-3)


def test_energies_of_independent_errors_add_up() -> None:
    b = RNG.standard_normal(1 << 16).astype(np.float32)
    first, second = (1e-3 * RNG.standard_normal(b.size).astype(np.float32) for _ in range(2))
    parts = judge(b + first, b).energy + judge(b + second, b).energy
    assert judge(b + first + second, b).energy == pytest.approx(parts, rel=0.2)


@pytest.mark.parametrize(
    ("a", "b", "passed"),
    [
        ([np.inf, 1], [np.inf, 1], True),
        ([np.inf, 1], [-np.inf, 1], False),
        ([np.inf, 1], [1, 1], False),
        ([1, 1], [np.inf, 1], False),
        ([np.nan, 1], [1, 1], False),
        ([np.nan, 1], [np.nan, 1], False),
    ],
)
def test_what_is_not_finite(a: list[float], b: list[float], passed: bool) -> None:
    trial = judge(np.array(a, np.float32), np.array(b, np.float32))
    assert trial.passed == passed
    assert (trial.error == math.inf) != passed
    assert (trial.energy == 0) if passed else (trial.energy == math.inf)


def test_exactly_at_the_limit_passes() -> None:
    trial = judge(np.array([1.25], np.float32), np.array([1.0], np.float32), rtol=0.25, atol=0.0)
    assert trial.passed
    assert trial.error == 1
    assert judge(np.zeros(3, np.float32), np.zeros(3, np.float32), rtol=0.0, atol=0.0).error == 0
    assert not judge(np.ones(1, np.float32), np.zeros(1, np.float32), rtol=0.0, atol=0.0).passed


@pytest.mark.parametrize(("wrong", "passed"), [(0, True), (10, True), (11, False)])
def test_a_share_of_elements_may_miss(wrong: int, passed: bool) -> None:
    b = np.ones(1000, np.float32)
    a = b.copy()
    a[:wrong] = 9
    trial = judge(a, b, ntol=0.01)
    assert trial.passed == passed
    assert trial.error == pytest.approx(wrong / 10)
    whole = judge(a.astype(np.int64), b.astype(np.int64), ntol=0.01)
    assert (whole.passed, whole.error) == (trial.passed, pytest.approx(trial.error))


def test_a_cosine_replaces_the_tolerances() -> None:
    b = np.array([1.0, 0.0], np.float32)
    a = 5 * np.array([np.cos(0.1), np.sin(0.1)], np.float32)
    lost = 1 - np.cos(0.1)
    assert judge(a, b, cos_sim=0.99).passed
    assert not judge(a, b).passed
    assert judge(a, b, cos_sim=0.99).error == pytest.approx(lost / 0.01, rel=1e-4)
    assert not judge(a, b, cos_sim=0.999).passed
    assert not judge(np.full(2, np.nan, np.float32), b, cos_sim=0.5).passed


@pytest.mark.parametrize("fields", [{"cos_sim": 1}, {"norm_rel": 0}, {"cos_sim": 1, "norm_rel": 0}])
def test_equal_values_pass_whatever_is_asked(fields: dict[str, float]) -> None:
    """Where rounding makes a cosine less than 1, too."""
    a = np.sqrt(np.arange(1, 8, dtype=np.float32)) * np.float32(0.1)
    for same in (a, a[:2], np.zeros(3, np.float32)):
        assert judge(same, same.copy(), **fields).passed
    for unlike in (a + np.float32(1e-3), np.full(7, np.nan, np.float32)):
        assert not judge(unlike, a, **fields).passed
        assert not judge(np.full(7, np.nan, np.float32), unlike, **fields).passed


def test_the_ratio_of_norms_is_asked_in_addition() -> None:
    b = np.ones(100, np.float32)
    assert judge(1.05 * b, b, rtol=0.1, norm_rel=0.06).passed
    trial = judge(1.05 * b, b, rtol=0.1, norm_rel=0.04)
    assert not trial.passed
    assert trial.error == pytest.approx(1.25, rel=1e-3)


def test_other_shapes_and_types() -> None:
    assert judge(np.ones(3, np.float32), np.ones((3, 1), np.float32)).error == math.inf
    assert judge(np.array(["a", "b"]), np.array(["a", "b"])).passed
    assert not judge(np.array([True, False]), np.array([True, True])).passed
    assert judge(np.zeros((0, 4), np.float32), np.zeros((0, 4), np.float32)).passed
    assert judge(np.zeros(0, np.int64), np.zeros(0, np.int64)).passed
    assert judge(np.float32(2), np.float32(2)).passed
    assert judge(np.array([1 + 1j]), np.array([1 + 1.0001j])).passed


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_16_bit_values_against_float32_references(dtype: Any) -> None:
    _, b = pair(0.0)
    rounded = b.astype(dtype)
    assert judge(rounded, b).error == judge(rounded.astype(np.float32), b).error


def test_a_brief_verdict_has_no_comparison_where_it_needs_none() -> None:
    a, b = pair(1e-3)
    for tolerance, needed in ((OutputTolerance(), False), (OutputTolerance(ntol=0.1), True)):
        (trial,) = References({"y": b}, Tolerances(tolerance), brief=True).judge({"y": a})
        assert (trial.comparison is not None) == needed


def test_each_output_has_its_tolerance() -> None:
    b = np.ones(4, np.float32)
    tolerances = Tolerances(OutputTolerance(1e-2, 0.0), {"z": OutputTolerance(1e-6, 0.0)})
    y, z = compare_outputs(dict.fromkeys("yz", b * np.float32(1.001)), {"y": b, "z": b}, tolerances)
    assert y.passed
    assert not z.passed
    tight = tolerances.tightened(0.5).of("y")
    assert (tight.rtol, tight.atol) == (5e-3, 0.0)


TOLERANCES = [
    OutputTolerance(1e-2, 1e-3),
    OutputTolerance(1e-2, 0.0, ntol=0.1),
    OutputTolerance(1e-2, 1e-3, cos_sim=0.99),
    OutputTolerance(1e-2, 1e-3, norm_rel=1e-3),
    OutputTolerance(0.0, 0.0),
]


@pytest.mark.parametrize("tolerance", TOLERANCES)
def test_on_a_device_the_verdict_is_the_same(
    tolerance: OutputTolerance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "halve._cuda", fake_module())
    y = np.random.default_rng(3).standard_normal(2000).astype(np.float32)
    for scale, odd in ((1.0, None), (1.0001, None), (1.5, None), (1.01, np.nan), (1.01, np.inf)):
        x = (y * np.float32(scale)).astype(np.float16)
        if odd is not None:
            x[5] = odd
        (here,) = compare_outputs({"y": x}, {"y": y}, Tolerances(tolerance))
        there = compare_on("y", FakeArray(x), FakeArray(y), tolerance)
        assert (there.passed, there.error) == (here.passed, here.error)
        assert repr(there.comparison) == repr(here.comparison)
        np.testing.assert_allclose(there.energy, here.energy, rtol=1e-9)
