"""Pass: give every operand the type that the plan says.

1. An operand that is not float32 in the source keeps its type.
2. A float32 operand has its node's type, or its own where the plan lists one.
3. An attribute that chooses the type of a float32 output is set to the assigned type.
"""

from __future__ import annotations

import numpy as np
from onnx import AttributeProto

from halve.errors import PlanError
from halve.plan.analysis import NodeInfo, Value
from halve.plan.decide import slot_name
from halve.plan.type_attributes import TYPE_ATTRIBUTES, attribute, chosen_type, set_type
from halve.rewrite.state import Rewriting
from halve.rewrite.weights import retype_tensor
from halve.types import DType, PlanNode

__all__ = ["assign_types"]

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
    for node, entry in zip(state.analysis.nodes, state.plan.nodes, strict=False):
        state.in_types.append(_types("in", node.inputs, entry))
        state.out_types.append(_types("out", node.outputs, entry))
        if entry.dtype and entry.dtype != "float32":
            _retype_attribute(state, node)


def _types(kind: str, values: list[Value | None], entry: PlanNode) -> list[int]:
    """Rules 1 and 2."""
    return [
        _float_type(entry, slot_name(kind, slot))
        if value is not None and value.elem == DType.FLOAT
        else (value.elem if value is not None else DType.UNDEFINED)
        for slot, value in enumerate(values)
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
    if out is None or out.elem != DType.FLOAT or chosen_type(node.domain, node.proto) is None:
        return
    elem = state.out_types[node.id][0]
    proto = state.nodes[node.id]
    if (node.domain, node.op_type) in TYPE_ATTRIBUTES:
        set_type(node.domain, proto, elem)
        state.changed = True
    elif node.op_type == "ConstantOfShape" and elem != DType.FLOAT:
        fill = attribute(proto, "value")
        if fill is None:
            fill = proto.attribute.add(name="value", type=AttributeProto.TENSOR)
            fill.t.data_type = DType.FLOAT
            fill.t.dims.append(1)
            fill.t.raw_data = np.zeros(1, "<f4").tobytes()
        retype_tensor(state, fill.t, elem, f"attribute value of {node.label()}")
