"""The judge of a written model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from halve.errors import ModelError, OptionError, SampleError, SessionError
from halve.session import judging
from halve.session.judging import judge, measure_output
from halve.session.runtime import Session, load
from halve.session.samples import Sample
from models import BFLOAT16, FLOAT, FLOAT16, dyadic, mlp, text_model

RNG = np.random.default_rng(3)
SAMPLES = tuple(Sample(number, {"x": dyadic(RNG, 4, 16)}) for number in range(3))


def metrics(
    value: Any, reference: Any, *, rtol: float = 1e-2, atol: float = 1e-2
) -> judging.OutputMetrics:
    return measure_output("y", np.asarray(value), np.asarray(reference), rtol=rtol, atol=atol)


@pytest.mark.parametrize(
    ("dtype", "loads", "limit"), [(FLOAT16, True, 1e-2), (BFLOAT16, False, 0.1)]
)
def test_a_good_conversion_passes(dtype: int, loads: bool, limit: float, tmp_path: Path) -> None:
    onnx.save(mlp(), tmp_path / "a.onnx")
    onnx.save(mlp(dtype=dtype), tmp_path / "b.onnx")
    verdict = judge(
        tmp_path / "a.onnx", tmp_path / "b.onnx", SAMPLES, atol=limit, require_load=loads
    )
    assert (verdict.level, verdict.passed, verdict.loaded) == ("emulated", True, loads)
    assert [row.id for row in verdict.samples] == [0, 1, 2]
    (row,) = verdict.samples[0].outputs
    assert row.name == "y"
    assert row.shape == row.reference_shape == (4, 8)
    assert row.cosine > 0.999
    assert 0 < row.max_abs < limit


def test_overflow_fails_though_the_runtime_would_not_see_it() -> None:
    body = "{ s = Mul(x, x)  y = Sqrt(s) }"
    source = text_model(f"g (float[2] x) => (float[2] y) {body}")
    written = text_model(f"g (float16[2] x) => (float16[2] y) {body}")
    verdict = judge(source, written, [Sample(0, {"x": np.array([2, 300], np.float32)})])
    (row,) = verdict.samples[0].outputs
    assert not verdict.passed
    assert (row.mismatches, row.nonfinite, row.max_abs) == (1, 1, math.inf)


def test_a_changed_weight_fails() -> None:
    written = mlp(dtype=FLOAT16)
    weight = written.graph.initializer[0]
    values = numpy_helper.to_array(weight).copy()
    values[0, 0] += 1
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    assert not judge(mlp(), written, SAMPLES).passed


def test_a_skipped_rounding_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge whose lowering did not round would let the overflow pass: so it is the lowering."""
    body = "{ s = Mul(x, x)  y = Sqrt(s) }"
    source = text_model(f"g (float[1] x) => (float[1] y) {body}")
    written = text_model(f"g (float16[1] x) => (float16[1] y) {body}")
    samples = [Sample(0, {"x": np.array([300], np.float32)})]
    monkeypatch.setattr(judging, "lower", lambda model, **_: model)
    assert judge(source, written, samples).passed


def test_weights_of_a_large_file_are_lowered_into_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = (16, 64, 8)
    written = mlp(sizes, dtype=FLOAT16)
    whole = judge(mlp(sizes), written, SAMPLES)
    onnx.save(written, tmp_path / "w.onnx", save_as_external_data=True, location="w.bin")
    loaded: list[ModelProto] = []

    def watched(model: ModelProto, **settings: Any) -> Session:
        loaded.append(model)
        return load(model, **settings)

    monkeypatch.setattr(judging, "_IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(judging, "load", watched)
    assert judge(mlp(sizes), tmp_path / "w.onnx", SAMPLES) == whole
    (lowered,) = [model for model in loaded if isinstance(model, ModelProto) and is_mapped(model)]
    assert {tensor.data_type for tensor in lowered.graph.initializer} == {FLOAT}


def is_mapped(model: ModelProto) -> bool:
    return any(tensor.external_data for tensor in model.graph.initializer)


def test_golden_outputs_are_the_reference() -> None:
    x = np.array([1, 2], np.float32)
    model = text_model("g (float[2] x) => (float[2] y) { y = Neg(x) }")
    assert judge(model, model, [Sample(0, {"x": x}, {"y": -x})]).passed
    assert not judge(model, model, [Sample(0, {"x": x}, {"y": x})]).passed
    with pytest.raises(SampleError, match=r"sample 4: output 'y' is missing; its outputs: \['z'\]"):
        judge(model, model, [Sample(4, {"x": x}, {"z": x})])


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no samples"):
        judge(mlp(), mlp(), [])
    with pytest.raises(SampleError, match="input 'x' is missing"):
        judge(mlp(), mlp(), [Sample(0, {})])
    renamed = mlp(dtype=FLOAT16)
    renamed.graph.node[-1].output[0] = renamed.graph.output[0].name = "z"
    with pytest.raises(ModelError, match="lowered: there is no output 'y'"):
        judge(mlp(), renamed, SAMPLES)
    (tmp_path / "broken.onnx").write_bytes(b"\x08")
    with pytest.raises(ModelError, match=r"broken\.onnx, byte 1: the data ends"):
        judge(mlp(), tmp_path / "broken.onnx", SAMPLES)


def test_a_written_model_that_does_not_load_is_an_error() -> None:
    written = text_model(
        "g (float16[N] x) => (float16[N] y) { y = CumSum(x, a) }",
        opset=11,
        weights={"a": np.array(0)},
    )
    source = text_model(
        "g (float[N] x) => (float[N] y) { y = CumSum(x, a) }", opset=11, weights={"a": np.array(0)}
    )
    sample = Sample(0, {"x": np.ones(3, np.float32)})
    with pytest.raises(SessionError, match="cannot load"):
        judge(source, written, [sample])


def test_equal_outputs() -> None:
    row = metrics([1.0, np.inf], [1.0, np.inf])
    assert (row.allclose, row.max_abs, row.max_rel, row.nonfinite) == (True, 0.0, 0.0, 1)


def test_metrics_by_hand() -> None:
    row = metrics(np.array([3.0, 4.0, 0.0]), np.array([3.0, 5.0, 0.0]), rtol=0.1, atol=0.0)
    assert (row.elements, row.max_abs, row.mismatches) == (3, 1.0, 1)
    assert row.max_rel == pytest.approx(0.2)
    assert row.cosine == pytest.approx(29 / (5 * math.sqrt(34)))
    assert metrics([1e-3], [0.0]).max_rel == math.inf


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite(bad: float) -> None:
    row = metrics([1.0, bad], [1.0, 2.0])
    assert (row.allclose, row.mismatches, row.max_abs, row.max_rel) == (
        False,
        1,
        math.inf,
        math.inf,
    )
    assert math.isnan(row.cosine)


def test_cosine_of_zeros() -> None:
    zeros = np.zeros(3, np.float32)
    assert metrics(zeros, zeros).cosine == 1.0
    assert metrics(zeros, zeros + 1).cosine == 0.0
    assert metrics(zeros[:0], zeros[:0]).cosine == 1.0


@pytest.mark.parametrize(
    ("value", "reference"),
    [(np.array([1, 2]), np.array([1, 3])), (np.array(["a", "b"]), np.array(["a", "c"]))],
)
def test_integers_and_texts_must_be_equal(value: NDArray[Any], reference: NDArray[Any]) -> None:
    row = metrics(value, reference, rtol=10.0, atol=10.0)
    assert (row.allclose, row.mismatches) == (False, 1)
    assert metrics(value, value).allclose


def test_other_shape() -> None:
    row = metrics(np.zeros(2), np.zeros(3))
    assert (row.allclose, row.mismatches, row.shape, row.reference_shape) == (False, 3, (2,), (3,))


def test_models_are_not_changed() -> None:
    source, written = mlp(), mlp(dtype=FLOAT16)
    before: list[bytes] = [_text(source), _text(written)]
    judge(source, written, SAMPLES)
    assert [_text(source), _text(written)] == before


def _text(model: ModelProto) -> bytes:
    return model.SerializeToString(deterministic=True)
