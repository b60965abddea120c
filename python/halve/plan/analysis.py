"""A model's graphs as values and nodes, with the element type of every value.

Every body is a scope: the main graph, subgraphs, and one instance of a local function a call, so
that a function is typed by its call. No shape is inferred.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TypeProto,
    ValueInfoProto,
)

from halve.errors import ModelError
from halve.plan.asking import ask_types
from halve.plan.infer import TypeClasses
from halve.plan.operand_rules import SEQUENCE_OPERATORS, one_variable, tied_outputs
from halve.plan.schemas import OPAQUE, UNKNOWN, OpRule, known_opset, normal_domain, rule_for
from halve.plan.type_attributes import is_empty_constant, is_weight
from halve.source import text
from halve.source.scopes import child_path, function_path, iter_nodes, subgraphs
from halve.types import DType, TypeOracle

__all__ = ["Analysis", "Kind", "NodeInfo", "Scope", "Value", "analyse", "declared_type"]


# The schemas' own lookup takes no greater number.
_NEWEST_OPSET = 2**31 - 1
_FLOAT = int(DType.FLOAT)


class Kind(enum.IntEnum):
    """Where a value comes from."""

    INPUT = 0  # of its scope
    INITIALIZER = 1  # a weight; an initializer that is also a graph input is one with a default
    CONSTANT = 2  # a Constant node with a dense tensor
    NODE = 3
    SPARSE = 4  # a sparse initializer


# What most nodes have: no container of their own, of which Python's collector would see very many.
_NO_BODIES: Mapping[str, Scope] = MappingProxyType({})


def _no_bodies() -> Mapping[str, Scope]:
    return _NO_BODIES


@dataclass(slots=True, eq=False)
class Value:
    """A named value of a scope: an input, a weight or a node's output.

    `elem` is a TensorProto.DataType code, UNKNOWN or OPAQUE; `held` is that of the tensors in a
    sequence. `source` is the (node, slot) that
    makes it. `readers` are (node, input slot), in whatever scope the node is; `exits` are (scope,
    position) where it is an output of a subgraph or function. `is_input` and `is_output` are
    those of the main graph. `is_empty` is a constant without elements. `name` is bytes where it is
    not valid UTF-8.
    """

    name: str | bytes
    index: int
    kind: Kind
    scope: Scope
    elem: int = UNKNOWN
    source: tuple[NodeInfo, int] | None = None
    readers: list[tuple[NodeInfo, int]] = field(default_factory=list)
    exits: Sequence[tuple[Scope, int]] = ()
    is_input: bool = False
    is_output: bool = False
    is_empty: bool = False
    held: int = UNKNOWN

    @property
    def is_float(self) -> bool:
        """Whether it is a float32 tensor, or a sequence of such."""
        return _FLOAT in (self.elem, self.held)


@dataclass(slots=True, eq=False)
class NodeInfo:
    """A node with its id, its rule (None for an operator without a schema) and its values.

    `uid` numbers nodes of all scopes, instances of functions apart; `id` is that of the plan.
    `inputs` and `outputs` hold None for an empty optional operand. `in_types` and `out_types` are
    (type variable, fixed element type) a slot. `bodies` are the scopes that this node owns, by
    the attribute's label, or the called function under "". `captured` are the values of its own
    scope that its bodies read.
    """

    id: int
    uid: int
    proto: NodeProto
    scope: Scope
    domain: str
    op_type: str
    rule: OpRule | None
    opset: int
    inputs: list[Value | None] = field(default_factory=list)
    outputs: list[Value | None] = field(default_factory=list)
    in_types: tuple[tuple[str, int], ...] = ()
    out_types: tuple[tuple[str, int], ...] = ()
    bodies: Mapping[str, Scope] = field(default_factory=_no_bodies)
    captured: Sequence[Value] = ()

    @property
    def name(self) -> str:
        """The node's name, which may be empty."""
        return text(self.proto.name)

    @property
    def calls_function(self) -> bool:
        """Whether the node calls a local function of the model."""
        return "" in self.bodies

    def label(self) -> str:
        """How messages and reports name this node."""
        return f"node {self.id} ({self.op_type}{' ' + repr(self.name) if self.name else ''})"


@dataclass(slots=True, eq=False)
class Scope:
    """A body: the main graph (no owner), a subgraph, or an instance of a function.

    `parent` is the scope whose values can be read here (None for a function). `inputs` and
    `outputs` are its formal ones. `attributes` are those that a call passes to a function.
    """

    path: str
    body: GraphProto | FunctionProto
    opsets: Mapping[str, int]
    owner: NodeInfo | None = None
    parent: Scope | None = None
    values: dict[str | bytes, Value] = field(default_factory=dict)
    nodes: list[NodeInfo] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    attributes: Mapping[str, AttributeProto] = field(default_factory=dict)

    def find(self, name: str | bytes) -> Value | None:
        """The value of that name here or in a scope around."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.parent
        return None

    def place(self) -> str:
        """How messages name this scope."""
        return f"scope {self.path!r}" if self.path else "the main graph"


@dataclass(slots=True, eq=False)
class Analysis:
    """All scopes of a model (the main graph first, every scope behind its owner's), with nodes
    by uid and values by index.

    `all_nodes` are (id, scope path, node) of the file. `sequences` are the sequences of float32
    tensors, those of one type class together. `warnings` are for the report; `conflicts`
    name where operands contradict each other.
    """

    proto: ModelProto
    all_nodes: list[tuple[int, str, NodeProto]]
    scopes: list[Scope] = field(default_factory=list)
    nodes: list[NodeInfo] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    sequences: list[list[Value]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)

    @property
    def main(self) -> Scope:
        """The scope of the main graph."""
        return self.scopes[0]


def analyse(proto: ModelProto, oracle: TypeOracle | None = None) -> Analysis:
    """Index `proto` and infer every value's element type, without shapes.

    `oracle` is asked for types that nothing in the model tells.

    Raises:
        ModelError: a value is made twice, or read without being made; a function calls itself.
        SessionError: the oracle cannot answer at all.
    """
    analysis = Analysis(proto, list(iter_nodes(proto)))
    _Builder(analysis).build()
    for scope in analysis.scopes:
        for node in scope.nodes:
            _connect(scope, node)
        _connect_outputs(scope)
    _infer(analysis, oracle)
    return analysis


def _opsets(body: ModelProto | FunctionProto) -> dict[str, int]:
    for entry in body.opset_import:
        if not 0 <= entry.version <= _NEWEST_OPSET:
            raise ModelError(
                f"opset_import of domain {entry.domain!r} has version {entry.version}; allowed:"
                f" 1 to {_NEWEST_OPSET}; export the model again"
            )
    return {normal_domain(entry.domain): entry.version for entry in body.opset_import}


def _not_text(proto: NodeProto, place: str) -> ModelError:
    """Operators are looked up by text."""
    return ModelError(
        f"node {text(proto.name)!r} in {place} has the operator {proto.op_type!r} of domain"
        f" {proto.domain!r}; allowed: valid UTF-8; export the model again"
    )


def _check_arity(node: NodeInfo) -> None:
    """Rules ask for operands by place. An opset newer than known may need fewer of them."""
    if node.rule is None:
        return
    counts = (len(node.inputs), len(node.outputs))
    if counts[0] >= node.rule.least[0] and counts[1] >= node.rule.least[1]:
        return
    if node.calls_function or node.opset > known_opset(node.domain):
        return
    raise ModelError(
        f"{node.label()} in {node.scope.place()} has {counts[0]} inputs and {counts[1]}"
        f" outputs; {node.op_type} needs at least {node.rule.least[0]} and"
        f" {node.rule.least[1]}; export the model again"
    )


# Domain, operator, opset of the domain, and the rule in force.
_Operator = tuple[str, str, int, OpRule | None]


class _Builder:
    """Makes scopes, nodes and named values; a scope's subgraphs come right behind it."""

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis
        self._starts: dict[str, int] = {}
        for number, path, _ in analysis.all_nodes:
            self._starts.setdefault(path, number)
        self._functions: dict[tuple[str, str, str], FunctionProto] = {}
        for function in analysis.proto.functions:
            key = (normal_domain(function.domain), function.name, function.overload)
            if self._functions.setdefault(key, function) is not function:
                raise ModelError(
                    f"function {function_path(function)} is defined more than once; allowed: names"
                    " that differ; export the model again"
                )
        self._foreign: set[tuple[str, int]] = set()
        self._operators: dict[tuple[int, str, str], _Operator] = {}

    def build(self) -> None:
        proto = self._analysis.proto
        calls = self._add_graph(Scope("", proto.graph, _opsets(proto)))
        while calls:  # instances of functions come last, so that uid and id agree before them
            caller = calls.pop()
            calls += self._add_function(caller)
        for domain, version in sorted(self._foreign):
            self._analysis.warnings.append(
                f"opset {version} of domain {domain!r} is newer than the newest known one"
                f" ({known_opset(domain)}), whose schemas are used"
            )

    def _add_graph(self, scope: Scope) -> list[NodeInfo]:
        """Add a scope and the subgraphs below it; returns the calls of functions in them."""
        calls: list[NodeInfo] = []
        waiting = [scope]
        while waiting:
            scope = waiting.pop()
            self._fill(scope)
            calls += [node for node in scope.nodes if self._function_of(node) is not None]
            waiting += reversed([body for node in scope.nodes for body in node.bodies.values()])
        return calls

    def _add_function(self, caller: NodeInfo) -> list[NodeInfo]:
        function = self._function_of(caller)
        if function is None:
            return []
        scope: Scope | None = caller.scope
        while scope is not None:
            if scope.body is function:
                raise ModelError(f"function {function_path(function)} calls itself")
            scope = scope.owner.scope if scope.owner is not None else None
        defaults = {attr.name: attr for attr in function.attribute_proto}
        given = {attr.name: _resolved(attr, caller.scope) for attr in caller.proto.attribute}
        opsets = _opsets(function)
        opsets.setdefault("", caller.scope.opsets.get("", 0))
        body = Scope(function_path(function), function, opsets, caller)
        body.attributes = {k: v for k, v in (defaults | given).items() if v is not None}
        caller.bodies = {**caller.bodies, "": body}
        return self._add_graph(body)

    def _function_of(self, node: NodeInfo) -> FunctionProto | None:
        if not self._functions:
            return None
        return self._functions.get((node.domain, node.op_type, node.proto.overload))

    def _fill(self, scope: Scope) -> None:
        self._analysis.scopes.append(scope)
        if isinstance(scope.body, FunctionProto):
            for name in scope.body.input:
                scope.inputs.append(self._value(scope, name, Kind.INPUT))
        else:
            self._add_graph_values(scope, scope.body)
        start = self._starts.get(scope.path, 0)
        for number, proto in enumerate(scope.body.node, start):
            self._add_node(scope, number, proto)

    def _value(self, scope: Scope, name: str | bytes, kind: Kind, elem: int = UNKNOWN) -> Value:
        if name in scope.values:
            raise ModelError(
                f"value {name!r} is made more than once in {scope.place()}; every name may be"
                " made once"
            )
        value = Value(name, len(self._analysis.values), kind, scope, elem)
        scope.values[name] = value
        self._analysis.values.append(value)
        return value

    def _add_graph_values(self, scope: Scope, graph: GraphProto) -> None:
        for tensor in graph.initializer:
            weight = self._value(scope, tensor.name, Kind.INITIALIZER, tensor.data_type)
            weight.is_empty = 0 in tensor.dims
        for sparse in graph.sparse_initializer:
            self._value(scope, sparse.values.name, Kind.SPARSE, sparse.values.data_type)
        for info in graph.input:
            value = scope.values.get(info.name)
            if value is None:
                value = self._value(scope, info.name, Kind.INPUT, declared_type(info.type))
            value.is_input = scope.owner is None
            value.is_empty = False  # but for a default
            scope.inputs.append(value)

    def _add_node(self, scope: Scope, number: int, proto: NodeProto) -> None:
        analysis = self._analysis
        domain, op_type, opset, rule = self._operator(scope, proto)
        uid = len(analysis.nodes)
        node = NodeInfo(number, uid, proto, scope, domain, op_type, rule, opset)
        analysis.nodes.append(node)
        scope.nodes.append(node)
        constant = op_type == "Constant" and is_weight(domain, proto)
        kind = Kind.CONSTANT if constant else Kind.NODE
        for slot, name in enumerate(proto.output):
            value = self._value(scope, name, kind) if name else None
            if value is not None:
                value.source = (node, slot)
                value.is_empty = constant and is_empty_constant(proto)
            node.outputs.append(value)
        for label, graph in subgraphs(proto) if proto.attribute else ():
            if not label or label in node.bodies:
                raise ModelError(
                    f"{node.label()} in {scope.place()} has a graph under the attribute"
                    f" {label!r}; allowed: names that differ; export the model again"
                )
            path = child_path(scope.path, number, label)
            body = Scope(path, graph, scope.opsets, node, scope, attributes=scope.attributes)
            node.bodies = {**node.bodies, label: body}

    def _operator(self, scope: Scope, proto: NodeProto) -> _Operator:
        """What the operator's name and the scope's opsets tell; equal for very many nodes."""
        key = (id(scope.opsets), proto.domain, proto.op_type)  # the scopes keep their opsets
        known = self._operators.get(key)
        if known is None:
            known = self._operators[key] = self._look_up(scope, proto)
        return known

    def _look_up(self, scope: Scope, proto: NodeProto) -> _Operator:
        domain, op_type = normal_domain(proto.domain), proto.op_type
        if not isinstance(domain, str) or not isinstance(op_type, str):
            raise _not_text(proto, scope.place())
        opset = scope.opsets.get(domain, 0)
        if 0 < known_opset(domain) < opset:
            self._foreign.add((domain, opset))
        return domain, op_type, opset, rule_for(domain, op_type, opset) if opset else None


def _resolved(attr: AttributeProto, scope: Scope) -> AttributeProto | None:
    return scope.attributes.get(attr.ref_attr_name) if attr.ref_attr_name else attr


def declared_type(type_proto: TypeProto) -> int:
    """The element type that a TypeProto declares: UNKNOWN for none, OPAQUE for no plain tensor."""
    kind = type_proto.WhichOneof("value")
    if kind == "tensor_type":
        return int(type_proto.tensor_type.elem_type)
    return OPAQUE if kind else UNKNOWN


def _connect(scope: Scope, node: NodeInfo) -> None:
    """Tie a node to the values that it reads, and tell owners around it what it captures."""
    for slot, name in enumerate(node.proto.input):
        value = (scope.values.get(name) or scope.find(name)) if name else None
        if name and value is None:
            raise ModelError(
                f"{node.label()} in {scope.place()} reads {name!r}, which nothing makes"
            )
        node.inputs.append(value)
        if value is not None:
            value.readers.append((node, slot))
            if value.scope is not scope:
                _capture(value, scope)
    _check_arity(node)
    node.in_types = _slot_types(node, "in", len(node.inputs))
    out_types = _slot_types(node, "out", len(node.outputs))
    node.out_types = tied_outputs(node.domain, node.proto, node.in_types, out_types)


def _slot_types(node: NodeInfo, kind: str, count: int) -> tuple[tuple[str, int], ...]:
    if node.rule is None:
        if node.calls_function:  # every operand of a call has a type of its own
            return tuple((f"call#{kind}{slot}", UNKNOWN) for slot in range(count))
        return (("", UNKNOWN),) * count
    # That of a function with the name of an operator has the operator's: runtimes may run that.
    types = node.rule.slot_types(kind, count)
    row = SEQUENCE_OPERATORS.get((node.domain, node.op_type))
    return types if row is None else one_variable(row, types)


def _capture(value: Value, scope: Scope) -> None:
    while scope is not value.scope and scope.owner is not None:
        owner = scope.owner
        if not isinstance(owner.captured, list):
            owner.captured = []
        owner.captured.append(value)
        scope = scope.owner.scope


def _connect_outputs(scope: Scope) -> None:
    for position, item in enumerate(scope.body.output):
        name = item.name if isinstance(item, ValueInfoProto) else item
        value = scope.find(name)
        if value is None:
            raise ModelError(f"output {name!r} of {scope.place()} is made by nothing")
        scope.outputs.append(value)
        if scope.owner is None:
            value.is_output = True
        else:
            value.exits = (*value.exits, (scope, position))
            _capture(value, scope)


def _infer(analysis: Analysis, oracle: TypeOracle | None) -> None:
    classes = TypeClasses(len(analysis.values))
    for value in analysis.values:
        classes.fix(value.index, value.elem)
    for scope in analysis.scopes:
        for info in _declarations(scope):
            known = scope.values.get(info.name)
            if known is not None:
                classes.hint(known.index, declared_type(info.type))
        for info in scope.body.input if isinstance(scope.body, GraphProto) else ():
            _fix_held(scope.values[info.name], info.type, classes)
    for node in analysis.nodes:
        classes.add_node(node)
    analysis.warnings += ask_types(analysis.nodes, classes, oracle)
    sequences: dict[int, list[Value]] = {}
    for value in analysis.values:
        value.elem = classes.type_of(value.index)
        if value.elem == OPAQUE:
            value.held = classes.held_type(value.index)
            if value.held == _FLOAT:
                sequences.setdefault(classes.find(value.index), []).append(value)
    analysis.sequences = list(sequences.values())
    analysis.conflicts = classes.conflicts
    if classes.conflicts:
        analysis.warnings.append(
            f"{len(classes.conflicts)} values have operands of contradicting types and are left"
            f" as they are, the first at {classes.conflicts[0]}"
        )


def _fix_held(value: Value, declared: TypeProto, classes: TypeClasses) -> None:
    """What an input that is a sequence of tensors holds."""
    inner = declared.sequence_type.elem_type
    if declared.HasField("sequence_type") and inner.WhichOneof("value") == "tensor_type":
        classes.fix(classes.tensors(value.index), inner.tensor_type.elem_type)


def _declarations(scope: Scope) -> Iterator[ValueInfoProto]:
    yield from scope.body.value_info
    if isinstance(scope.body, GraphProto):
        yield from scope.body.output
