"""The policy: which operands of which nodes become 16-bit, and why the others do not.

Rules, in the order in which they are asked for each node:
1. A node without float32 operands has no decision.
2. A node that the user blocks (by op type, name, id or plan) stays float32.
3. An operator without a schema stays float32, and so does one that touches an optional, a map, or
   a sequence of unknown tensors, a Constant whose tensor is sparse, and an operator outside the
   standard that owns bodies. A sequence has one precision wherever it goes (halve.plan.sequences).
4. A type variable becomes 16-bit where the schema at this opset allows it; fixed operands and
   other variables stay, as does what halve.plan.operand_rules keeps.
5. The target must have a kernel for that; else for the variable of the main operand alone; else
   the node stays float32. A variable that only constants without elements have (Resize's roi, as a
   rule) is not asked for: there is nothing that a kernel could read. The user may vouch for a
   kernel, of an operator without a schema too, and may keep single operands float32
   (halve.plan.wishes). A quantiser whose scale does not fit stays float32 (halve.plan.scales).
6. A precision-neutral node takes the side that makes casts cheapest (halve.plan.neutral).
7. A Constant is a weight: it follows its readers.
"""

from __future__ import annotations

from collections.abc import Sequence

from halve.errors import OptionError
from halve.options import ConvertOptions
from halve.plan.analysis import Analysis, Kind, NodeInfo
from halve.plan.decision import Decision
from halve.plan.keys import node_keys
from halve.plan.neutral import settle_neutral
from halve.plan.operand_rules import FLOAT32_OPERATORS, FLOAT32_VARIABLES
from halve.plan.patterns import Matcher, plain_name
from halve.plan.scales import keep_scales
from halve.plan.schemas import OPAQUE, UNKNOWN
from halve.plan.sequences import keep_sequences
from halve.plan.targets import TargetProfile
from halve.plan.type_attributes import is_weight
from halve.plan.wishes import Wishes
from halve.source import text
from halve.types import DType, Plan, PlanNode

__all__ = [
    "blocked_reasons",
    "decide",
    "first_decisions",
    "float_slots",
    "make_plan",
    "slot_name",
    "unmatched_names",
    "unmatched_ops",
    "unmatched_wishes",
]


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

    A node that the options name is kept with all that is inside of it. `fp32_nodes` come from a
    plan, which lists nodes inside of others for themselves: they are kept alone.

    Raises:
        OptionError: an id that the model does not have.
    """
    decisions = first_decisions(analysis, options, profile, fp32_nodes)
    decisions = settle_neutral(analysis, decisions, options)
    instances: dict[int, list[NodeInfo]] = {}
    for node in analysis.nodes:
        instances.setdefault(node.id, []).append(node)
    keys = node_keys(analysis)
    nodes = []
    for number, path, node in analysis.all_nodes:
        dtype, operands, reason = _row(instances.get(number, []), decisions, options)
        nodes.append(
            PlanNode(
                number, text(node.name), node.op_type, path, keys[number], dtype, operands, reason
            )
        )
    return Plan(model_hash, _option_record(options), tuple(nodes))


def first_decisions(
    analysis: Analysis,
    options: ConvertOptions,
    profile: TargetProfile,
    fp32_nodes: Sequence[int] = (),
) -> list[Decision]:
    """The decision for each node by uid (rules 1 to 5), before neutral nodes are placed.

    Raises:
        OptionError: an id that the model does not have.
    """
    reasons = blocked_reasons(analysis, options, fp32_nodes)
    decisions = _decisions(analysis.nodes, reasons, profile, options.half, Wishes(options))
    return keep_sequences(analysis, keep_scales(analysis, decisions, options))


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


def unmatched_names(analysis: Analysis, options: ConvertOptions) -> list[str]:
    """The entries of `node_block` and `node_half` that no node's name matches: misspelt, as a
    rule.
    """
    names = {text(node.name) for _, _, node in analysis.all_nodes}
    return _unmatched((*options.node_block, *options.node_half), names)


def unmatched_ops(analysis: Analysis, options: ConvertOptions) -> list[str]:
    """The entries of `op_block` that no node's op type matches."""
    return _unmatched(options.op_block, {text(node.op_type) for _, _, node in analysis.all_nodes})


def unmatched_wishes(analysis: Analysis, options: ConvertOptions) -> list[str]:
    """The entries of `op_half` and the types of `operand_block` that no node's op type matches."""
    types = {text(node.op_type) for _, _, node in analysis.all_nodes}
    kept = [entry.partition(":")[0] for entry in options.operand_block]
    return _unmatched(options.op_half, types) + sorted({name for name in kept if name not in types})


def _unmatched(patterns: Sequence[str], names: set[str]) -> list[str]:
    missing = []
    for pattern in patterns:
        plain = plain_name(pattern)
        if pattern in names or plain in names:
            continue
        if plain is not None or not any(map(Matcher((pattern,)).matches, names)):
            missing.append(plain or pattern)
    return missing


def blocked_reasons(
    analysis: Analysis, options: ConvertOptions, fp32_nodes: Sequence[int] = ()
) -> list[str]:
    """Why the user keeps a node float32 ("" where not), by uid; `fp32_nodes` add to the options'.

    Raises:
        OptionError: an id that the model does not have.
    """
    blocked = _Blocked(analysis, options, fp32_nodes)
    return [blocked.reason(node) for node in analysis.nodes]


class _Blocked:
    """Rule 2: why the user keeps a node float32."""

    def __init__(self, analysis: Analysis, options: ConvertOptions, ids: Sequence[int]) -> None:
        count = len(analysis.all_nodes)
        for number in (*options.fp32_nodes, *ids):
            if not 0 <= number < count:
                raise OptionError(
                    f"op id {number} does not exist; this model has ids 0 to {count - 1}"
                )
        self._ids = frozenset(options.fp32_nodes)
        self._listed = frozenset(ids)
        self._ops = Matcher(options.op_block)
        self._names = Matcher(options.node_block)

    def reason(self, node: NodeInfo) -> str:
        """Why a node is blocked, itself or with a node that it is inside of; "" if it is not."""
        outer: NodeInfo | None = node
        while outer is not None:
            reason = self._own_reason(outer)
            if reason:
                return reason if outer is node else f"inside {outer.label()}, {reason}"
            outer = outer.scope.owner
        return "blocked by id" if node.id in self._listed else ""

    def _own_reason(self, node: NodeInfo) -> str:
        if node.id in self._ids:
            return "blocked by id"
        if self._ops.matches(node.op_type):
            return "blocked by op type"
        if self._names.matches(node.name):
            return "blocked by name"
        return ""


def _decisions(
    nodes: Sequence[NodeInfo],
    reasons: Sequence[str],
    profile: TargetProfile,
    half: DType,
    wishes: Wishes,
) -> list[Decision]:
    """The decision of every node; nodes of one operator with operands of equal types share it."""
    known: dict[tuple[object, ...], Decision] = {}
    found = []
    for node in nodes:
        blocked = reasons[node.uid]
        # The others are decided by more: their bodies, their function, their attributes.
        alike = node.rule is not None and not node.bodies and node.op_type != "Constant"
        key = (blocked, wishes.forces(node), *_signature(node)) if alike else ()
        decision = known.get(key)
        if decision is None:
            decision = decide(node, blocked, profile, half, wishes)
            if alike:
                known[key] = decision
        found.append(decision)
    return found


def _signature(node: NodeInfo) -> tuple[object, ...]:
    """All that `decide` asks of a node with a schema, without bodies, that is no Constant, but
    for its name.
    """
    operands = (*node.inputs, *node.outputs)
    elems = [None if v is None else (v.elem, v.held, v.is_empty) for v in operands]
    return node.domain, node.op_type, node.opset, node.in_types, node.out_types, *elems


def decide(
    node: NodeInfo, blocked: str, profile: TargetProfile, half: DType, wishes: Wishes
) -> Decision:
    """The decision for one node (rules 1 to 5; Constants are settled by `make_plan`)."""
    wanted = list(dict.fromkeys([slot[2] for slot in float_slots(node)]))
    if not wanted:
        return Decision(frozenset())
    forced = wishes.forces(node)
    foreign = forced and node.rule is None and not node.bodies
    reason = blocked or ("" if foreign else _unfit(node))
    if reason:
        return Decision(frozenset(), reason)
    if (node.calls_function and node.rule is None) or foreign:
        return Decision(frozenset(wanted))
    able = [var for var in wanted if var and _allows(node, var, half)]
    kept = wishes.kept_variables(node)
    able = [var for var in able if var not in kept]
    if not able:
        name = half.name.lower()
        reason = f"{node.op_type} has no {name} at opset {node.opset}"
        return Decision(frozenset(), "blocked by operand" if kept else reason)
    return Decision(frozenset(able)) if forced else _with_kernel(node, able, profile, half)


def _allows(node: NodeInfo, var: str, half: DType) -> bool:
    kept = FLOAT32_VARIABLES.get((node.domain, node.op_type), ())
    return node.rule is not None and node.rule.allows(var, half) and var not in kept


def float_slots(node: NodeInfo) -> list[tuple[str, int, str]]:
    """("in" or "out", slot, type variable) of every operand that is a float32 tensor or a sequence
    of such.
    """
    slots = [
        ("in", slot, node.in_types[slot][0])
        for slot, value in enumerate(node.inputs)
        if value is not None and value.is_float
    ]
    slots += [
        ("out", slot, node.out_types[slot][0])
        for slot, value in enumerate(node.outputs)
        if value is not None and value.is_float
    ]
    return slots


def _unfit(node: NodeInfo) -> str:
    """Rule 3."""
    if node.rule is None and not node.calls_function:
        return f"{node.domain or 'onnx'}::{node.op_type} has no known schema"
    if (node.domain, node.op_type) in FLOAT32_OPERATORS:
        return f"{node.op_type}: {FLOAT32_OPERATORS[node.domain, node.op_type]}"
    if node.bodies and not node.calls_function and not _is_standard(node.domain):
        return f"{node.op_type} feeds its bodies in types of its own"
    operands = (*node.inputs, *node.outputs)
    if any(v is not None and v.elem == OPAQUE and v.held <= UNKNOWN for v in operands):
        return f"{node.op_type} works on an optional, a map or a sequence of unknown tensors"
    if (node.domain, node.op_type) == ("", "Constant") and not is_weight("", node.proto):
        return "a sparse constant"
    return ""


def _is_standard(domain: str) -> bool:
    return domain == "" or domain.startswith("ai.onnx.")


def _with_kernel(node: NodeInfo, able: list[str], profile: TargetProfile, half: DType) -> Decision:
    """Rule 5. An operator with bodies is asked for all its variables together."""
    source = _source_types(node)
    empty = _empty_variables(node).intersection(able)
    able = [var for var in able if var not in empty]
    for chosen in (able,) if node.bodies else (able, able[:1]):
        types = source | dict.fromkeys(map(_base, chosen), int(half))
        if profile.supports(node.domain, node.op_type, node.opset, types):
            return Decision(empty.union(chosen))
    types = source | dict.fromkeys(map(_base, able), int(half))
    return Decision(frozenset(), profile.reason(node.domain, node.op_type, node.opset, types))


def _empty_variables(node: NodeInfo) -> frozenset[str]:
    pairs = zip((*node.inputs, *node.outputs), (*node.in_types, *node.out_types), strict=True)
    found: dict[str, bool] = {}
    for value, (var, _) in pairs:
        if value is not None and var:
            found[var] = found.get(var, True) and value.is_empty
    return frozenset(var for var, empty in found.items() if empty)


def _base(var: str) -> str:
    """The schema's name of a variable that stands for one slot of a variadic operand."""
    return var.partition("#")[0]


def _source_types(node: NodeInfo) -> dict[str, int]:
    pairs = zip((*node.inputs, *node.outputs), (*node.in_types, *node.out_types), strict=True)
    return {_base(var): value.elem for value, (var, _) in pairs if value is not None and var}


def _row(
    instances: list[NodeInfo], decisions: list[Decision], options: ConvertOptions
) -> tuple[str, dict[str, str], str]:
    """A node's type, the types of operands that deviate, and the reason: the same for all
    instances of a function's body.
    """
    found = [(node, slots) for node in instances if (slots := float_slots(node))]
    if not found:
        return "", {}, ""
    chosen = [_settled(node, decisions) for node, _ in found]
    half, kept = set[str](), set[str]()
    for (_, slots), decision in zip(found, chosen, strict=True):
        used = {var for _, _, var in slots}
        half |= used & decision.half_vars
        kept |= used - decision.half_vars
    half -= kept  # that no instance with a float operand there keeps
    if not half:
        return "float32", {}, next((d.reason for d in chosen if d.reason), "")
    operands = {
        slot_name(kind, slot): "float32"
        for _, slots in found
        for kind, slot, var in slots
        if var not in half
    }
    return options.dtype, operands, next((d.reason for d in chosen if d.reason), "")


def _settled(node: NodeInfo, decisions: list[Decision]) -> Decision:
    """The node's decision; for a Constant by rule 7."""
    value = node.outputs[0] if node.outputs else None
    if value is None or value.kind != Kind.CONSTANT:
        return decisions[node.uid]
    wants = {
        reader.in_types[slot][0] in decisions[reader.uid].half_vars
        for reader, slot in value.readers
    }
    half = frozenset({node.out_types[0][0]}) if True in wants else frozenset()
    both = len(wants) == 2
    return Decision(half, "a copy for each precision" if both else "a constant follows its readers")
