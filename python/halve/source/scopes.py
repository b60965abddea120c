"""Node ids and scopes: the order in which a model's bodies are numbered.

Ids are positions in the main graph, then subgraphs, pre-order by owner and the attributes' order
in the file, then function bodies in the order of definition. Constant nodes count.
"""

from __future__ import annotations

from collections.abc import Iterator

from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto

__all__ = ["body_nodes", "child_path", "function_path", "iter_nodes", "subgraphs"]


def function_path(function: FunctionProto) -> str:
    """The scope of a local function: "domain::name", with ":overload" where there is one."""
    path = f"{function.domain}::{function.name}"
    return f"{path}:{function.overload}" if function.overload else path


def child_path(path: str, owner: int, label: str) -> str:
    """The scope of a subgraph: "12.then_branch", behind "/" where its owner is itself inside."""
    return f"{path}/{owner}.{label}" if path else f"{owner}.{label}"


def subgraphs(node: NodeProto) -> Iterator[tuple[str, GraphProto]]:
    """(label, graph) of each body that a node's attributes hold, in the order of the file."""
    for attr in node.attribute:
        if attr.type == AttributeProto.GRAPH:
            yield attr.name, attr.g
        elif attr.type == AttributeProto.GRAPHS:
            for number, graph in enumerate(attr.graphs):
                yield f"{attr.name}[{number}]", graph


def body_nodes(body: GraphProto | FunctionProto) -> Iterator[NodeProto]:
    """The nodes of a body and of all bodies in it, in no order that means anything."""
    waiting = list(body.node)
    while waiting:
        node = waiting.pop()
        yield node
        for _, graph in subgraphs(node):
            waiting.extend(graph.node)


def iter_nodes(proto: ModelProto) -> Iterator[tuple[int, str, NodeProto]]:
    """(id, scope, node) of every node, in the order of ids; the main graph's scope is ""."""
    number = 0
    # A stack entry is a body still to be numbered; a body's own subgraphs go before its siblings.
    bodies = [(function_path(f), list(f.node)) for f in reversed(proto.functions)]
    bodies.append(("", list(proto.graph.node)))
    while bodies:
        path, nodes = bodies.pop()
        children: list[tuple[str, list[NodeProto]]] = []
        for node in nodes:
            yield number, path, node
            for label, graph in subgraphs(node) if node.attribute else ():
                children.append((child_path(path, number, label), list(graph.node)))
            number += 1
        bodies.extend(reversed(children))
