"""Manual mode on the simplified model, told in the ids of the file given.

1. A simplified node is reported under the id of the last node of the file that it stands for, with
   that one's name, operator and scope; its outputs are those of the simplified model.
2. Several simplified nodes under one id are one row with the outputs of all of them.
3. A filter lets a row through where it lets any of the nodes through that the row stands for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from halve.manual_types import ManualReport, NodeStatistics, SampleStatistics
from halve.simplify import StandIn
from halve.types import Plan

__all__ = ["told_report"]


def told_report(
    report: ManualReport, made: StandIn, shown: frozenset[int], fp32_nodes: Iterable[int]
) -> ManualReport:
    """A report on the simplified model as one on the file given; `shown` are ids of the file."""
    plan = made.file_plan(report.plan)
    note = (
        f"the model was simplified first, from {len(plan.nodes)} nodes to {len(made.origins)}; "
        "ids are those of the file given"
    )
    return replace(
        report,
        plan=plan,
        fp32_nodes=tuple(sorted({*fp32_nodes})),
        samples=tuple(_told(sample, made, plan, shown) for sample in report.samples),
        merged=_told(report.merged, made, plan, shown),
        warnings=(*made.warnings, *report.warnings),
        notes=(*report.notes, note),
    )


def _told(
    sample: SampleStatistics, made: StandIn, plan: Plan, shown: frozenset[int]
) -> SampleStatistics:
    rows: dict[int, NodeStatistics] = {}
    for node in sample.nodes:
        origins = made.origins[node.id]
        if shown & {*origins}:
            number = made.file_ids([node.id])[-1]
            rows[number] = _joined(rows.get(number), node, plan, number)
    return replace(sample, nodes=tuple(rows[number] for number in sorted(rows)))


def _joined(
    before: NodeStatistics | None, node: NodeStatistics, plan: Plan, number: int
) -> NodeStatistics:
    """Rules 1 and 2."""
    own = plan.nodes[number]
    outputs = (*(before.outputs if before else ()), *node.outputs)
    texts = [row.unmeasured for row in (before, node) if row is not None and row.unmeasured]
    return replace(
        node,
        id=number,
        name=own.name,
        type=own.type,
        scope=own.scope,
        precision=own.dtype,
        outputs=tuple(replace(output, slot=slot) for slot, output in enumerate(outputs)),
        unmeasured="; ".join(dict.fromkeys(texts)),
    )
