"""Tiny models for tests: builders and ready-made ones, loadable by the oldest supported runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper, parser

FLOAT = int(TensorProto.FLOAT)
FLOAT16 = int(TensorProto.FLOAT16)
BFLOAT16 = int(TensorProto.BFLOAT16)
INT64 = int(TensorProto.INT64)
BOOL = int(TensorProto.BOOL)

OPSET = 17
IR_VERSION = 8
NUMPY_TYPES: dict[int, Any] = {
    FLOAT: np.float32,
    FLOAT16: np.float16,
    BFLOAT16: ml_dtypes.bfloat16,
    INT64: np.int64,
    BOOL: np.bool_,
}

Shape = Sequence[int | str | None] | None
Values = Mapping[str, tuple[int, Shape]]


def build(
    nodes: Sequence[NodeProto],
    inputs: Values,
    outputs: Values,
    weights: Mapping[str, NDArray[Any]] | None = None,
    *,
    opset: int = OPSET,
    ir_version: int = IR_VERSION,
    domains: Mapping[str, int] | None = None,
    value_info: Values | None = None,
) -> ModelProto:
    """A model; inputs, outputs and value_info map a name to an element type and a shape."""
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        _values(inputs),
        _values(outputs),
        [tensor(name, array) for name, array in (weights or {}).items()],
        value_info=_values(value_info or {}),
    )
    opsets = [helper.make_opsetid("", opset)]
    opsets += [helper.make_opsetid(name, version) for name, version in (domains or {}).items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def text_model(
    graph: str,
    functions: str = "",
    *,
    weights: Mapping[str, NDArray[Any]] | None = None,
    opset: int = OPSET,
    ir_version: int = IR_VERSION,
    domains: Mapping[str, int] | None = None,
) -> ModelProto:
    """A model from ONNX's text form, such as "g (float[N] x) => (float[N] y) { y = Relu(x) }".

    `weights` become initializers; in the text, float16 ones would have to be written as bits.
    """
    imports = {"": opset, **(domains or {})}
    opsets = ", ".join(f'"{name}" : {version}' for name, version in imports.items())
    head = f"<ir_version: {ir_version}, opset_import: [{opsets}]>"
    model = parser.parse_model(f"{head}\n{graph}\n{functions}")
    model.graph.initializer.extend(tensor(name, array) for name, array in (weights or {}).items())
    return model


def tensor(name: str, array: NDArray[Any]) -> TensorProto:
    """An initializer; onnx's own builder knows ml_dtypes' bfloat16 only from some release on."""
    if array.dtype != NUMPY_TYPES[BFLOAT16]:
        return numpy_helper.from_array(array, name)
    return TensorProto(name=name, data_type=BFLOAT16, dims=array.shape, raw_data=array.tobytes())


def dyadic(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Multiples of 1/16 in [-1, 1]: exact in float16, and sums of products exact in float32."""
    return (rng.integers(-16, 17, shape) / 16).astype(np.float32)


def mlp_weights(sizes: Sequence[int] = (16, 16, 8), *, seed: int = 0) -> dict[str, NDArray[Any]]:
    """float32 weights w0, b0, w1, b1, … of an MLP, all exact in float16."""
    rng = np.random.default_rng(seed)
    weights: dict[str, NDArray[Any]] = {}
    for index, (rows, columns) in enumerate(pairwise(sizes)):
        weights[f"w{index}"] = dyadic(rng, rows, columns)
        weights[f"b{index}"] = dyadic(rng, columns)
    return weights


def mlp(sizes: Sequence[int] = (16, 16, 8), *, dtype: int = FLOAT, seed: int = 0) -> ModelProto:
    """MatMul, Add and Relu a layer (no Relu at the end), all of one type; input x, output y."""
    weights = {
        name: array.astype(NUMPY_TYPES[dtype])
        for name, array in mlp_weights(sizes, seed=seed).items()
    }
    nodes: list[NodeProto] = []
    value, layers = "x", len(sizes) - 1
    for index in range(layers):
        last = index == layers - 1
        nodes.append(helper.make_node("MatMul", [value, f"w{index}"], [f"m{index}"]))
        added = "y" if last else f"a{index}"
        nodes.append(helper.make_node("Add", [f"m{index}", f"b{index}"], [added]))
        if not last:
            value = f"h{index}"
            nodes.append(helper.make_node("Relu", [added], [value]))
    return build(nodes, {"x": (dtype, ["n", sizes[0]])}, {"y": (dtype, ["n", sizes[-1]])}, weights)


def _values(values: Values) -> list[ValueInfoProto]:
    return [
        helper.make_tensor_value_info(name, dtype, shape) for name, (dtype, shape) in values.items()
    ]
