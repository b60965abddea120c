"""How a tensor of the output gets, or points to, its payload."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from halve.types import CastJob

__all__ = ["RAW_DATA", "embedded_field", "initializers", "merge_field", "point_to_file", "varint"]

RAW_DATA = 9
# float_data and double_data: little-endian on the wire, packed, so payload passes unchanged.
_TYPED_FIELDS = (4, 10)


def embedded_field(job: CastJob) -> int:
    """The TensorProto field that a job's result goes to: its own for a copy, else raw_data."""
    return job.ref.field if job.is_copy and job.ref.field in _TYPED_FIELDS else RAW_DATA


def point_to_file(tensor: TensorProto, location: str, offset: int, nbytes: int) -> None:
    """Make `tensor` refer to bytes of a file beside the model."""
    del tensor.external_data[:]
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(nbytes))):
        tensor.external_data.add(key=key, value=value)


def merge_field(tensor: TensorProto, field: int, payload: bytes) -> None:
    """Set raw_data (9), or append little-endian `payload` to float_data (4) or double_data (10).

    The typed fields go in by their wire format, so that no Python number is made an element.
    """
    if field == RAW_DATA:
        tensor.raw_data = payload
    else:
        tensor.MergeFromString(bytes([field << 3 | 2]) + varint(len(payload)) + payload)


def varint(value: int) -> bytes:
    """A number of 0 or more as protobuf writes it."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def initializers(proto: ModelProto) -> Iterator[TensorProto]:
    """The initializers that a runtime loads: of the main graph, of functions, and of the graphs
    inside their nodes.
    """
    yield from _in_graph(proto.graph)
    for function in proto.functions:
        yield from _in_nodes(function.node)


def _in_graph(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    yield from _in_nodes(graph.node)


def _in_nodes(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _in_graph(attribute.g)
            for graph in attribute.graphs:
                yield from _in_graph(graph)
