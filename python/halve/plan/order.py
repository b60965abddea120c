"""A valid order of the main graph's nodes that stays as close to the file's as it can."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from halve.errors import ModelError
from halve.plan.analysis import NodeInfo

__all__ = ["topological_order"]


def topological_order(nodes: Sequence[NodeInfo]) -> list[int]:
    """Positions such that every node follows its producers; the file's order where it is valid.

    Of the nodes that could come next, the first in the file comes (Kahn's algorithm, with a heap).

    Raises:
        ModelError: the graph has a cycle.
    """
    if _is_sorted(nodes):
        return list(range(len(nodes)))
    waiting = [len({v.source[0].id for v in n.inputs if v and v.source}) for n in nodes]
    ready = [number for number, count in enumerate(waiting) if count == 0]
    order: list[int] = []
    while ready:
        number = heapq.heappop(ready)
        order.append(number)
        for reader in _readers(nodes[number]):
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heapq.heappush(ready, reader)
    if len(order) < len(nodes):
        stuck = next(n for n in nodes if waiting[n.id] > 0)
        raise ModelError(f"the graph has a cycle through {stuck.label()}")
    return order


def _is_sorted(nodes: Sequence[NodeInfo]) -> bool:
    return all(
        value is None or value.source is None or value.source[0].id < node.id
        for node in nodes
        for value in node.inputs
    )


def _readers(node: NodeInfo) -> set[int]:
    return {reader.id for value in node.outputs if value is not None for reader, _ in value.readers}
