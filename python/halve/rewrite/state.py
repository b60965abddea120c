"""What the passes of a rewrite share: the model being rewritten and the types assigned to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, ValueInfoProto

from halve.errors import OptionError
from halve.options import ConvertOptions
from halve.plan.analysis import Analysis, Kind, NodeInfo, Scope, Value
from halve.source import iter_function_tensors, payload_index, set_payload
from halve.source.names import replace_name, set_name, stem
from halve.source.scopes import subgraphs
from halve.types import CastJob, CastRow, DType, Plan, SourceModel

__all__ = ["CAST_OPSET", "Reader", "Rewriting", "type_tag", "unused"]

# The opset imported for the Casts of a model that imports none of the default domain: the first
# whose Cast has both 16-bit types.
CAST_OPSET = 13
_TAGS = {DType.FLOAT: "float32", DType.FLOAT16: "float16", DType.BFLOAT16: "bfloat16"}


def type_tag(elem: int) -> str:
    """How a type is spelt in the names of new values."""
    return _TAGS[DType(elem)]


def unused(name: str, taken: set[str | bytes]) -> str:
    """`name`, or `name` with a number where it is taken; taken from then on."""
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    taken.add(candidate)
    return candidate


def _root(scope: Scope) -> Scope:
    """The outermost scope whose names can be seen from `scope`."""
    while scope.parent is not None:
        scope = scope.parent
    return scope


class Reader(NamedTuple):
    """A place that reads a value as type `elem`: input `slot` of a node, or output `slot` of a
    body (whose name is free, unlike a graph output's)."""

    place: NodeInfo | Scope
    slot: int
    elem: int


@dataclass(slots=True)
class Rewriting:
    """A rewrite under way; `proto` is its own copy, `analysis` that of the source.

    By uid: `nodes` are the copy's nodes, `in_types` and `out_types` the element types that the
    plan assigns to each slot, `after` the new nodes that follow a node; `dropped` are uids of
    nodes that go. `stored_half` are weights that float32 readers read through a Cast,
    `half_sequences` the sequences whose tensors become 16-bit. By scope:
    `bodies` are the copy's graphs and functions (each instance of a function is a copy of its
    own), `first` the new nodes at the start, and `scope_inputs` and `scope_outputs` the types of
    formal inputs and outputs of all but the main graph; UNDEFINED is that of an output that
    nobody takes, and which may have any.
    """

    source: SourceModel
    analysis: Analysis
    plan: Plan
    options: ConvertOptions
    proto: ModelProto
    jobs: list[CastJob]
    nodes: list[NodeProto] = field(default_factory=list)
    bodies: dict[Scope, GraphProto | FunctionProto] = field(default_factory=dict)
    in_types: list[list[int]] = field(default_factory=list)
    out_types: list[list[int]] = field(default_factory=list)
    scope_inputs: dict[Scope, dict[int, int]] = field(default_factory=dict)
    scope_outputs: dict[Scope, dict[int, int]] = field(default_factory=dict)
    after: dict[int, list[NodeProto]] = field(default_factory=dict)
    first: dict[Scope, list[NodeProto]] = field(default_factory=dict)
    dropped: set[int] = field(default_factory=set)
    casts: list[CastRow] = field(default_factory=list)
    cast_lower_bound: int = 0
    changed: bool = False
    stored_half: set[Value] = field(default_factory=set)
    half_sequences: set[Value] = field(default_factory=set)
    _names: dict[Scope, set[str | bytes]] = field(default_factory=dict)

    @classmethod
    def start(
        cls, source: SourceModel, analysis: Analysis, plan: Plan, options: ConvertOptions
    ) -> Rewriting:
        """A rewrite of a copy of the source in which nothing is changed yet."""
        proto = ModelProto()
        proto.CopyFrom(source.proto)
        jobs = [CastJob(ref.name, ref, ref.dtype) for ref in source.refs]
        state = cls(source, analysis, plan, options, proto, jobs)
        for scope in analysis.scopes:
            state._mirror(scope)
        state._collect_names()
        state._check_io_names()
        return state

    def _mirror(self, scope: Scope) -> None:
        """Find the copy's body that corresponds to a scope, and its nodes."""
        if scope.owner is None:
            body = self.proto.graph
        elif isinstance(scope.body, FunctionProto):
            body = self._own_instance(scope.body)
        else:
            labels = {id(owned): label for label, owned in scope.owner.bodies.items()}
            body = dict(subgraphs(self.nodes[scope.owner.uid]))[labels[id(scope)]]
        self.bodies[scope] = body
        if scope.nodes:  # uids follow the order of scopes, nodes in order within each
            self.nodes.extend(body.node)

    def _own_instance(self, function: FunctionProto) -> FunctionProto:
        """A copy of a function with jobs of its own, so that instances can differ."""
        body = FunctionProto()
        body.CopyFrom(function)
        for tensor in iter_function_tensors(body):
            index = payload_index(tensor)
            if index is not None:
                set_payload(tensor, len(self.jobs))
                self.jobs.append(self.jobs[index])
        return body

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

    def _collect_names(self) -> None:
        """Names of values and nodes, apart for the main graph and each instance of a function."""
        for scope in self.analysis.scopes:
            taken = self._names.setdefault(_root(scope), set())
            taken.update(scope.values)
            taken.update(node.proto.name for node in scope.nodes)

    def fresh(self, scope: Scope, base: str | bytes, suffix: str = "") -> str:
        """`base` with `suffix`, and a number where anything in reach is already called that."""
        return unused(stem(base) + suffix, self._names[_root(scope)])

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
        """The type that a float32 input or output of the main graph has in the result."""
        return DType.FLOAT if self.keeps(value) else self.options.half

    def made_type(self, value: Value) -> int:
        """The type in which a value is made that is no weight, or one stored 16-bit only."""
        if value in self.stored_half or value.elem != DType.FLOAT:
            return self.options.half if value in self.stored_half else value.elem
        if value.source is not None:
            node, slot = value.source
            return self.out_types[node.uid][slot]
        if value.kind == Kind.INITIALIZER and value.is_input and value.is_output:
            return self.io_type(value)  # one name for both
        if value.kind != Kind.INPUT:
            return DType.FLOAT
        if value.scope.owner is None:
            return self.io_type(value)
        # One that the owner has no operand for is tied to nothing and keeps its type.
        given = self.scope_inputs.get(value.scope, {})
        return given.get(value.scope.inputs.index(value), value.elem)

    def readers(self, value: Value) -> list[Reader]:
        """The places that read a value, with the types that they want."""
        found = [Reader(n, slot, self.in_types[n.uid][slot]) for n, slot in value.readers]
        for scope, slot in value.exits:
            found.append(Reader(scope, slot, self.scope_outputs[scope][slot] or self._any(value)))
        return found

    def _any(self, value: Value) -> int:
        """The type in which whoever takes any gets a value."""
        return value.elem if self.is_weight(value) else self.made_type(value)

    def wanted(self, value: Value) -> set[int]:
        """The types in which a value is read, as a graph output among others."""
        types = {reader.elem for reader in self.readers(value)}
        return types | {self.io_type(value)} if value.is_output else types

    def read_name(self, reader: Reader) -> str | bytes:
        """The name that a place reads now."""
        if isinstance(reader.place, NodeInfo):
            name: str | bytes = self.nodes[reader.place.uid].input[reader.slot]
            return name
        output = self.bodies[reader.place].output[reader.slot]
        return output.name if isinstance(output, ValueInfoProto) else output

    def repoint(self, readers: Sequence[Reader], name: str | bytes) -> None:
        """Make readers read the value of that name."""
        for reader in readers:
            if isinstance(reader.place, NodeInfo):
                replace_name(self.nodes[reader.place.uid], "input", reader.slot, name)
                continue
            body = self.bodies[reader.place]
            if isinstance(body, FunctionProto):
                replace_name(body, "output", reader.slot, name)
            else:
                set_name(body.output[reader.slot], name)
        self.changed = self.changed or bool(readers)

    def insert(self, node: NodeProto, after: Value) -> None:
        """Add a node right behind the one that makes `after`, or at the start of its scope."""
        if after.source is not None:
            self.after.setdefault(after.source[0].uid, []).append(node)
        else:
            self.first.setdefault(after.scope, []).append(node)
        self.changed = True

    def float_values(self) -> list[Value]:
        """The float32 values of the source, in the order of the analysis."""
        return [value for value in self.analysis.values if value.elem == DType.FLOAT]
