"""Pass: make the plan's rows say what was written.

1. A Cast follows what it reads and who reads it (halve.rewrite.assign), so its row has the types
   that it was given: 16-bit where an operand is, and a float32 operand listed by its slot.
2. A Cast that the plan keeps float32 stays so, or the plan applied again would free it; a 16-bit
   operand is listed.
3. A Constant that a Cast reads has the type that it is stored in.
"""

from __future__ import annotations

from dataclasses import replace

from halve.plan.analysis import Kind, NodeInfo
from halve.plan.decide import float_slots, slot_name
from halve.rewrite.state import Rewriting, type_tag
from halve.types import DType, Plan, PlanNode

__all__ = ["plan_as_written"]

_FOLLOWS = "follows what it reads and who reads it"
_Slots = dict[str, set[int]]


def plan_as_written(state: Rewriting) -> Plan:
    """Run the pass; the state is not changed."""
    types: dict[int, _Slots] = {}
    for node in state.analysis.nodes:  # instances of a function's body share an id
        if _follows(node):
            slots = types.setdefault(node.id, {})
            for kind, slot, _ in float_slots(node):
                slots.setdefault(slot_name(kind, slot), set()).update(_types(state, node, kind))
    rows = list(state.plan.nodes)
    for number, slots in types.items():
        rows[number] = _row(rows[number], slots, state.options.half)
    return replace(state.plan, nodes=tuple(rows))


def _follows(node: NodeInfo) -> bool:
    if node.domain != "" or node.op_type not in ("Cast", "Constant"):
        return False
    out = node.outputs[0] if node.outputs else None
    return node.op_type == "Cast" or (out is not None and out.kind == Kind.CONSTANT)


def _types(state: Rewriting, node: NodeInfo, kind: str) -> set[int]:
    out = node.outputs[0]
    if node.op_type == "Constant" and out is not None:
        wanted = state.wanted(out)
        return {state.options.half} if state.options.half in wanted else {DType.FLOAT}
    return {(state.in_types if kind == "in" else state.out_types)[node.uid][0]}


def _row(row: PlanNode, slots: _Slots, half: DType) -> PlanNode:
    # Where instances differ, as the plan itself: 16-bit is what all of them have.
    found = {name: half if types == {half} else DType.FLOAT for name, types in slots.items()}
    if not found:
        return row
    kept = row.dtype == "float32" and row.type == "Cast"
    dtype = DType.FLOAT if kept or half not in found.values() else half
    operands = {name: type_tag(elem) for name, elem in found.items() if elem != dtype}
    reason = row.reason or ("" if dtype == half else _FOLLOWS)
    return replace(row, dtype=type_tag(dtype), operands=operands, reason=reason)
