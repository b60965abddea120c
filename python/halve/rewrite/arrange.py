"""Pass: put old and new nodes of every scope into a valid order, the file's own where it is valid.

Inner scopes come first, since arranging the nodes of a scope copies them with their bodies.
"""

from __future__ import annotations

from onnx import FunctionProto

from halve.plan.analysis import Scope
from halve.plan.order import topological_order
from halve.rewrite.functions import Variants
from halve.rewrite.state import Rewriting

__all__ = ["arrange_nodes"]


def arrange_nodes(state: Rewriting) -> None:
    """Run the pass: new nodes come right behind the node that they follow."""
    variants = Variants(state)
    for scope in reversed(state.analysis.scopes):
        _arrange(state, scope)
        body = state.bodies[scope]
        if isinstance(body, FunctionProto):
            variants.add(scope, body)
    if state.proto.functions:
        variants.place()


def _arrange(state: Rewriting, scope: Scope) -> None:
    order = topological_order(scope.nodes)
    arranged = list(state.first.get(scope, ()))
    for number in order:
        uid = scope.nodes[number].uid
        if uid not in state.dropped:
            arranged.append(state.nodes[uid])
        arranged += state.after.get(uid, ())
    if [id(node) for node in arranged] == [id(state.nodes[node.uid]) for node in scope.nodes]:
        return
    body = state.bodies[scope]
    del body.node[:]
    body.node.extend(arranged)
