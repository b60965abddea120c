"""Writes synthetic models of any size in bounded memory. Same arguments, same bytes.

`python benchmarks/models.py external|embedded SIZE_BYTES OUT` writes a stack of transformer
blocks with float32 weights: beside the model in one file, or inside it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

__all__ = ["chain_model", "data_path", "write_embedded", "write_external"]

_HIDDEN = 2048
_SCORE_SCALE = _HIDDEN**-0.5
_OPSET = 17
# Weights are drawn in blocks of this many values (16 MiB), each from its own stream of numbers.
_BLOCK = 4 << 20
_ALIGNMENT = 4096
_PAYLOAD_FIELD = 9  # TensorProto.raw_data
_INITIALIZER_FIELD = 5  # GraphProto.initializer
_GRAPH_FIELD = 7  # ModelProto.graph


@dataclass(frozen=True, slots=True)
class _Weight:
    name: str
    shape: tuple[int, ...]
    scale: float

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        return 4 * self.size


def data_path(model: Path) -> Path:
    """Where the weights of an external-data model lie."""
    return model.with_name(model.name + ".data")


def write_external(path: Path, size_bytes: int) -> None:
    """A model of about `size_bytes` with its weights in `data_path(path)`."""
    weights, nodes = _stack(size_bytes)
    offset = 0
    initializers = []
    with data_path(path).open("wb") as data:
        for number, weight in enumerate(weights):
            offset += -offset % _ALIGNMENT
            data.seek(offset)
            _write_payload(data, number, weight)
            initializers.append(_external(weight, data_path(path).name, offset))
            offset += weight.nbytes
    model = _model(nodes)
    model.graph.initializer.extend(initializers)
    path.write_bytes(model.SerializeToString())


def write_embedded(path: Path, size_bytes: int) -> None:
    """A model of about `size_bytes` (below 2 GiB) in one file, written field by field."""
    weights, nodes = _stack(size_bytes)
    model = _model(nodes)
    graph = model.graph.SerializeToString()
    model.ClearField("graph")
    heads = [_head(weight) for weight in weights]
    length = len(graph) + sum(
        len(head) + weight.nbytes for head, weight in zip(heads, weights, strict=True)
    )
    with path.open("wb") as file:
        file.write(model.SerializeToString() + _tag(_GRAPH_FIELD, length) + graph)
        for number, (head, weight) in enumerate(zip(heads, weights, strict=True)):
            file.write(head)
            _write_payload(file, number, weight)


def chain_model(node_count: int) -> ModelProto:
    """A graph of `node_count` nodes: residual blocks with weights, no payload worth mentioning."""
    nodes, weights, value = [], [], "x"
    for i in range(0, node_count, 4):
        weights.append(helper.make_tensor(f"w{i}", TensorProto.FLOAT, [2, 2], [1.0, 0, 0, 1.0]))
        nodes += [
            helper.make_node("MatMul", [value, f"w{i}"], [f"m{i}"], f"matmul{i}"),
            helper.make_node("Sigmoid", [f"m{i}"], [f"s{i}"], f"sigmoid{i}"),
            helper.make_node("Mul", [f"m{i}", f"s{i}"], [f"g{i}"], f"mul{i}"),
            helper.make_node("Add", [value, f"g{i}"], [f"a{i}"], f"add{i}"),
        ]
        value = f"a{i}"
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])
    y = helper.make_tensor_value_info(value, TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph(nodes, "chain", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)


def _model(nodes: list[NodeProto]) -> ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "sequence", _HIDDEN])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "sequence", _HIDDEN])
    graph: GraphProto = helper.make_graph(nodes, "stack", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)


def _stack(size_bytes: int) -> tuple[list[_Weight], list[NodeProto]]:
    """As many blocks as fit into `size_bytes`, at least one; the last one ends in y."""
    weights: list[_Weight] = []
    nodes: list[NodeProto] = []
    value, number = "x", 0
    while not number or sum(w.nbytes for w in weights) * (number + 1) / number <= size_bytes:
        more, value = _block(f"block{number}", value, nodes)
        weights += more
        number += 1
    nodes.append(helper.make_node("Identity", [value], ["y"], "result"))
    return weights, nodes


def _block(name: str, x: str, nodes: list[NodeProto]) -> tuple[list[_Weight], str]:
    """One transformer block: attention over the sequence and a gated feed-forward part."""
    weights: list[_Weight] = []

    def call(op: str, out: str, *inputs: str, **attributes: object) -> str:
        output = f"{name}.{out}"
        nodes.append(helper.make_node(op, list(inputs), [output], output, **attributes))
        return output

    def weight(what: str, *shape: int, scale: float = 0.02) -> str:
        weights.append(_Weight(f"{name}.{what}", shape, scale))
        return weights[-1].name

    def normed(what: str, value: str) -> str:
        scale, bias = weight(f"{what}.scale", _HIDDEN), weight(f"{what}.bias", _HIDDEN)
        return call("LayerNormalization", what, value, scale, bias, axis=-1)

    def dense(what: str, value: str, rows: int, columns: int) -> str:
        product = call("MatMul", f"{what}.matmul", value, weight(f"{what}.weight", rows, columns))
        return call("Add", f"{what}.add", product, weight(f"{what}.bias", columns))

    h = _HIDDEN
    inner = normed("norm1", x)
    q, k, v = (dense(part, inner, h, h) for part in ("query", "key", "value"))
    k = call("Transpose", "key.transpose", k, perm=[0, 2, 1])
    scores = call("MatMul", "scores", q, k)
    scores = call("Mul", "scaled", scores, weight("scale", 1, scale=_SCORE_SCALE))
    mixed = call("MatMul", "mixed", call("Softmax", "softmax", scores, axis=-1), v)
    x = call("Add", "residual1", x, dense("output", mixed, h, h))
    wide = dense("up", normed("norm2", x), h, 4 * h)
    gated = call("Mul", "gate", wide, call("Sigmoid", "sigmoid", wide))
    return weights, call("Add", "residual2", x, dense("down", gated, 4 * h, h))


def _payload(number: int, weight: _Weight) -> Iterator[np.ndarray]:
    for block, start in enumerate(range(0, weight.size, _BLOCK)):
        generator = np.random.Generator(np.random.Philox(key=[number, block]))
        count = min(_BLOCK, weight.size - start)
        yield generator.standard_normal(count, np.float32) * np.float32(weight.scale)


def _write_payload(file: BinaryIO, number: int, weight: _Weight) -> None:
    for values in _payload(number, weight):
        file.write(values.tobytes())


def _external(weight: _Weight, location: str, offset: int) -> TensorProto:
    tensor = TensorProto(name=weight.name, data_type=TensorProto.FLOAT, dims=weight.shape)
    tensor.data_location = TensorProto.EXTERNAL
    where = {"location": location, "offset": offset, "length": weight.nbytes}
    for key, value in where.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _head(weight: _Weight) -> bytes:
    """The bytes of an initializer up to its payload."""
    tensor = TensorProto(name=weight.name, data_type=TensorProto.FLOAT, dims=weight.shape)
    body = tensor.SerializeToString() + _tag(_PAYLOAD_FIELD, weight.nbytes)
    return _tag(_INITIALIZER_FIELD, len(body) + weight.nbytes) + body


def _tag(field: int, length: int) -> bytes:
    """The head of a length-delimited protobuf field."""
    return _varint(field << 3 | 2) + _varint(length)


def _varint(value: int) -> bytes:
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)


if __name__ == "__main__":
    kind, size, out = sys.argv[1:]
    write = {"external": write_external, "embedded": write_embedded}[kind]
    write(Path(out), int(size))
