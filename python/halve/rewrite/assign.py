"""Pass: give every operand the type that the plan says.

1. An operand that is not float32 in the source keeps its type.
2. A float32 operand has its node's type, or its own where the plan lists one. A sequence of float32
   tensors has one type wherever it is.
3. An attribute that chooses the type of a float32 output is set to the assigned type.
4. A formal input or output of a body has the type of the owner's slot that it is tied to, and
   keeps its own where it is tied to none. A function's output that a call leaves out has none.
5. A Cast reads its input in the type in which that is made, whatever the plan says: it computes
   nothing that could need another. A weight is made float32 for it, unless all that read it want
   it 16-bit and the plan does not keep the Cast float32.
6. A Cast that the plan makes 16-bit gives its output in the type that readers want. Where they
   want both: in the type of its input if that is 16-bit, so that the Cast goes; else as float32,
   so that nothing (an index from an integer, say) is rounded on its way to a float32 reader.
7. A Cast that is float32 for the cost of casts alone is that in all calls of its function. In a
   call where all that read its output want it 16-bit, it gives that.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import AttributeProto, NodeProto

from halve.errors import PlanError
from halve.plan.analysis import NodeInfo, Value
from halve.plan.decide import slot_name
from halve.plan.decision import CAST_COST
from halve.plan.links import Link, links_of
from halve.plan.order import topological_order
from halve.plan.sequences import sequence_groups
from halve.plan.type_attributes import CHOOSING, TYPE_ATTRIBUTES, attribute, chosen_type, set_type
from halve.rewrite.state import Reader, Rewriting
from halve.rewrite.weights import retype_tensor
from halve.types import DType, PlanNode

__all__ = ["assign_types"]

_FLOAT, _UNDEFINED = int(DType.FLOAT), int(DType.UNDEFINED)
_CODES = {"float32": DType.FLOAT, "float16": DType.FLOAT16, "bfloat16": DType.BFLOAT16}


def assign_types(state: Rewriting) -> None:
    """Run the pass.

    Raises:
        PlanError: the plan has another number of nodes, or an unknown type.
    """
    if len(state.plan.nodes) != len(state.analysis.all_nodes):
        raise PlanError(
            f"the plan has {len(state.plan.nodes)} nodes and the model"
            f" {len(state.analysis.all_nodes)}; it was made for another model"
        )
    for node in state.analysis.nodes:
        entry = state.plan.nodes[node.id]
        state.in_types.append(_types("in", node.inputs, entry))
        state.out_types.append(_types("out", node.outputs, entry))
    for node in state.analysis.nodes:
        for link in links_of(node) if node.bodies else ():
            _assign_link(state, node, link)
    _assign_sequences(state)
    _follow_readers(state)
    for node in state.analysis.nodes:
        _follow_producer(state, node)
        if state.plan.nodes[node.id].dtype not in ("", "float32") or _is_cast(node):
            _retype_attribute(state, node)


def _assign_sequences(state: Rewriting) -> None:
    """Rule 2.

    Raises:
        PlanError: the plan gives a sequence two types.
    """
    for group in sequence_groups(state.analysis) if state.analysis.sequences else ():
        found = {
            _float_type(state.plan.nodes[node.id], slot_name(kind, slot)): node
            for value in group.values
            for node, kind, slot in _ports(value)
        }
        if len(found) > 1:
            labels = sorted(node.label() for node in found.values())
            raise PlanError(
                f"the plan gives a sequence two types, at {' and '.join(labels)};"
                " allowed: one, since nothing can cast it"
            )
        if found.keys() == {state.options.half}:
            state.half_sequences.update(group.values)


def _ports(value: Value) -> Iterator[tuple[NodeInfo, str, int]]:
    """Where nodes make and read a value."""
    if value.source is not None:
        yield value.source[0], "out", value.source[1]
    yield from ((node, "in", slot) for node, slot in value.readers)


def _is_cast(node: NodeInfo) -> bool:
    return (node.domain, node.op_type) == ("", "Cast")


def _follow_readers(state: Rewriting) -> None:
    """Rules 6 and 7, from the last Cast of a chain to the first."""
    for scope in reversed(state.analysis.scopes):
        if not any(map(_is_cast, scope.nodes)):
            continue
        for number in reversed(topological_order(scope.nodes)):
            node = scope.nodes[number]
            if _is_cast(node) and state.out_types[node.uid] == [state.options.half]:
                _follow_own_readers(state, node)
            elif _is_cast(node) and state.plan.nodes[node.id].reason == CAST_COST:
                _follow_all_readers(state, node)


def _follow_own_readers(state: Rewriting, node: NodeInfo) -> None:
    value, taken = node.outputs[0], node.inputs[0]
    if value is None or taken is None or value.elem != DType.FLOAT:
        return
    half = state.options.half
    wanted = _wishes(state, value)
    behind_cast = taken.source is not None and _is_cast(taken.source[0])
    is_half = taken.elem == half or (not behind_cast and _made_half(state, taken))
    if wanted and (half not in wanted or (wanted != {half} and not is_half)):
        state.out_types[node.uid][0] = DType.FLOAT


def _follow_all_readers(state: Rewriting, node: NodeInfo) -> None:
    """Rule 7."""
    value = node.outputs[0]
    if value is not None and value.elem == DType.FLOAT:
        half = state.options.half
        if _wishes(state, value) == {half}:
            state.out_types[node.uid][0] = half


def _wish(state: Rewriting, reader: Reader) -> int:
    """The type in which a reader would rather have a value: a Cast's is what it makes of it."""
    if isinstance(reader.place, NodeInfo) and _is_cast(reader.place):
        if _is_blocked(state, reader.place):
            return DType.FLOAT
        made = state.out_types[reader.place.uid][0]
        return made if made == state.options.half else DType.FLOAT
    return reader.elem


def _is_blocked(state: Rewriting, cast: NodeInfo) -> bool:
    return state.plan.nodes[cast.id].dtype == "float32"


def _made_half(state: Rewriting, value: Value) -> bool:
    return not state.is_weight(value) and state.made_type(value) == state.options.half


def _follow_producer(state: Rewriting, node: NodeInfo) -> None:
    """Rule 5."""
    value = node.inputs[0] if _is_cast(node) and node.inputs else None
    if value is None or value.elem != DType.FLOAT:
        return
    if not state.is_weight(value):
        state.in_types[node.uid][0] = state.made_type(value)
        return
    if _is_blocked(state, node):
        return
    wanted = _wishes(state, value)
    state.in_types[node.uid][0] = DType.FLOAT if DType.FLOAT in wanted else state.options.half


def _wishes(state: Rewriting, value: Value) -> set[int]:
    """The types in which a value's readers, a graph output among them, would rather have it."""
    wanted = {_wish(state, reader) for reader in state.readers(value)}
    return wanted | {state.io_type(value)} if value.is_output else wanted


def _assign_link(state: Rewriting, owner: NodeInfo, link: Link) -> None:
    """Rule 4."""
    slots = [state.in_types[owner.uid][k] for k in link.in_slots if _has(owner.inputs, k)]
    slots += [state.out_types[owner.uid][k] for k in link.out_slots if _has(owner.outputs, k)]
    if len(set(slots)) > 1:
        raise PlanError(
            f"the plan gives operands of {owner.label()} that must agree the types"
            f" {sorted(set(slots))}"
        )
    for scope, k in link.body_inputs:
        elem = slots[0] if slots else scope.inputs[k].elem
        state.scope_inputs.setdefault(scope, {})[k] = elem
    for scope, k in link.body_outputs:
        elem = slots[0] if slots else _own_type(owner, scope.outputs[k])
        state.scope_outputs.setdefault(scope, {})[k] = elem


def _own_type(owner: NodeInfo, output: Value) -> int:
    return _UNDEFINED if owner.calls_function else output.elem


def _has(values: list[Value | None], slot: int) -> bool:
    return slot < len(values) and values[slot] is not None


def _types(kind: str, values: list[Value | None], entry: PlanNode) -> list[int]:
    """Rules 1 and 2."""
    types = [_UNDEFINED if value is None else value.elem for value in values]
    if _FLOAT not in types:
        return types
    if not entry.operands and entry.dtype in _CODES:
        code = _CODES[entry.dtype]
        return [code if elem == _FLOAT else elem for elem in types]
    return [
        _float_type(entry, slot_name(kind, slot)) if elem == _FLOAT else elem
        for slot, elem in enumerate(types)
    ]


def _float_type(entry: PlanNode, slot: str) -> int:
    text = entry.operands.get(slot, entry.dtype)
    if text not in _CODES:
        raise PlanError(
            f"the plan gives {slot} of node {entry.id} ({entry.type}) type {text!r};"
            f" allowed: {', '.join(_CODES)}"
        )
    return _CODES[text]


def _retype_attribute(state: Rewriting, node: NodeInfo) -> None:
    """Rule 3."""
    out = node.outputs[0] if node.outputs else None
    passed = node.scope.attributes
    if out is None or not out.is_float or (node.domain, node.op_type) not in CHOOSING:
        return
    chosen = chosen_type(node.domain, node.proto, passed)
    elem = state.options.half if out in state.half_sequences else state.out_types[node.uid][0]
    if chosen in (None, elem):
        return
    proto = state.nodes[node.uid]
    if (node.domain, node.op_type) in TYPE_ATTRIBUTES:
        set_type(node.domain, proto, elem)
        state.changed = True
    elif node.op_type == "ConstantOfShape":
        fill = _own_fill(proto, attribute(node.proto, "value", passed))
        retype_tensor(state, fill.t, elem, f"attribute value of {node.label()}")


def _own_fill(proto: NodeProto, given: AttributeProto | None) -> AttributeProto:
    """The fill value of a ConstantOfShape as a tensor of its own: a float32 zero by default."""
    del proto.attribute[:]
    fill: AttributeProto = proto.attribute.add(name="value", type=AttributeProto.TENSOR)
    if given is not None:
        fill.t.CopyFrom(given.t)
    else:
        fill.t.data_type = DType.FLOAT
        fill.t.dims.append(1)
        fill.t.raw_data = np.zeros(1, "<f4").tobytes()
    return fill
