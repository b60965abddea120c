"""What the user says of a node's 16-bit types beyond blocking it: vouched for, or operands kept."""

from __future__ import annotations

from collections.abc import Iterable

from halve.options import ConvertOptions
from halve.plan.analysis import NodeInfo
from halve.plan.patterns import Matcher

__all__ = ["Wishes"]


class Wishes:
    """The options `op_half`, `node_half` and `operand_block`."""

    def __init__(self, options: ConvertOptions) -> None:
        """Read the options once for all nodes."""
        self._ops = Matcher(options.op_half)
        self._names = Matcher(options.node_half)
        self._any = bool(options.op_half or options.node_half)
        self._operands: dict[str, set[str]] = {}
        for entry in options.operand_block:
            op_type, _, slot = entry.partition(":")
            self._operands.setdefault(op_type, set()).add(slot)

    def forces(self, node: NodeInfo) -> bool:
        """Whether the target is not asked for a kernel."""
        if not self._any:
            return False
        return self._ops.matches(node.op_type) or self._names.matches(node.name)

    def kept_variables(self, node: NodeInfo) -> frozenset[str]:
        """The type variables of the operands that stay float32."""
        slots = self._operands.get(node.op_type)
        if slots is None:
            return frozenset()
        kinds = (("in", node.in_types), ("out", node.out_types))
        return frozenset(var for kind, types in kinds for var in _named(kind, types, slots) if var)


def _named(kind: str, types: tuple[tuple[str, int], ...], slots: set[str]) -> Iterable[str]:
    return (var for slot, (var, _) in enumerate(types) if f"{kind}{slot}" in slots)
