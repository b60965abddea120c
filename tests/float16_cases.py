"""Small valid models, by what onnxconverter-common 1.16.0 makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from models import text_model

__all__ = ["BOTH_WORK", "MORE_CASTS", "ORIGINAL_FAILS", "Case"]


@dataclass(frozen=True)
class Case:
    """A model and what is asked of the converter.

    `loads` is false where ONNX Runtime refuses the float32 model, too.
    """

    name: str
    graph: str
    feeds: Mapping[str, NDArray[Any]]
    opset: int = 17
    functions: str = ""
    weights: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    named: bool = True
    loads: bool = True
    domains: Mapping[str, int] = field(default_factory=dict)

    def model(self) -> ModelProto:
        """The float32 model, its nodes named n0, n1, … where `named`."""
        model = text_model(
            self.graph,
            self.functions,
            weights=self.weights,
            opset=self.opset,
            domains={"local": 1, **self.domains} if self.functions else self.domains,
        )
        return _named(model) if self.named else model


X = {"x": np.array([[0.5, -1.25, 2.0], [3.0, 0.125, -4.0]], np.float32)}
IMAGE = {"x": np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4) / 8}
W = {"w": np.array([[1, 2, 0.5], [0.25, -1, 3], [2, 0, 1]], np.float32)}

# onnx's full check or ONNX Runtime refuses what the original returns.
ORIGINAL_FAILS = (
    Case(
        "a Cast to float",
        "g (int64[2,3] i, float[2,3] x) => (float[2,3] y) { c = Cast<to=1>(i)  y = Add(c, x) }",
        {"i": np.ones((2, 3), np.int64), **X},
    ),
    Case(
        "Constant value_float",
        "g (float[2,3] x) => (float[2,3] y) { c = Constant<value_float=1.5>()  y = Mul(x, c) }",
        X,
    ),
    Case(
        "Constant value_floats",
        "g (float[2,3] x) => (float[2,3] y)"
        " { c = Constant<value_floats=[1.5, 2.0, 0.5]>()  y = Mul(x, c) }",
        X,
    ),
    Case(
        "Resize scales, with Resize not blocked",
        "g (float[1,1,4,4] x) => (float[1,1,8,8] y) { a = Relu(x)  y = Resize(a, , scales) }",
        IMAGE,
        weights={"scales": np.array([1, 1, 2, 2], np.float32)},
        options={"op_block_list": []},
    ),
    Case(
        "two blocked nodes without names",
        "g (float[2,3] x) => (float[2,3] y, float[2,3] z)"
        " { a = Relu(x)  b = Neg(x)  y = Softmax(a)  z = Softmax(b) }",
        X,
        options={"op_block_list": ["Softmax"]},
        named=False,
    ),
    Case(
        "inputs kept, nodes without names",
        "g (float[2,3] x) => (float[2,3] y) { a = Relu(x)  b = Neg(x)  y = Add(a, b) }",
        X,
        options={"keep_io_types": True},
        named=False,
    ),
    Case(
        "an initializer shared across precisions",
        "g (float[2,3] x) => (float[2,3] y, float[2,3] z) { y = MatMul(x, w)  z = Gemm(x, w) }",
        X,
        weights=W,
        options={"node_block_list": ["n1"]},
    ),
    Case(
        "If with captured values",
        "g (bool c, float[2,3] x) => (float[2,3] y) { a = Relu(x)  y = If (c) <"
        " then_branch = t () => (float[2,3] p) { p = MatMul(a, w) },"
        " else_branch = e () => (float[2,3] q) { q = Neg(a) }> }",
        {"c": np.array(True), **X},
        weights=W,
        options={"keep_io_types": True},
    ),
    Case(
        "a Loop that carries float state",
        "g (float[2,3] x) => (float[2,3] y) { n = Constant<value_int=3>()"
        " t = Constant<value = bool {1}>() k = Cast<to=9>(t)  y = Loop (n, k, x) <"
        " body = b (int64 i, bool ci, float[2,3] s) => (bool co, float[2,3] r)"
        " { co = Identity(ci)  f = Cast<to=1>(i)  r = Add(s, f) }> }",
        X,
    ),
    Case(
        "a local function",
        "g (float[2,3] x) => (float[2,3] y) { a = Neg(x)  y = local.twice(a) }",
        X,
        functions='<domain: "local", opset_import: ["" : 17]> twice (x) => (y)'
        " { c = Constant<value = float {2.0}>()  y = Mul(x, c) }",
    ),
    Case(
        "an output that is read inside",
        "g (float[2,3] x) => (float[2,3] a, float[2,3] y) { a = Relu(x)  y = Neg(a) }",
        X,
        options={"keep_io_types": True},
    ),
    Case(
        "an output that is an initializer",
        "g (float[2,3] x) => (float[3,3] w, float[2,3] y) { y = MatMul(x, w) }",
        X,
        weights=W,
        options={"keep_io_types": True},
    ),
    Case(
        "RandomNormalLike with a dtype",
        "g (float[2,3] x) => (float[2,3] y)"
        " { r = RandomNormalLike<dtype=1, scale=0.0001>(x)  y = Add(x, r) }",
        X,
    ),
    Case(
        "ConstantOfShape without a value",
        "g (float[2,3] x) => (float[2,3] y)"
        " { s = Shape(x)  z = ConstantOfShape(s)  y = Add(x, z) }",
        X,
    ),
    Case(
        "a sequence",
        "g (float[2,3] x) => (float[4,3] y)"
        " { s = SequenceConstruct(x, x)  a = ConcatFromSequence<axis=0>(s)  y = Relu(a) }",
        X,
    ),
    Case(
        "a scale of QDQ below opset 19",
        "g (float[2,3] x) => (float[2,3] y) { a = Relu(x)  q = QuantizeLinear(a, s, z)"
        "  d = DequantizeLinear(q, s, z)  y = Neg(d) }",
        X,
        weights={"s": np.array(0.03125, np.float32), "z": np.array(0, np.uint8)},
    ),
    Case(
        "LayerNormalization statistics",
        "g (float[2,3] x) => (float[2,3] y, float[2,1] m) { y, m = LayerNormalization(x, k) }",
        X,
        weights={"k": np.ones(3, np.float32)},
    ),
    Case(
        "two blocked nodes of one name",
        "g (float[2,3] x) => (float[2,3] y, float[2,3] z)"
        " { a = Relu(x)  b = Neg(x)  [same] y = Softmax(a)  [same] z = Softmax(b) }",
        X,
        options={"op_block_list": ["Softmax"]},
        named=False,
        loads=False,
    ),
    Case(
        "a type that shape inference cannot tell",
        "g (float[2,3] x) => (float[2,3] y) { a = com.microsoft.Gelu(x)  y = Softmax(a) }",
        X,
        options={"op_block_list": ["Softmax"]},
        domains={"com.microsoft": 1},
    ),
)

# The original is right, with casts that need not be there.
MORE_CASTS = (
    Case(
        "two blocked nodes that share an input",
        "g (float[2,3] x) => (float[2,3] y, float[2,3] z)"
        " { a = Relu(x)  y = Softmax(a)  z = Softmax(a) }",
        X,
        options={"op_block_list": ["Softmax"]},
    ),
    Case(
        "a cast a consumer",
        "g (float[2,3] x) => (float[2,3] y) { a = Relu(x)  b = Neg(x)  y = Add(a, b) }",
        X,
        options={"keep_io_types": True},
    ),
)

BOTH_WORK = (
    Case(
        "float64 into a blocked node",
        "g (double[2,3] x, float[2,3] z) => (double[2,3] y)"
        " { b = Relu(x)  c = CastLike(z, b)  d = Add(b, c)  y = Softmax(d) }",
        {"x": X["x"].astype(np.float64), "z": X["x"]},
        options={"op_block_list": ["Softmax"]},
    ),
    Case(
        "CastLike of the same kind",
        "g (int64[2,3] i, float[2,3] x) => (float[2,3] y) { c = CastLike(i, x)  y = Add(c, x) }",
        {"i": np.ones((2, 3), np.int64), **X},
    ),
    Case(
        "Resize scales",
        "g (float[1,1,4,4] x) => (float[1,1,8,8] y) { a = Relu(x)  y = Resize(a, , scales) }",
        IMAGE,
        weights={"scales": np.array([1, 1, 2, 2], np.float32)},
    ),
    Case(
        "an input that is an output",
        "g (float[2,3] x) => (float[2,3] x, float[2,3] y) { y = Relu(x) }",
        X,
        options={"keep_io_types": True},
    ),
    Case(
        "integers of a blocked node",
        "g (float[2,3] x, int64[1] k) => (float[2,2] v, int64[2,2] i)"
        " { a = Relu(x)  v, i = TopK(a, k) }",
        {**X, "k": np.array([2])},
    ),
    Case(
        "a regular name with operators",
        "g (float[2,3] x) => (float[2,3] y) { a = Relu(x)  y = Neg(a) }",
        X,
        options={"node_block_list": ["n."]},
    ),
    Case(
        "a Scan",
        "g (float[3] s, float[2,3] x) => (float[3] f, float[2,3] y) { f, y = Scan"
        " <num_scan_inputs=1, body = b (float[3] a, float[3] v) => (float[3] r, float[3] o)"
        " { r = Add(a, v)  o = Identity(r) }> (s, x) }",
        {"s": np.zeros(3, np.float32), **X},
    ),
    Case(
        "unsorted",
        "g (float[2,3] x) => (float[2,3] y) { a = MatMul(x, w)  y = Relu(a) }",
        X,
        weights=W,
        options={"op_block_list": ["MatMul"]},
    ),
)


def _named(model: ModelProto) -> ModelProto:
    """The same model with a name for each node of the main graph."""
    for number, node in enumerate(model.graph.node):
        node.name = f"n{number}"
    return model
