"""Pass: convert weights - initializers and Constant nodes - to the types in which they are read.

1. Read in one type only: converted in place (or left alone).
2. Read in both: split; the float32 one keeps the name, or the one that is a graph output.
3. An input with a default that is read in both types is cast instead, so that a value fed in its
   place reaches every reader. It is float32, or what it has to be as a graph output.
4. An initializer that nothing reads is converted where the plan makes anything 16-bit, so that it
   takes no more room than the others; one that a training graph or a quantization annotation may
   refer to stays.
5. With the option half_weights an initializer that float32 nodes read is stored 16-bit and cast,
   where the schema lets all that read it take 16 bits.
"""

from __future__ import annotations

from onnx import AttributeProto, GraphProto, NodeProto, TensorProto

from halve.errors import ModelError
from halve.plan.analysis import Kind, Value
from halve.plan.type_attributes import attribute
from halve.rewrite.state import Rewriting, type_tag
from halve.source import inline_ref, payload_index, set_payload, text
from halve.types import CastJob, DType

__all__ = ["convert_weights", "retype_tensor"]


def convert_weights(state: Rewriting) -> set[int]:
    """Run the pass; returns the indices of the values that it settled."""
    tensors = {
        value: tensor
        for scope, body in state.bodies.items()
        if isinstance(body, GraphProto)
        for tensor in body.initializer
        if (value := scope.values[tensor.name])
    }
    settled: set[int] = set()
    unread_type: set[int] = {state.options.half} if _is_any_half(state) else set()
    named = _named_elsewhere(state)
    for value in state.float_values():
        if not state.is_weight(value):
            continue
        wanted = state.wanted(value)
        if not wanted and value in tensors and value.name not in named:
            wanted = unread_type  # rule 4
        if len(wanted) == 2 and value.is_input:
            if state.made_type(value) == state.options.half:
                _convert(state, value, tensors)
            continue  # rule 3: the casts pass takes it
        if DType.FLOAT in wanted and state.options.half_weights and _may_be_half(state, value):
            _convert(state, value, tensors)
            state.stored_half.add(value)
            continue  # rule 5: the casts pass takes it
        settled.add(value.index)
        if len(wanted) == 2:
            _split(state, value, tensors)
        elif state.options.half in wanted:
            _convert(state, value, tensors)
    return settled


def _may_be_half(state: Rewriting, value: Value) -> bool:
    """Rule 5."""
    if value.kind != Kind.INITIALIZER or value.is_input or value.is_output or value.exits:
        return False
    half = state.options.half
    return all(
        node.rule is not None and node.rule.allows(node.in_types[slot][0], half)
        for node, slot in value.readers
    )


def _is_any_half(state: Rewriting) -> bool:
    # Casts at the borders are there in a converted model, and not before.
    half = state.options.dtype
    return any(node.dtype == half and node.type != "Cast" for node in state.plan.nodes)


def _named_elsewhere(state: Rewriting) -> set[str | bytes]:
    """Names of initializers that something other than nodes may refer to."""
    named: set[str | bytes] = set()
    for scope, body in state.bodies.items():
        if isinstance(body, GraphProto):
            notes = body.quantization_annotation
            named.update(e.value for note in notes for e in note.quant_parameter_tensor_names)
            named.update(scope.values if state.proto.training_info else ())
    return named


def _convert(state: Rewriting, value: Value, tensors: dict[Value, TensorProto]) -> None:
    """Rule 1."""
    if value.kind == Kind.INITIALIZER:
        retype_tensor(state, tensors[value], state.options.half, f"initializer {value.name!r}")
        return
    node = _producer(state, value)
    _retype_constant(state, node)


def _split(state: Rewriting, value: Value, tensors: dict[Value, TensorProto]) -> None:
    """Rule 2."""
    half = state.options.half
    half_is_output = value.is_output and state.io_type(value) == half
    other = DType.FLOAT if half_is_output else half
    name = state.fresh(value.scope, value.name, f"_{type_tag(other)}")
    if value.kind == Kind.INITIALIZER:
        _split_initializer(state, value, tensors[value], name)
    else:
        _split_constant(state, value, name, half_is_output)
    state.repoint([r for r in state.readers(value) if r.elem == other], name)


def _split_initializer(state: Rewriting, value: Value, tensor: TensorProto, name: str) -> None:
    body = state.bodies[value.scope]
    if not isinstance(body, GraphProto):
        raise ModelError(f"initializer {value.name!r} is not in a graph")
    copy = body.initializer.add()
    copy.CopyFrom(tensor)
    copy.name = name
    _own_payload(state, copy)
    half_is_output = value.is_output and state.io_type(value) == state.options.half
    half = tensor if half_is_output else copy
    retype_tensor(state, half, state.options.half, f"initializer {tensor.name!r}")


def _split_constant(state: Rewriting, value: Value, name: str, half_is_output: bool) -> None:
    node = _producer(state, value)
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.output[0] = name
    copy.name = state.fresh(value.scope, node.name or value.name, "_split")
    fill = attribute(copy, "value")
    if fill is not None:
        _own_payload(state, fill.t)
    _retype_constant(state, node if half_is_output else copy)
    state.insert(copy, value)


def _producer(state: Rewriting, value: Value) -> NodeProto:
    if value.source is None:
        raise ModelError(f"constant {value.name!r} has no node that makes it")
    return state.nodes[value.source[0].uid]


def _retype_constant(state: Rewriting, node: NodeProto) -> None:
    fill = attribute(node, "value")
    if fill is None:
        fill = _as_tensor_attribute(node)
    retype_tensor(state, fill.t, state.options.half, f"the value of Constant {node.output[0]!r}")


def _as_tensor_attribute(node: NodeProto) -> AttributeProto:
    """Turn value_float or value_floats into a tensor, since those are float32 by definition."""
    scalar = attribute(node, "value_float")
    floats = attribute(node, "value_floats")
    tensor = TensorProto(data_type=DType.FLOAT)
    if scalar is not None:
        tensor.float_data.append(scalar.f)
    elif floats is not None:
        tensor.dims.append(len(floats.floats))
        tensor.float_data.extend(floats.floats)
    del node.attribute[:]
    value: AttributeProto = node.attribute.add(name="value", type=AttributeProto.TENSOR, t=tensor)
    return value


def _own_payload(state: Rewriting, tensor: TensorProto) -> None:
    """Give a copied tensor a job of its own, so that the two can be written differently."""
    index = payload_index(tensor)
    if index is not None:
        ref = state.jobs[index].ref
        state.jobs.append(CastJob(text(tensor.name) or ref.name, ref, ref.dtype))
        set_payload(tensor, len(state.jobs) - 1)


def retype_tensor(state: Rewriting, tensor: TensorProto, elem: int, where: str) -> None:
    """Have a float32 tensor's payload cast to `elem` when it is written."""
    index = payload_index(tensor)
    if index is None:
        ref = inline_ref(tensor, where)
        index = len(state.jobs)
        state.jobs.append(CastJob(text(tensor.name) or where, ref, ref.dtype))
        set_payload(tensor, index)
    ref = state.jobs[index].ref
    state.jobs[index] = CastJob(text(tensor.name) or where, ref, elem, state.options.bounds)
    tensor.data_type = elem
    state.changed = True
