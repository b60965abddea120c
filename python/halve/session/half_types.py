"""Which 16-bit float types a model holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from halve.session.scope import bodies

__all__ = ["half_types"]

_HALF_NAMES = {int(TensorProto.FLOAT16): "float16", int(TensorProto.BFLOAT16): "bfloat16"}
# Attributes that name an element type (to: Cast; output_datatype: windows).
_TYPE_ATTRIBUTES = {"to", "dtype", "output_dtype", "output_datatype"}


def half_types(model: ModelProto) -> tuple[str, ...]:
    """The 16-bit float types of a model's values, bodies and functions included.

    Found by what is written in the model (tensors, ports, and attributes that name a type), so a
    custom operator that makes 16-bit values of nothing else goes unseen.
    """
    found = set(_graph_types(model.graph))
    for function in model.functions:
        found |= set(_node_types(function.node))
    return tuple(sorted(_HALF_NAMES[code] for code in found if code in _HALF_NAMES))


def _graph_types(graph: GraphProto) -> Iterator[int]:
    for tensor in graph.initializer:
        yield tensor.data_type
    for sparse in graph.sparse_initializer:
        yield sparse.values.data_type
    for port in (*graph.input, *graph.output):
        yield _port_type(port)
    yield from _node_types(graph.node)


def _port_type(port: ValueInfoProto) -> int:
    kind = port.type
    while kind.WhichOneof("value") in ("sequence_type", "optional_type"):
        inner = kind.sequence_type if kind.HasField("sequence_type") else kind.optional_type
        kind = inner.elem_type
    return kind.tensor_type.elem_type


def _node_types(nodes: Iterable[NodeProto]) -> Iterator[int]:
    for node in nodes:
        for attribute in node.attribute:
            yield from _attribute_types(attribute)
        for body in bodies(node):
            yield from _graph_types(body)


def _attribute_types(attribute: AttributeProto) -> Iterator[int]:
    if attribute.type == AttributeProto.TENSOR:
        yield attribute.t.data_type
    elif attribute.type == AttributeProto.TENSORS:
        yield from (tensor.data_type for tensor in attribute.tensors)
    elif attribute.type == AttributeProto.SPARSE_TENSOR:
        yield attribute.sparse_tensor.values.data_type
    elif attribute.type == AttributeProto.INT and attribute.name in _TYPE_ATTRIBUTES:
        yield attribute.i
