"""A body's work in one run or both, cut into parts that fit a budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from onnx import NodeProto, TensorProto

from halve._native.twin import TwinBoard
from halve.session.runtime import Session
from halve.session.twin_lane import (
    HALF_CODES,
    Constant,
    cast_code,
    is_lowering_cast,
    reads_of,
)
from halve.session.twin_pair import Item, PairedBody, TwinOutput, rounding_nodes
from halve.source.payload import data_size
from halve.types import DType

__all__ = ["BOTH", "EXACT", "HALF", "LocalSource", "Measured", "Part", "Program", "present"]

EXACT, HALF, BOTH = "exact", "half", "both"
# A part's values may take the budget, or this many times the largest step's.
_LARGEST_TIMES = 1
# Steps of unknown size in one part.
_UNKNOWN_STEPS = 4


# Which comparison is an output's local one: none was made, the row's own, that of both runs, the
# float32 value with itself, or the 16-bit one with itself.
LocalSource = Literal["none", "row", "total", "equal", "unchanged"]


@dataclass(frozen=True, slots=True)
class Measured:
    """An output that is measured inside, in `row` of the part's board; `half` is the type of what
    the 16-bit run stores.
    """

    row: int
    half: DType
    local: LocalSource


@dataclass(slots=True)
class Part:
    """Steps that one session does; `held_bytes` is about what it takes while it is kept.

    `inside` has the outputs that the session measures itself, by their place among the part's, and
    `board` is where it does so.
    """

    start: int
    stop: int
    session: Session | None
    feeds: tuple[str, ...]
    fetch: tuple[str, ...]
    dies: tuple[str, ...]
    held_bytes: int
    inside: Mapping[int, Measured] = field(default_factory=dict)
    board: TwinBoard | None = None


class Program:
    """A body's work in one run or both, cut into parts.

    `recasts` are casts of stored 16-bit values to float32 that a later part makes again rather
    than that their results, which are twice as large, be kept until then. `judged` has the last
    step at which somebody asks whether a value was finite, which may be after it went.
    """

    def __init__(self, body: PairedBody, runs: str) -> None:
        """Work out when each value is read last."""
        self.body = body
        self.runs = runs
        self.steps = body.items
        self.nodes = [tuple(_nodes(item, runs)) for item in self.steps]
        self.maker: dict[str, int] = {}
        self.last: dict[str, int] = {}
        for place, item in enumerate(self.steps):
            for node in self.nodes[place]:
                self.maker.update((name, place) for name in node.output if name)
            for name in (*_controlled(item, runs), *self._read(place)):
                self.last[name] = place
            self.maker.update((name, place) for name in _made_by_control(item, runs))
        self.recasts = self._recasts()
        for name, cast in self.recasts.items():
            if name in self.last:
                stored = cast.input[0]
                self.last[stored] = max(self.last.get(stored, 0), self.last[name])
        self.outputs = body.exact_outputs if runs != HALF else ()
        self.half_outputs = body.half_outputs if runs != EXACT else ()
        for name in (*self.outputs, *self.half_outputs):
            self.last[name] = len(self.steps)
        self.judged = {name: place for place, item in enumerate(self.steps)
                       for name in _judged(item, runs)}  # fmt: skip
        self.nbytes: dict[int, int] = {}
        self.largest = 0
        self.parts: dict[int, Part] = {}
        self.finite_constants: dict[str, bool] = {}

    def _recasts(self) -> dict[str, NodeProto]:
        inner = {name for item in self.steps for name in _controlled(item, self.runs)}
        wanted = {*inner, *self.body.exact_outputs, *self.body.half_outputs}
        return {
            node.output[0]: node
            for nodes in self.nodes
            for node in nodes
            if is_lowering_cast(node) and cast_code(node) not in HALF_CODES
            if node.output[0] not in wanted and node.input[0] in self.maker
        }

    def measured(self, place: int) -> Iterator[TwinOutput]:
        """The outputs that a step measures."""
        return iter(self.steps[place].outputs)

    def _read(self, place: int) -> Iterator[str]:
        item = self.steps[place]
        for node in self.nodes[place]:
            yield from (name for name in reads_of(node) if name not in item.roundings)
        if self.runs == BOTH:
            yield from (rounding.exact for rounding in item.roundings.values())
        for output in item.outputs:
            yield from present(output, self.runs)

    def part_nodes(self, start: int, stop: int) -> list[list[NodeProto]]:
        """The nodes of a part by step, each with the casts that it is first to read."""
        made = {n for nodes in self.nodes[start:stop] for node in nodes for n in node.output}
        rows = []
        for place in range(start, stop):
            own: list[NodeProto] = []
            if self.runs == BOTH:
                casts = rounding_nodes([self.steps[place]])
                own += [node for node in casts if node.output[0] not in made]
            own += self.nodes[place]
            made.update(node.output[0] for node in own if node.output)
            again = {n for node in own for n in reads_of(node) if n in self.recasts} - made
            made |= again
            rows.append([*(self.recasts[name] for name in sorted(again)), *own])
        return rows

    def next_whole_stop(self, start: int, budget: int) -> int:
        """Where a part that measures its values itself ends: before a node that is stepped, or
        where the constants that its nodes read pass the budget.
        """
        if self.steps[start].control is not None:
            return start + 1
        seen: set[int] = set()
        total, stop = 0, start
        while stop < len(self.steps) and (stop == start or self.steps[stop].control is None):
            new = {id(c): c for c in self._constants(stop) if id(c) not in seen}
            total += sum(map(_payload_nbytes, new.values()))
            if stop > start and total > budget:
                break
            seen.update(new)
            stop += 1
        return stop

    def _constants(self, place: int) -> Iterator[Constant]:
        for node in self.nodes[place]:
            for name in reads_of(node):
                constant = self.body.constant(name)
                if constant is not None:
                    yield constant

    def next_stop(self, start: int, budget: int) -> int:
        """Where a part that begins here ends: within the budget, by what is known of sizes."""
        if self.steps[start].control is not None:
            return start + 1
        largest = self.largest or budget
        limit = max(budget, _LARGEST_TIMES * largest)
        total, unknown, stop = 0, 0, start
        while stop < len(self.steps) and (stop == start or self.steps[stop].control is None):
            unknown += stop not in self.nbytes
            total += self.nbytes.get(stop, largest)
            if stop > start and (total > limit or unknown > _UNKNOWN_STEPS):
                break
            stop += 1
        return stop

    def learn(self, nbytes: Mapping[int, int]) -> None:
        """Be told how many bytes of values some steps make."""
        self.nbytes.update(nbytes)
        self.largest = max(self.largest, *nbytes.values())

    def cut_anew(self, budget: int) -> int:
        """Forget the parts where, now that sizes are known, there could be far fewer; the bytes
        that are held no more.
        """
        start, wanted = 0, 0
        while start < len(self.steps):
            start, wanted = self.next_stop(start, budget), wanted + 1
        if len(self.parts) > wanted + wanted // 4:
            gone = sum(part.held_bytes for part in self.parts.values())
            self.parts.clear()
            return gone
        return 0


def present(output: TwinOutput, runs: str) -> Iterator[str]:
    """The values of an output that are there when these runs are made."""
    if runs != HALF and output.exact:
        yield output.exact
    if runs != EXACT:
        yield from (name for name in (output.stored, output.raw) if name)
    if runs == BOTH and output.local:
        yield output.local


def _payload_nbytes(constant: Constant) -> int:
    """A constant's bytes, wherever its payload is."""
    size: int = constant.ByteSize()
    if isinstance(constant, TensorProto):
        size = max(size, data_size(constant.data_type, tuple(constant.dims)) or 0)
    return size


def _nodes(item: Item, runs: str) -> Iterator[NodeProto]:
    if runs != HALF:
        yield from item.exact
    if runs != EXACT:
        yield from item.half
    if runs == BOTH:
        yield from item.local


def _controls(item: Item, runs: str) -> Iterator[NodeProto]:
    if item.control is not None:
        pairs = ((item.control.exact, HALF), (item.control.half, EXACT))
        yield from (node for node, other in pairs if node is not None and runs != other)


def _controlled(item: Item, runs: str) -> Iterator[str]:
    for node in _controls(item, runs):
        yield from reads_of(node)
    if item.control is not None and runs == BOTH:
        for body in item.control.bodies.values():
            yield from _local_reads(body)


def _local_reads(body: PairedBody) -> Iterator[str]:
    """What local runs inside a body read: perhaps values of around it that no node there reads."""
    for item in body.items:
        for node in item.local:
            yield from (name for name in reads_of(node) if name not in item.roundings)
        yield from (rounding.exact for rounding in item.roundings.values())
        if item.control is not None:
            for inner in item.control.bodies.values():
                yield from _local_reads(inner)


def _judged(item: Item, runs: str) -> Iterator[str]:
    """What must be known to be finite or not where the step is measured, bodies included."""
    if runs != HALF:
        yield from item.exact_reads
    if runs != EXACT:
        yield from item.half_reads
    if item.control is not None:
        for body in item.control.bodies.values():
            for inner in body.items:
                yield from _judged(inner, runs)


def _made_by_control(item: Item, runs: str) -> Iterator[str]:
    for node in _controls(item, runs):
        yield from (name for name in node.output if name)
