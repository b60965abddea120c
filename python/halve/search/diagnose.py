"""Why a unit cannot be 16-bit, told from a float32 run and from what the search measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import numpy_helper

from halve.options import ConvertOptions
from halve.plan.analysis import Analysis, Kind, NodeInfo, Value
from halve.plan.neutral import initializer_tensors
from halve.plan.type_attributes import attribute
from halve.search_types import Unit, UnitEvidence, UnitSet
from halve.session.observe import UNDERFLOW, ValueStatistics
from halve.source import payload_index, text

__all__ = ["Diagnosis"]

# A sentinel that stands for minus infinity in a mask is nearer to float32's limit than this.
_SENTINEL = 1e30
_SUMS = frozenset({
    "AveragePool", "Conv", "ConvTranspose", "CumSum", "Einsum", "Gemm", "GlobalAveragePool",
    "MatMul", "ReduceL1", "ReduceL2", "ReduceMean", "ReduceSum", "ReduceSumSquare",
})  # fmt: skip
# Where an operand that became zero makes an infinity or a NaN.
_SINGULAR_AT_ZERO = frozenset({"Div", "Log", "Pow", "Reciprocal", "Sqrt"})


@dataclass(frozen=True, slots=True)
class _Finding:
    cause: str
    reason: str
    value: float | None = None
    operand: str = ""


class Diagnosis:
    """Looks at units by what their operands held in float32, on the samples that were run."""

    def __init__(
        self,
        analysis: Analysis,
        units: Iterable[Unit],
        statistics: Mapping[str, ValueStatistics],
        options: ConvertOptions,
    ) -> None:
        """Only values of the main graph have `statistics`, by name."""
        self._units = tuple(units)
        self._nodes = {node.id: node for node in analysis.nodes}
        self._statistics = statistics
        self._tensors = initializer_tensors(analysis)
        self._low = max(options.bounds.min_positive, 0.0)
        self._type = options.dtype
        self._narrow = options.dtype == "float16"

    def marked(self) -> UnitSet:
        """Units that cannot be 16-bit: an operand overflows, or a constant becomes zero."""
        return frozenset(unit.index for unit in self._units if self._finding(unit) is not None)

    def evidence(
        self,
        unit: int,
        role: str,
        energy: float | None,
        total_energy: float,
        *,
        decided: bool = True,
    ) -> UnitEvidence:
        """Why `unit` is kept. `energy` is the error with only it in 16 bits and `total_energy`
        the sum of all units', both as shares of the tolerance. `decided`: the search ended by
        itself, or saw the verdict fail without the unit.
        """
        found = self._kept_by_role(role) or self._finding(self._units[unit])
        found = found or self._position(self._units[unit])
        found = found or self._budget(energy, total_energy, decided=decided)
        return UnitEvidence(
            unit=unit,
            nodes=self._units[unit].ids,
            role=role,
            cause=found.cause,
            reason=found.reason,
            value=found.value,
            operand=found.operand,
            energy=energy,
        )

    def _kept_by_role(self, role: str) -> _Finding | None:
        if role == "carried":
            return _Finding("cast cost", "cheaper in float32 than the casts around it")
        return _Finding("given", "asked for") if role == "given" else None

    def _finding(self, unit: Unit) -> _Finding | None:
        """What float16's range does to a unit, if anything."""
        if not self._narrow:
            return None
        for entry in unit.nodes:
            node = self._nodes[entry.id]
            for slot in entry.in_slots:
                found = self._of_input(node, slot)
                if found is not None:
                    return found
            for slot in entry.out_slots:
                found = self._of_output(node, slot)
                if found is not None:
                    return found
        return None

    def _of_input(  # noqa: PLR0911 - one a cause
        self, node: NodeInfo, slot: int
    ) -> _Finding | None:
        value = node.inputs[slot]
        if value is None:
            return None
        if value.kind in (Kind.INITIALIZER, Kind.CONSTANT):
            return self._of_constant(value, slot)
        known = self._known(value)
        if known is None:
            return None
        where = f"in{slot}"
        if known.overflow and known.max_abs >= _SENTINEL:
            return _Finding(
                "mask", f"a mask of {known.max_abs:.3g} made at run time overflows to infinity",
                known.max_abs, where,
            )  # fmt: skip
        if known.overflow:
            return _Finding(
                "overflow", f"operand {slot} reaches {known.max_abs:.6g}, beyond 65504",
                known.max_abs, where,
            )  # fmt: skip
        if known.underflow and node.op_type in _SINGULAR_AT_ZERO:
            return _Finding(
                "underflow",
                f"{known.underflow} of {known.elements} values of operand {slot} become zero",
                float(known.underflow), where,
            )  # fmt: skip
        return None

    def _of_constant(self, value: Value, slot: int) -> _Finding | None:
        """A small constant that is not zero and becomes zero."""
        tensor = self._tensors.get(value)
        if value.kind == Kind.CONSTANT and value.source is not None:
            found = attribute(value.source[0].proto, "value")
            tensor = None if found is None else found.t
        if tensor is None or payload_index(tensor) is not None or self._low > UNDERFLOW:
            return None
        array = np.abs(np.asarray(numpy_helper.to_array(tensor), np.float64))
        flushed = array[(array > 0) & (array <= UNDERFLOW)]
        if array.size != 1 or not flushed.size:
            return None
        smallest = float(flushed.min())
        return _Finding("underflow", f"the constant {smallest:.3g} becomes zero", smallest,
                        f"in{slot}")  # fmt: skip

    def _of_output(self, node: NodeInfo, slot: int) -> _Finding | None:
        value = node.outputs[slot]
        known = None if value is None else self._known(value)
        if known is None or not known.overflow:
            return None
        where = f"out{slot}"
        if node.op_type in _SUMS:
            terms = self._terms(node, known)
            return _Finding(
                "sum", f"a sum over {terms} elements reaches {known.max_abs:.6g}, beyond 65504",
                known.max_abs, where,
            )  # fmt: skip
        return _Finding(
            "overflow", f"the result reaches {known.max_abs:.6g}, beyond 65504", known.max_abs,
            where,
        )  # fmt: skip

    def _terms(self, node: NodeInfo, result: ValueStatistics) -> int:
        """How many elements go into one of the result."""
        first = node.inputs[0]
        known = None if first is None else self._known(first)
        if known is None or not known.shape:
            return 1
        if node.op_type in ("MatMul", "Gemm"):
            return known.shape[-1]
        return max(1, math.prod(known.shape) // max(1, math.prod(result.shape)))

    def _position(self, unit: Unit) -> _Finding | None:
        node = self._nodes[unit.nodes[0].id]
        for slot in unit.nodes[0].in_slots:
            value = node.inputs[slot]
            known = None if value is None else self._known(value)
            if self._narrow and known is not None and known.integers:
                return _Finding(
                    "position",
                    f"operand {slot} holds whole numbers up to {known.max_abs:.6g}, which"
                    " float16 does not tell apart above 2048",
                    known.max_abs, f"in{slot}",
                )  # fmt: skip
        return None

    def _budget(self, energy: float | None, total: float, *, decided: bool) -> _Finding:
        if energy is not None and not math.isfinite(energy):
            # Another number of steps of a loop, or of boxes, looks the same to the search.
            return _Finding(
                "overflow",
                f"with it alone in {self._type} the result is not finite, or of another shape",
            )
        if not decided:
            return _Finding("undecided", "the search's budget ended before it was tried without it")
        if energy is None:
            return _Finding("error budget", "the result leaves the tolerance without it")
        share = energy / total if total > 0 and math.isfinite(total) else None
        part = "" if share is None else f", {share:.1%} of that of all units"
        return _Finding(
            "error budget", f"its rounding alone uses {energy:.3g} of the tolerated energy{part}",
            share,
        )  # fmt: skip

    def _known(self, value: Value) -> ValueStatistics | None:
        if value.scope.owner is not None:
            return None
        return self._statistics.get(text(value.name))
