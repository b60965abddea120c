"""Values stay in blocks of channels from one gate to the next, and keep their bits."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from halve.options import ConvertOptions
from halve.plan import analyse, load_target
from halve.plan.units import search_units
from halve.search_types import Tolerances
from halve.session import Sample, probe
from halve.session.blocked_layout import keep_blocks
from halve.session.probe import Probe, ProbeSettings
from halve.session.roundings import OperatorRoundings
from halve.session.switches import SWITCHES
from halve.source import open_model
from halve.source.scopes import subgraphs

DOMAIN = "com.microsoft.nchwc"
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
IMAGE = [1, 16, 8, 8]


def to_blocks(source: str, result: str) -> NodeProto:
    return helper.make_node("ReorderInput", [source], [result], domain=DOMAIN, channels_last=0)


def from_blocks(source: str, result: str, channels: int = 16) -> NodeProto:
    return helper.make_node(
        "ReorderOutput", [source], [result], domain=DOMAIN, channels=channels, channels_last=0
    )


def conv(source: str, result: str) -> NodeProto:
    return helper.make_node("Conv", [source, "w"], [result], domain=DOMAIN)


def rounded(source: str, result: str) -> NodeProto:
    return OperatorRoundings(HALF).node("Round", [source], result, 0)


def branch(nodes: list[NodeProto], output: str) -> GraphProto:
    return helper.make_graph(nodes, "branch", [], [ValueInfoProto(name=output)])


def gate(source: str, result: str, *, channels: int = 16) -> list[NodeProto]:
    """A convolution that is gated and rounded, as ONNX Runtime optimises it."""
    nodes = [to_blocks(source, "i"), conv("i", "c"), from_blocks("c", "n")]
    other = [to_blocks(source, "i"), conv("i", "c"), from_blocks("c", "n", channels)]
    raw = f"{result}.raw"
    gated = helper.make_node(
        "If", ["m"], [raw], then_branch=branch(nodes, "n"), else_branch=branch(other, "n")
    )
    return [gated, rounded(raw, result)]


def model_of(nodes: list[NodeProto], output: str) -> ModelProto:
    inputs = [
        helper.make_tensor_value_info("x", FLOAT, IMAGE),
        helper.make_tensor_value_info("m", TensorProto.BOOL, []),
        helper.make_tensor_value_info(SWITCHES, TensorProto.BOOL, [1]),
    ]
    outputs = [helper.make_tensor_value_info(output, FLOAT, IMAGE)]
    weight = helper.make_tensor("w", FLOAT, [16, 16, 1, 1], np.ones(256, np.float32))
    return helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, [weight]))


def nodes_of(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for _, body in subgraphs(node):
            yield from nodes_of(body)


def count(model: ModelProto, op_type: str) -> int:
    return sum(node.op_type == op_type for node in nodes_of(model.graph))


def test_a_gate_yields_blocks_and_the_next_reads_them() -> None:
    relu = helper.make_node("Relu", ["y"], ["r"])
    model = model_of([*gate("x", "y"), relu, *gate("r", "z")], "z")
    assert keep_blocks(model)
    assert count(model, "ReorderInput") == 2  # of the graph's input, in both branches
    made = [node.op_type for node in model.graph.node]
    assert made == ["If", "Round", "Relu", "If", "Round", "ReorderOutput"]
    assert model.graph.node[-1].output[0] == "z"
    names = [name for node in nodes_of(model.graph) for name in node.output]
    assert len(names) == len(set(names))


def test_a_value_that_others_read_is_laid_out_again_for_them() -> None:
    both = helper.make_node("Add", ["y", "z"], ["sum"])
    model = model_of([*gate("x", "y"), *gate("y", "z"), both], "sum")
    assert keep_blocks(model)
    made = [node.op_type for node in model.graph.node]
    assert made == ["If", "Round", "ReorderOutput", "If", "Round", "ReorderOutput", "Add"]


@pytest.mark.parametrize("op_type", ["Exp", "Softmax"])
def test_what_makes_something_of_zeros_or_reads_neighbours_ends_blocks(op_type: str) -> None:
    node = helper.make_node(op_type, ["y"], ["e"])
    model = model_of([*gate("x", "y"), node, *gate("e", "z")], "z")
    assert not keep_blocks(model)
    assert count(model, "ReorderInput") == 4


def test_branches_that_do_not_agree_stay_as_they_are() -> None:
    model = model_of([*gate("x", "y", channels=15), *gate("y", "z", channels=15)], "z")
    assert not keep_blocks(model)
    assert count(model, "ReorderInput") == 4
    assert count(model, "ReorderOutput") == 4


def test_a_model_without_blocks_is_left_alone() -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], "y")
    before = model.SerializeToString()
    assert not keep_blocks(model)
    assert model.SerializeToString() == before


def convolutions() -> ModelProto:
    """Two of them, a third of the pooled result, and the sum of two, which is not in blocks."""
    generator = np.random.default_rng(5)
    weights = [
        onnx.numpy_helper.from_array(
            generator.standard_normal((16, 16, 3, 3)).astype(np.float32) / 12, f"w{k}"
        )
        for k in range(3)
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w1"], ["c"], pads=[1] * 4),
        helper.make_node("Add", ["b", "c"], ["d"]),
        helper.make_node("MaxPool", ["c"], ["e"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["e", "w2"], ["y"], pads=[1] * 4),
    ]
    inputs = [helper.make_tensor_value_info("x", FLOAT, IMAGE)]
    shapes = {"y": [1, 16, 4, 4], "d": IMAGE}
    outputs = [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in shapes.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_the_probe_computes_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    source = convolutions()
    options = ConvertOptions()
    units = search_units(analyse(open_model(source).proto), options, load_target(options.target))
    x = np.random.default_rng(6).standard_normal(IMAGE).astype(np.float32)
    settings = ProbeSettings(keep_values=True)
    kept: list[bool] = []

    def make(keep: bool) -> Probe:
        def spy(model: ModelProto) -> bool:
            kept.append(keep_blocks(model))
            return kept[-1] and keep

        monkeypatch.setattr(probe, "keep_blocks", spy)
        copy = ModelProto()
        copy.CopyFrom(source)
        return Probe(copy, units, [Sample(0, {"x": x})], Tolerances(), settings)

    blocked, plain = make(True), make(False)
    if not any(kept):
        pytest.skip("ONNX Runtime has no blocked layout on this machine")
    draw = random.Random(3)
    for share in (0.0, 1.0, 0.5, 0.5, 0.5):
        fp32 = frozenset(unit.index for unit in units if draw.random() < share)
        first, second = blocked.run(fp32, 0).values, plain.run(fp32, 0).values
        assert first is not None
        assert second is not None
        for name in ("y", "d"):
            np.testing.assert_array_equal(first[name], second[name])
