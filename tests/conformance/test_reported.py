"""What people report of other converters, one small model each: none of it happens here.

Two reports are about searching and not converting (disks that fill, memory that grows with every
session) and have no model here.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from conformance.backend_cases import Case
from conformance.harness import Outcome, baseline, evaluate
from halve.convert import convert
from halve.options import ConvertOptions
from onnx_text import FLOAT, FLOAT16, checked, io_types, node_of, ops, parse, weights

X = np.array([0.5, -1.25], np.float32)


def holds(model: ModelProto, *inputs: Any, **options: Any) -> Outcome:
    """Everything that must be true of a conversion, its numbers within the bound included."""
    case = Case("reported", "", model, inputs)
    base = baseline(case)
    assert not isinstance(base, str), base
    outcome = evaluate(case, *base, **options)
    assert outcome.exact
    assert outcome.error <= 1
    return outcome


def converted(outcome: Outcome) -> ModelProto:
    assert outcome.result.model is not None
    return outcome.result.model


@pytest.mark.parametrize("keep", [False, True])
def test_cast_to_float_is_retyped(keep: bool) -> None:
    model = parse(
        "g (int64[2] i, float[2] x) => (float[2] y) { f = Cast<to = 1>(i) y = Mul(f, x) }"
    )
    done = converted(holds(model, np.array([3, 4]), X, keep_io_types=keep))
    targets = [node.attribute[0].i for node in done.graph.node if node.op_type == "Cast"]
    assert targets == ([FLOAT16, FLOAT16, FLOAT] if keep else [FLOAT16])


def test_resize_scales_stay_and_empty_operands_are_not_cast() -> None:
    text = """g (float[1,1,2,2] x) => (float[1,1,h,w] y, float[1,1,a,b] z)
    <float[4] scales = {1, 1, 2, 2}, int64[4] sizes = {1, 1, 3, 3}, float[0] none = {}> {
        y = Resize<mode = "nearest">(x, none, scales)
        z = Resize<mode = "linear">(x, , , sizes)
    }"""
    done = converted(holds(parse(text), np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)))
    assert weights(done)["scales"] == FLOAT
    assert [list(node.input)[1:3] for node in done.graph.node if node.op_type == "Resize"][1] == [
        "",
        "",
    ]


def test_two_blocked_nodes_share_the_cast_of_their_input() -> None:
    text = """g (float[2] x) => (float[2] y, float[2] z) {
        a = Sin(x) [one] y = Exp(a) [two] z = Exp(a)
    }"""
    done = converted(holds(parse(text), X, node_block=("one", "two")))
    names = [name for node in done.graph.node for name in node.output]
    assert len(set(names)) == len(names)
    assert ops(done)["Cast"] == 3


def test_one_cast_a_tensor_and_not_one_a_reader() -> None:
    text = """g (float[2] x) => (float[2] y) {
        a = Sin(x) b = Exp(a) c = Exp(a) d = Exp(a) y = Sum(b, c, d)
    }"""
    assert ops(converted(holds(parse(text), X, op_block=("Exp",))))["Cast"] == 4


def test_nodes_without_names_and_with_the_same_name() -> None:
    model = parse("g (float[2] x) => (float[2] y) { a = Sin(x) b = Exp(a) y = Add(a, b) }")
    holds(model, X, op_block=("Exp",))
    for node in model.graph.node:
        node.name = "same"
    holds(model, X, op_block=("Exp",))


def test_constants_of_every_kind() -> None:
    text = """g (float[2] x) => (float[2] y) {
        s = Constant<value_float = 1.5>() v = Constant<value_floats = [2.5, 3.5]>()
        t = Constant<value = float[2] {0.5, 0.25}>()
        a = Add(x, s) b = Mul(a, v) y = Sub(b, t)
    }"""
    holds(parse(text), X)
    holds(parse(text), X, op_block=("Mul",), keep_io_types=True)


def test_unsorted_nodes() -> None:
    model = parse("g (float[2] x) => (float[2] y) { a = Sin(x) b = Exp(a) y = Add(a, b) }")
    ordered = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([ordered[2], ordered[0], ordered[1]])
    done = converted(convert_case(model, op_block=("Exp",)))
    names = [node.op_type for node in done.graph.node if node.op_type != "Cast"]
    assert names == ["Sin", "Exp", "Add"]


def convert_case(model: ModelProto, **options: Any) -> Outcome:
    """Convert a model that nothing runs as it is."""
    result = convert(model, options=ConvertOptions(**{"target": "any"} | options))
    checked(result)
    return Outcome(result, "")


def test_initializer_shared_by_both_precisions_is_split() -> None:
    text = """g (float[2] x) => (float[2] y)
    <float[2] w = {1.001, 2.5}> { a = Mul(x, w) [keep] y = Add(a, w) }"""
    done = converted(holds(parse(text), X, node_block=("keep",)))
    assert Counter(weights(done).values()) == {FLOAT: 1, FLOAT16: 1}


def test_blocking_everything_is_the_identity() -> None:
    model = parse(
        "g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> { a = Mul(x, w) y = Exp(a) }"
    )
    outcome = holds(model, X, op_block=(".*",), keep_io_types=True)
    assert outcome.result.identity
    assert converted(outcome) == model


@pytest.mark.huge
def test_a_model_over_two_gigabytes(tmp_path: Path) -> None:
    rows = 300_000
    model = parse("g (float[2] x) => (float[2] y) { y = Exp(x) }")
    tensor = model.graph.initializer.add(name="w", dims=[rows, 2048], data_type=FLOAT)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    model.graph.node.append(helper.make_node("Gather", ["w", "i"], ["row"]))
    model.graph.input.append(helper.make_tensor_value_info("i", TensorProto.INT64, [1]))
    model.graph.output.append(helper.make_tensor_value_info("row", FLOAT, [1, 2048]))
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(rows * 2048 * 4)
    (tmp_path / "in.onnx").write_bytes(model.SerializeToString())
    convert(tmp_path / "in.onnx", tmp_path / "out.onnx")
    onnx.checker.check_model(tmp_path / "out.onnx", full_check=True)
    assert sum(file.stat().st_size for file in tmp_path.glob("out*")) >= rows * 2048 * 2


def test_external_data_is_converted_and_nothing_else_left_behind(tmp_path: Path) -> None:
    model = parse("g (float[2] x) => (float[2] y) { y = Add(x, w) }")
    tensor = numpy_helper.from_array(np.array([1.5, 2.5], np.float32), "w")
    model.graph.initializer.append(tensor)
    onnx.save(
        model, tmp_path / "in.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    unloaded = onnx.load(tmp_path / "in.onnx", load_external_data=False)
    assert unloaded.graph.initializer[0].data_location == TensorProto.EXTERNAL
    (tmp_path / "out").mkdir()
    convert(tmp_path / "in.onnx", tmp_path / "out" / "out.onnx")
    done = onnx.load(tmp_path / "out" / "out.onnx")
    assert numpy_helper.to_array(done.graph.initializer[0]).tolist() == [1.5, 2.5]
    assert weights(done) == {"w": FLOAT16}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["out.onnx"]


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("block", [(), ("Mul",), ("If",)])
def test_a_merged_decoder(keep: bool, block: tuple[str, ...]) -> None:
    text = """g (bool cached, float[1, 2] x, float[n, 2] past)
        => (float[1, 2] y, float[m, 2] present)
    <float[2, 2] w = {0.5, 0.25, -1, 2}> {
        h = MatMul(x, w)
        y, present = If(cached) <
            then_branch = t () => (float[1, 2] p, float[m, 2] c) {
                c = Concat<axis = 0>(past, h) s = ReduceMean<axes = [0]>(c) p = Mul(s, h)
            },
            else_branch = e () => (float[1, 2] q, float[m, 2] d) {
                d = Identity(h) q = Mul(h, h)
            }
        >
    }"""
    past = np.ones((3, 2), np.float32)
    for cached in (False, True):
        feeds = (np.array(cached), X.reshape(1, 2), past)
        case = Case("reported", "", parse(text), feeds)
        base = baseline(case)
        assert not isinstance(base, str)
        assert evaluate(case, *base, keep_io_types=keep, op_block=block).error <= 1


def test_types_do_not_need_shapes() -> None:
    text = """g (float[2, n] x, int64[k] s) => (float[a] y) {
        b = Reshape(x, s) c = Reshape(b, s) d = my.Thing(c) e = Sin(d) y = Flatten(e)
    }"""
    result = convert_case(parse(text)).result
    types = {node.type: node.dtype for node in result.plan.nodes}
    assert types == {
        "Reshape": "float16",
        "Thing": "float32",
        "Sin": "float16",
        "Flatten": "float16",
    }


@pytest.mark.parametrize("dtype", ["", "<dtype = 1>"])
def test_random_normal_like(dtype: str) -> None:
    text = f"g (float[2] x) => (float[2] y) {{ r = RandomNormalLike{dtype}(x) y = Add(x, r) }}"
    done = converted(convert_case(parse(text)))
    assert io_types(done)["y"] == FLOAT16
    onnx.shape_inference.infer_shapes(done, check_type=True, strict_mode=True)


def test_sequences() -> None:
    text = """g (float[2] x) => (float[2] y) {
        a = Sin(x) s = SequenceConstruct(a, x) i = Constant<value_int = 0>()
        b = SequenceAt(s, i) y = Exp(b)
    }"""
    for keep in (False, True):
        case = Case("reported", "", parse(text), (X,))
        base = baseline(case)
        assert not isinstance(base, str)
        assert evaluate(case, *base, keep_io_types=keep).error <= 1


@pytest.mark.parametrize("keep", [False, True])
def test_outputs_that_are_inputs_or_initializers(keep: bool) -> None:
    model = parse("g (float[2] x) => (float[2] y) <float[2] w = {1.5, 2.5}> { y = Add(x, w) }")
    for name in ("x", "w"):
        model.graph.output.append(helper.make_tensor_value_info(name, FLOAT, [2]))
    done = converted(holds(model, X, keep_io_types=keep))
    assert set(io_types(done).values()) == {FLOAT if keep else FLOAT16}


def test_bounds_of_a_clip_are_not_clipped_at_ten_thousand() -> None:
    text = """g (float[2] x) => (float[2] y)
    <float low = {-60000}, float high = {60000}> { y = Clip(x, low, high) }"""
    holds(parse(text), np.array([-50000, 50000], np.float32))


DECOMPOSED = """g (float[1, 4] x) => (float[1, 4] y) {
    m = ReduceMean<axes = [1]>(x) d = Sub(x, m)
    two = Constant<value_float = 2.0>() [square] s = Pow(d, two)
    [mean] v = ReduceMean<axes = [1]>(s)
    e = Constant<value_float = 1e-5>() [eps] t = Add(v, e) [root] r = Sqrt(t) y = Div(d, r)
}"""


def test_a_decomposed_layer_norm_overflows_and_its_nodes_can_be_kept() -> None:
    x = np.array([[-1000, 900, 100, 0]], np.float32)
    case = Case("reported", "", parse(DECOMPOSED), (x,))
    base = baseline(case)
    assert not isinstance(base, str)
    assert evaluate(case, *base).error > 1
    holds(parse(DECOMPOSED), x, node_block=("square", "mean", "eps", "root"))


def test_a_mask_of_the_lowest_float32_does_not_become_nan() -> None:
    text = """g (float[1, 2] x) => (float[1, 2] y)
    <float[1, 2] mask = {-3.4028234663852886e38, 0}> {
        a = Add(x, mask) y = Softmax<axis = 1>(a)
    }"""
    holds(parse(text), X.reshape(1, 2))


@pytest.mark.parametrize("keep", [False, True])
def test_positions_reach_float32_angles_unrounded(keep: bool) -> None:
    text = """g (int64[3] position, float[3] x) => (float[3] y)
    <float freq = {0.001}> {
        p = Cast<to = 1>(position) [angle] a = Mul(p, freq) [cos] c = Cos(a)
        q = Identity(p) [small] s = Mul(c, x) [whole] w = Mul(q, freq) y = Add(s, w)
    }"""
    x = np.ones(3, np.float32)
    for nodes in (("angle", "cos"), ("angle",)):
        position = np.array([2049, 1023, 4095])
        done = converted(holds(parse(text), position, x, node_block=nodes, keep_io_types=keep))
        (cast,) = [node for node in done.graph.node if node.input[0] == "position"]
        assert cast.attribute[0].i == FLOAT


def test_a_float32_island_whose_exit_does_not_fit_is_judged() -> None:
    text = """g (float[2] x) => (float[2] y) <float big = {1e5}, float small = {1e-5}> {
        [grow] a = Mul(x, big) [shrink] y = Mul(a, small)
    }"""
    case = Case("reported", "", parse(text), (X,))
    base = baseline(case)
    assert not isinstance(base, str)
    assert evaluate(case, *base, node_block=("grow",)).error > 1
    holds(parse(text), X, node_block=("grow", "shrink"))


def test_coordinates_fed_to_non_max_suppression_stay_float32() -> None:
    text = """g (float[1, 3, 4] boxes, float[1, 1, 3] scores) => (int64[n, 3] picked, int64[k] top)
    <int64 count = {2}, float iou = {0.5}, int64[1] two = {2}, int64[1] flat = {-1}> {
        picked = NonMaxSuppression(boxes, scores, count, iou)
        all = Reshape(scores, flat) best, top = TopK<axis = 0>(all, two)
    }"""
    boxes = np.array([[[0, 0, 2049, 2049], [0, 0, 2051, 2051], [3000, 3000, 3001, 3001]]], "f4")
    scores = np.array([[[0.9, 0.8, 0.7]]], np.float32)
    done = converted(holds(parse(text), boxes, scores, keep_io_types=True))
    assert list(node_of(done, "NonMaxSuppression").input)[:2] == ["boxes", "scores"]


@pytest.mark.parametrize("opset", [13, 19, 21, 23])
@pytest.mark.parametrize("keep", [False, True])
def test_quantize_and_dequantize_at_every_opset(opset: int, keep: bool) -> None:
    text = """g (float[2] x) => (float[2] y) <float scale = {0.0625}, uint8 zero = {128}> {
        q = QuantizeLinear(x, scale, zero) d = DequantizeLinear(q, scale, zero) y = Sin(d)
    }"""
    done = converted(holds(parse(text, opset=opset), X, keep_io_types=keep))
    # With float32 inputs a higher opset saves no cast here.
    assert weights(done)["scale"] == (FLOAT if opset < 19 and keep else FLOAT16)


def test_functions() -> None:
    function = """<domain: "local", opset_import: ["" : 17]>
    twice (u) => (v) { a = Sin(u) v = Add(a, u) }"""
    text = "g (float[2] x) => (float[2] y) { a = local.twice(x) y = local.twice(a) }"
    for options in ({}, {"op_block": ("Sin",)}, {"keep_io_types": True}):
        case = Case("reported", "", parse(text, functions=function), (X,))
        base = baseline(case)
        assert not isinstance(base, str)
        assert evaluate(case, *base, **options).error <= 1


def test_converting_twice_with_a_blocked_node() -> None:
    model = parse("g (float[2] x) => (float[2] y) { a = Sin(x) b = Exp(a) y = Add(a, b) }")
    for keep in (False, True):  # evaluate converts a second time
        holds(model, X, op_block=("Exp",), keep_io_types=keep)


def test_double_and_integer_operands_of_a_blocked_node_are_left_alone() -> None:
    text = """g (float[2] x, double[2] d, int64[1] i) => (float[1] y, double[2] e) {
        a = Sin(x) [keep] y = Gather(a, i) [also] e = Exp(d)
    }"""
    inputs = (X, np.ones(2), np.array([1]))
    done = converted(holds(parse(text), *inputs, node_block=("keep", "also")))
    assert io_types(done) == {"x": FLOAT16, "d": 11, "i": 7, "y": FLOAT16, "e": 11}
