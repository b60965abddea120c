"""What the passes of a rewrite share: the model being rewritten and the types assigned to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from onnx import ModelProto, NodeProto

from halve.errors import OptionError
from halve.options import ConvertOptions
from halve.plan.analysis import Analysis, Kind, NodeInfo, Value
from halve.types import CastJob, CastRow, DType, Plan, SourceModel

__all__ = ["Reader", "Rewriting", "type_tag"]

_TAGS = {DType.FLOAT: "float32", DType.FLOAT16: "float16", DType.BFLOAT16: "bfloat16"}


def type_tag(elem: int) -> str:
    """How a type is spelt in the names of new values."""
    return _TAGS[DType(elem)]


@dataclass(frozen=True, slots=True)
class Reader:
    """Input `slot` of a node, which wants type `elem`."""

    node: NodeInfo
    slot: int
    elem: int


@dataclass(slots=True)
class Rewriting:
    """A rewrite under way; `proto` is its own copy, `analysis` that of the source.

    `in_types` and `out_types` hold, a node and slot, the element type that the plan assigns.
    `after` are new nodes by the id of the node that they follow (-1: at the start).
    """

    source: SourceModel
    analysis: Analysis
    plan: Plan
    options: ConvertOptions
    proto: ModelProto
    nodes: list[NodeProto]
    jobs: list[CastJob]
    in_types: list[list[int]] = field(default_factory=list)
    out_types: list[list[int]] = field(default_factory=list)
    after: dict[int, list[NodeProto]] = field(default_factory=dict)
    dropped: set[int] = field(default_factory=set)
    casts: list[CastRow] = field(default_factory=list)
    cast_lower_bound: int = 0
    changed: bool = False
    _names: set[str] = field(default_factory=set)

    @classmethod
    def start(
        cls, source: SourceModel, analysis: Analysis, plan: Plan, options: ConvertOptions
    ) -> Rewriting:
        """A rewrite of a copy of the source in which nothing is changed yet."""
        proto = ModelProto()
        proto.CopyFrom(source.proto)
        jobs = [CastJob(ref.name, ref, ref.dtype) for ref in source.refs]
        state = cls(source, analysis, plan, options, proto, list(proto.graph.node), jobs)
        state._names = set(analysis.values) | {n.name for _, _, n in analysis.all_nodes}
        state._check_io_names()
        return state

    def _check_io_names(self) -> None:
        keep = self.options.keep_io_types
        if isinstance(keep, bool):
            return
        graph = self.proto.graph
        known = [info.name for info in (*graph.input, *graph.output)]
        for name in keep:
            if name not in known:
                raise OptionError(
                    f"keep_io_types names {name!r}, which is no graph input or output;"
                    f" this model has {', '.join(map(repr, known))}"
                )

    def fresh(self, name: str) -> str:
        """`name`, or `name` with a number where something is already called that."""
        candidate, number = name, 1
        while candidate in self._names:
            number += 1
            candidate = f"{name}_{number}"
        self._names.add(candidate)
        return candidate

    def keeps(self, value: Value) -> bool:
        """Whether a float32 graph input or output keeps its type.

        An input with a default is a weight: only naming it keeps it.
        """
        keep = self.options.keep_io_types
        if isinstance(keep, bool):
            return keep and (value.kind != Kind.INITIALIZER or value.is_output)
        return value.name in keep

    def is_weight(self, value: Value) -> bool:
        """Whether a float32 value's payload can be converted in place of being cast."""
        if value.kind == Kind.CONSTANT:
            return True
        return value.kind == Kind.INITIALIZER and not (value.is_input and self.keeps(value))

    def io_type(self, value: Value) -> int:
        """The type that a float32 graph input or output has in the result."""
        return DType.FLOAT if self.keeps(value) else self.options.half

    def readers(self, value: Value) -> list[Reader]:
        """The readers of a value with the types that they want."""
        return [Reader(n, slot, self.in_types[n.id][slot]) for n, slot in value.readers]

    def wanted(self, value: Value) -> set[int]:
        """The types in which a value is read, as a graph output among others."""
        types = {reader.elem for reader in self.readers(value)}
        return types | {self.io_type(value)} if value.is_output else types

    def repoint(self, readers: Sequence[Reader], name: str) -> None:
        """Make readers read another value."""
        for reader in readers:
            self.nodes[reader.node.id].input[reader.slot] = name
        self.changed = self.changed or bool(readers)

    def insert(self, node: NodeProto, after: Value) -> None:
        """Add a node right behind the one that makes `after`, or at the start."""
        place = after.source[0].id if after.source else -1
        self.after.setdefault(place, []).append(node)
        self.changed = True

    def float_values(self) -> list[Value]:
        """The float32 values of the source, in the order of the analysis."""
        return [v for v in self.analysis.values.values() if v.elem == DType.FLOAT]
