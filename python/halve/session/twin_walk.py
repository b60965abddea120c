"""Both runs of paired models, part by part, each value handed out when it is there and then freed.

The work is cut into parts, each a session of its own, made when the walk first comes there and kept
for the next sample. On the CPU a session measures values where they are made
(halve.session.twin_measure), and a part ends only before a node that is stepped, or where its
constants pass a budget. Elsewhere ONNX Runtime has no hook after a node, and a session that yields
every value keeps all of them; so there parts are those whose values fit the budget. Sizes are
learned on the way: the first walk takes small parts, and is cut anew when they are known. If, Loop
and Scan are stepped by halve.session.twin_steps, both runs side by side.
"""

# ruff: noqa: ANN401 - ONNX Runtime's objects have no type outside it

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, SparseTensorProto, TensorProto, TypeProto, ValueInfoProto

from halve._native.compare import measure_array
from halve._native.twin import TwinBoard, TwinRow, TwinRule
from halve.errors import SessionError, UnsupportedModelError
from halve.session.runtime import CPU_PROVIDER, Session, load, make_value, run_values
from halve.session.twin_lane import Constant, reads_of
from halve.session.twin_measure import DOMAIN, hands_on_floats, place_measures
from halve.session.twin_pair import (
    Item,
    PairedBody,
    TwinOutput,
    Workload,
)
from halve.session.twin_program import BOTH, EXACT, HALF, Measured, Part, Program, present
from halve.session.value_types import type_of
from halve.session.values import value_nbytes, view_value
from halve.session.weight_store import InlineWeights, Weights

__all__ = [
    "BOTH",
    "EXACT",
    "HALF",
    "Frame",
    "TwinValue",
    "Visitor",
    "Walk",
    "WalkSettings",
]

# Of a part's constants, or of the values that it hands out to be measured: large enough that a
# thousand values of a megabyte make a hundred parts.
_BUDGET_BYTES = 32 << 20
# Sessions are kept within this and what the constants take; others are loaded again for each
# sample, which costs about 2 ms.
_KEPT_BYTES = 32 << 20
_SESSION_BYTES = 100_000
# A session has the constants that it reads, and packs them.
_TIMES_CONSTANTS = 2


_OTHER_FLOATS = {TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}


@dataclass(slots=True)
class TwinValue:
    """A float output of a node, with its values in each run (None: that run did not get here).

    `raw` is the 16-bit run's before it was rounded, None where it was not; `local` the local run's
    before it is rounded to the type of `stored`. Arrays are valid during the call only.
    Of a value that was measured where it was made there is a `row`, and no array.
    """

    output: TwinOutput
    exact: NDArray[Any] | None
    stored: NDArray[Any] | None
    raw: NDArray[Any] | None
    local: NDArray[Any] | None
    row: TwinRow | None = None
    measured: Measured | None = None


class Visitor(Protocol):
    """Who is shown the values of a walk, those of a part at a time."""

    def look(self, values: Sequence[TwinValue]) -> Sequence[tuple[bool, bool]]:
        """Measure values; says of each whether it is finite in the float32 and the 16-bit run."""
        ...

    def settle(self, values: Sequence[TwinValue], reads: Sequence[tuple[bool, bool]]) -> None:
        """Told of the same values, before they go, whether all that each node read was finite."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkSettings:
    """How parts are loaded, and where they run. `weights` reads constants whose payload is
    elsewhere, and `data_folder` is where ONNX Runtime finds it. With `inside`, values are measured
    by that rule where they are made, on the CPU; `local_runs` says whether there are local runs,
    and `other_floats` that the model takes floats that are not float32.
    """

    threads: int = 1
    provider: str = CPU_PROVIDER
    provider_options: Mapping[str, str] = field(default_factory=dict)
    session_options: Mapping[str, str] = field(default_factory=dict)
    custom_op_library: Path | None = None
    data_folder: Path | None = None
    weights: Weights = field(default_factory=InlineWeights)
    budget_bytes: int = _BUDGET_BYTES
    inside: TwinRule | None = None
    local_runs: bool = True
    other_floats: bool = False


@dataclass(slots=True)
class Frame:
    """The values of a body that is being run, above those of the body around it."""

    parent: Frame | None
    values: dict[str, Any] = field(default_factory=dict)
    finite: dict[str, bool] = field(default_factory=dict)

    def find(self, name: str) -> Any:
        """A value, or None."""
        frame: Frame | None = self
        while frame is not None:
            if name in frame.values:
                return frame.values[name]
            frame = frame.parent
        return None

    def known_finite(self, name: str) -> bool | None:
        """Whether a value is finite; None where nobody looked."""
        frame: Frame | None = self
        while frame is not None:
            if name in frame.finite:
                return frame.finite[name]
            frame = frame.parent
        return None


class Walk:
    """Runs paired models; sessions are kept from one sample to the next."""

    def __init__(self, work: Workload, settings: WalkSettings) -> None:
        """A walk of `work`; nothing is loaded yet."""
        self._work = work
        self._settings = settings
        self._programs: dict[tuple[int, str], Program] = {}
        self._room = _KEPT_BYTES + _TIMES_CONSTANTS * _constant_bytes(work.main)
        self._other_floats = settings.other_floats or _hands_on_floats(work.main)
        self._constants: dict[int, Any] = {}
        self._constant_finite: dict[int, bool] = {}

    def run(
        self,
        exact: Mapping[str, NDArray[Any]],
        half: Mapping[str, NDArray[Any]],
        visitor: Visitor,
    ) -> tuple[list[Any], list[Any]]:
        """One sample through both runs; every measured value is visited when it is there.

        The arrays are by the names of the models' inputs as they were paired. Returns the values
        of the outputs, in graph order.

        Raises:
            SessionError: a part does not load or run.
        """
        frame = Frame(None)
        for name, array in (*exact.items(), *half.items()):
            frame.values[name] = make_value(array)
        return self.run_body(self._work.main, BOTH, frame, visitor)

    def run_body(
        self, body: PairedBody, runs: str, frame: Frame, visitor: Visitor
    ) -> tuple[list[Any], list[Any]]:
        """A body whose inputs are in `frame`, in one run or both."""
        from halve.session.twin_steps import run_control

        program = self._program(body, runs)
        if program.nbytes:
            self._room += program.cut_anew(self._settings.budget_bytes)
        start = 0
        while start < len(program.steps):
            control = program.steps[start].control
            if control is not None:
                run_control(self, control, body, runs, frame, visitor)
            part = program.parts.get(start)
            if part is None:
                part = self._make_part(program, start, frame)
                if part.held_bytes <= self._room:
                    program.parts[start] = part
                    self._room -= part.held_bytes
            self._run_part(program, part, frame, visitor)
            start = part.stop
        outputs = [self.value(name, body, frame) for name in program.outputs]
        return outputs, [self.value(name, body, frame) for name in program.half_outputs]

    def run_alone(self, node: NodeProto, body: PairedBody, frame: Frame) -> list[Any]:
        """The outputs of one node, bodies and all, in a session of its own."""
        reads = dict.fromkeys(reads_of(node))
        constants = {n: c for n in reads if (c := _constant_of(n, body, frame)) is not None}
        feeds = {name: frame.find(name) for name in reads if name not in constants}
        types = {name: type_of(value, name) for name, value in feeds.items()}
        fetch = [name for name in node.output if name]
        session = self._load([node], constants.values(), types, fetch)
        made = dict(zip(fetch, run_values(session, feeds, fetch), strict=True))
        return [made.get(name) for name in node.output]

    def value(self, name: str, body: PairedBody, frame: Frame) -> Any:
        """A value of a body that is being run, or a constant that can be seen from there."""
        value = frame.find(name)
        if value is not None:
            return value
        constant = body.constant(name)
        if constant is None:
            raise SessionError(f"twin run: {name!r} is read before it is made")
        return self._constant(constant)

    def _constant(self, constant: Constant) -> Any:
        if id(constant) not in self._constants:
            if isinstance(constant, SparseTensorProto):
                raise UnsupportedModelError(
                    f"sparse constant {constant.values.name!r} is read where a node with a body"
                    " needs its value; allowed: dense constants there"
                )
            self._constants[id(constant)] = make_value(self._settings.weights.array(constant))
        return self._constants[id(constant)]

    def _program(self, body: PairedBody, runs: str) -> Program:
        key = (id(body), runs)
        if key not in self._programs:
            self._programs[key] = Program(body, runs)
        return self._programs[key]

    def _make_part(self, program: Program, start: int, frame: Frame) -> Part:
        budget = self._settings.budget_bytes
        inside = self._settings.inside is not None
        stop = (program.next_whole_stop if inside else program.next_stop)(start, budget)
        steps = program.part_nodes(start, stop)
        outputs = [list(program.measured(place)) for place in range(start, stop)]
        made = list(dict.fromkeys(_made(node for nodes in steps for node in nodes)))
        kept = {n for n in made if n not in program.recasts and program.last.get(n, -1) >= stop}
        nodes, measured, board = self._with_measures(program, steps, outputs, kept)
        wanted = kept | self._wanted(program, outputs, measured)
        fetch = tuple(name for name in made if name in wanted)
        if measured and not fetch:
            # A session hands out something.
            fetch = (next(n.output[0] for n in reversed(nodes) if n.domain == DOMAIN),)
        inner = set(made) - set(fetch)
        ends = (name for name, place in program.last.items() if start <= place < stop)
        dies = (*(name for name in ends if name not in inner),
                *(name for name in fetch if name not in program.last))  # fmt: skip
        feeds, constants = self._outer(program, nodes, frame)
        session, held = None, 0
        if fetch:
            types = {name: type_of(frame.find(name), name) for name in feeds}
            session = self._load(nodes, constants, types, fetch)
            held += _SESSION_BYTES + _TIMES_CONSTANTS * sum(map(_nbytes, constants))
        return Part(start, stop, session, feeds, fetch, dies, held, measured, board)

    def _with_measures(
        self,
        program: Program,
        steps: list[list[NodeProto]],
        outputs: list[list[TwinOutput]],
        kept: set[str],
    ) -> tuple[list[NodeProto], Mapping[int, Measured], TwinBoard | None]:
        """The part's nodes with operators that measure, what those measure, and where."""
        rule = self._settings.inside
        count = sum(map(len, outputs))
        if rule is None or not count:
            return [node for nodes in steps for node in nodes], {}, None
        board = TwinBoard(count, rule)
        local = self._settings.local_runs
        part = place_measures(
            steps, outputs, program.runs, kept=kept, board=board.number, local_runs=local
        )
        return part.nodes, part.inside, board

    def _wanted(
        self,
        program: Program,
        outputs: list[list[TwinOutput]],
        measured: Mapping[int, Measured],
    ) -> set[str]:
        """What is handed out to be measured, or to tell whether it is finite."""
        every = [output for row in outputs for output in row]
        outside = [output for place, output in enumerate(every) if place not in measured]
        wanted = {name for output in outside for name in present(output, program.runs)}
        if self._other_floats and self._settings.inside is not None:
            known = {name for output in every for name in (output.exact, output.stored)}
            wanted |= program.judged.keys() - known
        return wanted

    def _outer(
        self, program: Program, nodes: list[NodeProto], frame: Frame
    ) -> tuple[tuple[str, ...], list[Constant]]:
        """What a part's nodes read of outside: values, and constants."""
        made = set(_made(nodes))
        reads = dict.fromkeys(name for node in nodes for name in reads_of(node))
        outer = [name for name in reads if name not in made]
        constants = {n: c for n in outer if (c := _constant_of(n, program.body, frame)) is not None}
        feeds = tuple(name for name in outer if name not in constants)
        return feeds, list(constants.values())

    def _load(
        self,
        nodes: Iterable[NodeProto],
        constants: Iterable[Constant],
        types: Mapping[str, TypeProto],
        fetch: Sequence[str],
    ) -> Session:
        model = ModelProto()
        model.CopyFrom(self._work.model)
        if self._settings.inside is not None:
            model.opset_import.add(domain=DOMAIN, version=1)
        graph = model.graph
        graph.name = "part"
        for number, node in enumerate(nodes):
            copy = graph.node.add()
            copy.CopyFrom(node)
            copy.name = f"{node.name}#{number}"  # the runs' nodes have the same names
        for constant in constants:
            sparse = isinstance(constant, SparseTensorProto)
            (graph.sparse_initializer if sparse else graph.initializer).append(constant)
        graph.input.extend(ValueInfoProto(name=name, type=kind) for name, kind in types.items())
        graph.output.extend(ValueInfoProto(name=name) for name in fetch)
        settings = self._settings
        return load(
            model,
            optimise=False,
            threads=settings.threads,
            provider=settings.provider,
            provider_options=settings.provider_options,
            custom_op_library=settings.custom_op_library,
            external_data_folder=settings.data_folder,
            session_options=settings.session_options,
            shared_arena=settings.provider == CPU_PROVIDER,
            operators=settings.inside is not None,
            in_order=settings.inside is not None,
            where="twin run",
        )

    def _run_part(self, program: Program, part: Part, frame: Frame, visitor: Visitor) -> None:
        if part.session is not None:
            feeds = {name: frame.find(name) for name in part.feeds}
            values = run_values(part.session, feeds, part.fetch)
            del feeds
            frame.values.update(zip(part.fetch, values, strict=True))
            del values
        self._measure(program, part, frame, visitor)
        if self._settings.inside is None and (
            part.start not in program.nbytes or part.stop - 1 not in program.nbytes
        ):
            self._learn(program, part, frame)
        for name in part.dies:
            if program.judged.get(name, -1) >= part.stop and name in frame.values:
                self._is_finite(name, program, frame)  # and remember it
            frame.values.pop(name, None)

    def _learn(self, program: Program, part: Part, frame: Frame) -> None:
        found = dict.fromkeys(range(part.start, part.stop), 0)
        for name in part.fetch:
            found[program.maker[name]] += value_nbytes(frame.values[name])
        program.learn(found)

    def _measure(self, program: Program, part: Part, frame: Frame, visitor: Visitor) -> None:
        items = [item for item in program.steps[part.start : part.stop] if item.outputs]
        views: dict[str, NDArray[Any] | None] = {}
        rows = [] if part.board is None else part.board.take()
        outputs = [output for item in items for output in item.outputs]
        values = []
        for place, output in enumerate(outputs):
            how = part.inside.get(place)
            if how is None:
                values.append(self._value(output, program, frame, views))
                continue
            values.append(TwinValue(output, None, None, None, None, rows[how.row], how))
        if not values:
            return
        for value, finite in zip(values, visitor.look(values), strict=True):
            for name, known in zip((value.output.exact, value.output.stored), finite, strict=True):
                if name is not None:
                    frame.finite[name] = known
        reads = []
        for item in items:
            reads += [self._reads(item, program, frame)] * len(item.outputs)
        visitor.settle(values, reads)

    def _reads(self, item: Item, program: Program, frame: Frame) -> tuple[bool, bool]:
        """Whether all that a node reads is finite, in each run."""
        if item.control is not None:
            # A node with bodies makes nothing itself: what is not finite came out of them.
            return False, False
        exact = program.runs != HALF and self._all_finite(item.exact_reads, program, frame)
        half = program.runs != EXACT and self._all_finite(item.half_reads, program, frame)
        return exact, half

    def _value(
        self,
        output: TwinOutput,
        program: Program,
        frame: Frame,
        views: dict[str, NDArray[Any] | None],
    ) -> TwinValue:
        for name in present(output, program.runs):
            if name not in views:
                views[name] = self._array(name, program.body, frame)
        names = (output.exact, output.stored, output.raw, output.local)
        exact, stored, raw, local = (None if name is None else views.get(name) for name in names)
        return TwinValue(output, exact, stored, raw, local)

    def _array(self, name: str, body: PairedBody, frame: Frame) -> NDArray[Any] | None:
        value = frame.find(name)
        if value is not None:
            return view_value(value)
        constant = body.constant(name)
        if constant is None or isinstance(constant, SparseTensorProto):
            return None
        return np.ascontiguousarray(self._settings.weights.array(constant))

    def _all_finite(self, names: Iterable[str], program: Program, frame: Frame) -> bool:
        for name in names:
            known = frame.finite.get(name)
            if known is None:
                known = program.finite_constants.get(name)
            if known is None:
                known = self._is_finite(name, program, frame)
            if not known:
                return False
        return True

    def _is_finite(self, name: str, program: Program, frame: Frame) -> bool:
        known = frame.known_finite(name)
        if known is not None:
            return known
        value = frame.find(name)
        if value is not None:
            known = frame.finite[name] = _finite(view_value(value))
            return known
        constant = program.body.constant(name)
        if constant is None or isinstance(constant, SparseTensorProto):
            return True
        if id(constant) not in self._constant_finite:
            floats = constant.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16)
            array = self._settings.weights.array(constant) if floats else None
            self._constant_finite[id(constant)] = _finite(array)
        known = program.finite_constants[name] = self._constant_finite[id(constant)]
        return known


def _finite(array: NDArray[Any] | None) -> bool:
    if array is None:
        return True
    found = measure_array(np.ascontiguousarray(array), ge=np.inf, le=-1.0, threads=1)
    return not (found.nan or found.inf)


def _nbytes(constant: Constant) -> int:
    size: int = constant.ByteSize()
    return size


def _constant_bytes(body: PairedBody) -> int:
    own = sum(map(_nbytes, body.constants.values()))
    inner = (each for item in body.items if item.control for each in item.control.bodies.values())
    return own + sum(map(_constant_bytes, inner))


def _made(nodes: Iterable[NodeProto]) -> Iterator[str]:
    return (name for node in nodes for name in node.output if name)


def _hands_on_floats(body: PairedBody) -> bool:
    """Whether the float32 run may have floats of another type that are not measured."""
    inner = [each for item in body.items if item.control for each in item.control.bodies.values()]
    nodes = [node for item in body.items for node in item.exact]
    constants = (body.constant(name) for node in nodes for name in reads_of(node))
    types = {c.data_type for c in constants if isinstance(c, TensorProto)}
    return (
        hands_on_floats(nodes) or bool(types & _OTHER_FLOATS) or any(map(_hands_on_floats, inner))
    )


def _constant_of(name: str, body: PairedBody, frame: Frame) -> Constant | None:
    return None if frame.find(name) is not None else body.constant(name)
