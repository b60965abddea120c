"""The margin: what the search works within, and who may use the whole tolerance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx.parser import parse_model

from auto_search import find
from halve import OutputTolerance, SearchResult, Tolerances
from halve.session.samples import Sample

HALF_STEP = 2.0**-11
"""What rounding to float16 takes from 1 + 2^-11, the middle of two of its numbers."""
MODEL = parse_model(
    '<ir_version: 8, opset_import: ["": 17]> g (float[1] x) => (float[1] y) { y = Sqrt(x) }'
)
EXACT, BETWEEN = ({"x": np.array([value], np.float32)} for value in (1.0, 1 + HALF_STEP))
FLOAT32, HALF = 1, 0


def searched(used: float, *feeds: Any, **fields: Any) -> SearchResult:
    """A search by a tolerance of which the rounded `BETWEEN` uses that share."""
    taken = float(np.sqrt(BETWEEN["x"])[0]) - 1.0
    tolerances = Tolerances(OutputTolerance(0.0, taken / used))
    return find(MODEL, *feeds, tolerances=tolerances, **fields)


@pytest.mark.parametrize(
    ("used", "holdout", "kept"),
    [
        (0.7, 0, HALF),
        (0.9, 0, FLOAT32),
        (0.9, 2, HALF),
        (1.1, 2, FLOAT32),
    ],
)
def test_held_out_samples_may_use_the_whole_tolerance(used: float, holdout: int, kept: int) -> None:
    result = searched(used, EXACT, BETWEEN, holdout=holdout)
    assert len(result.fp32) == kept
    assert result.verdict.passed
    assert result.notes == ()
    if kept == HALF:
        assert result.verdict.samples[1].outputs[0].error == pytest.approx(used)


@pytest.mark.parametrize("holdout", [0, 2])
def test_all_of_the_tolerance_where_float32_itself_uses_more_than_the_margin(holdout: int) -> None:
    """Golden outputs are not always what float32 gives."""
    golden = Sample(1, EXACT, {"y": np.array([1 + 0.9 * HALF_STEP], np.float32)})
    tolerances = Tolerances(OutputTolerance(0.0, HALF_STEP))
    result = find(MODEL, Sample(0, EXACT), golden, tolerances=tolerances, holdout=holdout)
    assert result.fp32 == ()
    (note,) = result.notes
    assert "use 0.9 of the tolerance, so the search worked at all of it instead of 0.8" in note


def test_held_out_samples_have_no_more_than_all_of_the_tolerance() -> None:
    near = {"x": np.array([1 + 0.6 * HALF_STEP], np.float32)}
    golden = Sample(1, near, {"y": np.sqrt(near["x"]) + np.float32(0.9 * HALF_STEP)})
    tolerances = Tolerances(OutputTolerance(0.0, HALF_STEP))
    result = find(MODEL, Sample(0, EXACT), golden, tolerances=tolerances, holdout=2)
    assert "all of it instead of 0.8" in result.notes[0]
    (refused,) = (row for row in result.trials if row.phase == "holdout" and not row.passed)
    assert 1 < refused.error < 1 / 0.8
    assert len(result.fp32) == FLOAT32
