"""ONNX Runtime's blocked layout of convolutions, kept from one gate to the next.

With full optimisation, ONNX Runtime's CPU provider lays images out in blocks of channels for its
convolutions, and back behind each: a gate between two of them is nothing that it can see through.
Rounding does not depend on the layout, and neither does a choice between two values. Rules, for a
graph that ONNX Runtime has optimised:
1. The twin of a value is the same in blocks: what a ReorderOutput reads; of a Cast's result, a Cast
   of the twin; of an If's output that has a twin in each branch, a further output in its place.
2. A ReorderInput of what has a twin is that twin.
3. Casts and ReorderOutputs that nothing reads any more are removed.
4. Every name in a branch is made its own: ONNX Runtime repeats them, and does not load them back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, helper

from halve.session.gate_graph import Names, all_names, copy_node, names_read, replace_nodes
from halve.session.roundings import DOMAIN as OPERATORS
from halve.source.scopes import subgraphs

__all__ = ["keep_blocks"]

_DOMAIN = "com.microsoft.nchwc"
# Of one image, element by element. All make something finite of zeros: blocks that the channels do
# not fill have them, and are multiplied by zeros later.
_ELEMENTWISE = {(OPERATORS, "Round")} | {
    ("", op_type)
    for op_type in (
        "Clip", "Elu", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Tanh",
    )
}  # fmt: skip


def keep_blocks(model: ModelProto) -> bool:
    """Apply the rules of this module, in place; what the model computes stays the same bits.

    Whether it is worth loading: at least half of what put values into blocks is gone.
    """
    before = _reorders(model.graph)
    if not before:
        return False
    names = Names("halve.blocks", all_names(model))
    _own_names(model.graph, {}, names, outermost=True)
    _Keeper(names).graph(model.graph, {})
    _drop_unread(model.graph)
    return 2 * _reorders(model.graph) <= before


@dataclass(frozen=True, slots=True)
class _Twin:
    """A value in blocks, and what a ReorderOutput of it is told."""

    name: str
    channels: int


class _Keeper:
    """Applies rules 1 to 3."""

    def __init__(self, names: Names) -> None:
        self._name = names

    def graph(self, graph: GraphProto, outer: Mapping[str, _Twin]) -> dict[str, _Twin]:
        """A graph, and the twins of what it makes; `outer` are those of what it may read."""
        twins, nodes = dict(outer), list[NodeProto]()
        same: dict[str, str] = {}
        for node in graph.node:
            _read(node, same)
            source = node.input[0] if node.input else ""
            if _is(node, "ReorderInput") and source in twins:
                same[node.output[0]] = twins[source].name
            elif source in twins and _works_in_blocks(node):
                nodes += self._in_blocks(node, twins)
            else:
                nodes.append(node)
                if _is(node, "ReorderOutput"):
                    twins[node.output[0]] = _Twin(source, _attribute(node, "channels"))
                elif node.op_type == "If" and not node.domain:
                    nodes += self._if(node, twins)
        replace_nodes(graph, nodes)
        made = {name for node in nodes for name in node.output}
        found = {info.name: twins[info.name] for info in graph.output if info.name in twins}
        return {name: twin for name, twin in found.items() if twin.name in made}

    def _in_blocks(self, node: NodeProto, twins: dict[str, _Twin]) -> list[NodeProto]:
        """A node of the twin, and what it made before of that."""
        name, twin = node.output[0], twins[node.input[0]]
        twins[name] = _Twin(self._name(name), twin.channels)
        node = copy_node(node)
        node.input[0], node.output[0] = twin.name, twins[name].name
        if node.op_type == "MaxPool":
            node.domain = _DOMAIN
        return [node, _reorder_output(twins[name], name)]

    def _if(self, node: NodeProto, twins: dict[str, _Twin]) -> list[NodeProto]:
        """Let an If make its outputs' twins instead; the nodes that make the outputs of them."""
        branches = [graph for _, graph in subgraphs(node)]
        found = [self.graph(branch, twins) for branch in branches]
        after: list[NodeProto] = []
        for slot, name in enumerate(node.output):
            made = [
                twins_of[branch.output[slot].name]
                for branch, twins_of in zip(branches, found, strict=True)
                if branch.output[slot].name in twins_of
            ]
            if len(made) != len(branches) or len({twin.channels for twin in made}) != 1:
                continue
            for branch, twin in zip(branches, made, strict=True):
                branch.output[slot].CopyFrom(ValueInfoProto(name=twin.name))
            twins[name] = _Twin(self._name(name), made[0].channels)
            node.output[slot] = twins[name].name
            after.append(_reorder_output(twins[name], name))
        for branch in branches:
            _drop_unread(branch)
        return after


def _works_in_blocks(node: NodeProto) -> bool:
    """Whether a node may read blocks: where it is a MaxPool, one that says no places."""
    largest = (node.domain, node.op_type) == ("", "MaxPool") and len(node.output) == 1
    return largest or (node.domain, node.op_type) in _ELEMENTWISE


def _reorder_output(twin: _Twin, name: str) -> NodeProto:
    return helper.make_node(
        "ReorderOutput",
        [twin.name],
        [name],
        domain=_DOMAIN,
        channels=twin.channels,
        channels_last=0,
    )


def _drop_unread(graph: GraphProto) -> None:
    """Rule 3."""
    read = Counter(info.name for info in graph.output)
    read.update(name for node in graph.node for name in names_read(node))
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if _is(node, "ReorderOutput") and not read[node.output[0]]:
            read.subtract(node.input)
        else:
            kept.append(node)
    if len(kept) != len(graph.node):
        replace_nodes(graph, kept[::-1])


def _read(node: NodeProto, names: Mapping[str, str]) -> None:
    """Let a node and its bodies read other values."""
    if not names:
        return
    for slot, name in enumerate(node.input):
        if name in names:
            node.input[slot] = names[name]
    for _, body in subgraphs(node):
        for inner in body.node:
            _read(inner, names)


def _own_names(
    graph: GraphProto, outer: Mapping[str, str], names: Names, *, outermost: bool = False
) -> None:
    """Rule 4."""
    own = dict(outer)
    if not outermost:
        made = [tensor.name for tensor in graph.initializer]
        made += [info.name for info in graph.input]
        made += [name for node in graph.node for name in node.output if name]
        own |= {name: names(name) for name in made}
    for tensor in graph.initializer:
        tensor.name = own.get(tensor.name, tensor.name)
    for info in (*graph.input, *graph.output):
        info.name = own.get(info.name, info.name)
    del graph.value_info[:]
    for node in graph.node:
        for operands in (node.input, node.output):
            for slot, name in enumerate(operands):
                operands[slot] = own.get(name, name)
        for _, body in subgraphs(node):
            _own_names(body, own, names)


def _is(node: NodeProto, op_type: str) -> bool:
    """Whether a node is that one, of an image whose channels come first."""
    return (
        node.domain == _DOMAIN and node.op_type == op_type and not _attribute(node, "channels_last")
    )


def _attribute(node: NodeProto, name: str) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), 0)


def _reorders(graph: GraphProto) -> int:
    count = 0
    for node in graph.node:
        count += _is(node, "ReorderInput")
        count += sum(_reorders(body) for _, body in subgraphs(node))
    return count
