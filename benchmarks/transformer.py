"""BERT-like encoders with random weights in which float16 overflows in some normalisations."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

__all__ = ["classifier", "encoder", "encoder_feed"]

_HEADS = 12
_EPSILON = 1e-5
# Trained encoders have channels that are far larger than the rest; this one's square leaves
# float16's range.
_OUTLIER = 700.0


class _Graph:
    """Nodes and weights as they are made."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self._rng = np.random.default_rng(seed)

    def op(self, op_type: str, *inputs: str, **attributes: object) -> str:
        name = f"v{len(self.nodes)}"
        node = helper.make_node(op_type, list(inputs), [name], name=f"{op_type}_{name}")
        node.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())
        self.nodes.append(node)
        return name

    def weight(self, *shape: int, scale: float) -> str:
        values = self._rng.standard_normal(shape, np.float32) * np.float32(scale)
        return self.constant(values)

    def constant(self, values: object) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.asarray(values)
        return name

    def linear(self, x: str, rows: int, columns: int) -> str:
        product = self.op("MatMul", x, self.weight(rows, columns, scale=rows**-0.5))
        return self.op("Add", product, self.weight(columns, scale=0.02))

    def norm(self, x: str, hidden: int, outlier: float) -> str:
        """A layer normalisation as exporters of old decompose it."""
        mean = self.op("ReduceMean", x, axes=[-1])
        centred = self.op("Sub", x, mean)
        square = self.op("Pow", centred, self.constant(np.float32(2)))
        variance = self.op("ReduceMean", square, axes=[-1])
        root = self.op("Sqrt", self.op("Add", variance, self.constant(np.float32(_EPSILON))))
        scaled = self.op("Mul", self.op("Div", centred, root), self.weight(hidden, scale=1.0))
        bias = np.zeros(hidden, np.float32)
        bias[7] = outlier
        return self.op("Add", scaled, self.constant(bias))


def encoder(layers: int = 4, hidden: int = 768, *, seed: int = 0) -> ModelProto:
    """`layers` blocks of attention and a feed-forward of 4 times `hidden`; x, y: [1, 32, hidden].

    The middle layer has the outlier. Every element of the last hidden state is judged, so that the
    error budget decides. Four layers of 768 have about 113 MB of float32 weights.
    """
    graph = _Graph(seed)
    _blocks(graph, layers, hidden, {layers // 2})
    return _model(graph, hidden, [1, 32, hidden])


def classifier(
    layers: int = 12, hidden: int = 768, labels: int = 10, *, seed: int = 0
) -> ModelProto:
    """BERT-base's size under a sequence classifier; x: [1, 32, hidden], y: [1, labels].

    A quarter of the layers have outliers, as trained encoders have in the middle. What overflows
    there decides: probabilities bear the error of the rest. About 340 MB of float32 weights.
    """
    graph = _Graph(seed)
    x = _blocks(graph, layers, hidden, set(range(layers // 3, layers // 3 + layers // 4)))
    first = graph.op("Gather", x, graph.constant(np.array(0, np.int64)), axis=1)
    pooled = graph.op("Tanh", graph.linear(first, hidden, hidden))
    graph.op("Softmax", graph.linear(pooled, hidden, labels), axis=-1)
    return _model(graph, hidden, [1, labels])


def _blocks(graph: _Graph, layers: int, hidden: int, outliers: set[int]) -> str:
    x = "x"
    for layer in range(layers):
        attended = _attention(graph, x, hidden)
        outlier = _OUTLIER if layer in outliers else 0.0
        x = graph.norm(graph.op("Add", x, attended), hidden, outlier)
        inner = _gelu(graph, graph.linear(x, hidden, 4 * hidden))
        x = graph.norm(graph.op("Add", x, graph.linear(inner, 4 * hidden, hidden)), hidden, 0.0)
    return x


def _model(graph: _Graph, hidden: int, result: list[int]) -> ModelProto:
    graph.nodes[-1].output[0] = "y"
    shapes = {"x": [1, 32, hidden], "y": result}
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]
    weights = [numpy_helper.from_array(array, name) for name, array in graph.weights.items()]
    proto = helper.make_graph(graph.nodes, "encoder", ports[:1], ports[1:], weights)
    return helper.make_model(proto, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def encoder_feed(hidden: int = 768, *, seed: int = 0) -> dict[str, np.ndarray]:
    """An input of an encoder."""
    rng = np.random.default_rng(seed)
    return {"x": rng.standard_normal((1, 32, hidden), np.float32)}


def _attention(graph: _Graph, x: str, hidden: int) -> str:
    width = hidden // _HEADS
    split = graph.constant(np.array([1, 32, _HEADS, width], np.int64))
    parts = [
        graph.op("Transpose", graph.op("Reshape", graph.linear(x, hidden, hidden), split), perm=p)
        for p in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
    ]
    scores = graph.op("MatMul", parts[0], parts[1])
    scores = graph.op("Div", scores, graph.constant(np.float32(width**0.5)))
    mixed = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), parts[2])
    joined = graph.op("Transpose", mixed, perm=[0, 2, 1, 3])
    flat = graph.op("Reshape", joined, graph.constant(np.array([1, 32, hidden], np.int64)))
    return graph.linear(flat, hidden, hidden)


def _gelu(graph: _Graph, x: str) -> str:
    scaled = graph.op("Div", x, graph.constant(np.float32(2**0.5)))
    gate = graph.op("Add", graph.op("Erf", scaled), graph.constant(np.float32(1)))
    half = graph.op("Mul", x, gate)
    return graph.op("Mul", half, graph.constant(np.float32(0.5)))
