"""Reports of manual mode for tests of their readers: a network with branches, and one overflow."""

from __future__ import annotations

import math

from halve.manual_types import (
    ManualReport,
    ModelOutput,
    NodeStatistics,
    OutputBlock,
    OutputFiles,
    OutputStatistics,
    RunStatistics,
    SampleStatistics,
)
from halve.plans import Plan, PlanNode
from halve.types import Comparison

__all__ = ["OVERFLOWS", "make_edges", "make_manual_report"]

OVERFLOWS = 4
"""The id of the node that originates an overflow."""
_TYPES = ("Conv", "Mul", "Relu", "Add", "MatMul", "Softmax", "Shape")
_ELEMENTS = 64


def make_edges(nodes: int) -> tuple[tuple[int, int], ...]:
    """A chain in which every third node also reads the one two before it."""
    chain = [(i, i + 1) for i in range(nodes - 1)]
    return tuple(sorted(chain + [(i, i + 2) for i in range(0, nodes - 2, 3)]))


def make_manual_report(
    nodes: int = 8, *, mode: str = "calc", passed: bool = False, dtype: str = "float16"
) -> ManualReport:
    """Node 4 overflows, what comes behind it inherits that, and node 8 was not measured."""
    rows = tuple(_node(i) for i in range(nodes))
    plan = Plan(
        "d" * 64, {"dtype": dtype, "target": "cuda"}, tuple(_plan_node(i) for i in range(nodes))
    )
    output = OutputBlock(
        passed, passed, 0.5 if passed else math.inf, 8, 8, 0 if passed else 8, _compared(0.1)
    )
    outputs = (ModelOutput("scores", None, None, output),)
    samples = tuple(SampleStatistics(i, rows, outputs) for i in range(2))
    return ManualReport(
        mode=mode,
        plan=plan,
        fp32_nodes=(1,),
        samples=samples,
        merged=SampleStatistics(None, rows, outputs),
        files=OutputFiles(),
        limit=65504.0,
        ge=65504.0,
        le=2.0**-14,
        runtime="onnxruntime 1.31.1",
        provider="CPUExecutionProvider",
        options={"rtol": 1e-2, "feedback": ()},
        warnings=("a warning",),
        notes=("the samples were random (seed 0)",),
    )


def _plan_node(number: int) -> PlanNode:
    kind = _TYPES[number % len(_TYPES)]
    dtype = "" if kind == "Shape" else "float32" if number == 1 else "float16"
    return PlanNode(number, f"/layer{number}/{kind}", kind, "", f"{number}.{number}", dtype, {}, "")


def _node(number: int) -> NodeStatistics:
    row = _plan_node(number)
    head = (row.id, row.name, row.type, row.scope, row.dtype)
    if row.type == "Shape":
        return NodeStatistics(*head)
    if number == 8:
        return NodeStatistics(*head, unmeasured="its branch did not run")
    return NodeStatistics(*head, outputs=(_output(number, row.dtype),))


def _output(number: int, dtype: str) -> OutputStatistics:
    over = number == OVERFLOWS
    behind = OVERFLOWS < number < 12
    largest = 9e4 if over else float(1 + number)
    full = RunStatistics(_ELEMENTS, ge=int(over), le=3, minimum=-1.0, maximum=largest, runs=1)
    half = RunStatistics(
        _ELEMENTS, inf=2 * (over or behind), clip=2 * over, le=4, inherited=2 * behind,
        minimum=-1.0, maximum=largest if not over else 6e4, runs=1,
    )  # fmt: skip
    error = math.inf if over else 10.0 ** (-4.5 + number % 5)
    return OutputStatistics(
        slot=0,
        name=f"t{number}",
        dtype=dtype,
        shape=(8, 8),
        fp32=full,
        fp16=half,
        total=_compared(math.inf if behind else error),
        local=_compared(0.0 if number == 1 else error),
        exponents=tuple((e, 1 + (e * e) % 7) for e in range(-20 - number % 9, 17 if over else 3)),
        sampled=60,
    )


def _compared(error: float) -> Comparison:
    """Values of norm 1 that differ by `error` of that."""
    return Comparison(_ELEMENTS, sum_aa=1.0, sum_bb=1.0, sum_ab=1.0, sum_ee=error * error)
