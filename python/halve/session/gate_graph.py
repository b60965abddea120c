"""What gated graphs are made of: nodes, branches, and what a body's names stand for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import (
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from halve.source.scopes import subgraphs

__all__ = [
    "FLOAT",
    "Names",
    "Scope",
    "add_constant",
    "all_names",
    "became_initializer",
    "cast_node",
    "copy_node",
    "drop_initializer_inputs",
    "graph_of",
    "if_node",
    "index_scope",
    "is_to_float",
    "names_read",
    "output_names",
    "own_weights",
    "replace_nodes",
    "split_nodes",
]

FLOAT = int(TensorProto.FLOAT)
# Until this opset, Cast's type is written as text.
_CAST_WITH_CODES = 6
# From this opset on, Split's sizes are an input.
_SPLIT_BY_INPUT = 13


class Names:
    """Names that nothing else has: they begin with `prefix`, which makes two of these differ, and
    are none of those `taken`.
    """

    def __init__(self, prefix: str, taken: Collection[str] = ()) -> None:
        """None was made yet."""
        self._prefix = prefix
        self._taken = taken
        self._count = 0

    def __call__(self, base: str) -> str:
        """A new name, for what stands for `base`."""
        while True:
            self._count += 1
            name = f"{self._prefix}.{self._count}.{base}"
            if name not in self._taken:
                return name

    def free(self, name: str) -> str:
        """That name; a new one where it is taken."""
        return self(name) if name in self._taken else name


@dataclass(slots=True)
class Scope:
    """A body: what its names stand for, and the rounded copies of its constants.

    `constants` are its weights, `made` every other name that it defines, `head` the nodes to put
    first. `makers` are the units that make values here, `raw` the names of what is to be rounded
    before others read it. By the weight, by value and switch, and by switch there are names of
    rounded weights, of rounded values, and of switches alone.
    """

    body: GraphProto | FunctionProto
    path: str
    parent: Scope | None
    opset: int
    constants: dict[str, TensorProto] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)
    makers: dict[str, int] = field(default_factory=dict)
    raw: dict[str, str] = field(default_factory=dict)
    rounded_weights: dict[str, str] = field(default_factory=dict)
    rounded: dict[tuple[str, int], str] = field(default_factory=dict)
    conditions: dict[int, str] = field(default_factory=dict)
    head: list[NodeProto] = field(default_factory=list)

    def owner_of(self, name: str) -> Scope | None:
        """The scope that holds the constant of that name; None where it is no constant."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.constants:
                return scope
            if name in scope.made:
                return None
            scope = scope.parent
        return None

    @property
    def outermost(self) -> Scope:
        """The body that everything around this one is in: the main graph, or a function."""
        scope = self
        while scope.parent is not None:
            scope = scope.parent
        return scope

    def condition(self, switch: int, name: Names) -> str:
        """The name of a switch alone, for an If."""
        return self.outermost.conditions.setdefault(switch, name("condition"))


def all_names(model: ModelProto) -> frozenset[str]:
    """The names of all values of a model, those in bodies too."""
    found: set[str] = set()
    bodies: list[GraphProto | FunctionProto] = [model.graph, *model.functions]
    while bodies:
        body = bodies.pop()
        if isinstance(body, FunctionProto):
            found.update(body.input)
        else:
            found.update(item.name for item in (*body.input, *body.initializer))
        for node in body.node:
            found.update(node.output)
            bodies += [graph for _, graph in subgraphs(node)]
    return frozenset(found)


def copy_node(node: NodeProto) -> NodeProto:
    """A copy of its own."""
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy


def cast_node(source: str, result: str, to: int, opset: int) -> NodeProto:
    """A Cast to a type's TensorProto code."""
    code: int | str = to if opset >= _CAST_WITH_CODES else TensorProto.DataType.Name(to)
    return helper.make_node("Cast", [source], [result], to=code)


def replace_nodes(body: GraphProto | FunctionProto, nodes: Sequence[NodeProto]) -> None:
    """Give a body other nodes, which may be some of its own."""
    copies = [copy_node(node) for node in nodes]
    del body.node[:]
    body.node.extend(copies)


def split_nodes(source: str, count: int, scope: Scope, name: Names) -> list[NodeProto]:
    """What makes a scope's conditions of the vector of all switches, which has `count`."""
    if not scope.conditions:
        return []
    parts: list[tuple[str, int]] = []
    place = 0
    for switch, result in (*sorted(scope.conditions.items()), (count, "")):
        parts += [(name("unused"), switch - place)] * (switch > place)
        parts += [(result, 1)] * bool(result)
        place = switch + 1
    results, sizes = zip(*parts, strict=True)
    if scope.opset < _SPLIT_BY_INPUT:
        return [helper.make_node("Split", [source], results, axis=0, split=sizes)]
    constant = numpy_helper.from_array(np.array(sizes, np.int64), name("sizes"))
    return [
        helper.make_node("Constant", [], [constant.name], value=constant),
        helper.make_node("Split", [source, constant.name], results, axis=0),
    ]


def graph_of(name: str, nodes: Sequence[NodeProto], outputs: Sequence[str]) -> GraphProto:
    """A branch; the types of its outputs are left to ONNX Runtime to infer."""
    infos = [ValueInfoProto(name=output) for output in outputs]
    return helper.make_graph(nodes, name, [], infos)


def if_node(
    name: str, condition: str, outputs: Sequence[str], then: GraphProto, other: GraphProto
) -> NodeProto:
    """An If with two branches of as many outputs."""
    return helper.make_node(
        "If", [condition], outputs, name=name, then_branch=then, else_branch=other
    )


def is_to_float(node: NodeProto) -> bool:
    """Whether a Cast is to float32."""
    return any(attr.name == "to" and attr.i == FLOAT for attr in node.attribute)


def names_read(node: NodeProto) -> Iterator[str]:
    """What a node reads, and what its bodies do."""
    yield from node.input
    for _, graph in subgraphs(node):
        yield from (info.name for info in graph.output)
        for inner in graph.node:
            yield from names_read(inner)


def output_names(body: GraphProto | FunctionProto) -> list[str]:
    """The names of what a body hands out."""
    if isinstance(body, FunctionProto):
        return list(body.output)
    return [info.name for info in body.output]


def drop_initializer_inputs(graph: GraphProto) -> None:
    """Take initializers out of a graph's inputs."""
    weights = {tensor.name for tensor in graph.initializer}
    kept = [info for info in graph.input if info.name not in weights]
    copies = [ValueInfoProto.FromString(info.SerializeToString()) for info in kept]
    del graph.input[:]
    graph.input.extend(copies)


def index_scope(scope: Scope) -> None:
    """Tell a body's constants from all else that it defines."""
    body = scope.body
    if isinstance(body, GraphProto):
        scope.made.update(info.name for info in body.input)
        scope.constants.update({t.name: t for t in body.initializer if t.data_type == FLOAT})
    else:
        scope.made.update(body.input)
    for node in body.node:
        tensor = _constant_value(node)
        if tensor is not None:
            scope.constants[node.output[0]] = tensor
        else:
            scope.made.update(node.output)


def _constant_value(node: NodeProto) -> TensorProto | None:
    """The float32 tensor of a Constant node."""
    if node.op_type != "Constant" or node.domain:
        return None
    if any(attribute.ref_attr_name for attribute in node.attribute):
        return None
    for attribute in node.attribute:
        if attribute.name == "value" and attribute.t.data_type == FLOAT:
            tensor: TensorProto = attribute.t
            return tensor
        if attribute.name == "value_float":
            return numpy_helper.from_array(np.array(attribute.f, np.float32))
        if attribute.name == "value_floats":
            return numpy_helper.from_array(np.array(attribute.floats, np.float32))
    return None


def became_initializer(node: NodeProto, scope: Scope) -> bool:
    """Whether a Constant node was replaced by an initializer."""
    if not isinstance(scope.body, GraphProto) or _constant_value(node) is None:
        return False
    tensor = TensorProto()
    tensor.CopyFrom(scope.constants[node.output[0]])
    tensor.name = node.output[0]
    scope.body.initializer.append(tensor)
    return True


def own_weights(branch: GraphProto, scope: Scope) -> None:
    """Give a branch its own copies of the weights that it reads: ONNX Runtime lays out and packs,
    for its fastest kernels, only those of a node's own graph.
    """
    read = dict.fromkeys(name for node in branch.node for name in node.input if name)
    for name in read:
        owner = scope.owner_of(name)
        if owner is not None:
            copy = branch.initializer.add()
            copy.CopyFrom(owner.constants[name])
            copy.name = name


def add_constant(scope: Scope, tensor: TensorProto) -> None:
    """Give a body one more constant."""
    name = tensor.name
    scope.constants[name] = tensor
    if isinstance(scope.body, GraphProto):
        scope.body.initializer.append(tensor)
    else:
        scope.head.append(helper.make_node("Constant", [], [name], value=tensor))
