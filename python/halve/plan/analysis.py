"""A model's graph as values and nodes, with the element type of every value.

Node ids are those of the plan file: position in the main graph, then subgraphs pre-order by owner
and the attributes' order, then function bodies in the order of definition. Values are indexed for
the main graph.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto

from halve.errors import ModelError
from halve.plan.infer import TypeClasses
from halve.plan.schemas import (
    OPAQUE,
    UNKNOWN,
    OpRule,
    known_opset,
    normal_domain,
    rule_for,
)
from halve.plan.type_attributes import is_weight

__all__ = ["Analysis", "Kind", "NodeInfo", "Value", "analyse", "iter_nodes"]


class Kind(enum.IntEnum):
    """Where a value comes from."""

    INPUT = 0
    INITIALIZER = 1  # a weight; an initializer that is also a graph input is one with a default
    CONSTANT = 2  # a Constant node with dense floats or another tensor
    NODE = 3
    SPARSE = 4  # a sparse initializer


@dataclass(slots=True, eq=False)
class Value:
    """A named value of a graph: an input, a weight or a node's output.

    `elem` is a TensorProto.DataType code, UNKNOWN or OPAQUE. `source` is the (node, slot) that
    makes it. `readers` are (node, input slot). `is_input` and `is_output` are those of the graph.
    """

    name: str
    index: int
    kind: Kind
    elem: int = UNKNOWN
    source: tuple[NodeInfo, int] | None = None
    readers: list[tuple[NodeInfo, int]] = field(default_factory=list)
    is_input: bool = False
    is_output: bool = False


@dataclass(slots=True, eq=False)
class NodeInfo:
    """A node with its id, its rule (None for an operator without a schema) and its values.

    `inputs` and `outputs` hold None for an empty optional operand. `in_types` and `out_types` are
    (type variable, fixed element type) a slot.
    """

    id: int
    proto: NodeProto
    scope: str
    domain: str
    op_type: str
    rule: OpRule | None
    opset: int
    inputs: list[Value | None] = field(default_factory=list)
    outputs: list[Value | None] = field(default_factory=list)
    in_types: list[tuple[str, int]] = field(default_factory=list)
    out_types: list[tuple[str, int]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The node's name, which may be empty."""
        return str(self.proto.name)

    def label(self) -> str:
        """How messages and reports name this node."""
        return f"node {self.id} ({self.op_type}{' ' + repr(self.name) if self.name else ''})"


@dataclass(slots=True, eq=False)
class Analysis:
    """The graph of a model: `nodes` and `values` of the main graph, `all_nodes` of every scope.

    `opsets` maps a domain to the opset in force. `warnings` are for the report; `conflicts` name
    where operands contradict each other.
    """

    proto: ModelProto
    nodes: list[NodeInfo]
    values: dict[str, Value]
    all_nodes: list[tuple[int, str, NodeProto]]
    opsets: dict[str, int]
    warnings: list[str]
    conflicts: list[str] = field(default_factory=list)


def iter_nodes(proto: ModelProto) -> Iterator[tuple[int, str, NodeProto]]:
    """(id, scope, node) of every node, in the order of ids.

    The scope is "" in the main graph, "12.then_branch" (appended by "/" where nested) in the
    subgraph of node 12, and "domain::name" in a function.
    """
    number = 0
    # A stack entry is a body still to be numbered; a body's own subgraphs go before its siblings.
    bodies: list[tuple[str, list[NodeProto]]] = [
        (f"{f.domain}::{f.name}", list(f.node)) for f in reversed(proto.functions)
    ]
    bodies.append(("", list(proto.graph.node)))
    while bodies:
        scope, nodes = bodies.pop()
        children: list[tuple[str, list[NodeProto]]] = []
        for node in nodes:
            yield number, scope, node
            children += [
                (f"{scope}/{number}.{label}" if scope else f"{number}.{label}", list(graph.node))
                for label, graph in _subgraphs(node)
            ]
            number += 1
        bodies.extend(reversed(children))


def _subgraphs(node: NodeProto) -> Iterator[tuple[str, GraphProto]]:
    for attr in node.attribute:
        if attr.type == AttributeProto.GRAPH:
            yield attr.name, attr.g
        elif attr.type == AttributeProto.GRAPHS:
            for number, graph in enumerate(attr.graphs):
                yield f"{attr.name}[{number}]", graph


def analyse(proto: ModelProto) -> Analysis:
    """Index the main graph of `proto` and infer every value's element type, without shapes.

    Raises:
        ModelError: a value is made twice, or read without being made.
    """
    opsets = _opsets(proto)
    warnings = [
        f"opset {version} of domain {domain!r} is newer than the newest known one"
        f" ({known_opset(domain)}), whose schemas are used"
        for domain, version in opsets.items()
        if 0 < known_opset(domain) < version
    ]
    analysis = Analysis(proto, [], {}, list(iter_nodes(proto)), opsets, warnings)
    _add_named_values(analysis)
    for number, node in enumerate(proto.graph.node):
        analysis.nodes.append(_node_info(number, node, opsets))
    for info in analysis.nodes:
        _add_outputs(analysis, info)
    for info in analysis.nodes:
        _add_readers(analysis, info)
    _mark_outputs(analysis)
    _infer(analysis)
    return analysis


def _opsets(proto: ModelProto) -> dict[str, int]:
    return {normal_domain(entry.domain): entry.version for entry in proto.opset_import}


def _new_value(analysis: Analysis, name: str, kind: Kind, elem: int = UNKNOWN) -> Value:
    value = Value(name, len(analysis.values), kind, elem)
    if analysis.values.setdefault(name, value) is not value:
        raise ModelError(
            f"value {name!r} is made more than once in the main graph; every name may be made once"
        )
    return value


def _add_named_values(analysis: Analysis) -> None:
    graph = analysis.proto.graph
    for tensor in graph.initializer:
        _new_value(analysis, tensor.name, Kind.INITIALIZER, tensor.data_type)
    for sparse in graph.sparse_initializer:
        _new_value(analysis, sparse.values.name, Kind.SPARSE, sparse.values.data_type)
    for info in graph.input:
        known = analysis.values.get(info.name)
        value = known or _new_value(analysis, info.name, Kind.INPUT, _declared(info.type))
        value.is_input = True


def _declared(type_proto: object) -> int:
    kind = type_proto.WhichOneof("value")  # type: ignore[attr-defined]
    if kind == "tensor_type":
        return int(type_proto.tensor_type.elem_type)  # type: ignore[attr-defined]
    return OPAQUE if kind else UNKNOWN


def _node_info(number: int, node: NodeProto, opsets: dict[str, int]) -> NodeInfo:
    domain = normal_domain(node.domain)
    opset = opsets.get(domain, 0)
    rule = rule_for(domain, node.op_type, opset) if opset else None
    return NodeInfo(number, node, "", domain, node.op_type, rule, opset)


def _add_outputs(analysis: Analysis, info: NodeInfo) -> None:
    kind = Kind.CONSTANT if is_weight(info.domain, info.proto) else Kind.NODE
    for slot, name in enumerate(info.proto.output):
        info.out_types.append(info.rule.output_type(slot) if info.rule else ("", UNKNOWN))
        if not name:
            info.outputs.append(None)
            continue
        value = _new_value(analysis, name, kind)
        value.source = (info, slot)
        info.outputs.append(value)


def _add_readers(analysis: Analysis, info: NodeInfo) -> None:
    for slot, name in enumerate(info.proto.input):
        info.in_types.append(info.rule.input_type(slot) if info.rule else ("", UNKNOWN))
        value = analysis.values.get(name) if name else None
        if name and value is None:
            raise ModelError(f"{info.label()} reads {name!r}, which nothing in the graph makes")
        if value is not None:
            value.readers.append((info, slot))
        info.inputs.append(value)


def _mark_outputs(analysis: Analysis) -> None:
    for output in analysis.proto.graph.output:
        value = analysis.values.get(output.name)
        if value is None:
            raise ModelError(f"graph output {output.name!r} is made by nothing in the graph")
        value.is_output = True


def _infer(analysis: Analysis) -> None:
    classes = TypeClasses(len(analysis.values))
    for value in analysis.values.values():
        classes.fix(value.index, value.elem)
    graph = analysis.proto.graph
    for info in (*graph.output, *graph.value_info):
        if info.name in analysis.values:
            classes.hint(analysis.values[info.name].index, _declared(info.type))
    for node in analysis.nodes:
        classes.add_node(node)
    for value in analysis.values.values():
        value.elem = classes.type_of(value.index)
    analysis.conflicts = classes.conflicts
    if classes.conflicts:
        analysis.warnings.append(
            f"{len(classes.conflicts)} values have operands of contradicting types and are left"
            f" as they are, the first at {classes.conflicts[0]}"
        )
