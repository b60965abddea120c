"""Operators whose form changes at a higher opset: each computes what it did."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from halve.convert import convert
from halve.errors import UnsupportedModelError
from halve.options import ConvertOptions
from models import FLOAT, build, dyadic, text_model
from plan.raising import BF16, check_same, one_node, ort, raised, shaped

FORMS: list[tuple[str, int, int, dict[str, Any]]] = [
    ("Squeeze", 11, 1, {"axes": [0]}),
    ("Squeeze", 9, 1, {}),
    ("Unsqueeze", 12, 1, {"axes": [0]}),
    ("Softmax", 11, 1, {"axis": 1}),
    ("Softmax", 12, 1, {"axis": 3}),
    ("Softmax", 9, 1, {}),
    ("LogSoftmax", 12, 1, {"axis": 2}),
    ("Hardmax", 11, 1, {"axis": 2}),
    ("Hardmax", 11, 1, {}),
    ("Clip", 9, 1, {"min": -0.25, "max": 0.5}),
    ("Clip", 10, 1, {}),
    ("Pad", 10, 1, {"pads": [0, 0, 1, 1, 0, 0, 1, 1], "value": 2.0}),
    ("Upsample", 8, 1, {"scales": [1.0, 1.0, 2.0, 3.0]}),
    ("Upsample", 8, 1, {"scales": [1.0, 1.0, 2.0, 3.0], "mode": "linear"}),
    ("Split", 11, 2, {"axis": 1, "split": [1, 3]}),
    ("Split", 9, 2, {"axis": 1}),
    ("ReduceSum", 12, 1, {"axes": [1], "keepdims": 0}),
    ("Dropout", 9, 1, {"ratio": 0.5}),
    ("TopK", 9, 2, {"k": 2, "axis": 1}),
    ("Slice", 9, 1, {"starts": [1], "ends": [3], "axes": [2]}),
    ("MaxPool", 8, 1, {"kernel_shape": [2, 2]}),
    ("Flatten", 8, 1, {"axis": 2}),
]


@pytest.mark.parametrize(("op", "opset", "outputs", "attributes"), FORMS)
def test_forms_that_change_compute_the_same(
    op: str, opset: int, outputs: int, attributes: dict[str, Any]
) -> None:
    check_same(one_node(op, opset, outputs, **attributes))


@pytest.mark.parametrize("scales", [[1, 1, 2, 3], [1, 1, 0.6, 0.5], [1, 1, 0.75, 1]])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resize_keeps_its_positions(mode: str, scales: list[float]) -> None:
    node = helper.make_node("Resize", ["x", "s"], ["y"], mode=mode)
    weights = {"s": np.array(scales, np.float32)}
    io = {"x": (FLOAT, [1, 2, 6, 6])}, {"y": (FLOAT, None)}
    check_same(shaped(build([node], *io, weights, opset=10)))


SCAN = """g (%sfloat[2, 2] s, float[2, 3, 2] xs) => (float[2, 2] t, float[2, 3, 2] ys)
<float[2] w = {0.5, 2}> {
    t, ys = Scan (%s, s, xs) <num_scan_inputs = 1, directions = [%d],
        body = b (float[2] u, float[2] v) => (float[2] p, float[2] q) {
            p = Add (u, v) q = Mul (p, w) }>
}"""


@pytest.mark.parametrize("backwards", [False, True])
def test_the_batch_of_an_old_scan(backwards: bool) -> None:
    model = text_model(SCAN % ("", '""', backwards), opset=8, ir_version=3)
    high = raised(model)
    onnx.checker.check_model(high, full_check=True)
    rng = np.random.default_rng(3)
    s, xs = dyadic(rng, 2, 2), dyadic(rng, 2, 3, 2)
    session = ort.InferenceSession(high.SerializeToString(), providers=["CPUExecutionProvider"])
    t, ys = session.run(None, {"s": s, "xs": xs})
    order = [2, 1, 0] if backwards else [0, 1, 2]
    sums = s[:, None] + np.cumsum(xs[:, order], axis=1)
    np.testing.assert_array_equal(t, sums[:, -1])
    np.testing.assert_array_equal(ys, sums * np.array([0.5, 2], np.float32))
    result = convert(model, options=ConvertOptions(dtype="bfloat16", opset=16, target="any"))
    rows = [(row.id, row.scope, row.type, row.dtype) for row in result.plan.nodes]
    assert rows == [
        (0, "", "Scan", "bfloat16"),
        (1, "0.body", "Add", "bfloat16"),
        (2, "0.body", "Mul", "bfloat16"),
    ]
    assert result.casts == ()


SCALED = [[1, 1, 2, 0.5], [1, 1, 0.6, 3], [1, 1, 0.75, 1], [1, 1, 2, 2.5]]


@pytest.mark.parametrize("scales", SCALED)
@pytest.mark.parametrize("computed", [False, True])
def test_resize_that_enlarges_and_reduces(scales: list[float], computed: bool) -> None:
    """Each axis is rounded its own way, which takes two nodes."""
    node = helper.make_node("Resize", ["x", "s"], ["y"], name="resize")
    given = np.array(scales, np.float32)
    inputs = {"x": (FLOAT, [1, 2, 6, 6])} | ({"s": (FLOAT, [4])} if computed else {})
    weights = {} if computed else {"s": given}
    model = build([node], inputs, {"y": (FLOAT, [1, 2, "h", "w"])}, weights, opset=10)
    high = raised(model)
    onnx.checker.check_model(high, full_check=True)
    feeds = {"x": dyadic(np.random.default_rng(1), 1, 2, 6, 6)} | ({"s": given} if computed else {})
    runs = [ort.InferenceSession(m.SerializeToString()).run(None, feeds) for m in (model, high)]
    np.testing.assert_array_equal(*[results[0] for results in runs])
    result = convert(model, options=BF16)
    assert [(row.id, row.type) for row in result.plan.nodes] == [(0, "Resize")]


PARAMETERS = """<domain: "local", opset_import: ["" : 12, "local" : 1]>
outer <axis> (x) => (y) { z = local.inner <axis: int = @axis> (x) y = Relu (z) }
<domain: "local", opset_import: ["" : 12]>
inner <axis, alpha: float = 0.5> (x) => (y) {
    s = Softmax <axis: int = @axis> (x) y = LeakyRelu <alpha: float = @alpha> (s)
}"""


def test_parameters_of_functions_are_settled_by_their_calls() -> None:
    graph = """g (float[2, 3] x) => (float[2, 3] y) {
        a = local.outer <axis = 1> (x) b = local.outer <axis = 0> (a)
        c = local.inner <axis = 1> (b) y = local.outer <axis = 1> (c) }"""
    model = text_model(graph, PARAMETERS, opset=12, ir_version=8, domains={"local": 1})
    written = check_same(model)
    assert [f.name for f in raised(model).functions] == ["outer", "outer_2", "inner", "inner_2"]
    assert not any(attr.ref_attr_name for f in written.functions for n in f.node
                   for attr in n.attribute)  # fmt: skip
    result = convert(model, options=BF16)
    assert [(row.id, row.scope, row.type) for row in result.plan.nodes[4:]] == [
        (4, "local::outer", "inner"),
        (5, "local::outer", "Relu"),
        (6, "local::inner", "Softmax"),
        (7, "local::inner", "LeakyRelu"),
    ]
    kept = [row.type for row in result.plan.nodes if row.dtype == "float32"]
    assert kept == ["LeakyRelu"]  # which has bfloat16 from opset 16 on only


def test_a_node_of_a_function_with_parameters_is_kept_in_every_copy() -> None:
    graph = """g (float[2, 3] x) => (float[2, 3] y) {
        a = local.f <axis = 1> (x) y = local.f <axis = 0> (a) }"""
    function = """<domain: "local", opset_import: ["" : 12]>
    f <axis> (x) => (y) { s = Softmax <axis: int = @axis> (x) t = Relu (s) y = Exp (t) }"""
    model = text_model(graph, function, opset=12, ir_version=8, domains={"local": 1})
    options = ConvertOptions(dtype="bfloat16", target="any", fp32_nodes=(2,))
    result = convert(model, options=options)
    assert result.model is not None
    made = {f.name: [n.op_type for n in f.node] for f in result.model.functions}
    assert [row.id for row in result.plan.nodes if row.reason == "blocked by id"] == [2]
    assert made["f"].count("Cast") == made["f_2"].count("Cast") == 2


def test_parameters_that_do_not_change_a_form_stay() -> None:
    graph = "g (float[2, 3] x) => (float[2, 3] y) { y = local.f <a = 0.25> (x) }"
    function = """<domain: "local", opset_import: ["" : 12]>
    f <a> (x) => (y) { y = Elu <alpha: float = @a> (x) }"""
    model = text_model(graph, function, opset=12, ir_version=8, domains={"local": 1})
    (made,) = check_same(model).functions
    assert [attr.ref_attr_name for attr in made.node[1].attribute] == ["a"]


def test_training_graphs_are_raised_with_the_model() -> None:
    model = one_node("Softmax", 11, axis=1)
    training = model.training_info.add()
    graph = """t (float[1, 4, 6, 6] g) => (float[4, 6, 6] z) {
        s = Softmax <axis = 1> (y) p = Mul (g, s) z = Squeeze <axes = [0]> (p) }"""
    training.algorithm.CopyFrom(text_model(graph, opset=11).graph)
    high = raised(model)
    ops = [node.op_type for node in high.training_info[0].algorithm.node]
    assert ops == ["Shape", "Flatten", "Softmax", "Reshape", "Mul", "Squeeze"]
    assert not any(node.metadata_props for node in high.training_info[0].algorithm.node)
    assert [len(node.input) for node in high.training_info[0].algorithm.node][-1] == 2
    check_same(model)
    names = [name for node in high.graph.node for name in node.output]
    names += [name for node in high.training_info[0].algorithm.node for name in node.output]
    assert len(names) == len(set(names))


def test_names_that_are_no_text() -> None:
    model = check_same(one_node("Softmax", 11, axis=1))
    data = one_node("Softmax", 11, axis=1).SerializeToString()
    odd = ModelProto.FromString(data.replace(b"\x0a\x01x", b"\x0a\x01\xff"))
    result = convert(odd, options=BF16).model
    assert result is not None
    written = result.SerializeToString().replace(b"\x0a\x01\xff", b"\x0a\x01x")
    assert ModelProto.FromString(written) == model


def uncalled() -> ModelProto:
    function = """<domain: "local", opset_import: ["" : 12]>
    f <axis> (x) => (y) { y = Softmax <axis: int = @axis> (x) }"""
    graph = "g (float[2, 3] x) => (float[2, 3] y) { y = Relu (x) }"
    return text_model(graph, function, opset=12, ir_version=8, domains={"local": 1})


def training() -> ModelProto:
    model = one_node("Relu", 9)
    model.training_info.add().algorithm.CopyFrom(one_node("Dropout", 9, 2).graph)
    return model


def large() -> ModelProto:
    fill = onnx.numpy_helper.from_array(np.zeros(4096, np.float32), "fill")
    node = helper.make_node("Pad", ["x"], ["y"], name="node", pads=[0, 0, 0, 0])
    node.attribute.append(helper.make_attribute("fill", fill))
    return build([node], {"x": (FLOAT, [1, 2])}, {"y": (FLOAT, [1, 2])}, opset=10, ir_version=4)


REFUSED = {
    "lengths": (
        text_model(SCAN % ("int64[2] n, ", "n", 0), opset=8, ir_version=3),
        "the lengths of its sequences",
    ),
    "a mask": (one_node("Dropout", 9, 2), r"node 0 \(Dropout 'node'\).*mask"),
    "a parameter": (uncalled(), "attribute 'axis' is a parameter of a function that nothing calls"),
    "training": (training(), r"a node of training_info \(Dropout 'node'\).*mask"),
    "a large attribute": (large(), "its attribute 'fill' is a large tensor"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_of_the_table_in_the_documents(name: str) -> None:
    model, words = REFUSED[name]
    with pytest.raises(UnsupportedModelError, match=words):
        convert(model, options=BF16)
