"""What a search decides: the units of a model, and what each costs in float32.

A unit is a node that the plan would make 16-bit and that rounds there: precision-neutral nodes
follow their neighbours (halve.plan.neutral) and owners of bodies follow what is inside, so neither
is a unit.

Cost: a float32 operand moves 2 bytes an element more than a 16-bit one, weights included.
FLOPs are counted for matrix work only: 2·M·N·K for products, 2 an output element and weight of a
filter for convolutions; everything else counts one a result element.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from halve.options import ConvertOptions
from halve.plan.analysis import Analysis, NodeInfo, Value
from halve.plan.decide import blocked_reasons, decide, float_slots
from halve.plan.decision import Decision
from halve.plan.neutral import initializer_tensors, is_neutral
from halve.plan.targets import TargetProfile
from halve.search_types import Unit, UnitNode
from halve.source import text
from halve.types import DType

__all__ = ["search_units"]

Shapes = Mapping[tuple[str, str], Sequence[int]]
"""Shapes of values by (scope path, name)."""
_EXTRA_BYTES = 2.0


def search_units(
    analysis: Analysis,
    options: ConvertOptions,
    profile: TargetProfile,
    *,
    shapes: Shapes | None = None,
    fp32_nodes: Sequence[int] = (),
) -> tuple[Unit, ...]:
    """The units of a model under these options, in the order of node ids.

    `shapes` are measured or inferred shapes; a value without one counts as one element.
    `fp32_nodes` stay float32 in addition to the options' own.
    """
    reasons = blocked_reasons(analysis, options, fp32_nodes)
    decisions = [decide(n, reasons[n.uid], profile, options.half) for n in analysis.nodes]
    tensors = initializer_tensors(analysis)
    instances: dict[int, list[NodeInfo]] = {}
    for node in analysis.nodes:
        if node.bodies or is_neutral(node, tensors, options):
            continue
        if decisions[node.uid].half_vars and node.op_type != "Constant":
            instances.setdefault(node.id, []).append(node)
    found = [
        (rows, slots)
        for _, rows in sorted(instances.items())
        if any((slots := _slots(rows, decisions)))
    ]
    sizes = _Sizes(shapes or {})
    return tuple(
        Unit(
            index=index,
            nodes=(UnitNode(rows[0].id, *slots),),
            scope=rows[0].scope.path,
            label=rows[0].op_type,
            cost=max(1.0, _EXTRA_BYTES * sizes.elements(rows[0])),
            flops=sizes.flops(rows[0]),
        )
        for index, (rows, slots) in enumerate(found)
    )


def _slots(
    rows: Sequence[NodeInfo], decisions: Sequence[Decision]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The operands that become 16-bit in every instance of the node."""
    chosen = frozenset.intersection(*(decisions[node.uid].half_vars for node in rows))
    slots = [s for s in float_slots(rows[0]) if s[2] in chosen]
    inputs = tuple(slot for kind, slot, _ in slots if kind == "in")
    return inputs, tuple(slot for kind, slot, _ in slots if kind == "out")


class _Sizes:
    """Elements and operations by measured shapes."""

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes

    def elements(self, node: NodeInfo) -> float:
        """Elements of all float32 operands."""
        operands = (*node.inputs, *node.outputs)
        return float(sum(prod(self._shape(v)) for v in operands if _is_float(v)))

    def flops(self, node: NodeInfo) -> float:
        """Floating-point operations, as the module says."""
        first = next((v for v in node.outputs if _is_float(v)), None)
        results = float(prod(self._shape(first)))
        inputs = [self._shape(v) for v in node.inputs]
        if node.op_type in ("Conv", "ConvTranspose") and len(inputs) > 1:
            base = results if node.op_type == "Conv" else float(prod(inputs[0]))
            return 2.0 * base * prod(inputs[1][1:])
        if node.op_type in ("MatMul", "Gemm") and inputs and inputs[0]:
            inner = inputs[0][-1]
            if node.op_type == "Gemm" and _flag(node, "transA"):
                inner = inputs[0][0]
            return 2.0 * results * inner
        if node.op_type in ("LSTM", "GRU", "RNN") and len(inputs) > 2:
            steps = prod(inputs[0][:2])
            return 2.0 * steps * (prod(inputs[1]) + prod(inputs[2]))
        return results

    def _shape(self, value: Value | None) -> Sequence[int]:
        if value is None:
            return ()
        return self._shapes.get((value.scope.path, text(value.name)), ())


def _is_float(value: Value | None) -> bool:
    return value is not None and value.elem == DType.FLOAT


def _flag(node: NodeInfo, name: str) -> bool:
    return any(attr.name == name and attr.i for attr in node.proto.attribute)
