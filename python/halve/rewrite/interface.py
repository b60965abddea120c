"""Pass: declare the new types of graph inputs, outputs and annotated values.

1. A float32 input or output has the type that keep_io_types leaves it.
2. An input with a default has the type of its default.
3. A value_info entry follows its value; one of a dropped value goes.
"""

from __future__ import annotations

from onnx import ValueInfoProto

from halve.plan.analysis import Value
from halve.rewrite.casts import made_type
from halve.rewrite.state import Rewriting
from halve.types import DType

__all__ = ["declare_types"]


def declare_types(state: Rewriting) -> None:
    """Run the pass."""
    graph = state.proto.graph
    weights = {tensor.name: tensor.data_type for tensor in graph.initializer}
    values = state.analysis.values
    for info in graph.input:
        value = values[info.name]
        if value.elem == DType.FLOAT:
            _set(state, info, weights.get(info.name, made_type(state, value)))
    for info in graph.output:
        if values[info.name].elem == DType.FLOAT:
            _set(state, info, state.io_type(values[info.name]))
    _declare_inner(state, weights)


def _declare_inner(state: Rewriting, weights: dict[str, int]) -> None:
    """Rule 3."""
    gone: list[int] = []
    for number, info in enumerate(state.proto.graph.value_info):
        value = state.analysis.values.get(info.name)
        if value is None or value.elem != DType.FLOAT:
            continue
        if value.source is not None and value.source[0].id in state.dropped:
            gone.append(number)
        else:
            _set(state, info, weights.get(info.name) or _inner_type(state, value))
    for number in reversed(gone):
        del state.proto.graph.value_info[number]


def _inner_type(state: Rewriting, value: Value) -> int:
    if value.is_output:
        return state.io_type(value)
    if state.is_weight(value):  # a Constant node: a copy in the other type has another name
        wanted = state.wanted(value)
        return state.options.half if wanted == {state.options.half} else DType.FLOAT
    return made_type(state, value)


def _set(state: Rewriting, info: ValueInfoProto, elem: int) -> None:
    tensor = info.type.tensor_type
    if info.type.WhichOneof("value") == "tensor_type" and tensor.elem_type != elem:
        tensor.elem_type = elem
        state.changed = True
