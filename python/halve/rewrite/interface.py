"""Pass: declare the new types of inputs, outputs and annotated values in every scope.

1. A float32 input or output of the main graph has the type that keep_io_types leaves it; an input
   with a default has the type of its default.
2. A formal input or output of a subgraph has the type that its owner's slot was given.
3. A value_info entry follows its value; one of a dropped value goes.
4. A sequence is declared with the type that its tensors were given.
"""

from __future__ import annotations

from onnx import GraphProto, TypeProto

from halve.plan.analysis import Scope, Value
from halve.rewrite.state import Rewriting
from halve.types import DType

__all__ = ["declare_types"]


def declare_types(state: Rewriting) -> None:
    """Run the pass."""
    for scope, body in state.bodies.items():
        weights: dict[str, int] = {}
        if isinstance(body, GraphProto):
            weights = {tensor.name: tensor.data_type for tensor in body.initializer}
            _declare_formals(state, scope, body, weights)
        _declare_inner(state, scope, weights)


def _declare_formals(
    state: Rewriting, scope: Scope, graph: GraphProto, weights: dict[str, int]
) -> None:
    for number, info in enumerate(graph.input):
        value = scope.inputs[number]
        if value.elem == DType.FLOAT:
            _set(state, info.type, weights.get(info.name) or state.made_type(value))
        _set_held(state, info.type, value)
    for number, info in enumerate(graph.output):
        value = scope.outputs[number]
        if value.elem == DType.FLOAT:
            inner = state.scope_outputs.get(scope, {}).get(number)
            _set(state, info.type, inner or state.io_type(value))
        _set_held(state, info.type, value)


def _declare_inner(state: Rewriting, scope: Scope, weights: dict[str, int]) -> None:
    """Rule 3."""
    entries = state.bodies[scope].value_info
    gone: list[int] = []
    for number, info in enumerate(entries):
        value = scope.values.get(info.name)
        if value is None or not value.is_float:
            continue
        if value.source is not None and value.source[0].uid in state.dropped:
            gone.append(number)
        elif value.elem == DType.FLOAT:
            _set(state, info.type, weights.get(info.name) or _inner_type(state, value))
        _set_held(state, info.type, value)
    for number in reversed(gone):
        del entries[number]


def _inner_type(state: Rewriting, value: Value) -> int:
    if value.is_output:
        return state.io_type(value)
    if state.is_weight(value):  # a Constant node: a copy in the other type has another name
        wanted = state.wanted(value)
        return state.options.half if wanted == {state.options.half} else DType.FLOAT
    return state.made_type(value)


def _set_held(state: Rewriting, declared: TypeProto, value: Value) -> None:
    """Rule 4."""
    if value in state.half_sequences and declared.HasField("sequence_type"):
        _set(state, declared.sequence_type.elem_type, state.options.half)


def _set(state: Rewriting, declared: TypeProto, elem: int) -> None:
    tensor = declared.tensor_type
    if declared.WhichOneof("value") == "tensor_type" and tensor.elem_type not in (0, elem):
        tensor.elem_type = elem
        state.changed = True
