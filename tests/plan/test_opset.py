"""Raising the opset for bfloat16: what is computed stays, and so do ids, payloads and the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper

from halve.convert import convert
from halve.errors import UnsupportedModelError
from halve.options import ConvertOptions
from halve.plan.opset import needed_opset, raise_opset
from halve.rewrite import rewrite  # noqa: F401 - the layers above are loaded together
from halve.session import describe_runtime, judge, read_samples
from halve.source import open_model
from halve.types import CastJob, RewrittenModel
from halve.write import build_model
from models import BFLOAT16, FLOAT, build, dyadic, text_model

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


def test_resize_that_has_no_one_rounding_is_refused() -> None:
    node = helper.make_node("Resize", ["x", "s"], ["y"], name="resize")
    weights = {"s": np.array([1, 1, 2, 0.5], np.float32)}
    model = build([node], {"x": (FLOAT, [1, 2, 6, 6])}, {"y": (FLOAT, None)}, weights, opset=10)
    with pytest.raises(UnsupportedModelError, match=r"node 0 \(Resize 'resize'\).*one axis"):
        convert(model, options=BF16)


def net(opset: int) -> ModelProto:
    """Large weights, a large Constant, and operators with other forms before and after."""
    rng = np.random.default_rng(0)
    constant = helper.make_node(
        "Constant", [], ["c"], value=numpy_helper.from_array(dyadic(rng, 32, 32), "payload")
    )
    nodes = [
        helper.make_node("Softmax", ["x"], ["p"], name="soft", axis=0),
        helper.make_node("MatMul", ["p", "w"], ["m"], name="mul"),
        constant,
        helper.make_node("Add", ["m", "c"], ["a"], name="add"),
        helper.make_node("Unsqueeze", ["a"], ["u"], name="un", axes=[0]),
        helper.make_node("Squeeze", ["u"], ["y"], name="sq", axes=[0]),
    ]
    io = (FLOAT, [32, 32])
    return build(nodes, {"x": io}, {"y": io}, {"w": dyadic(rng, 32, 32)}, opset=opset, ir_version=4)


@pytest.mark.parametrize("opset", [9, 10, 11, 12])
def test_payloads_follow_their_tensors(opset: int) -> None:
    written = check_same(net(opset))
    assert [t.data_type for t in written.graph.initializer if t.name == "w"] == [BFLOAT16]


def test_external_weights_and_the_warning(tmp_path: Path) -> None:
    model, source, target = net(11), tmp_path / "m.onnx", tmp_path / "out" / "h.onnx"
    target.parent.mkdir()
    onnx.save(model, source, save_as_external_data=True, location="m.data", size_threshold=0)
    result = convert(source, target, options=BF16)
    onnx.checker.check_model(str(target), full_check=True)
    found = [line for line in result.warnings if "opset" in line]
    assert found == [
        "opset 11 of the default domain was raised to 13: below it Cast and most operators have"
        " no bfloat16; IR version 4 was raised to 7, which it needs"
    ]
    embedded = convert(net(11), options=BF16).model
    assert embedded is not None
    assert payloads(onnx.load(target)) == payloads(embedded)


def payloads(model: ModelProto) -> dict[str, bytes]:
    return {t.name: numpy_helper.to_array(t).tobytes() for t in model.graph.initializer}


def test_ids_are_those_of_the_file() -> None:
    """Softmax becomes four nodes; what lies behind it keeps its id."""
    result = convert(
        net(11), options=ConvertOptions(dtype="bfloat16", target="any", fp32_nodes=(3,))
    )
    rows = [(row.id, row.type, row.name) for row in result.plan.nodes]
    expected = [(n, node.op_type, node.name) for n, node in enumerate(net(11).graph.node)]
    assert rows == expected
    assert [row.id for row in result.plan.nodes if row.reason == "blocked by id"] == [3]
    assert result.model is not None
    made = {node.name: node for node in result.model.graph.node}
    widened = {cast.output for cast in result.casts if cast.to == FLOAT}
    assert made["add"].input[0] in widened
    assert made["un"].input[0] not in widened


def test_an_operator_that_changes_its_type_is_blocked_by_the_file_s() -> None:
    model = one_node("Upsample", 8, scales=[1.0, 1.0, 2.0, 2.0])
    options = ConvertOptions(dtype="bfloat16", target="any", op_block=("Upsample",))
    result = convert(model, options=options)
    assert [(row.type, row.dtype, row.reason) for row in result.plan.nodes] == [
        ("Upsample", "float32", "blocked by op type")
    ]


def test_an_operator_that_the_file_does_not_have_is_not_blocked() -> None:
    model = one_node("Upsample", 8, scales=[1.0, 1.0, 2.0, 2.0])
    blocked = ConvertOptions(dtype="bfloat16", target="any", op_block=("Resize", "Reshape"))
    assert convert(model, options=blocked).model == convert(model, options=BF16).model


def test_a_plan_of_the_conversion_can_be_used_again(tmp_path: Path) -> None:
    first = convert(
        net(12), options=ConvertOptions(dtype="bfloat16", target="any", fp32_nodes=(0, 4))
    )
    first.plan.save(tmp_path / "plan.json")
    again = convert(
        net(12), options=ConvertOptions(dtype="bfloat16", target="any", plan=tmp_path / "plan.json")
    )
    assert [row.dtype for row in again.plan.nodes] == [row.dtype for row in first.plan.nodes]
    assert again.model == first.model


CONTROL = """g (float[4, 8] x, bool[1] b) => (float[8] y)
{
    c = Squeeze (b)
    z = If (c) <
        then_branch = t () => (float[8] t0) {
            s = Softmax <axis = 0> (x)
            t0 = ReduceSum <axes = [0], keepdims = 0> (s)
        },
        else_branch = e () => (float[8] e0) { e0 = ReduceSum <axes = [0], keepdims = 0> (x) }
    >
    y = Relu (z)
}"""


def test_bodies_are_raised_too() -> None:
    model = text_model(CONTROL, opset=11, ir_version=6)
    high = raised(model)
    onnx.checker.check_model(high, full_check=True)
    for flag in (True, False):
        feeds = {"x": dyadic(np.random.default_rng(0), 4, 8), "b": np.array([flag])}
        runs = [
            ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"])
            for m in (model, high)
        ]
        before, after = (session.run(None, feeds)[0] for session in runs)
        np.testing.assert_array_equal(before, after)
    result = convert(model, options=BF16)
    scopes = {row.scope for row in result.plan.nodes}
    assert scopes == {"", "1.then_branch", "1.else_branch"}
    assert result.node_count == 6


FUNCTION = """<domain: "local", opset_import: ["" : 12]>
f (x) => (y) { s = Softmax <axis = 1> (x) y = Squeeze <axes = [0]> (s) }"""


def test_functions_are_raised_with_nodes_for_constants() -> None:
    graph = "g (float[1, 4, 8] x) => (float[4, 8] y) { z = local.f (x) y = Relu (z) }"
    model = text_model(graph, FUNCTION, opset=12, ir_version=8, domains={"local": 1})
    high = raised(model)
    assert [e.version for e in high.functions[0].opset_import] == [13]
    assert sum(node.op_type == "Constant" for node in high.functions[0].node) == 1
    for before, after in zip(run(model), run(high), strict=True):
        np.testing.assert_array_equal(before, after)
    result = convert(model, options=BF16)
    assert [(row.id, row.scope, row.type) for row in result.plan.nodes] == [
        (0, "", "f"),
        (1, "", "Relu"),
        (2, "local::f", "Softmax"),
        (3, "local::f", "Squeeze"),
    ]


def test_everything_else_about_the_model_stays() -> None:
    model = net(11)
    model.metadata_props.add(key="author", value="me")
    model.graph.doc_string = "words"
    model.graph.node[4].doc_string = "of a node"
    note = model.graph.quantization_annotation.add(tensor_name="w")
    note.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="s")
    model.MergeFromString(b"\xa2\x06\x02hi")  # an unknown field
    goal = needed_opset(BF16)
    assert goal is not None
    high = raise_opset(open_model(model), goal)
    assert high is not None
    proto = high.model.proto
    assert proto.metadata_props == model.metadata_props
    assert proto.graph.quantization_annotation == model.graph.quantization_annotation
    assert [n.doc_string for n in proto.graph.node if n.name == "un"] == ["of a node"]
    assert b"\xa2\x06\x02hi" in proto.SerializeToString()
    assert not any(node.metadata_props for node in proto.graph.node)


@pytest.mark.parametrize(("dtype", "opset"), [("bfloat16", 13), ("bfloat16", 17), ("float16", 11)])
def test_an_opset_that_serves_is_left(dtype: str, opset: int) -> None:
    model = one_node("Relu", opset)
    result = convert(model, options=ConvertOptions(dtype=dtype, target="any"))
    assert result.model is not None
    assert result.model.opset_import == model.opset_import
    assert not any("opset" in line for line in result.warnings)


def test_a_model_that_stays_as_it_is_keeps_its_opset() -> None:
    model = one_node("Softmax", 11)
    options = ConvertOptions(dtype="bfloat16", keep_io_types=True, op_block=("Softmax",))
    result = convert(model, options=options)
    assert result.identity
    assert result.model == model
    assert not any("opset" in line for line in result.warnings)


def test_what_cannot_be_raised_is_named() -> None:
    model = one_node("Relu", 5)
    with pytest.raises(UnsupportedModelError, match="opset 5 of the default domain"):
        convert(model, options=BF16)
    mask = one_node("Dropout", 9, 2)
    with pytest.raises(UnsupportedModelError, match=r"node 0 \(Dropout 'node'\).*mask"):
        convert(mask, options=BF16)


def test_a_broadcast_by_attributes_is_raised() -> None:
    node = helper.make_node("Add", ["x", "w"], ["y"], broadcast=1)
    x, y = (FLOAT, [2, 4, 3]), (FLOAT, [2, 4, 3])
    weights = {"w": np.array([1, 2, 4], np.float32)}
    model = build([node], {"x": x, "w": (FLOAT, [3])}, {"y": y}, weights, opset=6, ir_version=3)
    high = raised(model)
    onnx.checker.check_model(high, full_check=True)
    given = dyadic(np.random.default_rng(1), 2, 4, 3)
    session = ort.InferenceSession(high.SerializeToString(), providers=["CPUExecutionProvider"])
    (made,) = session.run(None, {"x": given})
    np.testing.assert_array_equal(made, given + weights["w"])
    assert convert(model, options=BF16).node_count == 1


@pytest.mark.parametrize("op", ["Greater", "Less"])
@pytest.mark.parametrize("attributes", [{}, {"broadcast": 1}])
def test_a_comparison_of_opset_6_is_raised(op: str, attributes: dict[str, int]) -> None:
    node = helper.make_node(op, ["x", "w"], ["y"], **attributes)
    other = np.ones([3] if attributes else [2, 4, 3], np.float32)
    y = (int(onnx.TensorProto.BOOL), [2, 4, 3])
    io = {"x": (FLOAT, [2, 4, 3]), "w": (FLOAT, list(other.shape))}, {"y": y}
    model = build([node], *io, {"w": other}, opset=6, ir_version=3)
    high = raised(model)
    onnx.checker.check_model(high, full_check=True)
    given = dyadic(np.random.default_rng(1), 2, 4, 3) * 4
    session = ort.InferenceSession(high.SerializeToString(), providers=["CPUExecutionProvider"])
    (made,) = session.run(None, {"x": given})
    np.testing.assert_array_equal(made, given > 1 if op == "Greater" else given < 1)


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
def test_a_recurrent_operator_of_opset_6_is_raised(op: str) -> None:
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[op]
    node = helper.make_node(op, ["x", "w", "r"], ["y"], hidden_size=2)
    weights = {
        "w": np.ones([1, 2 * gates, 3], np.float32), "r": np.ones([1, 2 * gates, 2], np.float32)
    }  # fmt: skip
    inputs = {"x": (FLOAT, [5, 1, 3])} | {n: (FLOAT, list(w.shape)) for n, w in weights.items()}
    model = build([node], inputs, {"y": (FLOAT, [5, 1, 1, 2])}, weights, opset=6, ir_version=3)
    assert convert(model, options=BF16).node_count == 1
    onnx.checker.check_model(raised(model), full_check=True)
    plain = raised(model)
    model.graph.node[0].attribute.append(helper.make_attribute("output_sequence", 1))
    assert raised(model) == plain


def old(op: str, sizes: tuple[list[int], list[int]], **attributes: int) -> ModelProto:
    """An operator of opset 6 with a weight of these sizes as its second operand."""
    node = helper.make_node(op, ["x", "w"], ["y"], name="node", **attributes)
    given, weight = sizes
    values = np.linspace(0.5, 2, int(np.prod(weight)), dtype=np.float32).reshape(weight)
    io = {"x": (FLOAT, given), "w": (FLOAT, weight)}, {"y": (FLOAT, given)}
    return build([node], *io, {"w": values}, opset=6, ir_version=3)


def run_raised(model: ModelProto) -> tuple[Any, Any, Any]:
    """x, w and what the raised model makes of them."""
    high = raised(model)
    onnx.checker.check_model(high, full_check=True)
    assert convert(model, options=BF16).node_count == 1
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    given = dyadic(np.random.default_rng(1), *shape)
    session = ort.InferenceSession(high.SerializeToString(), providers=["CPUExecutionProvider"])
    weight = onnx.numpy_helper.to_array(model.graph.initializer[0])
    return given, weight, session.run(None, {"x": given})[0]


@pytest.mark.parametrize(
    ("sizes", "axis", "shape"),
    [
        (([2, 3, 4], [3]), 1, [3, 1]),
        (([2, 3, 4], [2, 3]), 0, [2, 3, 1]),
        (([3, 3, 3], [3]), 1, [3, 1]),
        (([3, 3, 3], [3]), -2, [3, 1]),
        (([2, 3, 4], [4]), 2, [4]),
        (([2, 3, 4], [3, 4]), 1, [3, 4]),
    ],
)
def test_an_operand_that_began_at_an_axis(
    sizes: tuple[list[int], list[int]], axis: int, shape: list[int]
) -> None:
    given, weight, made = run_raised(old("Mul", sizes, broadcast=1, axis=axis))
    np.testing.assert_array_equal(made, given * weight.reshape(shape))


@pytest.mark.parametrize("sizes", [([2, 3, 4], [3]), ([2, 3, 3], [3]), ([2, 3], [3]), ([3], [1])])
def test_the_slopes_of_an_old_prelu(sizes: tuple[list[int], list[int]]) -> None:
    given, weight, made = run_raised(old("PRelu", sizes))
    slope = weight.reshape(-1, *[1] * (len(sizes[0]) - 2))
    np.testing.assert_array_equal(made, np.where(given < 0, given * slope, given))


@pytest.mark.parametrize(
    ("op", "words"), [("PRelu", "the ranks of its inputs"), ("Mul", "Shape of input")]
)
def test_operands_of_unknown_rank_are_refused(op: str, words: str) -> None:
    attributes = {} if op == "PRelu" else {"broadcast": 1, "axis": 1}
    model = old(op, ([2, 3, 4], [3]), **attributes)
    model.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(UnsupportedModelError, match=rf"node 0 \({op} 'node'\).*{words}"):
        convert(model, options=BF16)


@pytest.mark.parametrize("name", ["dtln_1", "ultraface_rfb", "mnist_cntk", "yunet"])
def test_trained_models(name: str, trained_model_dir: Path, tmp_path: Path) -> None:
    source, target = trained_model_dir / name / "model.onnx", tmp_path / "half.onnx"
    samples = read_samples(source.parent)
    # ONNX Runtime 1.20 gives two nodes of its own GatherSliceToSplitFusion one name and then
    # refuses the model, so only later releases are asked to load it with all optimisations.
    loads = tuple(map(int, describe_runtime().version.split(".")[:2])) >= (1, 21)
    exact = judge(source, raised(source), samples, rtol=1e-5, atol=1e-4, require_load=loads)
    result = convert(source, target, options=ConvertOptions(dtype="bfloat16"))
    onnx.checker.check_model(str(target), full_check=True)
    assert any(line.startswith("opset ") for line in result.warnings)
    verdict = judge(source, target, samples, require_load=False)
    assert exact.loaded or not loads
    assert all(out.cosine > 0.999 for s in verdict.samples for out in s.outputs)


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


def resize(scales: list[float] | None) -> ModelProto:
    node = helper.make_node("Resize", ["x", "s"], ["y"], mode="nearest")
    io = {"x": (FLOAT, [1, 1, 4, 4])}, {"y": (FLOAT, [1, 1, None, None])}
    if scales is None:
        io[0]["s"] = (FLOAT, [4])
    weights = {} if scales is None else {"s": np.array(scales, np.float32)}
    return build([node], *io, weights, opset=10, ir_version=4)


def parameter() -> ModelProto:
    function = """<domain: "local", opset_import: ["" : 12]>
    f <axis> (x) => (y) { y = Softmax <axis: int = @axis> (x) }"""
    graph = "g (float[2, 3] x) => (float[2, 3] y) { y = local.f <axis = 1> (x) }"
    return text_model(graph, function, opset=12, ir_version=8, domains={"local": 1})


def training() -> ModelProto:
    model = one_node("Relu", 12)
    model.training_info.add().algorithm.CopyFrom(model.graph)
    return model


REFUSED = {
    "lengths": (
        text_model(SCAN % ("int64[2] n, ", "n", 0), opset=8, ir_version=3),
        "the lengths of its sequences",
    ),
    "computed scales": (resize(None), "scales that are not constant"),
    "both directions": (resize([1, 1, 2, 0.5]), "enlarges one axis and reduces another"),
    "a parameter": (parameter(), "attribute 'axis' is a parameter of the function"),
    "training": (training(), "training_info"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_of_the_table_in_the_documents(name: str) -> None:
    model, words = REFUSED[name]
    with pytest.raises(UnsupportedModelError, match=words):
        convert(model, options=BF16)
