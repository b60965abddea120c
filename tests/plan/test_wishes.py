"""What the user may say beyond blocking nodes: vouch for kernels, keep operands, store weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

from halve.convert import convert
from halve.errors import OptionError
from halve.options import ConvertOptions
from halve.types import ConvertResult
from onnx_text import BFLOAT16, FLOAT, FLOAT16, checked, convert_text, ops, parse, weights


def types(result: ConvertResult) -> dict[str, str]:
    return {node.type: node.dtype for node in result.plan.nodes}


GRID = """g (float[1,1,2,2] x, float[1,2,2,2] p) => (float[1,1,2,2] y) {
    [grid] y = GridSample(x, p)
}"""


@pytest.mark.parametrize("options", [{"op_half": ("GridSample",)}, {"node_half": ("gr.*",)}])
def test_a_kernel_is_vouched_for(options: dict[str, Any]) -> None:
    assert types(convert_text(GRID, target="cuda"))["GridSample"] == "float32"
    assert types(convert_text(GRID, target="cuda", **options))["GridSample"] == "float16"


def test_the_schema_decides_all_the_same() -> None:
    text = """g (float[2] x) => (float[n] y) <float a = {0}, float b = {4}, float d = {1}> {
        y = Range(a, b, d)
    }"""
    assert types(convert_text(text, op_half=("Range",)))["Range"] == "float32"


def test_a_custom_operator_is_vouched_for() -> None:
    text = """g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> {
        a = Exp(x) b = my.Plugin(a, w) y = Exp(b)
    }"""
    model = parse(text)
    model.graph.value_info.add(name="b").type.tensor_type.elem_type = FLOAT
    kept = convert(model, options=ConvertOptions(target="any"))
    assert types(kept)["Plugin"] == "float32"
    result = convert(model, options=ConvertOptions(target="any", op_half=("Plugin",)))
    assert result.model is not None
    assert ops(result.model)["Cast"] == 0
    assert weights(result.model) == {"w": FLOAT16}
    assert {row.dtype for row in result.plan.nodes} == {"float16"}


def test_what_is_blocked_is_not_forced() -> None:
    text = "g (float[2] x) => (float[2] y) { y = Exp(x) }"
    result = convert_text(text, op_half=("Exp",), op_block=("Exp",))
    assert types(result) == {"Exp": "float32"}


def test_an_operand_is_kept_with_its_type_variable() -> None:
    text = """g (float[2,4] x) => (float[2,4] y) <float[4] s = {1, 2, 3, 4}> {
        y = LayerNormalization(x, s)
    }"""
    gemm = """g (float[2,2] x) => (float[2,2] y) <float[2,2] w = {1, 2, 3, 4}> {
        a = Exp(x) b = Gemm(a, w) y = Exp(b)
    }"""
    assert types(convert_text(text, operand_block=("Gemm:in0",)))["LayerNormalization"] == "float16"
    kept = convert_text(gemm, operand_block=("Gemm:in1",))
    assert types(kept) == {"Exp": "float16", "Gemm": "float32"}
    assert ops(checked(kept))["Cast"] == 2
    assert "blocked by operand" in {row.reason for row in kept.plan.nodes}


def test_an_operand_with_a_variable_of_its_own_is_kept_alone() -> None:
    text = """g (float[1,2,2] x) => (float[1,2,2] y)
    <float[2] s = {1, 2}, float[2] b = {1, 2}, float[2] m = {1, 2}, float[2] v = {1, 2}> {
        y = BatchNormalization(x, s, b, m, v)
    }"""
    model = checked(convert_text(text, operand_block=("BatchNormalization:in3",)))
    assert weights(model) == {"s": FLOAT16, "b": FLOAT16, "m": FLOAT, "v": FLOAT}
    assert ops(model)["Cast"] == 0


@pytest.mark.parametrize("entry", ["Gemm", "Gemm:2", "Gemm:in", ":in2"])
def test_operands_are_spelt(entry: str) -> None:
    with pytest.raises(OptionError, match="Gemm:in2"):
        ConvertOptions(operand_block=(entry,))


def test_what_no_node_is_is_said() -> None:
    text = "g (float[2] x) => (float[2] y) { y = Exp(x) }"
    result = convert_text(text, op_half=("Sin",), operand_block=("Gemm:in1",), node_half=("n",))
    lines = [line for line in result.warnings if "no node is" in line]
    assert lines == [
        "no node is called 'n'",
        "op_half or operand_block names what no node is: Sin, Gemm",
    ]


WEIGHTS = """g (float[1,1,2,2] x) => (float[1,1,4,4] y)
<float[1,1,1,1] w = {1.0001}, float[4] s = {1, 1, 2, 2}, float[1] both = {3}> {
    a = Conv(x, w) b = Resize(a, , s) c = Mul(b, both) d = Exp(c) y = Div(d, both)
}"""


@pytest.mark.parametrize(("dtype", "half"), [("float16", FLOAT16), ("bfloat16", BFLOAT16)])
def test_weights_of_float32_nodes_are_stored_small(dtype: str, half: int) -> None:
    options = {"dtype": dtype, "op_block": ("Conv", "Resize", "Mul"), "opset": 22}
    plain = checked(convert_text(WEIGHTS, **options))
    assert weights(plain) == {"w": FLOAT, "s": FLOAT, "both": FLOAT, "both_" + dtype: half}
    result = convert_text(WEIGHTS, half_weights=True, **options)
    model = checked(result)
    # Resize reads its scales as float32 by its schema, so they are not rounded.
    assert weights(model) == {"w": half, "s": FLOAT, "both": half}
    casts = {cast.tensor: cast.to for cast in result.casts}
    assert (casts["w"], casts["both"]) == (FLOAT, FLOAT)
    if dtype == "float16":
        (stored,) = [t for t in model.graph.initializer if t.name == "w"]
        assert numpy_helper.to_array(stored).ravel() == np.float16(1.0001)
