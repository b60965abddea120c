"""One output against its reference: the verdict with its reasons, and the worst elements."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from halve.compare import pairs
from halve.compare.pairs import compare_pair, worst_elements
from halve.search_types import OutputTolerance, Tolerances

TOLERANCE = OutputTolerance(rtol=0.0, atol=1.0)


def arrays(*values: float, dtype: Any = np.float32) -> NDArray[Any]:
    return np.array(values, dtype)


def test_a_float_output_has_every_metric() -> None:
    row = compare_pair("y", arrays(1, 2, 5), arrays(1, 2, 3), Tolerances(TOLERANCE))
    assert row.comparison is not None
    assert (row.passed, row.error, row.mismatches, row.elements) == (False, 2.0, 1, 3)
    assert (row.comparison.max_abs_error, row.comparison.max_abs_index) == (2.0, 2)
    assert row.reason == ""


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_types_may_differ(dtype: Any) -> None:
    row = compare_pair("y", arrays(1, 2, dtype=dtype), arrays(1, 2), Tolerances())
    assert row.passed
    assert (row.a_dtype, row.b_dtype) == (np.dtype(dtype).name, "float32")


def test_another_shape_never_passes() -> None:
    loose = Tolerances(OutputTolerance(rtol=1e9, atol=1e9, ntol=1.0))
    row = compare_pair("y", np.zeros((1, 3)), np.zeros((3, 1)), loose)
    assert (row.passed, row.error, row.mismatches) == (False, math.inf, 3)
    assert row.reason == "shape [1, 3] against [3, 1]"
    assert row.worst == ()


def test_texts_against_numbers_never_pass() -> None:
    row = compare_pair("y", np.array(["a"]), arrays(1), Tolerances())
    assert not row.passed
    assert row.reason == "type <U1 against float32"


@pytest.mark.parametrize(
    ("value", "reference", "shown"),
    [
        (np.array([1, 5, 3]), np.array([1, 2, 3]), (5, 2)),
        (np.array([True, True]), np.array([True, False]), (1, 0)),
        (np.array(["a", "b"]), np.array(["a", "c"]), ("b", "c")),
    ],
)
def test_what_is_no_float_must_be_equal(
    value: NDArray[Any], reference: NDArray[Any], shown: tuple[object, object]
) -> None:
    row = compare_pair("y", value, reference, Tolerances())
    assert (row.passed, row.mismatches, row.comparison) == (False, 1, None)
    assert row.reason == f"{reference.dtype} is compared for equality"
    (worst,) = row.worst
    assert (worst.index, (worst.a, worst.b)) == ((1,), shown)
    assert compare_pair("y", reference, reference, Tolerances()).passed


def test_nan_and_infinity_come_first() -> None:
    value = np.array([[0, np.nan, np.inf], [7, np.inf, -np.inf]], np.float32)
    reference = np.array([[0, 0, 1], [2, np.inf, np.inf]], np.float32)
    found = worst_elements(value, reference, TOLERANCE, 9)
    assert [row.index for row in found] == [(0, 1), (0, 2), (1, 2), (1, 0)]
    assert [row.abs_error for row in found] == [math.inf, math.inf, math.inf, 5.0]
    assert (found[3].a, found[3].b, found[3].rel_error, found[3].error) == (7.0, 2.0, 2.5, 5.0)


def test_equal_elements_are_no_worst_ones() -> None:
    assert worst_elements(arrays(1, 2), arrays(1, 2), TOLERANCE, 5) == ()
    assert worst_elements(arrays(1, 3), arrays(1, 2), TOLERANCE, 0) == ()


def test_a_scalar_has_an_empty_index() -> None:
    (row,) = worst_elements(np.float32(2).reshape(()), np.zeros(()), TOLERANCE, 5)
    assert (row.index, row.rel_error) == ((), math.inf)


def test_complex_numbers_are_measured_by_magnitude() -> None:
    row = compare_pair("y", np.array([3 + 4j]), np.array([0j]), Tolerances(TOLERANCE))
    assert not row.passed
    assert (row.worst[0].a, row.worst[0].abs_error) == ("(3+4j)", 5.0)


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=40), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_chunks_change_nothing(differences: list[int], count: int) -> None:
    value = np.array(differences, np.float32)
    reference = np.zeros_like(value)
    expected = sorted(
        (i for i in range(value.size) if value[i]), key=lambda i: (-abs(value[i]), i)
    )[:count]
    whole = pairs._CHUNK
    try:
        pairs._CHUNK = 7
        found = worst_elements(value, reference, TOLERANCE, count)
    finally:
        pairs._CHUNK = whole
    assert [row.index[0] for row in found] == expected
