"""Geometry of manual mode's page: the strip of all nodes, the graph, and the distributions.

Coordinates are SVG's: x to the right, y down. Nothing here knows HTML.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from halve.manual_types import ManualReport, NodeStatistics
from halve.report.layered import layered
from halve.report.manual_rows import local_error
from halve.report.ranges import ranges
from halve.types import PlanNode

__all__ = [
    "DECADES",
    "EXPONENTS",
    "GRADES",
    "Box",
    "Graph",
    "HalfRange",
    "Strip",
    "distribution",
    "draw_graph",
    "draw_strip",
    "grade_limits",
    "grade_of",
    "half_range",
    "node_error",
]

GRADES = ("over", "e4", "e3", "e2", "e1", "none")
"""How much a node errs by itself: an overflow that originates there, then by local error."""
_STEPS = (1.0, 4.0, 32.0)
# Half a unit in the last place of a number between 1 and 2: the largest relative rounding error.
_ROUNDOFFS = {"float16": 2.0**-11, "bfloat16": 2.0**-8}
DECADES = (-6, 0)
"""The scale of local errors on the strip."""
EXPONENTS = (-32, 24)
"""The powers of two that a distribution shows, the last one not included; the rest is at its
ends."""
_LANE = (36.0, 100.0)
# Lanes of the strip: the precision of a node is 0 to 30 high.
_PRECISION_BASE = 30.0
_PRECISION_HEIGHTS = {"float32": 24, "half": 12, "": 3}
_BOX = (132.0, 26.0)
_STEP_X, _STEP_Y, _MARGIN = 148.0, 48.0, 12.0
# Where on a box an edge leaves that goes past others, and how far past them.
_PORT, _PASS = 36.0, 14.0
# More boxes than this tell nothing any more, and slow a browser down.
_NODES_DRAWN = 3000
# Nodes that no reader of a picture of the data flow looks for.
_UNDRAWN = ("Constant",)
_DISTRIBUTION_HEIGHT = 24.0


@dataclass(frozen=True, slots=True)
class Strip:
    """Nodes in the order of ids, a unit of x each: `precision` outlines by type ("float32",
    "half", ""), `errors` by grade; `counts` how many nodes have a grade.
    """

    nodes: int
    precision: Mapping[str, str]
    errors: Mapping[str, str]
    grades: tuple[str, ...]
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Box:
    """A node's place in the drawing of the graph (its upper left corner)."""

    node: PlanNode
    x: float
    y: float
    grade: str


@dataclass(frozen=True, slots=True)
class Graph:
    """The graph in layers; `edges` is one SVG path. Nothing is drawn where `boxes` is empty."""

    width: float
    height: float
    box: tuple[float, float]
    boxes: tuple[Box, ...]
    edges: str


@dataclass(frozen=True, slots=True)
class HalfRange:
    """A 16-bit type's exponents: its smallest subnormal and normal, and the first beyond it."""

    subnormal: int
    normal: int
    beyond: int


def half_range(dtype: str) -> HalfRange:
    """The range of "float16" or "bfloat16"."""
    return HalfRange(-133, -126, 128) if dtype == "bfloat16" else HalfRange(-24, -14, 16)


def grade_limits(dtype: str) -> tuple[float, ...]:
    """The local errors up to which a node is graded e1, e2 and e3: one rounding, 4 and 32."""
    return tuple(step * _ROUNDOFFS.get(dtype, _ROUNDOFFS["float16"]) for step in _STEPS)


def node_error(node: NodeStatistics, local: str) -> float | None:
    """The largest local error of a node's outputs; None where none can be told."""
    errors = [local_error(item, local=local) for item in node.outputs]
    return max((error for error in errors if error is not None), default=None)


def grade_of(node: NodeStatistics | None, dtype: str, *, local: str = "exact") -> str:
    """One of GRADES; "none" for a node without statistics, or without an error of its own."""
    if node is None:
        return "none"
    if node.over_limit:
        return "over"
    error = node_error(node, local)
    if not error:
        return "none"
    limits = grade_limits(dtype)
    return next((f"e{n}" for n, limit in enumerate(limits, 1) if error <= limit), "e4")


def draw_strip(report: ManualReport, dtype: str) -> Strip:
    """All nodes of the plan: the precision of each, and its local error."""
    found = {node.id: node for node in report.merged.nodes}
    nodes = report.plan.nodes
    grades = tuple(grade_of(found.get(node.id), dtype, local=report.local) for node in nodes)
    kinds = [_kind(node) for node in nodes]
    bars: dict[str, list[str]] = {}
    for place, (node, grade) in enumerate(zip(nodes, grades, strict=True)):
        if grade != "none":
            bars.setdefault(grade, []).append(
                _bar(place, node_error(found[node.id], report.local), grade)
            )
    return Strip(
        nodes=len(nodes),
        precision={kind: _cells(kinds, kind) for kind in _PRECISION_HEIGHTS if kind in kinds},
        errors={grade: "".join(bars[grade]) for grade in reversed(GRADES) if grade in bars},
        grades=grades,
        counts=Counter(grades),
    )


def draw_graph(report: ManualReport, edges: Iterable[tuple[int, int]], dtype: str) -> Graph:
    """The graph of all nodes but constants, by layers; empty where there are too many of them, or
    where no edges are known.
    """
    pairs = tuple(edges)
    nodes = [node for node in report.plan.nodes if node.type not in _UNDRAWN]
    if not pairs or len(nodes) > _NODES_DRAWN:
        return Graph(0, 0, _BOX, (), "")
    found = {node.id: node for node in report.merged.nodes}
    places = layered([node.id for node in nodes], pairs)
    corner = {
        id: (_PORT + x * _STEP_X, _MARGIN + layer * _STEP_Y) for id, (x, layer) in places.items()
    }
    boxes = tuple(
        Box(
            node,
            *_rounded(corner[node.id]),
            grade_of(found.get(node.id), dtype, local=report.local),
        )
        for node in nodes
    )
    return Graph(
        width=round(max((box.x for box in boxes), default=0.0) + _BOX[0] + _PORT + _MARGIN, 1),
        height=round(max((box.y for box in boxes), default=0.0) + _BOX[1] + _MARGIN, 1),
        box=_BOX,
        boxes=boxes,
        edges="".join(_edge(corner[a], corner[b]) for a, b in pairs if a in corner and b in corner),
    )


def distribution(exponents: Sequence[tuple[int, int]]) -> str:
    """An outline a power of two, as tall as the root of its share of the most frequent one: a few
    values that overflow are to be seen. "" for nothing.
    """
    low, high = EXPONENTS
    bins: Counter[int] = Counter()
    for exponent, count in exponents:
        bins[min(max(exponent, low), high - 1)] += count
    most = max(bins.values(), default=0)
    base = _DISTRIBUTION_HEIGHT
    return "".join(
        f"M{exponent - low} {base:g}V{base * (1 - math.sqrt(count / most)):.1f}h1V{base:g}z"
        for exponent, count in sorted(bins.items())
        if count
    )


def _kind(node: PlanNode) -> str:
    return node.dtype if node.dtype in ("", "float32") else "half"


def _cells(kinds: Sequence[str], kind: str) -> str:
    height = _PRECISION_HEIGHTS[kind]
    runs = ranges([place for place, other in enumerate(kinds) if other == kind])
    return "".join(
        f"M{first} {_PRECISION_BASE - height:g}h{last - first + 1}v{height}H{first}z"
        for first, last in runs
    )


def _bar(place: int, error: float | None, grade: str) -> str:
    """What overflows is as tall as the lane, whatever else it errs."""
    top, base = _LANE
    height = top if grade == "over" else _error_y(error or 0.0)
    return f"M{place} {base:g}V{height:g}h1V{base:g}z"


def _error_y(error: float) -> float:
    low, high = DECADES
    top, base = _LANE
    exponent = math.log10(error) if 0 < error < math.inf else high if error else low
    share = (min(max(exponent, low), high) - low) / (high - low)
    return round(base - max(share, 0.02) * (base - top), 1)


def _edge(maker: tuple[float, float], reader: tuple[float, float]) -> str:
    """From below one box to above the other; past the boxes between them where it is a long way
    straight down.
    """
    half = _BOX[0] / 2
    x1, y1 = maker[0] + half, maker[1] + _BOX[1]
    x2, y2 = reader[0] + half, reader[1]
    bend = max(12.0, (y2 - y1) / 2)
    if y2 - y1 < _STEP_Y or abs(x2 - x1) >= half:
        aside1, aside2 = x1, x2
    else:
        x1, x2 = x1 + _PORT, x2 + _PORT
        # A cubic comes within three quarters of the way to where its controls lie.
        aside1, aside2 = (x + half + _PASS for x in (x1, x2))
        bend = _STEP_Y / 2
    path = f"M{x1:.0f} {y1:.0f}C{aside1:.0f} {y1 + bend:.0f}"
    return f"{path} {aside2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}"


def _rounded(place: tuple[float, float]) -> tuple[float, float]:
    return round(place[0], 1), round(place[1], 1)
