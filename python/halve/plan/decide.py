"""The policy: which operands of which nodes become 16-bit, and why the others do not.

Rules, in the order in which they are asked for each node:
1. A node without float32 operands has no decision.
2. A node that the user blocks (by op type, name, id or plan) stays float32.
3. An operator without a schema stays float32, and so does one that touches a sequence, an
   optional or a map, and a Constant whose tensor is sparse.
4. A type variable becomes 16-bit where the schema at this opset allows it; fixed operands and
   other variables stay.
5. The target must have a kernel for that; else for the variable of the main operand alone; else
   the node stays float32.
6. A Constant is a weight: it follows its readers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from halve.errors import OptionError
from halve.options import ConvertOptions
from halve.plan.analysis import Analysis, Kind, NodeInfo
from halve.plan.keys import node_keys
from halve.plan.schemas import OPAQUE
from halve.plan.targets import TargetProfile
from halve.plan.type_attributes import is_weight
from halve.types import DType, Plan, PlanNode

__all__ = ["Decision", "decide", "float_slots", "make_plan", "slot_name"]


@dataclass(frozen=True, slots=True)
class Decision:
    """The type variables of a node that become 16-bit, and the reason where none or not all do."""

    half_vars: frozenset[str]
    reason: str = ""


def slot_name(kind: str, slot: int) -> str:
    """The plan file's name of an operand: "in0", "out1"."""
    return f"{kind}{slot}"


def make_plan(
    analysis: Analysis,
    options: ConvertOptions,
    profile: TargetProfile,
    *,
    model_hash: str,
    fp32_nodes: Sequence[int] = (),
) -> Plan:
    """Decide every node of the model; `fp32_nodes` adds to the ids that the options name.

    Raises:
        OptionError: an id that the model does not have.
    """
    blocked = _Blocked(analysis, options, (*options.fp32_nodes, *fp32_nodes))
    decisions = [
        decide(node, blocked.reason(node), profile, options.half) for node in analysis.nodes
    ]
    keys = node_keys(analysis)
    nodes = [_plan_node(node, decisions, keys[node.id], options) for node in analysis.nodes]
    nodes += [
        PlanNode(number, node.name, node.op_type, scope, keys[number], "")
        for number, scope, node in analysis.all_nodes[len(nodes) :]
    ]
    return Plan(model_hash, _option_record(options), tuple(nodes))


def _option_record(options: ConvertOptions) -> dict[str, object]:
    return {
        "dtype": options.dtype,
        "target": options.target,
        "keep_io_types": options.keep_io_types
        if isinstance(options.keep_io_types, bool)
        else list(options.keep_io_types),
        "min_positive": options.bounds.min_positive,
        "max_finite": options.bounds.max_finite,
    }


class _Blocked:
    """Rule 2: why the user keeps a node float32."""

    def __init__(self, analysis: Analysis, options: ConvertOptions, ids: Sequence[int]) -> None:
        count = len(analysis.all_nodes)
        for number in ids:
            if not 0 <= number < count:
                raise OptionError(
                    f"op id {number} does not exist; this model has ids 0 to {count - 1}"
                )
        self._ids = frozenset(ids)
        self._ops = _Matcher(options.op_block)
        self._names = _Matcher(options.node_block)

    def reason(self, node: NodeInfo) -> str:
        if node.id in self._ids:
            return "blocked by id"
        if self._ops.matches(node.op_type):
            return "blocked by op type"
        if self._names.matches(node.name):
            return "blocked by name"
        return ""


class _Matcher:
    """Whole names, literally or as regular expressions."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._literal = frozenset(patterns)
        self._compiled = [p for p in map(_compile, patterns) if p is not None]

    def matches(self, text: str) -> bool:
        if text in self._literal:
            return True
        return any(pattern.fullmatch(text) for pattern in self._compiled)


def _compile(pattern: str) -> re.Pattern[str] | None:
    if re.escape(pattern) == pattern:
        return None  # a plain name, which the literal set finds faster
    try:
        return re.compile(pattern)
    except re.error:
        return None  # a name with odd characters; it still matches literally


def decide(node: NodeInfo, blocked: str, profile: TargetProfile, half: DType) -> Decision:
    """The decision for one node (rules 1 to 5; Constants are settled by `make_plan`)."""
    wanted = dict.fromkeys(var for _, _, var in float_slots(node))
    if not wanted:
        return Decision(frozenset())
    reason = blocked or _unfit(node)
    if reason:
        return Decision(frozenset(), reason)
    rule = node.rule
    assert rule is not None
    able = [var for var in wanted if var and rule.allows(var, half)]
    if not able:
        name = half.name.lower()
        return Decision(frozenset(), f"{node.op_type} has no {name} at opset {node.opset}")
    return _with_kernel(node, able, profile, half)


def float_slots(node: NodeInfo) -> Iterator[tuple[str, int, str]]:
    """("in" or "out", slot, type variable) of every float32 operand."""
    for kind, values, types in (
        ("in", node.inputs, node.in_types),
        ("out", node.outputs, node.out_types),
    ):
        for slot, value in enumerate(values):
            if value is not None and value.elem == DType.FLOAT:
                yield kind, slot, types[slot][0]


def _unfit(node: NodeInfo) -> str:
    """Rule 3."""
    if node.rule is None:
        return f"{node.domain or 'onnx'}::{node.op_type} has no known schema"
    operands = (*node.inputs, *node.outputs)
    if any(value is not None and value.elem == OPAQUE for value in operands):
        return f"{node.op_type} works on a sequence, an optional or a map"
    if (node.domain, node.op_type) == ("", "Constant") and not is_weight("", node.proto):
        return "a sparse constant"
    return ""


def _with_kernel(node: NodeInfo, able: list[str], profile: TargetProfile, half: DType) -> Decision:
    """Rule 5."""
    source = _source_types(node)
    for chosen in (able, able[:1]):
        types = source | dict.fromkeys(chosen, int(half))
        if profile.supports(node.domain, node.op_type, node.opset, types):
            return Decision(frozenset(chosen))
    types = source | dict.fromkeys(able, int(half))
    return Decision(frozenset(), profile.reason(node.domain, node.op_type, node.opset, types))


def _source_types(node: NodeInfo) -> dict[str, int]:
    pairs = zip((*node.inputs, *node.outputs), (*node.in_types, *node.out_types), strict=True)
    return {var: value.elem for value, (var, _) in pairs if value is not None and var}


def _plan_node(
    node: NodeInfo, decisions: list[Decision], key: str, options: ConvertOptions
) -> PlanNode:
    decision = decisions[node.id]
    slots = list(float_slots(node))
    if not slots:
        return PlanNode(node.id, node.name, node.op_type, "", key, "")
    if node.outputs and node.outputs[0] is not None and node.outputs[0].kind == Kind.CONSTANT:
        decision = _constant_decision(node, decisions)
    dtype = options.dtype if decision.half_vars else "float32"
    operands = {
        slot_name(kind, slot): "float32"
        for kind, slot, var in slots
        if decision.half_vars and var not in decision.half_vars
    }
    return PlanNode(node.id, node.name, node.op_type, "", key, dtype, operands, decision.reason)


def _constant_decision(node: NodeInfo, decisions: list[Decision]) -> Decision:
    """Rule 6: 16-bit where any reader is; a reader of the other precision gets a copy."""
    value = node.outputs[0]
    assert value is not None
    wants = {
        reader.in_types[slot][0] in decisions[reader.id].half_vars for reader, slot in value.readers
    }
    half = frozenset({node.out_types[0][0]}) if True in wants else frozenset()
    both = len(wants) == 2
    return Decision(half, "a copy for each precision" if both else "a constant follows its readers")
