"""A valid order of a scope's nodes that stays as close to the file's as it can."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from halve.errors import ModelError
from halve.plan.analysis import NodeInfo

__all__ = ["topological_order"]


def topological_order(nodes: Sequence[NodeInfo]) -> list[int]:
    """Positions such that every node of a scope follows what it and its bodies read.

    The file's order where that is valid; else, of the nodes that could come next, the first in
    the file comes (Kahn's algorithm, with a heap).

    Raises:
        ModelError: the graph has a cycle.
    """
    position = {node.uid: number for number, node in enumerate(nodes)}
    if all(position[uid] < number for number, node in enumerate(nodes) for uid in _producers(node)):
        return list(range(len(nodes)))
    needs = [{position[uid] for uid in _producers(node)} for node in nodes]
    readers: list[list[int]] = [[] for _ in nodes]
    for number, need in enumerate(needs):
        for producer in need:
            readers[producer].append(number)
    order = _kahn([len(need) for need in needs], readers)
    if len(order) < len(nodes):
        stuck = nodes[min(set(range(len(nodes))) - set(order))]
        raise ModelError(f"{stuck.scope.place()} has a cycle through {stuck.label()}")
    return order


def _kahn(waiting: list[int], readers: list[list[int]]) -> list[int]:
    ready = [number for number, count in enumerate(waiting) if count == 0]
    order: list[int] = []
    while ready:
        number = heapq.heappop(ready)
        order.append(number)
        for reader in readers[number]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heapq.heappush(ready, reader)
    return order


def _producers(node: NodeInfo) -> list[int]:
    """Uids of the nodes of the same scope that make what a node and its bodies read."""
    values = (*node.inputs, *node.captured) if node.captured else node.inputs
    return [
        value.source[0].uid
        for value in values
        if value is not None and value.source is not None and value.scope is node.scope
    ]
