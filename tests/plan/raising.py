"""Models that are raised to a higher opset, and what must stay the same of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, helper

from halve.convert import convert
from halve.options import ConvertOptions
from halve.plan.opset import needed_opset, raise_opset
from halve.rewrite import rewrite  # noqa: F401 - the layers above are loaded together
from halve.source import open_model
from halve.types import CastJob, RewrittenModel
from halve.write import build_model
from models import FLOAT, build, dyadic

ort = pytest.importorskip("onnxruntime")
BF16 = ConvertOptions(dtype="bfloat16", target="any")


def raised(model: ModelProto | Path, options: ConvertOptions = BF16) -> ModelProto:
    """The model at the higher opset, still float32, with its payloads."""
    goal = needed_opset(options)
    assert goal is not None
    result = raise_opset(open_model(model), goal)
    assert result is not None
    source = result.model
    jobs = tuple(CastJob(ref.name, ref, ref.dtype) for ref in source.refs)
    return build_model(RewrittenModel(source.proto, jobs), options=ConvertOptions())[0]


def run(model: ModelProto) -> list[NDArray[Any]]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(1)
    feeds = {item.name: dyadic(rng, *item.shape) for item in session.get_inputs()}
    return list(session.run(None, feeds))


def check_same(model: ModelProto) -> ModelProto:
    """The raised model computes what `model` does, and converts; the conversion."""
    high = raised(model)
    onnx.checker.check_model(high, full_check=True)
    for before, after in zip(run(model), run(high), strict=True):
        np.testing.assert_array_equal(before, after)
    result = convert(model, options=BF16)
    assert result.model is not None
    onnx.checker.check_model(result.model, full_check=True)
    assert {e.version for e in result.model.opset_import if not e.domain} == {13}
    return result.model


def one_node(op: str, opset: int, outputs: int = 1, **attributes: Any) -> ModelProto:
    names = [f"y{slot}" for slot in range(outputs)]
    node = helper.make_node(op, ["x"], names, name="node", **attributes)
    infos = dict.fromkeys(names, (FLOAT, None))
    if op == "TopK":
        infos["y1"] = (int(onnx.TensorProto.INT64), None)
    return shaped(build([node], {"x": (FLOAT, [1, 4, 6, 6])}, infos, opset=opset, ir_version=4))


def shaped(model: ModelProto) -> ModelProto:
    """With the shapes of its outputs, which the checker wants."""
    return onnx.shape_inference.infer_shapes(model, data_prop=True)
