"""What is no model or no sample for a search is told before it begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import halve
from halve import Sample, SearchOptions
from halve.errors import SampleError, UnsupportedModelError, VerdictError
from onnx_text import parse

X = np.linspace(-1, 1, 64, dtype=np.float32)
DRAWN = "a = Mul(x, r) y = Exp(a) }"


@pytest.mark.parametrize(
    ("graph", "operator"),
    [
        ("{ r = RandomNormalLike(x) " + DRAWN, "RandomNormalLike"),
        ("{ r = RandomNormalLike<seed = 1.0>(x) " + DRAWN, "RandomNormalLike"),
        ("<float p = {0.5}, bool on = {1}> { r = Dropout(x, p, on) " + DRAWN, "Dropout"),
        ("<float p = {0.5}, bool on = {1}> { r = If(on) <then_branch = t () => (float[64] d) "
         "{ d = Dropout(x, p, on) }, else_branch = e () => (float[64] d) { d = Exp(x) }> " + DRAWN,
         "Dropout"),
    ],
)  # fmt: skip
def test_a_model_that_draws_numbers(graph: str, operator: str) -> None:
    """One with a seed draws others in the next run, and so in every trial."""
    model = parse("g (float[64] x) => (float[64] y) " + graph)
    with pytest.raises(VerdictError, match=rf"'y' of sample 0 differs.*it has {operator}\)"):
        halve.search(model, {"x": X})


def test_a_dropout_that_does_nothing() -> None:
    model = parse("g (float[64] x) => (float[64] y) { r = Dropout(x) " + DRAWN)
    assert halve.search(model, {"x": X}).verdict.passed


def test_inputs_that_a_search_does_not_feed() -> None:
    model = parse("g (seq(float[64]) s) => (float[64] y) <int64 i = {0}> { y = SequenceAt(s, i) }")
    feeds: Any = {"s": [X, X]}
    with pytest.raises(UnsupportedModelError, match="input 's' is a sequence; allowed: tensors"):
        halve.search(model, feeds)
    model = parse("g (float[2] x, float[2] k) => (float[2] y) <float[2] k={1,2}> { y = Mul(x, k) }")
    assert halve.search(model, {"x": X[:2]}).verdict.passed
    with pytest.raises(SampleError, match="sample 1: input 'k' has a default"):
        halve.search(model, [{"x": X[:2]}, {"x": X[:2], "k": X[:2]}])


def test_nothing_is_proved_without_samples(tmp_path: Path) -> None:
    model = parse("g (float[64] x) => (float[64] y) { y = Exp(x) }")
    halve.search(model, {"x": X}, options=SearchOptions(workspace=tmp_path))
    with pytest.raises(SampleError, match="no samples were given"):
        halve.verify_plan(model, tmp_path / "plan.json", [])
    with pytest.raises(SampleError, match="no samples were given"):
        halve.search(model, [])


def test_golden_outputs_of_another_shape_order_or_class() -> None:
    model = parse("g (float[64] x) => (float[64] y) { y = Exp(x) }")
    golden = np.exp(X)
    for same in (golden.astype(">f4"), list(golden)):
        given: Any = {"y": same}
        assert halve.search(model, [Sample(3, {"x": X.astype(">f4")}, given)]).verdict.passed
    with pytest.raises(SampleError, match=r"golden output 'y' has shape \[1, 64\].*it, \[64\]"):
        halve.search(model, [Sample(3, {"x": X}, {"y": golden[None]})])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"rtol": -0.1}, r"rtol is -0\.1; allowed: a finite number, 0 or more"),
        ({"atol": float("nan")}, "atol is nan"),
        ({"rtol": "1e-2"}, "rtol is '1e-2'"),
        ({"ntol": 2}, r"ntol is 2\.0; allowed: 0 to 1"),
        ({"cos_sim": 1.5}, r"cos_sim is 1\.5; allowed: -1 to 1"),
        ({"norm_rel": float("inf")}, "norm_rel is inf"),
    ],
)
def test_a_tolerance_is_checked_when_it_is_made(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(halve.OptionError, match=words):
        halve.OutputTolerance(**fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tolerances": halve.OutputTolerance()}, "tolerances is .*; allowed: a halve.Tolerances"),
        ({"convert": {"dtype": "bfloat16"}}, "convert is .*; allowed: a halve.ConvertOptions"),
        ({"workspace": 5}, "workspace is 5; allowed: a pathlib.Path or None"),
    ],
)
def test_options_of_another_class(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(halve.OptionError, match=words):
        SearchOptions(**fields)
