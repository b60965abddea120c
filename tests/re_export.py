"""A model as another run of an exporter might write it: other names, another order of nodes."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto

__all__ = ["re_export"]


def re_export(model: ModelProto, seed: int = 0, *, keep_ports: bool = False) -> ModelProto:
    """A copy in which every value, node, graph and function has another name, and the nodes of
    every body stand in another valid order. `keep_ports` keeps the names of the main graph's
    inputs and outputs, which samples go by.
    """
    made = ModelProto()
    made.CopyFrom(model)
    made.producer_name = "another exporter"
    kept = [port.name for port in (*made.graph.input, *made.graph.output)] if keep_ports else []
    work = _ReExport(random.Random(seed), kept)
    calls = {(f.domain, f.name): work.name(f"function {f.name}") for f in made.functions}
    work.graph(made.graph, calls)
    for function in made.functions:
        function.name = calls[function.domain, function.name]
        work.function(function, calls)
    return made


class _ReExport:
    def __init__(self, source: random.Random, kept: Iterable[str]) -> None:
        self._random = source
        self._names = {name: name for name in kept}

    def name(self, old: str) -> str:
        if not old:
            return ""
        return self._names.setdefault(old, f"n{self._random.getrandbits(48):x}")

    def graph(self, graph: GraphProto, calls: dict[tuple[str, str], str]) -> None:
        graph.name = "another graph"
        for port in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
            port.name = self.name(port.name)
        for sparse in graph.sparse_initializer:
            sparse.values.name = self.name(sparse.values.name)
        self._nodes(graph, calls)

    def function(self, function: FunctionProto, calls: dict[tuple[str, str], str]) -> None:
        for names in (function.input, function.output):
            names[:] = [self.name(name) for name in names]
        for port in function.value_info:
            port.name = self.name(port.name)
        self._nodes(function, calls)

    def _nodes(self, body: GraphProto | FunctionProto, calls: dict[tuple[str, str], str]) -> None:
        nodes = self._shuffled(list(body.node))
        for number, node in enumerate(nodes):
            node.name = f"again{number}"
            node.op_type = calls.get((node.domain, node.op_type), node.op_type)
            for names in (node.input, node.output):
                names[:] = [self.name(name) for name in names]
            for graph in _bodies(node):
                self.graph(graph, calls)
        del body.node[:]
        body.node.extend(nodes)

    def _shuffled(self, nodes: list[NodeProto]) -> list[NodeProto]:
        """A random one of the valid orders."""
        makers = {name: i for i, node in enumerate(nodes) for name in node.output if name}
        needs = [{makers[name] for name in _read(node) if name in makers} for node in nodes]
        order: list[int] = []
        waiting = set(range(len(nodes)))
        while waiting:
            ready = sorted(i for i in waiting if not needs[i] & waiting)
            order.append(self._random.choice(ready))
            waiting.discard(order[-1])
        return [_copy(nodes[i]) for i in order]


def _copy(node: NodeProto) -> NodeProto:
    made = NodeProto()
    made.CopyFrom(node)
    return made


def _bodies(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _read(node: NodeProto) -> Iterator[str]:
    """Everything that a node or a body of it reads, names of the bodies' own values included."""
    yield from node.input
    for graph in _bodies(node):
        for inner in graph.node:
            yield from _read(inner)
        for port in graph.output:
            yield port.name
