"""Sizes of values, for weighing casts: inferred shapes where there are any, else one element."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

from onnx import GraphProto, ModelProto, ValueInfoProto

from halve.plan.analysis import Analysis, Value
from halve.plan.shapes import with_shapes

__all__ = ["value_bytes"]

_FLOAT_BYTES = 4


def value_bytes(analysis: Analysis, values: Sequence[Value]) -> dict[Value, int]:
    """Bytes of each float32 value. A dimension that is not known counts as 1.

    Types never depend on this, only where a cast is placed among equals.
    """
    shapes = _declared(analysis.proto)
    if any(value.scope.owner is None and value.name not in shapes for value in values):
        shapes = _declared(with_shapes(analysis.proto))
    return {
        value: _FLOAT_BYTES * (shapes.get(value.name, 1) if value.scope.owner is None else 1)
        for value in values
    }


def _declared(proto: ModelProto) -> dict[str | bytes, int]:
    """Elements of the main graph's values by name."""
    graph: GraphProto = proto.graph
    infos: Iterable[ValueInfoProto] = (*graph.input, *graph.output, *graph.value_info)
    return {info.name: _elements(info) for info in infos if info.type.HasField("tensor_type")}


def _elements(info: ValueInfoProto) -> int:
    return prod(max(1, dim.dim_value) for dim in info.type.tensor_type.shape.dim)
