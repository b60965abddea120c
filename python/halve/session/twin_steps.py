"""If, Loop and Scan stepped in Python, both runs side by side.

Where the runs agree (on a branch, or that a loop goes on) the body is run once for both, so that
their values can be compared; where they part, each runs alone.
"""

# ruff: noqa: ANN401 - ONNX Runtime's objects have no type outside it

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from halve.session.runtime import make_value
from halve.session.twin_pair import Control, PairedBody
from halve.session.twin_program import BOTH, EXACT, HALF
from halve.session.twin_walk import Frame, Visitor
from halve.session.values import from_value

if TYPE_CHECKING:
    from halve.session.twin_walk import Walk

__all__ = ["run_control"]


def run_control(  # noqa: PLR0913, PLR0917 - a place in a walk
    walk: Walk, control: Control, body: PairedBody, runs: str, frame: Frame, visitor: Visitor
) -> None:
    """Step a node with bodies; its outputs go into `frame`.

    Raises:
        SessionError: a part does not load or run.
    """
    nodes = {EXACT: control.exact, HALF: control.half}
    active = {run: node for run, node in nodes.items() if node is not None and runs in (run, BOTH)}
    place = _Place(walk, control, body, frame, visitor)
    stepper = {"If": _step_if, "Loop": _step_loop, "Scan": _step_scan}[control.op_type]
    stepper(place, active)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a walk is: the node with its bodies, and the values around it."""

    walk: Walk
    control: Control
    body: PairedBody
    frame: Frame
    visitor: Visitor

    def value(self, name: str) -> Any:
        return self.walk.value(name, self.body, self.frame)

    def array(self, name: str) -> NDArray[Any]:
        return from_value(self.value(name), "twin run")

    def run(self, label: str, runs: str, inputs: Mapping[str, Any]) -> dict[str, list[Any]]:
        """A body's outputs, by run."""
        inner = Frame(self.frame, dict(inputs))
        exact, half = self.walk.run_body(self.control.bodies[label], runs, inner, self.visitor)
        return {EXACT: exact, HALF: half}

    def finish(self, node: NodeProto, outputs: list[Any]) -> None:
        for name, value in zip(node.output, outputs, strict=False):
            if name:
                self.frame.values[name] = value
                self.frame.finite.pop(name, None)


def _step_if(place: _Place, active: Mapping[str, NodeProto]) -> None:
    chosen = {
        run: "then_branch" if bool(place.array(node.input[0]).reshape(-1)[0]) else "else_branch"
        for run, node in active.items()
    }
    for label in dict.fromkeys(chosen.values()):
        runs = [run for run in active if chosen[run] == label]
        results = place.run(label, BOTH if len(runs) == 2 else runs[0], {})
        for run in runs:
            place.finish(active[run], results[run])


@dataclass(slots=True)
class _Iteration:
    """One run of a Loop or Scan: how often it goes round, its state, and what it has collected."""

    node: NodeProto
    count: float
    states: list[Any]
    going: bool = True
    done: int = 0
    collected: list[list[NDArray[Any]]] = field(default_factory=list)

    @property
    def goes_on(self) -> bool:
        return self.going and self.done < self.count

    def collect(self, values: list[Any]) -> None:
        if not self.collected:
            self.collected = [[] for _ in values]
        for series, value in zip(self.collected, values, strict=True):
            series.append(from_value(value, "twin run"))


def _step_loop(place: _Place, active: Mapping[str, NodeProto]) -> None:
    body = place.control.bodies["body"]
    inputs = {EXACT: body.exact_inputs, HALF: body.half_inputs}
    iterations = {run: _loop_start(place, node) for run, node in active.items()}
    while going := [run for run, state in iterations.items() if state.goes_on]:
        given: dict[str, Any] = {}
        for run in going:
            state = iterations[run]
            number = make_value(np.array(state.done, np.int64))
            values = [number, make_value(np.array(True)), *state.states]
            given.update(zip(inputs[run], values, strict=True))
        results = place.run("body", BOTH if len(going) == 2 else going[0], given)
        for run in going:
            _loop_on(iterations[run], results[run])
    for state in iterations.values():
        scanned = len(state.node.output) - len(state.states)
        place.finish(state.node, [*state.states, *_stacked(place, state, scanned)])


def _loop_start(place: _Place, node: NodeProto) -> _Iteration:
    count = float(place.array(node.input[0]).reshape(-1)[0]) if node.input[0] else float("inf")
    second = node.input[1] if len(node.input) > 1 else ""
    going = bool(place.array(second).reshape(-1)[0]) if second else True
    return _Iteration(node, count, [place.value(name) for name in node.input[2:]], going)


def _loop_on(state: _Iteration, outputs: list[Any]) -> None:
    state.going = bool(from_value(outputs[0], "twin run").reshape(-1)[0])
    kept = len(state.states)
    state.states = outputs[1 : 1 + kept]
    state.collect(outputs[1 + kept :])
    state.done += 1


def _stacked(place: _Place, state: _Iteration, count: int) -> list[Any]:
    """What was collected, along a new first axis; without iterations, as ONNX Runtime makes it."""
    if not state.done:
        return _empty_scans(place, state, count)
    return [make_value(np.stack(series)) for series in state.collected[:count]]


def _empty_scans(place: _Place, state: _Iteration, count: int) -> list[Any]:
    if not count:
        return []
    return place.walk.run_alone(state.node, place.body, place.frame)[len(state.states) :]


def _step_scan(place: _Place, active: Mapping[str, NodeProto]) -> None:
    body = place.control.bodies["body"]
    inputs = {EXACT: body.exact_inputs, HALF: body.half_inputs}
    settings = _ScanSettings.of(next(iter(active.values())))
    iterations, series = {}, {}
    for run, node in active.items():
        states = len(node.input) - settings.inputs
        arrays = [place.array(name) for name in node.input[states:]]
        series[run] = [settings.oriented(k, array) for k, array in enumerate(arrays)]
        first = [place.value(name) for name in node.input[:states]]
        iterations[run] = _Iteration(node, float(series[run][0].shape[0]), first)
    while going := [run for run, state in iterations.items() if state.goes_on]:
        given: dict[str, Any] = {}
        for run in going:
            state = iterations[run]
            slices = [make_value(np.ascontiguousarray(a[state.done])) for a in series[run]]
            given.update(zip(inputs[run], [*state.states, *slices], strict=True))
        results = place.run("body", BOTH if len(going) == 2 else going[0], given)
        for run in going:
            state, outputs = iterations[run], results[run]
            kept = len(state.states)
            state.states, state.done = outputs[:kept], state.done + 1
            state.collect(outputs[kept:])
    for state in iterations.values():
        scanned = _stacked_scan(place, state, settings)
        place.finish(state.node, [*state.states, *scanned])


def _stacked_scan(place: _Place, state: _Iteration, settings: _ScanSettings) -> list[Any]:
    count = len(state.node.output) - len(state.states)
    if not state.done:
        return _empty_scans(place, state, count)
    return [
        make_value(np.ascontiguousarray(settings.arranged(k, np.stack(rows))))
        for k, rows in enumerate(state.collected)
    ]


@dataclass(frozen=True, slots=True)
class _ScanSettings:
    """A Scan's attributes."""

    inputs: int
    input_axes: tuple[int, ...]
    input_directions: tuple[int, ...]
    output_axes: tuple[int, ...]
    output_directions: tuple[int, ...]

    @classmethod
    def of(cls, node: NodeProto) -> _ScanSettings:
        found = {a.name: helper.get_attribute_value(a) for a in node.attribute if a.name != "body"}
        lists = [
            tuple(found.get(f"scan_{name}", ()))
            for name in ("input_axes", "input_directions", "output_axes", "output_directions")
        ]
        return cls(found["num_scan_inputs"], *lists)

    def oriented(self, number: int, array: NDArray[Any]) -> NDArray[Any]:
        """A sequence with its steps along the first axis, in the order that they are taken."""
        axis = self.input_axes[number] if self.input_axes else 0
        backwards = bool(self.input_directions and self.input_directions[number])
        moved = np.moveaxis(array, axis, 0)
        return moved[::-1] if backwards else moved

    def arranged(self, number: int, rows: NDArray[Any]) -> NDArray[Any]:
        """Collected steps as the output has them."""
        backwards = bool(self.output_directions and self.output_directions[number])
        axis = self.output_axes[number] if self.output_axes else 0
        return np.moveaxis(rows[::-1] if backwards else rows, 0, axis)
