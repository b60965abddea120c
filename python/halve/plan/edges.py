"""Which node reads what another makes, by the ids of a plan."""

from __future__ import annotations

from onnx import FunctionProto

from halve.plan.analysis import Analysis

__all__ = ["node_edges"]


def node_edges(analysis: Analysis) -> tuple[tuple[int, int], ...]:
    """(maker, reader) pairs, ascending. What a body returns is read by the node that owns it, so
    that a body stands before its owner; a function's body is by itself, whoever calls it.
    """
    found = {
        (value.source[0].id, node.id)
        for node in analysis.nodes
        for value in node.inputs
        if value is not None and value.source is not None
    }
    for value in analysis.values:
        for scope, _ in value.exits:
            if value.source and scope.owner and not isinstance(scope.body, FunctionProto):
                found.add((value.source[0].id, scope.owner.id))
    return tuple(sorted(found))
