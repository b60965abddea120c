"""Geometry of the page's drawings: the precision map, the trees of trials, and their errors.

Coordinates are SVG's: x to the right, y down. Nothing here knows HTML.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from halve.report.ranges import ranges
from halve.report.search_record import AutoReport
from halve.search_types import TrialRow

__all__ = [
    "ERROR_DECADES",
    "HEIGHTS",
    "STATES",
    "Chart",
    "Forest",
    "Map",
    "Mark",
    "Tree",
    "draw_chart",
    "draw_forests",
    "draw_map",
]

STATES = ("required", "carried", "given", "rule", "half", "none")
"""What a cell of the map can be: the roles of float32 nodes, 16-bit, or without float operands."""
HEIGHTS = {"required": 30, "carried": 25, "given": 25, "rule": 20, "half": 11, "none": 3}
"""How tall a cell is; heights differ so that the map can be read without its colours."""
_MAP_BASE = 30.0
# The lane of errors: a logarithmic scale over these decades, the tolerance being 10^0.
ERROR_DECADES = (-6, 2)
_ERROR_TOP, _ERROR_BASE = 36.0, 100.0
# Marks of trials: distance between neighbours, and radii by how many units a trial asks about.
_STEP_X, _STEP_Y, _MARGIN = 16, 26, 10
_RADIUS = (3.0, 7.0)
# The chart of errors by trial.
_CHART = (1000.0, 240.0)
_PLOT = (52.0, 12.0, 990.0, 212.0)  # left, top, right, bottom
_CHART_DECADES = (-3, 3)
_TICKS_X = 8


@dataclass(frozen=True, slots=True)
class Map:
    """Nodes in graph order, one unit of x each; `paths` has an outline for each state present.

    `within` and `beyond` outline the errors alone, up to and above the tolerance, whose height is
    `tolerance_y`. `states` is an index into STATES a node, `counts` how many there are of each.
    `scopes` are (path, first, last) of neighbours in one body.
    """

    nodes: int
    paths: Mapping[str, str]
    within: str
    beyond: str
    tolerance_y: float
    measured: int
    states: tuple[int, ...]
    counts: Mapping[str, int]
    scopes: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A trial's place in a drawing."""

    x: float
    y: float
    radius: float
    row: TrialRow


@dataclass(frozen=True, slots=True)
class Tree:
    """Trials that were split from one: `edges` is an SVG path from parents to children."""

    width: float
    height: float
    edges: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Forest:
    """The trials of a phase."""

    phase: str
    trials: int
    passed: int
    trees: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Errors by trial: marks, and (place, label) of the ticks of both axes."""

    width: float
    height: float
    plot: tuple[float, float, float, float]
    marks: tuple[Mark, ...]
    tolerance_y: float
    ticks_x: tuple[tuple[float, str], ...]
    ticks_y: tuple[tuple[float, str], ...]


def draw_map(report: AutoReport) -> Map:
    """The precision of every node, and the error that its unit makes alone."""
    search = report.search
    roles = {row.node.id: row.role for row in report.kept}
    nodes = search.plan.nodes
    states = [roles.get(node.id) or ("half" if node.dtype else "none") for node in nodes]
    errors = _errors_alone(report)
    places = {node.id: place for place, node in enumerate(nodes)}
    known = sorted((places[id], error) for id, error in errors.items() if id in places)
    return Map(
        nodes=len(nodes),
        # Float32 cells come last: they are drawn wider than a node, over their neighbours.
        paths={state: _cells(states, state) for state in reversed(STATES) if state in states},
        within=_bars((place, error) for place, error in known if error <= 1),
        beyond=_bars((place, error) for place, error in known if not error <= 1),
        tolerance_y=_error_y(1.0),
        measured=len(search.sensitivity),
        states=tuple(STATES.index(state) for state in states),
        counts=Counter(states),
        scopes=_scope_runs([node.scope for node in nodes]),
    )


def draw_forests(trials: Sequence[TrialRow]) -> tuple[Forest, ...]:
    """The trees of every phase, in the order of the phases."""
    phases = dict.fromkeys(row.phase for row in trials)
    return tuple(_forest(phase, [row for row in trials if row.phase == phase]) for phase in phases)


def draw_chart(trials: Sequence[TrialRow]) -> Chart:
    """The error of every trial by its number, on a logarithmic scale cut at both ends."""
    left, _, right, _ = _PLOT
    last = max((row.number for row in trials), default=0)
    scale = (right - left) / max(1, last)
    radius = max(1.5, min(4.0, scale / 2))
    marks = tuple(
        Mark(round(left + row.number * scale, 1), _chart_y(row.error), radius, row)
        for row in trials
    )
    numbers = range(0, last + 1, _round_step(last / _TICKS_X))
    low, high = _CHART_DECADES
    labels = ["beyond" if d == high else f"{10.0**d:g}" for d in range(low, high + 1)]
    return Chart(
        *_CHART,
        plot=_PLOT,
        marks=marks,
        tolerance_y=_chart_y(1.0),
        ticks_x=tuple((round(left + n * scale, 1), str(n)) for n in numbers),
        ticks_y=tuple(
            (_chart_y(10.0**d), label)
            for d, label in zip(range(low, high + 1), labels, strict=True)
        ),
    )


def _round_step(least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, … that is no less."""
    step = 1
    while step < least:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return step


def _errors_alone(report: AutoReport) -> dict[int, float]:
    """By node id: what was measured of its unit, else what its evidence says."""
    search = report.search
    errors = {row.node.id: row.energy for row in report.kept if row.energy is not None}
    for index, error in search.sensitivity.items():
        errors.update(dict.fromkeys(search.units[index].ids, error))
    return errors


def _cells(states: Sequence[str], state: str) -> str:
    """Runs of equal neighbours as rectangles that stand on the lane's base."""
    height = HEIGHTS[state]
    runs = ranges([place for place, other in enumerate(states) if other == state])
    return "".join(
        f"M{first} {_MAP_BASE - height:g}h{last - first + 1}v{height}H{first}z"
        for first, last in runs
    )


def _bars(errors: Iterable[tuple[int, float]]) -> str:
    return "".join(
        f"M{place} {_ERROR_BASE:g}V{_error_y(error):g}h1V{_ERROR_BASE:g}z"
        for place, error in errors
    )


def _error_y(error: float) -> float:
    return _log_y(error, ERROR_DECADES, _ERROR_TOP, _ERROR_BASE)


def _chart_y(error: float) -> float:
    return _log_y(error, _CHART_DECADES, _PLOT[1], _PLOT[3])


def _log_y(value: float, decades: tuple[int, int], top: float, base: float) -> float:
    """The height of a value on a logarithmic scale; what is not finite is at the top."""
    low, high = decades
    if value <= 0:
        return base
    exponent = math.log10(value) if math.isfinite(value) else high
    share = (min(max(exponent, low), high) - low) / (high - low)
    return round(base - share * (base - top), 1)


def _scope_runs(scopes: Sequence[str]) -> tuple[tuple[str, int, int], ...]:
    runs: list[tuple[str, int, int]] = []
    for place, scope in enumerate(scopes):
        if runs and runs[-1][0] == scope:
            runs[-1] = (scope, runs[-1][1], place)
        else:
            runs.append((scope, place, place))
    return tuple(runs)


def _forest(phase: str, rows: Sequence[TrialRow]) -> Forest:
    numbers = {row.number for row in rows}
    children: dict[int, list[TrialRow]] = {row.number: [] for row in rows}
    roots = []
    for row in rows:
        # A parent in another phase is named in the mark's text; here its children are roots. A
        # parent comes before its children, or it is none: a damaged record must not make a cycle.
        if row.parent in numbers and row.parent is not None and row.parent < row.number:
            children[row.parent].append(row)
        else:
            roots.append(row)
    trees = tuple(_tree(root, children) for root in roots)
    return Forest(phase, len(rows), sum(row.passed for row in rows), trees)


def _tree(root: TrialRow, children: Mapping[int, Sequence[TrialRow]]) -> Tree:
    """Leaves side by side, each parent over the middle of its children."""
    order, depth = _walk(root, children)
    x: dict[int, float] = {}
    leaves = 0
    for row in order:
        if not children[row.number]:
            x[row.number] = _MARGIN + leaves * _STEP_X
            leaves += 1
    for row in reversed(order):
        below = [x[child.number] for child in children[row.number]]
        if below:
            x[row.number] = (below[0] + below[-1]) / 2
    y = {number: _MARGIN + level * _STEP_Y for number, level in depth.items()}
    edges = "".join(
        f"M{x[row.number]:g} {y[row.number]}L{x[child.number]:g} {y[child.number]}"
        for row in order
        for child in children[row.number]
    )
    return Tree(
        width=2 * _MARGIN + (leaves - 1) * _STEP_X,
        height=2 * _MARGIN + max(depth.values()) * _STEP_Y,
        edges=edges,
        marks=tuple(Mark(x[r.number], y[r.number], _radius(r), r) for r in order),
    )


def _walk(
    root: TrialRow, children: Mapping[int, Sequence[TrialRow]]
) -> tuple[list[TrialRow], dict[int, int]]:
    """The rows of a tree, parents before children and left before right, and their depths."""
    order: list[TrialRow] = []
    depth = {root.number: 0}
    stack = [root]
    while stack:
        row = stack.pop()
        order.append(row)
        for child in reversed(children[row.number]):
            depth[child.number] = depth[row.number] + 1
            stack.append(child)
    return order, depth


def _radius(row: TrialRow) -> float:
    low, high = _RADIUS
    return round(min(high, low + math.log10(max(1, len(row.tested)))), 1)
