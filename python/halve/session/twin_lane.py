"""One run's graph for pairing: its nodes in order, each known by the source node's id.

Every node of the source carries its id in a property (`tag_nodes`), which the conversion and
halve.session.lowering leave where it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    helper,
    numpy_helper,
)

from halve.session.lowering import LOWERED_CAST
from halve.session.scope import bodies
from halve.source.scopes import iter_nodes

__all__ = [
    "HALF_CODES",
    "Constant",
    "Lane",
    "cast_code",
    "constant_tensor",
    "free_prefix",
    "is_lowering_cast",
    "prefix_names",
    "reads_of",
    "tag_nodes",
    "tag_of",
]

Constant = TensorProto | SparseTensorProto
HALF_CODES = (int(TensorProto.FLOAT16), int(TensorProto.BFLOAT16))
_KEY = "halve.node"


def tag_nodes(model: ModelProto, ids: Iterable[int] | None = None) -> None:
    """Give every node its id as a property, in place; `ids` in the order of nodes, -1 for none."""
    numbers = None if ids is None else list(ids)
    for number, _, node in iter_nodes(model):
        chosen = number if numbers is None else numbers[number]
        if chosen >= 0:
            node.metadata_props.add(key=_KEY, value=str(chosen))


def tag_of(node: NodeProto) -> int | None:
    """The id that `tag_nodes` gave."""
    for entry in node.metadata_props:
        if entry.key == _KEY:
            return int(entry.value)
    return None


def reads_of(node: NodeProto) -> Iterator[str]:
    """What a node reads: its inputs, and what bodies inside it take from outside."""
    yield from (name for name in node.input if name)
    for body in bodies(node):
        yield from _captured(body)


def _captured(graph: GraphProto) -> set[str]:
    made = {item.name for item in (*graph.input, *graph.initializer)}
    made |= {item.values.name for item in graph.sparse_initializer}
    made |= {name for node in graph.node for name in node.output}
    used = {item.name for item in graph.output}
    for node in graph.node:
        used.update(reads_of(node))
    return used - made


def free_prefix(graph: GraphProto) -> str:
    """A prefix that no name of the graph begins with."""
    names = set(_names(graph))
    prefix = "16:"
    while any(name.startswith(prefix) for name in names):
        prefix = f"16{prefix}"
    return prefix


def _names(graph: GraphProto) -> Iterator[str]:
    yield from (item.name for item in (*graph.input, *graph.output, *graph.initializer))
    for node in graph.node:
        yield from node.output
        for body in bodies(node):
            yield from _names(body)


def prefix_names(graph: GraphProto, prefix: str) -> None:
    """Put a prefix before every name of a value in the graph and in bodies inside it, in place."""
    for item in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        item.name = prefix + item.name
    for sparse in graph.sparse_initializer:
        sparse.values.name = prefix + sparse.values.name
    for node in graph.node:
        node.input[:] = [name and prefix + name for name in node.input]
        node.output[:] = [name and prefix + name for name in node.output]
        for body in bodies(node):
            prefix_names(body, prefix)


def is_lowering_cast(node: NodeProto) -> bool:
    """Whether a node is a cast that lowering put in."""
    return node.op_type == "Cast" and node.name.startswith(LOWERED_CAST) and tag_of(node) is None


def cast_code(node: NodeProto) -> int:
    """The type that a Cast makes, as TensorProto counts them; 0 where it says none."""
    for attribute in node.attribute:
        if attribute.name == "to":
            if attribute.type == AttributeProto.STRING:
                return int(TensorProto.DataType.Value(attribute.s.decode()))
            return int(attribute.i)
    return 0


class Lane:
    """One run's graph: its nodes in order without constants, which go to the body."""

    def __init__(self, graph: GraphProto, constants: dict[str, Constant]) -> None:
        """Read a graph; its initializers and Constant nodes are put into `constants`."""
        self.constants: list[NodeProto] = []
        self.constant_tags: dict[int, NodeProto] = {}
        nodes: list[NodeProto] = []
        for tensor in graph.initializer:
            constants[tensor.name] = tensor
        for sparse in graph.sparse_initializer:
            constants[sparse.values.name] = sparse
        for node in graph.node:
            tensor = constant_tensor(node)
            if tensor is None:
                nodes.append(node)
                continue
            constants[node.output[0]] = tensor
            self.constants.append(node)
            number = tag_of(node)
            if number is not None:
                self.constant_tags.setdefault(number, node)
        self._keys: dict[int, tuple[int, int]] = {}
        seen: dict[int, int] = {}
        for node in nodes:
            number = tag_of(node)
            if number is not None:
                seen[number] = seen.get(number, -1) + 1
                self._keys[id(node)] = (number, seen[number])
        self._all = _sorted(nodes)
        self._casts = {node.input[0]: node for node in self._all if is_lowering_cast(node)}
        self.nodes = [node for node in self._all if self.key(node) is not None]
        self.places = {self._keys[id(node)]: place for place, node in enumerate(self.nodes)}

    def key(self, node: NodeProto) -> tuple[int, int] | None:
        """A tagged node's id, and which of the instances of a function's body it is in."""
        return self._keys.get(id(node))

    def rounded_of(self, name: str) -> str | None:
        """The 16-bit tensor that an output is rounded to, where it is."""
        cast = self._casts.get(name)
        return cast.output[0] if cast is not None and cast_code(cast) in HALF_CODES else None

    def readable(self, name: str) -> str:
        """The name under which float32 arithmetic reads an output."""
        while (cast := self._casts.get(name)) is not None:
            name = cast.output[0]
        return name

    def by_rank(self, other: Lane) -> dict[int, list[NodeProto]]:
        """The nodes by the place of the other lane's node that they are done for; -1: of none."""
        ranks: dict[str, int] = {}
        groups: dict[int, list[NodeProto]] = {}
        for node in self._all:
            key = self.key(node)
            own = -1 if key is None else other.places.get(key, -1)
            rank = max([own, *(ranks[name] for name in reads_of(node) if name in ranks)])
            ranks.update(dict.fromkeys((name for name in node.output if name), rank))
            groups.setdefault(rank, []).append(node)
        return groups


def constant_tensor(node: NodeProto) -> Constant | None:
    """A Constant node's value under its output's name; None for other nodes and forms."""
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
        return None
    for attribute in node.attribute:
        if attribute.name == "value":
            tensor = TensorProto()
            tensor.CopyFrom(attribute.t)
            tensor.name = node.output[0]
            return tensor
        if attribute.name.startswith("value_"):
            return _listed(node.output[0], attribute)
    return None


def _listed(name: str, attribute: AttributeProto) -> TensorProto:
    value = helper.get_attribute_value(attribute)
    if attribute.name.startswith("value_string"):
        return numpy_helper.from_array(np.array(value, object), name)
    dtype = np.float32 if attribute.name.startswith("value_float") else np.int64
    return numpy_helper.from_array(np.array(value, dtype), name)


def _sorted(nodes: list[NodeProto]) -> list[NodeProto]:
    """The nodes, each behind what it reads, and otherwise in their order."""
    makers = {name: place for place, node in enumerate(nodes) for name in node.output if name}
    state = [0] * len(nodes)
    result: list[NodeProto] = []
    for start in range(len(nodes)):
        stack = [start]
        while stack:
            place = stack[-1]
            wanted = (
                [makers[n] for n in reads_of(nodes[place]) if n in makers]
                if not state[place]
                else []
            )
            state[place] = max(state[place], 1)
            missing = [p for p in wanted if state[p] == 0]
            if missing:
                stack.extend(reversed(missing))
                continue
            stack.pop()
            if state[place] == 1:
                state[place] = 2
                result.append(nodes[place])
    return result
