"""What schemas do not say of operands, and Casts that follow their readers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from halve.convert import convert
from halve.options import ConvertOptions
from halve.session import load
from onnx_text import (
    BFLOAT16,
    FLOAT,
    FLOAT16,
    checked,
    convert_text,
    io_types,
    node_of,
    parse,
    weights,
)


def half_plan(text: str, opset: int, op: str, **options: object) -> tuple[str, dict[str, str]]:
    """The decision of the only node of a type: its dtype and what deviates."""
    result = convert_text(text, opset=opset, **options)
    checked(result)
    (node,) = [node for node in result.plan.nodes if node.type == op]
    return node.dtype, dict(node.operands)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_statistics_of_a_layer_norm_stay_float32(dtype: str) -> None:
    text = """g (float[2, 3] x) => (float[2, 3] y, float[2, 1] m, float[2, 1] s)
    <float[3] w = {1, 2, 3}, float[3] b = {0, 0, 0}> { y, m, s = LayerNormalization(x, w, b) }"""
    decision = half_plan(text, 18, "LayerNormalization", dtype=dtype, keep_io_types=True)
    assert decision == (dtype, {"out1": "float32", "out2": "float32"})


@pytest.mark.parametrize("target", ["any", "cuda", "cpu"])
@pytest.mark.parametrize(("opset", "attribute"), [(21, ""), (23, ""), (23, "<output_dtype = 1>")])
def test_a_dequantized_value_has_the_type_of_its_scale(
    opset: int, attribute: str, target: str
) -> None:
    text = f"""g (uint8[2] q) => (float[2] y) <float s = {{0.5}}, uint8 z = {{0}}> {{
        d = DequantizeLinear{attribute}(q, s, z) y = Neg(d)
    }}"""
    done = checked(convert_text(text, opset=opset, target=target))
    node = node_of(done, "DequantizeLinear")
    assert io_types(done)["y"] == FLOAT16
    assert len(node.attribute) == (1 if attribute else 0)


@pytest.mark.skipif(onnx.defs.onnx_opset_version() < 27, reason="onnx without LinearAttention")
@pytest.mark.parametrize("keep", [("s",), ("o",), True])
def test_the_state_of_a_linear_attention_without_a_past(keep: tuple[str, ...] | bool) -> None:
    text = """g (float[1,2,4] q, float[1,2,4] k, float[1,2,4] v) => (float[1,2,4] o, float[1,1,4,4] s) {
        o, s = LinearAttention<q_num_heads = 1, kv_num_heads = 1, update_rule = "linear">(q, k, v)
    }"""  # noqa: E501
    decision = half_plan(text, 27, "LinearAttention", keep_io_types=keep)
    assert decision == ("float16", {})


@pytest.mark.skipif(onnx.defs.onnx_opset_version() < 26, reason="onnx without BitCast")
def test_bits_are_read_from_float32() -> None:
    text = "g (float[2] x) => (int32[2] y) { a = Neg(x) y = BitCast<to = 6>(a) }"
    result = convert_text(text, opset=26)
    assert [row.tensor for row in result.casts] == ["a"]
    assert "bits" in result.plan.nodes[1].reason
    checked(result)


def without_default_domain(op: str) -> onnx.ModelProto:
    node = helper.make_node(op, ["x"], ["y"], domain="ai.onnx.ml")
    infos = [helper.make_tensor_value_info(name, FLOAT, [2]) for name in "xy"]
    graph = helper.make_graph([node], "g", infos[:1], infos[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("ai.onnx.ml", 1)])


def test_a_model_without_the_default_domain_imports_it_for_its_casts() -> None:
    model = without_default_domain("Binarizer")
    done = checked(convert(model, options=ConvertOptions(target="any")))
    assert {entry.domain: entry.version for entry in done.opset_import} == {"ai.onnx.ml": 1, "": 13}
    kept = convert(model, options=ConvertOptions(target="any", keep_io_types=True))
    assert kept.identity


READERS = """g (int64[2] i, float[2] x) => (float[2] y, float[2] z) {
    p = Cast<to = 1>(i) [one] y = Mul(p, x) [two] z = Add(p, x)
}"""


@pytest.mark.parametrize(
    ("blocked", "target", "casts"),
    [((), FLOAT16, 0), (("one",), FLOAT, 3), (("one", "two"), FLOAT, 3)],
)
def test_a_cast_from_integers_gives_what_readers_want(
    blocked: tuple[str, ...], target: int, casts: int
) -> None:
    result = convert_text(READERS, node_block=blocked)
    (cast,) = [n for n in checked(result).graph.node if n.input[0] == "i"]
    assert cast.attribute[0].i == target
    assert len(result.casts) == casts


def test_a_cast_of_a_sixteen_bit_value_goes_where_readers_want_both() -> None:
    text = """g (float16[2] x) => (float[2] y, float[2] z) {
        p = Cast<to = 1>(x) [one] y = Exp(p) [two] z = Sin(p)
    }"""
    done = checked(convert_text(text, node_block=("one",)))
    assert node_of(done, "Sin").input[0] == "x"
    assert node_of(done, "Exp").input[0] != "x"


def test_a_weight_that_becomes_integers_is_not_rounded_before() -> None:
    text = """g (float[2] x) => (int64[2] y, float[2] z) <float[2] w = {2049, 4097}> {
        y = Cast<to = 7>(w) z = Neg(x)
    }"""
    done = checked(convert_text(text))
    assert numpy_helper.to_array(done.graph.initializer[0]).dtype == np.float32


@pytest.mark.parametrize("keep", [False, True])
def test_an_input_with_a_default_that_is_an_output_has_one_type(keep: bool) -> None:
    model = parse("g (float[2] x, float[2] w = {1, 2}) => (float[2] y) { y = Add(x, w) }")
    model.graph.output.append(helper.make_tensor_value_info("w", FLOAT, [2]))
    for block in ((), ("Add",)):
        options = ConvertOptions(target="any", keep_io_types=keep, op_block=block)
        done = checked(convert(model, options=options))
        expected = FLOAT if keep else FLOAT16
        assert io_types(done)["w"] == done.graph.initializer[0].data_type == expected
    assert BFLOAT16 not in io_types(done).values()


def test_a_cast_from_bfloat16_gets_an_opset_that_has_it() -> None:
    text = "g (float[2] x) => (bool[2] y) { y = IsNaN(x) }"
    done = checked(convert_text(text, opset=9, dtype="bfloat16"))
    assert {entry.domain: entry.version for entry in done.opset_import}[""] == 13
    assert io_types(done)["x"] == BFLOAT16


@pytest.mark.parametrize("target", ["any", "cuda", "cpu", "tensorrt"])
@pytest.mark.parametrize("blocked", [(), ("Exp",)])
def test_an_operand_without_elements_has_whatever_type_costs_nothing(
    target: str, blocked: tuple[str, ...]
) -> None:
    text = """g (float[1,1,2,2] x) => (float[1,1,h,w] y, float[1,1,h,w] z)
    <float[0] none = {}, float[4] scales = {1, 1, 2, 2}> {
        a = Exp(x) y = Resize<mode = "nearest">(a, none, scales)
        empty = Constant<value = float[0] {}>() z = Resize<mode = "nearest">(x, empty, scales) }"""
    result = convert_text(text, target=target, op_block=blocked)
    model = checked(result)
    assert weights(model) == {"none": FLOAT16, "scales": FLOAT}
    assert len(result.casts) == 2 * len(blocked)
    load(model, optimise=False)


def test_roi_with_elements_stays_float32_where_the_target_reads_it_so() -> None:
    text = """g (float[1,1,4,4] x) => (float[1,1,h,w] y)
    <float[8] roi = {0, 0, 0.5, 0.5, 1, 1, 1, 1}, float[4] scales = {1, 1, 2, 2}> {
        y = Resize<mode = "linear",
                   coordinate_transformation_mode = "tf_crop_and_resize">(x, roi, scales) }"""
    assert weights(checked(convert_text(text, target="cuda")))["roi"] == FLOAT
    assert weights(checked(convert_text(text)))["roi"] == FLOAT16
