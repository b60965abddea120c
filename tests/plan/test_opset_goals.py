"""Raising the opset because it was asked for, or because quantised values then need no casts."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from halve.auto import auto
from halve.convert import convert
from halve.errors import OptionError
from halve.options import ConvertOptions
from halve.search_options import SearchOptions
from halve.types import ConvertResult
from onnx_text import FLOAT, FLOAT16, checked, node_of, ops, parse, weights
from plan.raising import one_node, raised, run

FORMS: list[tuple[str, int, int, dict[str, Any]]] = [
    ("ReduceMean", 13, 1, {"axes": [1, 2], "keepdims": 0}),
    ("ReduceMax", 17, 1, {"axes": [1]}),
    ("ReduceL2", 17, 1, {}),
    ("Split", 13, 2, {"axis": 1}),
    ("BatchNormalization", 13, 1, {}),
    ("AveragePool", 13, 1, {"kernel_shape": [2, 2], "count_include_pad": 1, "pads": [1] * 4}),
    ("LpPool", 13, 1, {"kernel_shape": [2, 2]}),
    ("Cast", 13, 1, {"to": FLOAT}),
]


@pytest.mark.parametrize("opset", [19, 22])
@pytest.mark.parametrize(("op", "own", "outputs", "attributes"), FORMS)
def test_forms_that_change_compute_the_same(
    op: str, own: int, outputs: int, attributes: dict[str, Any], opset: int
) -> None:
    model = one_node(op, own, outputs, **attributes)
    if op == "BatchNormalization":
        for name in ("scale", "shift", "mean", "var"):
            model.graph.initializer.append(numpy_helper.from_array(np.full(4, 0.5, "f4"), name))
            model.graph.node[0].input.append(name)
    high = raised(model, ConvertOptions(opset=opset))
    onnx.checker.check_model(high, full_check=True)
    assert high.opset_import[0].version == opset
    for before, after in zip(run(model), run(high), strict=True):
        np.testing.assert_allclose(before, after, rtol=1e-6)


QDQ = """g (float[2] x) => (float[2] y)
<float scale = {0.0625}, uint8 zero = {128}, float tiny = {0.0000001}, int32[2] b = {300, 400}> {
    a = Exp(x) q = QuantizeLinear(a, scale, zero) d = DequantizeLinear(q, scale, zero)
    c = Cos(d) q2 = QuantizeLinear(c, scale, zero) d2 = DequantizeLinear(q2, scale, zero)
    y = Sin(d2)
}"""


def opset_of(model: ModelProto) -> int:
    return int(model.opset_import[0].version)


def done(text: str, own: int = 16, /, **options: Any) -> ConvertResult:
    options.setdefault("target", "any")
    return convert(parse(text, opset=own), options=ConvertOptions(**options))


@pytest.mark.parametrize("target", ["any", "cuda", "cpu", "tensorrt"])
@pytest.mark.parametrize("opset", [10, 13, 18])
def test_a_quantised_model_is_raised_where_that_saves_casts(opset: int, target: str) -> None:
    result = done(QDQ, opset, target=target)
    model = checked(result)
    assert (opset_of(model), ops(model)["Cast"]) == (19, 0)
    assert weights(model)["scale"] == FLOAT16
    assert sum("was raised to 19" in line for line in result.warnings) == 1
    assert {row.dtype for row in result.plan.nodes} == {"float16"}


def test_its_plan_makes_the_same_model_again(tmp_path: Any) -> None:
    first = done(QDQ)
    first.plan.save(tmp_path / "plan.json")
    again = done(QDQ, plan=tmp_path / "plan.json")
    assert again.model == first.model
    assert not any("come out otherwise" in line for line in again.warnings)


@pytest.mark.parametrize(
    "options",
    [
        {"op_block": ("QuantizeLinear", "DequantizeLinear")},
        {"opset": 16},
        {"op_block": ("Exp", "Sin", "Cos"), "keep_io_types": True},
    ],
)
def test_a_quantised_model_stays_where_that_saves_none(options: dict[str, Any]) -> None:
    result = done(QDQ, **options)
    assert opset_of(checked(result)) == 16
    assert not any("raised" in line for line in result.warnings)


def test_bfloat16_is_raised_for_scales_too() -> None:
    text = QDQ.replace("Cos", "Tanh").replace("Sin", "Exp")
    model = checked(done(text, 12, dtype="bfloat16"))
    assert (opset_of(model), ops(model)["Cast"]) == (19, 0)


def test_a_scale_that_float16_does_not_hold_stays_float32() -> None:
    text = QDQ.replace("y = Sin(d2)", "e = DequantizeLinear(b, tiny) y = Add(d2, e)")
    result = done(text)
    model = checked(result)
    assert weights(model)["tiny"] == FLOAT
    assert ops(model)["Cast"] == 1
    assert [row.reason for row in result.plan.nodes if row.dtype == "float32"] == [
        "its scale does not fit the 16-bit type"
    ]


def test_a_model_that_cannot_be_raised_says_what_that_costs() -> None:
    uncalled = """<domain: "local", opset_import: ["" : 12]>
    f <axis> (u) => (v) { v = Softmax <axis: int = @axis> (u) }"""
    result = convert(parse(QDQ, opset=12, functions=uncalled), options=ConvertOptions(target="any"))
    assert opset_of(checked(result)) == 12
    (line,) = [line for line in result.warnings if "casts could be fewer at opset 19" in line]
    assert "a function that nothing calls" in line


def test_an_opset_that_is_asked_for() -> None:
    text = """g (float[1,1,4,4] x) => (float[1,1,2,2] y) <float[1,1,3,3] w = {1,2,3,4,5,6,7,8,9}> {
        y = Conv(x, w)
    }"""
    kept = done(text, 16, dtype="bfloat16")
    assert kept.plan.nodes[0].dtype == "float32"
    result = done(text, 16, dtype="bfloat16", opset=22)
    assert opset_of(checked(result)) == 22
    assert result.plan.nodes[0].dtype == "bfloat16"
    assert any("16 of the default domain was raised to 22" in line for line in result.warnings)


def test_an_opset_below_what_bfloat16_needs_is_not_enough() -> None:
    text = "g (float[2] x) => (float[2] y) { y = Exp(x) }"
    assert opset_of(checked(done(text, 11, dtype="bfloat16", opset=12))) == 13
    assert opset_of(checked(done(text, 17, opset=12))) == 17


@pytest.mark.parametrize("opset", [5, 23])
def test_an_opset_out_of_range_is_refused(opset: int) -> None:
    with pytest.raises(OptionError, match="6 to 22"):
        ConvertOptions(opset=opset)


def test_a_search_keeps_the_opset_whose_nodes_it_tried(tmp_path: Any) -> None:
    samples = [{"x": np.array([0.5, -1.25], np.float32)}]
    path = tmp_path / "out.onnx"
    options = SearchOptions(convert=ConvertOptions(target="cpu"))
    result = auto(parse(QDQ, opset=16), path, samples, options=options)
    assert opset_of(onnx.load(path)) == 16
    assert result.verdict.passed
    assert node_of(onnx.load(path), "Exp").name == ""
