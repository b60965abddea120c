"""Measuring operators in the parts of a twin run: values are measured where they are made.

A value that a session hands out is written to memory, kept until the session ends, and read
again. So a part's session has an operator for each measured output instead
(csrc/ort/measure_op.cc), and hands out only what is read outside it.

Rules:
1. An output is measured inside where the part's own nodes make all its values, as float32; the
   others are handed out and measured as arrays.
2. The operator rounds the 16-bit run's value itself and replaces the pair of casts that would; the
   first cast stays where something else reads the 16-bit tensor.
3. It rounds in place where it is the only reader of a result with memory of its own: what some
   nodes that move values make is the memory of what they read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from onnx import NodeProto, TensorProto, helper

from halve._native.twin import ROUNDINGS, SECOND
from halve.session.twin_lane import HALF_CODES, cast_code, is_lowering_cast, reads_of
from halve.session.twin_pair import TwinOutput
from halve.session.twin_program import BOTH, EXACT, HALF, LocalSource, Measured, present
from halve.types import DType

__all__ = ["DOMAIN", "MeasuredPart", "hands_on_floats", "place_measures"]

DOMAIN = "halve"
_EXACT_BIT, _HALF_BIT = 1, 2
_FLOAT = int(TensorProto.FLOAT)
# Float32 outputs that may be 16-bit after the conversion, and then are no result of arithmetic.
_CASTS = ("Cast", "BitCast")
# Nodes that only move or select values, and write what they make into memory of its own.
_COPIES = ("Clip", "Concat", "Gather", "MaxPool", "Max", "Min", "Pad", "Relu", "Slice", "Transpose")


@dataclass(frozen=True, slots=True)
class MeasuredPart:
    """A part's nodes with measuring operators among them, and its outputs that are measured inside,
    by the place of the output in the list that was given.
    """

    nodes: list[NodeProto]
    inside: dict[int, Measured]


def place_measures(  # noqa: PLR0913 - a part, and how it is measured
    steps: Sequence[Sequence[NodeProto]],
    outputs: Sequence[Sequence[TwinOutput]],
    runs: str,
    *,
    kept: Collection[str],
    board: int,
    local_runs: bool,
) -> MeasuredPart:
    """Put operators behind the steps whose outputs they measure.

    `steps` and `outputs` are a part's nodes and measured outputs by step. `kept` are names that
    are read outside the part. `board` is the number of the board; `local_runs` whether local runs
    are made.
    """
    work = _Placing(steps, runs, frozenset(kept), board, local_runs=local_runs)
    for place, row in enumerate(outputs):
        for output in row:
            work.measure(place, output)
    return MeasuredPart(work.nodes(), work.inside)


class _Placing:
    """One part's state: who makes and who reads each name."""

    def __init__(
        self,
        steps: Sequence[Sequence[NodeProto]],
        runs: str,
        kept: frozenset[str],
        board: int,
        local_runs: bool,
    ) -> None:
        self._steps = [list(nodes) for nodes in steps]
        self._runs = runs
        self._kept = kept
        self._board = board
        self._local_runs = local_runs
        self._makers = {n: node for nodes in steps for node in nodes for n in node.output if n}
        self._readers: dict[str, list[NodeProto]] = {}
        for nodes in steps:
            for node in nodes:
                for name in dict.fromkeys(reads_of(node)):
                    self._readers.setdefault(name, []).append(node)
        self._gone: set[int] = set()
        self._seen = 0
        self.inside: dict[int, Measured] = {}

    def nodes(self) -> list[NodeProto]:
        return [node for nodes in self._steps for node in nodes if id(node) not in self._gone]

    def measure(self, place: int, output: TwinOutput) -> None:
        number, self._seen = self._seen, self._seen + 1
        half = self._half_type(output)
        names = list(present(output, self._runs))
        if half is None or not names or any(name not in self._makers for name in names):
            return
        local, second = self._local(output, half)
        row = len(self.inside)
        self.inside[number] = Measured(row, half, local)
        self._steps[place].append(self._operator(output, row, half, second))

    def _half_type(self, output: TwinOutput) -> DType | None:
        """The type of what is stored, as float32 where that run is not made; None: not told."""
        if self._runs == EXACT or output.stored is None:
            return DType.FLOAT
        node = self._makers.get(output.stored)
        if node is None or (output.raw is None and node.op_type in _CASTS):
            # A cast to float32 is arithmetic's result; any other is not read as float32.
            is_float = node is not None and node.op_type == "Cast" and cast_code(node) == _FLOAT
            return DType.FLOAT if is_float else None
        if output.raw is None:
            return DType.FLOAT
        code = cast_code(node) if node.op_type == "Cast" else 0
        return DType(code) if code in HALF_CODES else None

    def _local(self, output: TwinOutput, half: DType) -> tuple[LocalSource, str]:
        """Which comparison is the local one, and what the operator compares for it."""
        if not self._local_runs:
            if output.raw is None or output.neutral or self._runs == EXACT:
                return "unchanged", "none"
            return "row", "own"
        if self._runs != BOTH or not (output.exact and output.stored and output.local):
            return "none", "none"
        if output.local in (output.raw, output.stored):
            return "total", "none"
        if half == DType.FLOAT:
            return ("equal", "none") if output.local == output.exact else ("row", "plain")
        return "row", "rounded"

    def _operator(self, output: TwinOutput, row: int, half: DType, second: str) -> NodeProto:
        exact = output.exact if self._runs != HALF else None
        raw = (output.raw or output.stored) if self._runs != EXACT else None
        widened = self._widened(output, half)
        any_name = str(raw or exact)
        local = output.local if second in ("rounded", "plain") else None
        in_place = widened is not None and self._is_own(output)
        return helper.make_node(
            "MeasureInPlace" if in_place else "Measure",
            [exact or any_name, any_name, local or any_name],
            [widened or f"{any_name}:measured{row}"],
            domain=DOMAIN,
            board=self._board,
            row=row,
            reads=(_EXACT_BIT if exact else 0) | (_HALF_BIT if raw else 0),
            round=ROUNDINGS[None if half == DType.FLOAT else half],
            second=SECOND[second],
            keep=int(widened is not None),
        )

    def _widened(self, output: TwinOutput, half: DType) -> str | None:
        """The rounded value that the operator makes (rule 2); None where nothing reads it."""
        stored = output.stored
        if half == DType.FLOAT or stored is None or self._runs == EXACT:
            return None
        readers = self._readers.get(stored, [])
        pairs = [n for n in readers if is_lowering_cast(n) and cast_code(n) == _FLOAT]
        pairs = [node for node in pairs if id(node) not in self._gone]
        if len(readers) == len(pairs) <= 1 and stored not in self._kept:
            self._gone.add(id(self._makers[stored]))
        if not pairs:
            return None
        self._gone.add(id(pairs[0]))
        return str(pairs[0].output[0])

    def _is_own(self, output: TwinOutput) -> bool:
        """Whether a value may be overwritten (rule 3)."""
        raw = output.raw
        if raw is None or raw in self._kept:
            return False
        maker = self._makers[raw]
        if maker.domain not in ("", "ai.onnx") or (output.neutral and maker.op_type not in _COPIES):
            return False
        return all(id(node) in self._gone for node in self._readers.get(raw, []))


def hands_on_floats(nodes: Iterable[NodeProto]) -> bool:
    """Whether nodes may make floats that are not float32, which no operator measures."""
    return any(_makes_other(node) for node in nodes)


def _makes_other(node: NodeProto) -> bool:
    others = (*HALF_CODES, int(TensorProto.DOUBLE))
    return any(
        attribute.t.data_type in others
        or (attribute.name in ("to", "dtype") and attribute.i in others)
        for attribute in node.attribute
    )
