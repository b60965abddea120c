"""What the rewrite of a main graph gives: types, casts, names, order."""

from __future__ import annotations

import re

import numpy as np
import onnx
import onnx.checker
import onnx.shape_inference
import pytest
from onnx import helper, numpy_helper

from halve.convert import convert
from halve.errors import ModelError, OptionError
from halve.options import ConvertOptions
from onnx_text import (
    BFLOAT16,
    FLOAT,
    FLOAT16,
    checked,
    convert_text,
    io_types,
    node_of,
    ops,
    parse,
    weights,
)

CHAIN = """g (float[2] x) => (float[2] y)
<float[2] w = {1.5, 2.5}> {
    [first] a = Mul(x, w)
    [second] b = Relu(a)
    [third] y = Add(b, w)
}"""


def test_all_half_needs_no_cast() -> None:
    model = checked(convert_text(CHAIN))
    assert ops(model)["Cast"] == 0
    assert io_types(model) == {"x": FLOAT16, "y": FLOAT16}
    assert weights(model) == {"w": FLOAT16}
    values = numpy_helper.to_array(model.graph.initializer[0])
    assert values.dtype == np.float16
    assert values.tolist() == [1.5, 2.5]


def test_keep_io_casts_each_input_and_output_once() -> None:
    model = checked(convert_text(CHAIN, keep_io_types=True))
    assert io_types(model) == {"x": FLOAT, "y": FLOAT}
    assert ops(model)["Cast"] == 2


def test_keep_io_by_name() -> None:
    model = checked(convert_text(CHAIN, keep_io_types=("y",)))
    assert io_types(model) == {"x": FLOAT16, "y": FLOAT}


def test_keep_io_of_an_unknown_name_lists_the_names() -> None:
    with pytest.raises(OptionError, match=r"'z'.*'x', 'y'"):
        convert_text(CHAIN, keep_io_types=("z",))


def test_weight_read_in_both_precisions_is_split() -> None:
    result = convert_text(CHAIN, node_block=("first",))
    model = checked(result)
    assert sorted(weights(model).values()) == [FLOAT, FLOAT16]
    assert weights(model)["w"] == FLOAT
    assert {row.tensor for row in result.casts} == {"x", "a"}


@pytest.mark.parametrize(
    "blocked",
    [{"op_block": ("Mul", "Relu", "Add")}, {"op_block": (".*",)}, {"fp32_nodes": (0, 1, 2)}],
)
def test_everything_blocked_with_keep_io_is_the_identity(blocked: dict[str, object]) -> None:
    result = convert_text(CHAIN, keep_io_types=True, **blocked)
    assert result.identity
    assert result.model == parse(CHAIN)


def test_everything_blocked_without_keep_io_is_one_cast_an_input_and_output() -> None:
    result = convert_text(CHAIN, op_block=(".*",))
    model = checked(result)
    assert len(result.casts) == 2
    assert io_types(model) == {"x": FLOAT16, "y": FLOAT16}
    assert weights(model) == {"w": FLOAT}


def test_one_cast_a_tensor_and_direction() -> None:
    text = """g (float[2] x) => (float[2] p, float[2] q, float[2] r) {
        a = Exp(x)
        [l] p = Sin(a)
        [m] q = Cos(a)
        [n] r = Tan(a)
    }"""
    result = convert_text(text, node_block=("l", "m"))
    assert [row.tensor for row in result.casts].count("a") == 1
    checked(result)


def test_blocked_nodes_that_share_an_input_get_one_cast_with_one_name() -> None:
    text = """g (float[2] x) => (float[2] z) { a = Exp(x) b = Sin(x) z = Add(a, b) }"""
    model = checked(convert_text(text, op_block=("Exp", "Sin")))
    names = [name for node in model.graph.node for name in node.output]
    assert len(names) == len(set(names))


def test_output_that_is_read_inside() -> None:
    text = """g (float[2] x) => (float[2] a, float[2] y) { a = Exp(x) y = Sin(a) }"""
    for options in ({"op_block": ("Exp",)}, {"op_block": ("Sin",)}, {"keep_io_types": True}):
        checked(convert_text(text, **options))


def test_output_that_is_an_input() -> None:
    model = checked(convert_text("g (float[2] x) => (float[2] x, float[2] y) { y = Sin(x) }"))
    assert io_types(model) == {"x": FLOAT16, "y": FLOAT16}


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("block", [(), ("Add",)])
def test_output_that_is_an_initializer(keep: bool, block: tuple[str, ...]) -> None:
    text = """g (float[2] x) => (float[2] y, float[2] w) <float[2] w = {1, 2}> { y = Add(x, w) }"""
    model = checked(convert_text(text, keep_io_types=keep, op_block=block))
    assert weights(model)["w"] == (FLOAT if keep else FLOAT16)


def test_constants_are_converted_not_cast() -> None:
    text = """g (float[2] x) => (float[2] y) {
        a = Constant<value = float[2] {1, 2}>()
        b = Constant<value_float = 3.0>()
        c = Constant<value_floats = [1.0, 4.0]>()
        d = Add(x, a)
        e = Add(d, b)
        y = Mul(e, c)
    }"""
    model = checked(convert_text(text))
    assert ops(model) == {"Constant": 3, "Add": 2, "Mul": 1}
    types = {n.attribute[0].t.data_type for n in model.graph.node if n.op_type == "Constant"}
    assert types == {FLOAT16}


def test_constant_read_in_both_precisions_is_split() -> None:
    text = """g (float[2] x) => (float[2] y) {
        a = Constant<value = float[2] {1, 2}>()
        b = Mul(x, a)
        y = Add(b, a)
    }"""
    model = checked(convert_text(text, op_block=("Mul",)))
    assert ops(model)["Constant"] == 2


def test_cast_to_float_becomes_cast_to_half() -> None:
    text = "g (int64[2] i, float[2] x) => (float[2] y) { f = Cast<to = 1>(i) y = Add(f, x) }"
    model = checked(convert_text(text))
    assert node_of(model, "Cast").attribute[0].i == FLOAT16


ROWS = [  # graph, blocked op types, what the row of node 0 or 1 (the Cast) says
    ("{ a = Cast<to=1>(i) y = Exp(a) z = Tanh(a) }", ("Exp",), 0, ("float32", {})),
    ("{ a = Cast<to=1>(i) y = Exp(a) z = Exp(a) }", (), 0, ("float16", {})),
    ("{ e = Exp(x) a = Cast<to=1>(e) y = Tanh(a) z = Tanh(a) }", ("Exp",), 1,
     ("float16", {"in0": "float32"})),
    ("{ e = Exp(x) a = Cast<to=1>(e) y = Tanh(a) z = Tanh(a) }", ("Cast",), 1,
     ("float32", {"in0": "float16"})),
    ("{ c = Constant<value_floats=[2.0, 3.0]>() a = Cast<to=1>(c) y = Exp(a) z = Abs(a) }",
     ("Cast",), 0,
     ("float32", {})),
]  # fmt: skip


@pytest.mark.parametrize(("nodes", "blocked", "node", "row"), ROWS)
def test_rows_say_what_was_written(
    nodes: str, blocked: tuple[str, ...], node: int, row: tuple[str, dict[str, str]]
) -> None:
    graph = f"g (float[2] x, int64[2] i) => (float[2] y, float[2] z) {nodes}"
    result = convert_text(graph, op_block=blocked)
    model = checked(result)
    found = result.plan.nodes[node]
    assert (found.dtype, dict(found.operands)) == row
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {info.name: info.type.tensor_type.elem_type for info in inferred.value_info}
    types |= {tensor.name: tensor.data_type for tensor in inferred.initializer}
    made = "c" if found.type == "Constant" else "a"
    assert types[made] == (FLOAT if found.operands.get("out0", found.dtype) == "float32" else 10)


def test_narrowing_of_the_author_stays() -> None:
    text = """g (float[2] x) => (float[2] y) {
        h = Cast<to = 10>(x)
        f = Cast<to = 1>(h)
        y = Sin(f)
    }"""
    blocked = checked(convert_text(text, op_block=(".*",), keep_io_types=True))
    assert ops(blocked) == {"Cast": 2, "Sin": 1}
    half = checked(convert_text(text))
    assert ops(half) == {"Sin": 1}


def test_cast_that_became_a_noop_stays_where_it_makes_an_output() -> None:
    text = "g (float[2] x) => (float16[2] h, float[2] y) { h = Cast<to = 10>(x) y = Sin(x) }"
    model = checked(convert_text(text))
    assert "h" in [name for node in model.graph.node for name in node.output]


def test_resize_scales_stay_float() -> None:
    text = """g (float[1,1,2,2] x) => (float[1,1,4,4] y)
    <float[4] scales = {1, 1, 2, 2}> { y = Resize<mode = "nearest">(x, , scales) }"""
    model = checked(convert_text(text))
    assert weights(model) == {"scales": FLOAT}
    assert io_types(model)["y"] == FLOAT16
    assert node_of(model, "Resize").input[1] == ""


def test_layer_normalization_statistics_stay_float() -> None:
    text = """g (float[2,4] x) => (float[2,4] y, float[2,1] m)
    <float[4] s = {1, 1, 1, 1}> { y, m = LayerNormalization(x, s) }"""
    model = checked(convert_text(text))
    assert io_types(model) == {"x": FLOAT16, "y": FLOAT16, "m": FLOAT16}
    assert ops(model)["Cast"] == 1


@pytest.mark.parametrize(
    "line",
    [
        "y = RandomNormal<shape = [2]>()",
        "y = RandomNormalLike(x)",
        "y = RandomUniformLike<dtype = 1>(x)",
        "y = ConstantOfShape(n)",
        "y = ConstantOfShape<value = float[1] {2}>(n)",
        "y = EyeLike<dtype = 1>(i)",
        "y = HannWindow(k)",
        "y = Bernoulli(x)",
    ],
)
@pytest.mark.parametrize("block", [False, True])
def test_attributes_that_choose_a_type(line: str, block: bool) -> None:
    text = f"""g (float[2] x, int64[1] n, int64 k, int64[2,2] i) => (float[m] z)
    <int64[1] flat = {{-1}}> {{ {line} z = Reshape(y, flat) }}"""
    (op,) = re.findall(r"(\w+)[<(]", line)[:1]
    for keep in (False, True):
        options = {"op_block": (op,)} if block else {}
        checked(convert_text(text, keep_io_types=keep, **options))


def test_unknown_op_stays_float_and_its_readers_are_typed() -> None:
    text = "g (float[2] x) => (float[2] y) { a = Sin(x) b = my.Thing(a) y = Cos(b) }"
    result = convert_text(text)
    assert [(row.tensor, row.to) for row in result.casts] == [("a", FLOAT), ("b", FLOAT16)]
    reasons = {node.type: node.reason for node in result.plan.nodes}
    assert "no known schema" in reasons["Thing"]


def test_nodes_in_any_order_come_out_valid() -> None:
    model = parse(CHAIN)
    shuffled = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(shuffled)
    result = convert(model, options=ConvertOptions(target="any", fp32_nodes=(1,)))
    done = checked(result)
    assert [n.op_type for n in done.graph.node if n.op_type != "Cast"] == ["Mul", "Relu", "Add"]
    assert [node.id for node in result.plan.nodes if node.dtype == "float32"] == [1]


def test_cycle_is_an_error() -> None:
    model = parse(CHAIN)
    model.graph.node[0].input[1] = "b"
    with pytest.raises(ModelError, match="cycle"):
        convert(model, options=ConvertOptions(target="any"))


def test_unnamed_and_same_named_nodes() -> None:
    model = parse(CHAIN)
    for node in model.graph.node:
        node.name = "same"
    checked(convert(model, options=ConvertOptions(target="any", fp32_nodes=(1,))))


def test_names_taken_by_the_model_are_avoided() -> None:
    text = """g (float[2] x) => (float[2] x_float32, float[2] y) {
        x_float32 = Sin(x)
        y = Cos(x)
    }"""
    model = checked(convert_text(text, op_block=("Cos",)))
    assert node_of(model, "Cos").input[0] not in ("x", "x_float32")


def test_a_blocked_name_that_no_node_has_is_warned_about() -> None:
    result = convert_text(CHAIN, node_block=("first", "fisrt", "th.*d"))
    assert result.warnings == ("no node is called 'fisrt'",)


def test_the_argument_is_not_changed() -> None:
    model = parse(CHAIN)
    before = model.SerializeToString()
    convert(model, options=ConvertOptions(target="any", op_block=("Relu",)))
    assert model.SerializeToString() == before


def test_input_with_a_default_is_a_weight() -> None:
    text = "g (float[2] x, float[2] w = {1, 2}) => (float[2] y) { y = Add(x, w) }"
    for keep in (False, True):
        model = checked(convert_text(text, keep_io_types=keep))
        assert io_types(model)["w"] == FLOAT16
        assert weights(model) == {"w": FLOAT16}
    named = checked(convert_text(text, keep_io_types=("w",)))
    assert weights(named) == {"w": FLOAT}


def test_input_with_a_default_read_in_both_types_is_cast() -> None:
    text = "g (float[2] x, float[2] w = {1, 2}) => (float[2] y) { a = Mul(x, w) y = Add(a, w) }"
    result = convert_text(text, op_block=("Mul",))
    model = checked(result)
    assert weights(model) == {"w": FLOAT}
    assert io_types(model)["w"] == FLOAT
    assert [row.tensor for row in result.casts].count("w") == 1


def test_values_beyond_float16_are_clamped_and_named() -> None:
    text = """g (float[3] x) => (float[3] y)
    <float[3] mask = {0, -3.4e38, 1e-9}> { y = Add(x, mask) }"""
    result = convert_text(text)
    values = numpy_helper.to_array(checked(result).graph.initializer[0])
    assert values.tolist() == [0.0, -65504.0, 0.0]
    (warning,) = result.warnings
    assert "'mask'" in warning
    assert "1 lowered" in warning
    assert "1 flushed" in warning


def test_bfloat16() -> None:
    model = checked(convert_text(CHAIN, dtype="bfloat16", node_block=("second",)))
    assert io_types(model) == {"x": BFLOAT16, "y": BFLOAT16}
    assert weights(model) == {"w": BFLOAT16}


@pytest.mark.parametrize("opset", [11, 7])
def test_bfloat16_needs_an_opset_that_has_it(opset: int) -> None:
    done = convert_text(CHAIN, opset=opset, dtype="bfloat16").model
    assert done is not None
    assert {entry.domain: entry.version for entry in done.opset_import}[""] == 13


def test_cast_before_opset_6_names_its_type() -> None:
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Sigmoid", ["x"], ["y"], consumed_inputs=[0])],
            "g",
            [helper.make_tensor_value_info("x", FLOAT, [2])],
            [helper.make_tensor_value_info("y", FLOAT, [2])],
        ),
        opset_imports=[helper.make_opsetid("", 5)],
        ir_version=3,
    )
    result = convert(model, options=ConvertOptions(target="any", keep_io_types=True))
    assert result.model is not None
    assert [n.attribute[0].s for n in result.model.graph.node if n.op_type == "Cast"] == [
        b"FLOAT16",
        b"FLOAT",
    ]


def test_float64_parts_are_left_alone() -> None:
    text = """g (float[2] x) => (double[2] z) {
        a = Sin(x)
        d = Cast<to = 11>(a)
        z = Exp(d)
    }"""
    model = checked(convert_text(text))
    assert io_types(model) == {"x": FLOAT16, "z": 11}


def test_value_info_follows() -> None:
    model = onnx.shape_inference.infer_shapes(parse(CHAIN))
    assert model.graph.value_info
    done = checked(convert(model, options=ConvertOptions(target="any", node_block=("second",))))
    types = {info.name: info.type.tensor_type.elem_type for info in done.graph.value_info}
    assert types == {"a": FLOAT16, "b": FLOAT}


def test_converting_twice_changes_nothing() -> None:
    first = checked(convert_text(CHAIN))
    second = convert(first, options=ConvertOptions(target="any"))
    assert second.identity
    assert second.model == first


UNREAD = """g (float[2] x) => (float[2] y) <float[2] w = {1.5, 2.5}, float[2] spare = {1, 2}> {
    y = Add(x, w)
}"""


def test_a_weight_that_nothing_reads_is_half_like_the_others() -> None:
    assert weights(checked(convert_text(UNREAD))) == {"w": FLOAT16, "spare": FLOAT16}


def test_a_weight_that_nothing_reads_stays_where_all_is_blocked() -> None:
    result = convert_text(UNREAD, op_block=("Add",), keep_io_types=True)
    assert result.identity
    assert weights(checked(result)) == {"w": FLOAT, "spare": FLOAT}


def test_a_weight_that_an_annotation_refers_to_stays() -> None:
    model = parse(UNREAD)
    note = model.graph.quantization_annotation.add(tensor_name="y")
    note.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="spare")
    result = convert(model, options=ConvertOptions(target="any"))
    assert weights(checked(result)) == {"w": FLOAT16, "spare": FLOAT}


@pytest.mark.parametrize(("blocked", "expected"), [((), FLOAT16), (("Tanh",), FLOAT)])
def test_weights_that_nothing_reads_follow_what_is_computed(
    blocked: tuple[str, ...], expected: int
) -> None:
    model = parse("g (float[4] x) => (float[4] y) <float[4] unread = {1, 2, 3, 4}> { y = Tanh(x) }")
    options = ConvertOptions(target="any", op_block=blocked)
    once = convert(model, options=options).model
    assert once is not None
    (unread,) = once.graph.initializer
    assert unread.data_type == expected
    assert convert(once, options=options).model == once  # though it has Casts to float16 now
