"""A search's result of any size, made without a model, for the tests of its reports."""

from __future__ import annotations

import math
from pathlib import Path

from halve.report.search_record import AutoReport, BorderRow
from halve.search_types import (
    FinalVerdict,
    OutputTrial,
    SampleVerdict,
    SearchResult,
    TrialRow,
    Unit,
    UnitEvidence,
    UnitNode,
)
from halve.types import CastRow, Comparison, ConvertResult, Plan, PlanNode, WriteSummary

TYPES = ("Conv", "Add", "Relu", "MatMul", "Softmax", "Reshape", "Log")
# Every fifth node has no float operands, so that ids and indices of units differ.
NO_FLOAT = 5
CAUSES = (
    ("overflow", "in0 reaches 8.1e+04, above 65504", 8.1e4, "in0", math.inf),
    ("underflow", "in1 is 1e-12, which float16 rounds to zero", 1e-12, "in1", 3.5),
    ("error budget", "uses 0.41 of the tolerance alone", 0.41, "", 0.41),
)


def make_report(nodes: int = 40, *, trials: bool = True, name: str = "/block/node") -> AutoReport:
    """A report over so many nodes; two units in a hundred, one at least, are required."""
    rows = [
        (i, f"{name}_{i}", TYPES[i % len(TYPES)], "" if i < nodes - 4 else "loop.body")
        for i in range(nodes)
    ]
    units = tuple(
        Unit(index, (UnitNode(row[0], (0,), (0,)),), row[3], f"{row[2]} {row[1]}", 64.0, 1e3)
        for index, row in enumerate(row for row in rows if row[0] % NO_FLOAT != NO_FLOAT - 1)
    )
    required = tuple(range(len(units) // 3, len(units), max(1, len(units) // 3)))[:3]
    required = tuple(sorted({*required, *range(7, len(units), 120)}))
    carried = tuple(i + 1 for i in required[:1] if i + 1 < len(units))
    fp32 = tuple(sorted({*required, *carried}))
    kept_ids = {id for i in fp32 for id in units[i].ids}
    plan = Plan(
        "d1",
        {"dtype": "float16", "max_finite": math.inf},
        tuple(_node(row, row[0] in kept_ids, len(rows)) for row in rows),
        "onnxruntime 1.31.1",
        "CPUExecutionProvider",
    )
    search = SearchResult(
        plan=plan,
        required=tuple(id for i in required for id in units[i].ids),
        carried=tuple(id for i in carried for id in units[i].ids),
        units=units,
        fp32=fp32,
        evidence=_evidence(units, required, carried),
        verdict=FinalVerdict("emulated", True, make_samples()),
        trials=make_trials(len(units), required) if trials else (),
        sensitivity=_sensitivity(units, required),
        evaluator="probe",
        complete=True,
        fp32_flop_share=0.031,
        seed=0,
        elapsed_s=2.5,
        warnings=("a constant mask was clamped",),
        notes=("samples were given",),
    )
    return AutoReport.of(
        search,
        _conversion(plan),
        halve_version="1.2.3",
        source=Path("in.onnx"),
        borders=make_borders(),
        output_files={"plan": Path("work/plan.json")},
        options={"margin": 0.8, "rtol": 1e-2},
        versions={"onnxruntime": "1.31.1", "onnx": "1.23.2"},
    )


def make_samples() -> tuple[SampleVerdict, ...]:
    """Four samples; the last is held out, and none of its outputs is a float."""
    found = Comparison(elements=10, max_abs_error=0.01, sum_aa=4.0, sum_bb=4.0, sum_ab=4.0)
    outputs = (OutputTrial("scores", True, 0.62, 0.2, found), OutputTrial("boxes", True, 0.1, 0.0))
    return tuple(SampleVerdict(i, i == 3, True, outputs) for i in range(4))


def make_borders() -> tuple[BorderRow, ...]:
    """A tight border, one with room, and one that was not measured."""
    return (
        BorderRow("x_in", "", "float32", 4096, 12.0, 65504 / 12.0),
        BorderRow("squares", "loop.body", "float16", 2048, 52000.0, 65504 / 52000.0),
        BorderRow("mask", "", "float16"),
    )


def make_trials(units: int, kept: tuple[int, ...]) -> tuple[TrialRow, ...]:
    """A check, the bisection of all units down to those kept, and their minimisation."""
    rows = [_trial(0, "check", (), tuple(range(units)), None, kept)]
    queue: list[tuple[int, tuple[int, ...]]] = [(0, tuple(range(units)))]
    while queue:
        parent, cluster = queue.pop(0)
        if rows[parent].passed or len(cluster) == 1:
            continue
        half = (len(cluster) + 1) // 2
        for part in (cluster[:half], cluster[half:]):
            phase = "grow"
            above = parent if rows[parent].phase == phase else None
            rows.append(_trial(len(rows), phase, (), part, above, kept))
            queue.append((len(rows) - 1, part))
    for unit in kept:
        rest = tuple(sorted(set(kept) - {unit}))
        rows.append(_trial(len(rows), "minimise", rest, (unit,), None, kept))
    return tuple(rows)


def _trial(  # noqa: PLR0917 - the fields of a row
    number: int,
    phase: str,
    fp32: tuple[int, ...],
    tested: tuple[int, ...],
    parent: int | None,
    kept: tuple[int, ...],
) -> TrialRow:
    hits = len(set(tested) & set(kept))
    error = math.inf if hits > 1 else 0.1 * (1 + number % 7) + hits
    return TrialRow(number, phase, fp32, tested, parent, hits == 0, error, error, 1 + (hits == 0))


def _node(row: tuple[int, str, str, str], kept: bool, nodes: int) -> PlanNode:
    id, name, kind, scope = row
    if id % NO_FLOAT == NO_FLOAT - 1:
        return PlanNode(id, name, kind, scope, f"k{id}", "")
    if id == nodes - 2:
        return PlanNode(id, name, kind, scope, f"k{id}", "float32", {}, "no float16 kernel")
    dtype = "float32" if kept else "float16"
    return PlanNode(id, name, kind, scope, f"k{id}", dtype, {}, "search" if kept else "")


def _sensitivity(units: tuple[Unit, ...], required: tuple[int, ...]) -> dict[int, float]:
    alone = {unit.index: 0.3 * 10.0 ** -(unit.index % 7) for unit in units}
    return alone | {row.unit: row.energy or 0.0 for row in _evidence(units, required, ())}


def _evidence(
    units: tuple[Unit, ...], required: tuple[int, ...], carried: tuple[int, ...]
) -> tuple[UnitEvidence, ...]:
    rows = []
    for place, index in enumerate(required):
        cause, reason, value, operand, energy = CAUSES[place % len(CAUSES)]
        rows.append(
            UnitEvidence(index, units[index].ids, "required", cause, reason, value, operand, energy)
        )
    for index in carried:
        reason = "cheaper in float32 than 2 casts of 4,096 bytes"
        rows.append(UnitEvidence(index, units[index].ids, "carried", "cast cost", reason, 4096.0))
    return tuple(rows)


def _conversion(plan: Plan) -> ConvertResult:
    cast = CastRow("cast_1", "x_in", "x_in_fp32", 1, "", "read by a float32 node")
    return ConvertResult(
        target=Path("folder/out.onnx"),
        model=None,
        plan=plan,
        summary=WriteSummary((Path("folder/out.onnx"),), (), 4_000_000, 2_100_000, ()),
        casts=(cast, cast, cast),
        cast_lower_bound=3,
        source_nbytes=4_000_000,
        identity=False,
        warnings=("a constant mask was clamped",),
        elapsed_s=0.25,
    )
