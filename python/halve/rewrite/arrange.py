"""Pass: put old and new nodes into a valid order, the file's own where that is valid."""

from __future__ import annotations

from halve.plan.order import topological_order
from halve.rewrite.state import Rewriting

__all__ = ["arrange_nodes"]


def arrange_nodes(state: Rewriting) -> None:
    """Run the pass: new nodes come right behind the node that they follow."""
    order = topological_order(state.analysis.nodes)
    in_place = order == list(range(len(order)))
    if in_place and not state.after and not state.dropped:
        return
    arranged = list(state.after.get(-1, ()))
    for number in order:
        if number not in state.dropped:
            arranged.append(state.nodes[number])
        arranged += state.after.get(number, ())
    del state.proto.graph.node[:]
    state.proto.graph.node.extend(arranged)
