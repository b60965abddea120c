"""Which nodes of the file a simplified node stands for.

1. A node stands for the nodes of the file that lie between what it reads and what it makes: from
   the producers of its outputs back to its inputs, to values that another simplified node still
   makes, and to constants.
2. A node whose outputs the file does not have was made inside a fusion: it stands for what its
   readers stand for.
3. What the optimizer folds into the weights of a convolution before it, and leaves with the
   convolution's name, belongs to the convolution and not to the node behind.
4. A node of the file that no simplified node stands for was folded into a constant, or removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnx import ModelProto, NodeProto

from halve.source.scopes import iter_nodes, subgraphs

__all__ = ["find_origins"]

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_FOLDED_BACK = ("Add", "BatchNormalization")

_Name = str | bytes
_Producers = Mapping[_Name, Sequence[tuple[int, NodeProto]]]


def find_origins(file: ModelProto, simplified: ModelProto) -> tuple[tuple[int, ...], ...]:
    """For every node of `simplified`, by its id, the ids in `file` of those it stands for."""
    producers: dict[_Name, list[tuple[int, NodeProto]]] = {}
    for number, _, node in iter_nodes(file):
        for name in filter(None, node.output):
            producers.setdefault(name, []).append((number, node))
    nodes = [node for _, _, node in iter_nodes(simplified)]
    made = {name for node in nodes for name in node.output if name}
    found = [_between(node, producers, made) for node in nodes]
    _fold_back(nodes, found, producers)
    _inherit(nodes, found)
    return tuple(tuple(sorted(ids)) for ids in found)


def _between(node: NodeProto, producers: _Producers, made: set[_Name]) -> set[int]:
    """Rule 1."""
    ends = {*_reads(node), *made} - {*node.output}
    found: set[int] = set()
    waiting = [name for name in node.output if name]
    while waiting:
        for number, origin in _makers(waiting.pop(), node, producers):
            if number in found:
                continue
            found.add(number)
            waiting += [name for name in _reads(origin) if name and name not in ends]
    return found


def _makers(name: _Name, node: NodeProto, producers: _Producers) -> Sequence[tuple[int, NodeProto]]:
    """Who makes the value; of several bodies that use its name, those where the operator fits."""
    makers = producers.get(name, ())
    if len(makers) < 2:
        return makers
    return [item for item in makers if item[1].op_type == node.op_type] or makers


def _reads(node: NodeProto) -> list[_Name]:
    """What a node reads, in its bodies too."""
    names: list[_Name] = list(node.input)
    for _, graph in subgraphs(node):
        for inner in graph.node:
            names += _reads(inner)
    return names


def _fold_back(
    nodes: Sequence[NodeProto], found: Sequence[set[int]], producers: _Producers
) -> None:
    """Rule 3."""
    types = {number: node.op_type for rows in producers.values() for number, node in rows}
    makers = {name: number for number, node in enumerate(nodes) for name in node.output}
    for node, ids in zip(nodes, found, strict=True):
        own = {number for name in node.output for number, _ in producers.get(name, ())}
        before = [makers[name] for name in node.input if name in makers]
        places = [place for place in before if nodes[place].op_type in _CONVOLUTIONS]
        moved = {number for number in ids - own if types[number] in _FOLDED_BACK}
        if len(places) == 1 and moved:
            ids.difference_update(moved)
            found[places[0]].update(moved)


def _inherit(nodes: Sequence[NodeProto], found: list[set[int]]) -> None:
    """Rule 2, from the last node on, so that chains of new nodes resolve in one go."""
    readers: dict[_Name, list[int]] = {}
    for number, node in enumerate(nodes):
        for name in filter(None, node.input):
            readers.setdefault(name, []).append(number)
    for number in reversed(range(len(nodes))):
        if not found[number]:
            places = [place for name in nodes[number].output for place in readers.get(name, ())]
            found[number] = set().union(*(found[place] for place in places))
