"""What a search decides: the units of a model, and what each costs in float32.

A unit is a node that the plan would make 16-bit and that rounds there: precision-neutral nodes
follow their neighbours (halve.plan.neutral) and owners of bodies follow what is inside, so neither
is a unit.

Cost: a float32 operand moves 2 bytes an element more than a 16-bit one, weights included, and an
operation takes longer: as long as moving 0.07 bytes, where a device does 67e12 of them a second in
float32, 990e12 in 16 bits, and moves 4.8e12 bytes (the data sheet of NVIDIA's H200).
FLOPs are counted for matrix work only: 2·M·N·K for products, 2 an output element and weight of a
filter for convolutions; everything else counts one a result element.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import TypeGuard

from halve.options import ConvertOptions
from halve.plan.analysis import Analysis, Kind, NodeInfo, Value
from halve.plan.decide import first_decisions, float_slots
from halve.plan.decision import Decision
from halve.plan.neutral import carried_nodes, initializer_tensors, is_neutral
from halve.plan.targets import TargetProfile
from halve.search_types import Unit, UnitNode, UnitSet
from halve.source import text
from halve.types import DType

__all__ = ["carried_units", "fixed_flops", "search_units", "with_costs"]

Shapes = Mapping[tuple[str, str], Sequence[int]]
"""Shapes of values by (scope path, name)."""
_EXTRA_BYTES = 2.0
_BYTES_AN_OPERATION = 0.07
# A unit with a larger share of the model's FLOPs stays 16-bit, whatever the casts around it cost.
_CARRIED_FLOPS = 0.01
# What ONNX Runtime computes together with an activation behind it.
_FUSED = ("BatchNormalization", "Conv", "ConvTranspose", "Gemm", "MatMul")
_ACTIVATIONS = ("Clip", "Relu")


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
    decisions = first_decisions(analysis, options, profile, fp32_nodes)
    tensors = initializer_tensors(analysis)
    neutral = {n.id for n in analysis.nodes if not n.bodies and is_neutral(n, tensors, options)} - {
        n.id for n in analysis.nodes if not decisions[n.uid].half_vars
    }
    instances: dict[int, list[NodeInfo]] = {}
    for node in analysis.nodes:
        if node.bodies or node.id in neutral or node.op_type == "Constant":
            continue
        if decisions[node.uid].half_vars:
            instances.setdefault(node.id, []).append(node)
    sizes = _Sizes(shapes or {})
    units: list[Unit] = []
    for _, rows in sorted(instances.items()):
        slots = _slots(rows, decisions)
        if not any(slots):
            continue
        unit = Unit(
            index=len(units),
            nodes=_with_activation(rows, slots, neutral),
            scope=rows[0].scope.path,
            label=rows[0].op_type,
            cost=max(1.0, sizes.cost(rows[0])),
            flops=sizes.flops(rows[0]),
        )
        units.append(unit)
    tracer = _Tracer(units, neutral, options)
    return tuple(
        replace(unit, sources=tracer.sources(instances[unit.nodes[0].id])) for unit in units
    )


def with_costs(units: Sequence[Unit], analysis: Analysis, shapes: Shapes) -> tuple[Unit, ...]:
    """Units as `search_units` makes them with these shapes; only costs and FLOPs depend on them."""
    sizes = _Sizes(shapes)
    nodes = {(node.id, node.scope.path): node for node in reversed(analysis.nodes)}
    return tuple(
        replace(unit, cost=max(1.0, sizes.cost(node)), flops=sizes.flops(node))
        for unit in units
        for node in (nodes[unit.nodes[0].id, unit.scope],)
    )


def fixed_flops(
    analysis: Analysis, options: ConvertOptions, units: Sequence[Unit], shapes: Shapes
) -> float:
    """Floating-point operations of the float32 arithmetic that is no unit: what the options and the
    target keep, counted as units are.
    """
    tensors, sizes = initializer_tensors(analysis), _Sizes(shapes)
    told = {node.id for unit in units for node in unit.nodes}
    found: dict[int, float] = {}
    for node in analysis.nodes:
        computes = (
            not node.bodies and node.op_type != "Constant" and any(map(_is_float, node.outputs))
        )
        if computes and node.id not in told and not is_neutral(node, tensors, options):
            found.setdefault(node.id, sizes.flops(node))
    return sum(found.values())


def _with_activation(
    rows: Sequence[NodeInfo], slots: tuple[tuple[int, ...], tuple[int, ...]], neutral: set[int]
) -> tuple[UnitNode, ...]:
    """The node, with the activation that alone reads it: kernels compute both in one.

    Rounding commutes with these activations, so that it may come after them; not with bounds that
    are made when the model runs, which rounding may change.
    """
    node = rows[0]
    plain = (UnitNode(node.id, *slots),)
    value = node.outputs[0]
    if len(rows) > 1 or node.op_type not in _FUSED or slots[1] != (0,) or value is None:
        return plain
    if len(value.readers) != 1 or value.exits or value.is_output:
        return plain
    reader, slot = value.readers[0]
    if reader.id not in neutral or reader.op_type not in _ACTIVATIONS or slot != 0:
        return plain
    if reader.scope is not node.scope or not all(map(_is_fixed, reader.inputs[1:])):
        return plain
    return (UnitNode(node.id, slots[0], ()), UnitNode(reader.id, (), (0,), neutral=True))


class _Tracer:
    """By whom a value was rounded, seen through precision-neutral nodes."""

    def __init__(self, units: Sequence[Unit], neutral: set[int], options: ConvertOptions) -> None:
        self._rounds = {
            (node.id, slot): unit.index
            for unit in units
            for node in unit.nodes
            for slot in node.out_slots
        }
        self._neutral = neutral
        self._kept = options.keep_io_types
        self._known: dict[Value, frozenset[int] | None] = {}

    def sources(self, rows: Sequence[NodeInfo]) -> tuple[int, ...] | None:
        """The units that round what a node reads in all its instances (see Unit)."""
        found: set[int] = set()
        for node in rows:
            for value in node.inputs:
                traced = self._trace(value) if _is_float(value) else frozenset()
                if traced is None:
                    return None
                found |= traced
        return tuple(sorted(found))

    def _trace(self, value: Value) -> frozenset[int] | None:
        """As `sources` for one value. Values of one scope are traced in the order of the file at
        the latest, so the recursion is over runs of neutral nodes only.
        """
        if value not in self._known:
            self._known[value] = self._traced(value)
        return self._known[value]

    def _traced(self, value: Value) -> frozenset[int] | None:
        if _is_fixed(value):
            return frozenset()
        if value.source is None:
            kept = self._kept if isinstance(self._kept, bool) else value.name in self._kept
            return frozenset() if value.is_input and not kept else None
        node, slot = value.source
        if (node.id, slot) in self._rounds:
            return frozenset({self._rounds[node.id, slot]})
        # Who put what into a sequence is not followed.
        holds = any(item is not None and item.held == DType.FLOAT for item in node.inputs)
        if node.id not in self._neutral or node.op_type == "Cast" or holds:
            return None
        parts = [self._trace(item) for item in node.inputs if _is_float(item)]
        if None in parts:
            return None
        return frozenset().union(*(part for part in parts if part is not None))


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

    def cost(self, node: NodeInfo) -> float:
        """What float32 costs beyond 16 bits, in bytes."""
        return _EXTRA_BYTES * self.elements(node) + _BYTES_AN_OPERATION * self.flops(node)

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


def _is_fixed(value: Value | None) -> bool:
    return value is None or value.kind in (Kind.INITIALIZER, Kind.CONSTANT)


def _is_float(value: Value | None) -> TypeGuard[Value]:
    return value is not None and value.elem == DType.FLOAT


def _flag(node: NodeInfo, name: str) -> bool:
    return any(attr.name == name and attr.i for attr in node.proto.attribute)


def carried_units(  # noqa: PLR0913 - what search_units takes, and the sets
    analysis: Analysis,
    options: ConvertOptions,
    profile: TargetProfile,
    *,
    units: Sequence[Unit],
    kept: UnitSet,
    shapes: Shapes,
) -> UnitSet:
    """`kept` and the units that are cheaper in float32 than the casts around them.

    Arithmetic that counts is not given up for casts, whatever they cost.
    """
    ids = [number for unit in kept for number in units[unit].ids]
    decisions = first_decisions(analysis, options, profile, ids)
    most = _CARRIED_FLOPS * sum(unit.flops for unit in units)
    light = (unit for unit in units if unit.index not in kept and unit.flops <= most)
    prices = {unit.nodes[0].id: unit.cost for unit in light}
    sizes = {name: 4.0 * prod(shape) for (path, name), shape in shapes.items() if not path}
    moved = carried_nodes(analysis, decisions, options, prices, sizes)
    return kept | {unit.index for unit in units if unit.nodes[0].id in moved}
