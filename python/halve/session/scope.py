"""Names of a model's values, and the scopes of its graphs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from onnx import AttributeProto, GraphProto, NodeProto

from halve.errors import ModelError
from halve.session.element_types import is_half_tensor

__all__ = ["Names", "Scope", "bodies", "used_names"]


class Names:
    """Makes names that no value or node of a model has."""

    def __init__(self, graph: GraphProto) -> None:
        """Take every name of the graph and of the bodies inside it."""
        self._taken = set(_all_names(graph))
        self._count = 0

    def fresh(self, base: str) -> str:
        """A name that begins with `base` and was never given before."""
        while True:
            name = f"{base}.lowered{self._count}"
            self._count += 1
            if name not in self._taken:
                self._taken.add(name)
                return name


class Scope:
    """The types of the values that a graph can read, and their float32 twins."""

    def __init__(self, parent: Scope | None, declared: Mapping[str, str]) -> None:
        """Open a scope inside `parent` (None: the main graph) with the types it declares."""
        self.parent = parent
        self.declared = declared
        self._types: dict[str, str] = {}
        self._twins: dict[str, str] = {}

    def define(self, name: str, text: str) -> None:
        """Make a value known."""
        self._types[name] = text

    def set_twin(self, name: str, twin: str) -> None:
        """Make the float32 twin of a value known."""
        self._twins[name] = twin

    def type_of(self, name: str, where: str) -> str:
        """A value's type.

        Raises:
            ModelError: nothing before `where` defines the name.
        """
        scope = self._owner(name)
        if scope is None:
            raise ModelError(
                f"{where} reads {name!r}, which nothing before it defines; "
                f"check the file with onnx.checker.check_model"
            )
        return scope._types[name]

    def is_half(self, name: str) -> bool:
        """Whether a known value is a 16-bit float tensor."""
        scope = self._owner(name)
        return scope is not None and is_half_tensor(scope._types[name])

    def twin_of(self, name: str) -> str:
        """The name under which float32 arithmetic reads a value: its twin's, or its own."""
        scope = self._owner(name)
        return name if scope is None else scope._twins.get(name, name)

    def _owner(self, name: str) -> Scope | None:
        scope: Scope | None = self
        while scope is not None and name not in scope._types:
            scope = scope.parent
        return scope


def bodies(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs inside a node's attributes."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def used_names(graph: GraphProto) -> set[str]:
    """Every name that a node or an output of the graph, or of a body inside it, reads."""
    used = {item.name for item in graph.output}
    for node in graph.node:
        used.update(node.input)
        for body in bodies(node):
            used |= used_names(body)
    return used


def _all_names(graph: GraphProto) -> Iterator[str]:
    yield from (item.name for item in (*graph.input, *graph.output, *graph.initializer))
    yield from (item.values.name for item in graph.sparse_initializer)
    for node in graph.node:
        yield node.name
        yield from node.input
        yield from node.output
        for body in bodies(node):
            yield from _all_names(body)
