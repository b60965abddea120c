"""Models of the oldest opsets, raised."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from halve.convert import convert
from halve.errors import UnsupportedModelError
from halve.options import ConvertOptions
from models import FLOAT, build, dyadic
from plan.raising import BF16, ort, raised


def first(op: str, inputs: list[Any], outputs: int = 1, **attributes: Any) -> ModelProto:
    """One node of opset 1, of inputs x0, x1, ... like these arrays."""
    names = {f"x{k}": array for k, array in enumerate(inputs)}
    made_names = [f"y{k}" for k in range(outputs)]
    node = helper.make_node(op, list(names), made_names, "node", **attributes)
    types = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in names.items()}
    io = {name: (types[name], list(array.shape)) for name, array in names.items()}
    made = int(onnx.TensorProto.BOOL) if op in LOGIC else FLOAT
    outs = {name: (made, ["a", "b", "c", "d"][: inputs[0].ndim]) for name in made_names}
    return build([node], io, outs, opset=1, ir_version=3)


LOGIC = ("And", "Equal", "Or", "Xor")
X = dyadic(np.random.default_rng(2), 2, 3, 4, 4)
ROW = dyadic(np.random.default_rng(3), 3)
TRUTH = np.array([[True, False], [True, True]])
PAIR = np.array([True, False])
P = {"kernel_shape": [4, 4]}


def statistics(x: Any, scale: Any, shift: Any, mean: Any, var: Any) -> Any:
    row = [array.reshape(-1, 1, 1) for array in (scale, shift, mean, var)]
    return (x - row[2]) / np.sqrt(row[3] + 0.5) * row[0] + row[1]


def selu(x: Any) -> Any:
    return 1.0507 * np.where(x > 0, x, 1.6732 * (np.exp(x) - 1))


FIRST: dict[str, tuple[list[Any], dict[str, Any], Any]] = {
    "Relu": ([X], {"consumed_inputs": [0]}, lambda x: np.maximum(x, 0)),
    "Add": ([X, ROW], {"broadcast": 1, "axis": 1}, lambda x, w: x + w.reshape(3, 1, 1)),
    "And": ([TRUTH, PAIR], {"broadcast": 1}, np.logical_and),
    "Or": ([TRUTH, PAIR], {"broadcast": 1, "axis": 0}, lambda a, b: a | b.reshape(2, 1)),
    "Xor": ([TRUTH, TRUTH.T], {}, np.logical_xor),
    "Equal": ([np.array([[1, 2]]), np.array([1])], {"broadcast": 1}, np.equal),
    "BatchNormalization": (
        [X, ROW, ROW, ROW, ROW**2],
        {"is_test": 1, "epsilon": 0.5, "consumed_inputs": [0, 0, 0, 1, 1]},
        statistics,
    ),
    "Cast": ([np.array([1, 2])], {"to": "FLOAT"}, lambda x: x.astype(np.float32)),
    "Clip": ([X], {"min": -0.5, "max": 0.25}, lambda x: np.clip(x, -0.5, 0.25)),
    "Concat": ([X, X], {}, lambda a, b: np.concatenate((a, b), 1)),
    "Dropout": ([X], {"is_test": 1, "ratio": 0.25}, lambda x: x),
    "Gemm": ([X[0, 0], X[0, 1], X[0, 2, 0]], {"broadcast": 1}, lambda a, b, c: a @ b + c),
    "GlobalLpPool": ([X], {"p": 1.0}, lambda x: np.abs(x).sum((2, 3), keepdims=True)),
    "LpPool": ([X], P | {"p": 1.0}, lambda x: np.abs(x).sum((2, 3), keepdims=True)),
    "Max": ([X, -X], {"consumed_inputs": [0, 0]}, np.maximum),
    "Pad": (
        [X],
        {"paddings": [0, 0, 1, 0, 0, 0, 0, 2], "value": 2.0},
        lambda x: np.pad(x, [(0, 0), (0, 0), (1, 0), (0, 2)], constant_values=2),
    ),
    "Reshape": ([X], {"shape": [0, 12, 4, 1]}, lambda x: x.reshape(2, 12, 4, 1)),
    "Selu": ([X], {}, selu),
    "Upsample": (
        [X],
        {"height_scale": 2.0, "width_scale": 3.0},
        lambda x: x.repeat(2, axis=2).repeat(3, axis=3),
    ),
}


@pytest.mark.parametrize("op", FIRST)
def test_the_first_opset_is_raised(op: str) -> None:
    inputs, attributes, expected = FIRST[op]
    model = first(op, inputs, **attributes)
    high = raised(model)
    onnx.checker.check_model(high, full_check=True)
    session = ort.InferenceSession(high.SerializeToString(), providers=["CPUExecutionProvider"])
    (made,) = session.run(None, {f"x{k}": array for k, array in enumerate(inputs)})
    np.testing.assert_allclose(made, expected(*inputs), rtol=1e-5, atol=1e-6)
    written = convert(model, options=BF16).model
    assert written is not None
    onnx.checker.check_model(written, full_check=True)


@pytest.mark.parametrize("as_operand", [False, True])
def test_the_first_split_is_raised(as_operand: bool) -> None:
    attributes = {"axis": 1} | ({} if as_operand else {"split": [1, 2]})
    inputs = [X, np.array([1, 2])] if as_operand else [X]
    model = first("Split", [X], 2, **attributes)
    if as_operand:  # by the schema of opset 1 its sizes are floats, which no later one takes
        model.graph.node[0].input.append("sizes")
        model.graph.initializer.append(onnx.numpy_helper.from_array(inputs[1], "sizes"))
    high = raised(model)
    session = ort.InferenceSession(high.SerializeToString(), providers=["CPUExecutionProvider"])
    made = session.run(None, {"x0": X})
    for part, wanted in zip(made, np.split(X, [1], 1), strict=True):
        np.testing.assert_array_equal(part, wanted)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "words"),
    [
        ("Tile", [X, ROW[:1], ROW[:1]], {}, "repeats along an axis that an operand tells"),
        ("GlobalLpPool", [X], {"p": 1.5}, "its norm 1.5 is a fraction"),
    ],
)
def test_what_has_no_later_form_is_refused(
    op: str, inputs: list[Any], attributes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UnsupportedModelError, match=rf"node 0 \({op} 'node'\).*{words}"):
        convert(first(op, inputs, **attributes), options=BF16)


def test_sizes_of_a_split_have_no_place_from_opset_2_to_12() -> None:
    model = first("Split", [X], 2, axis=1)
    model.graph.node[0].input.append("sizes")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 2]), "sizes"))
    with pytest.raises(UnsupportedModelError, match=r"node 0 \(Split 'node'\).*an operand"):
        convert(model, options=ConvertOptions(opset=11, target="any"))


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
