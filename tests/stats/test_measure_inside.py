"""What is measured inside a session equals what is measured of the values that it hands out."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

import halve
from halve import ConvertOptions, ManualOptions
from halve.manual_types import ManualReport
from halve.session import read_samples
from halve.session.twin_walk import WalkSettings


def measured(
    monkeypatch: pytest.MonkeyPatch, source: Any, samples: Any, *, inside: bool, **fields: Any
) -> ManualReport:
    def settings(**given: Any) -> WalkSettings:
        return WalkSettings(**given if inside else {**given, "inside": None})

    module = importlib.import_module("halve.measure")
    monkeypatch.setattr(module, "WalkSettings", settings)
    return halve.measure(source, samples, options=ManualOptions(**fields))


def assert_same(monkeypatch: pytest.MonkeyPatch, source: Any, samples: Any, **fields: Any) -> None:
    first = measured(monkeypatch, source, samples, inside=True, **fields)
    second = measured(monkeypatch, source, samples, inside=False, **fields)
    # By their texts, which are exact and where a NaN equals a NaN.
    assert repr(first.samples) == repr(second.samples)
    assert repr(first.merged) == repr(second.merged)
    assert any(item.fp16 for node in first.merged.nodes for item in node.outputs)


def network(size: int = 300) -> ModelProto:
    """Arithmetic that overflows and goes under, nodes that share or move memory, values that are
    read twice, and a float32 constant.
    """
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((size, size)).astype(np.float32),
        "large": np.float32(3e4),
        "small": np.float32(1e-7),
        "shape": np.array([-1], np.int64),
    }
    make = helper.make_node
    nodes: list[NodeProto] = [
        make("MatMul", ["x", "w"], ["product"]),
        make("Relu", ["product"], ["positive"]),
        make("Mul", ["positive", "large"], ["over"]),
        make("Mul", ["product", "small"], ["under"]),
        make("Reshape", ["over", "shape"], ["flat"]),
        make("Sub", ["over", "over"], ["lost"]),
        make("Identity", ["product"], ["again"]),
        make("Add", ["again", "product"], ["twice"]),
        make("Concat", ["twice", "under"], ["joined"], axis=1),
        make("Constant", [], ["one"], value=numpy_helper.from_array(np.float32(1.5))),
        make("Add", ["joined", "one"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", size])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            for name in ("y", "flat", "lost", "positive")
        ],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def feeds(*rows: int, size: int = 300) -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    return [{"x": rng.standard_normal((n, size)).astype(np.float32)} for n in rows]


@pytest.mark.parametrize("mode", ["calc", "raw"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_both_ways_of_measuring_agree(
    mode: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = ConvertOptions(dtype=dtype, node_block=("^twice$",))
    options = {"mode": mode, "convert": convert, "distribution": True, "threads": 2}
    assert_same(monkeypatch, network(), feeds(3, 40), **options)


def test_values_without_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    assert_same(monkeypatch, network(), feeds(0), mode="raw", distribution=True)


def test_a_float32_node_among_16_bit_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    convert = ConvertOptions(fp32_nodes=(2, 5))
    assert_same(monkeypatch, network(), feeds(20), mode="raw", convert=convert)


def test_infinite_doubles_reach_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not measured still says whether a node's operands were finite."""
    make = helper.make_node
    nodes = [
        make("Cast", ["x"], ["wide"], to=TensorProto.DOUBLE),
        make("Div", ["wide", "zero"], ["infinite"]),
        make("Cast", ["infinite"], ["narrow"], to=TensorProto.FLOAT),
        make("Add", ["narrow", "x"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "doubles",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array(0.0), "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    report = measured(monkeypatch, model, [{"x": np.ones(4, np.float32)}], inside=True)
    found = {node.type: node.outputs for node in report.merged.nodes if node.outputs}
    run = found["Cast"][0].fp32
    assert run is not None
    assert (run.inf, run.clip, run.inherited) == (4, 0, 4)


@pytest.mark.parametrize(
    ("name", "mode"), [("yunet", "calc"), ("fastestdet_qdq", "raw"), ("silero_vad_v3", "raw")]
)
def test_trained_models(
    name: str, mode: str, trained_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained_model_dir / name
    samples = read_samples(folder)[:1]
    assert_same(monkeypatch, folder / "model.onnx", samples, mode=mode, distribution=True)
