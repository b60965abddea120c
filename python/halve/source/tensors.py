"""Every tensor of a model, and the entry that stands for a payload left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto

from halve.types import PAYLOAD_KEY

__all__ = [
    "add_payload",
    "clear_payload",
    "inline_fields",
    "is_external",
    "iter_tensors",
    "payload_index",
    "payload_indices",
    "set_payload",
    "text",
]

# Where a tensor can hold its payload, with the fields' numbers.
_INLINE_FIELDS = {
    "float_data": 4,
    "int32_data": 5,
    "string_data": 6,
    "int64_data": 7,
    "raw_data": 9,
    "double_data": 10,
    "uint64_data": 11,
}


def text(value: str | bytes) -> str:
    """A protobuf string as str, for messages and records.

    protobuf hands out bytes where a string is not valid UTF-8; those bytes become surrogates.
    """
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")


def iter_tensors(proto: ModelProto) -> Iterator[tuple[str, TensorProto]]:
    """Every TensorProto of a model with words that say where it is.

    The main graph first, then functions, then training graphs; initializers, sparse initializers
    and nodes in the order of the file, subgraphs at their attribute.
    """
    yield from _graph(proto.graph, "graph")
    for function in proto.functions:
        where = f"function {text(function.domain) + ':' + text(function.name)!r}"
        yield from _attributes(function.attribute_proto, where)
        yield from _nodes(function.node, where)
    for number, training in enumerate(proto.training_info):
        for name in ("initialization", "algorithm"):
            if training.HasField(name):
                yield from _graph(getattr(training, name), f"training_info {number} {name}")


def payload_index(tensor: TensorProto) -> int | None:
    """The index of the payload that was left out of `tensor`, or None where it has its own."""
    indices = payload_indices(tensor) if tensor.external_data else ()
    return indices[0] if indices else None


def payload_indices(tensor: TensorProto) -> tuple[int, ...]:
    """The indices of all PAYLOAD_KEY entries: several where protobuf merged several pieces."""
    entries = (entry.value for entry in tensor.external_data if entry.key == PAYLOAD_KEY)
    return tuple(int(value) if _is_number(value) else -1 for value in entries)


def is_external(tensor: TensorProto) -> bool:
    """Whether the tensor says that its payload lies in a file of its own."""
    return tensor.data_location == TensorProto.EXTERNAL


def inline_fields(tensor: TensorProto) -> tuple[int, ...]:
    """The numbers of the fields that hold payload in the tensor itself."""
    return tuple(number for name, number in _INLINE_FIELDS.items() if len(getattr(tensor, name)))


def set_payload(tensor: TensorProto, index: int) -> None:
    """Let payload `index` be the tensor's only payload; all else about the tensor stays."""
    clear_payload(tensor)
    add_payload(tensor, index)


def add_payload(tensor: TensorProto, index: int) -> None:
    """Add an entry for payload `index`, besides what the tensor has."""
    tensor.external_data.add(key=PAYLOAD_KEY, value=str(index))


def clear_payload(tensor: TensorProto) -> None:
    """Remove the tensor's payload in every form; name, type, shape and documentation stay."""
    for field in (*_INLINE_FIELDS, "external_data", "data_location"):
        tensor.ClearField(field)


def _is_number(value: str | bytes) -> bool:
    return isinstance(value, str) and value.isascii() and value.isdecimal()


def _graph(graph: GraphProto, where: str) -> Iterator[tuple[str, TensorProto]]:
    for tensor in graph.initializer:
        yield f"{where}, initializer {text(tensor.name)!r}", tensor
    for sparse in graph.sparse_initializer:
        name = text(sparse.values.name)
        yield from _sparse(sparse, f"{where}, sparse initializer {name!r}")
    yield from _nodes(graph.node, where)


def _nodes(nodes: Iterable[NodeProto], where: str) -> Iterator[tuple[str, TensorProto]]:
    for number, node in enumerate(nodes):
        # Most nodes have only numbers as attributes; words are made for the others.
        attributes = [a for a in node.attribute if _may_hold_tensors(a)]
        if attributes:
            label = f"{where}, node {number} {text(node.name)!r} ({text(node.op_type)})"
            yield from _attributes(attributes, label)


def _may_hold_tensors(attribute: AttributeProto) -> bool:
    # By content: old files leave the attribute's type out.
    return (
        attribute.HasField("t")
        or attribute.HasField("g")
        or attribute.HasField("sparse_tensor")
        or bool(attribute.tensors)
        or bool(attribute.graphs)
        or bool(attribute.sparse_tensors)
    )


def _attributes(
    attributes: Iterable[AttributeProto], where: str
) -> Iterator[tuple[str, TensorProto]]:
    for attribute in attributes:
        label = f"{where}, attribute {text(attribute.name)!r}"
        if attribute.HasField("t"):
            yield label, attribute.t
        if attribute.HasField("sparse_tensor"):
            yield from _sparse(attribute.sparse_tensor, label)
        if attribute.HasField("g"):
            yield from _graph(attribute.g, label)
        yield from _lists(attribute, label)


def _lists(attribute: AttributeProto, label: str) -> Iterator[tuple[str, TensorProto]]:
    for number, tensor in enumerate(attribute.tensors):
        yield f"{label}[{number}]", tensor
    for number, sparse in enumerate(attribute.sparse_tensors):
        yield from _sparse(sparse, f"{label}[{number}]")
    for number, graph in enumerate(attribute.graphs):
        yield from _graph(graph, f"{label}[{number}]")


def _sparse(sparse: SparseTensorProto, where: str) -> Iterator[tuple[str, TensorProto]]:
    if sparse.HasField("values"):
        yield f"{where} values", sparse.values
    if sparse.HasField("indices"):
        yield f"{where} indices", sparse.indices
