"""Structural keys of nodes: what a node is, whatever it and its values are called.

A key is "<up>.<down>", and behind it ".<ordinal>" for all but the first of equal nodes in the file:

1. `up` is the hash of what a node computes: operator, attributes, the type and shape of its
   weights, and the `up` of the producers of its inputs with the output slot. Inputs of a graph
   count by position, a body by what it computes, the values it captures as a set.
2. `down` is the hash of how the result is used: the node's own part, and the `down` of its readers
   with the input slot. It tells apart nodes that compute alike from the same values (the
   projections of an attention), in whatever order the file has them; and it still finds a node
   where something changed above it.
3. Names count nowhere: not those of nodes, values, graphs or local functions.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator

from onnx import AttributeProto, FunctionProto, NodeProto, SparseTensorProto, TensorProto

from halve.plan.analysis import Analysis, NodeInfo, Scope, Value
from halve.plan.order import topological_order
from halve.source import text

__all__ = ["down_part", "node_keys", "up_part"]

_DIGEST_BYTES = 8
_GRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)
_Hashes = dict[int, str]


def node_keys(analysis: Analysis) -> list[str]:
    """A key a node of the file, in the order of ids.

    Raises:
        ModelError: a graph has a cycle.
    """
    hashes = _Hasher(analysis)
    # A function has an instance a call; its nodes are alike in all of them.
    instances: dict[int, NodeInfo] = {}
    for node in analysis.nodes:
        instances.setdefault(node.id, node)
    seen: Counter[str] = Counter()
    keys = []
    for number, _, proto in analysis.all_nodes:
        node_or_none = instances.get(number)
        key = _unused_key(proto) if node_or_none is None else hashes.key(node_or_none)
        keys.append(f"{key}.{seen[key]}" if seen[key] else key)
        seen[key] += 1
    return keys


def up_part(key: str) -> str:
    """What the node computes, of a key."""
    return key.partition(".")[0]


def down_part(key: str) -> str:
    """How the node is used, of a key; "" where the key does not say."""
    return key.partition(".")[2].partition(".")[0]


class _Hasher:
    """The hashes of every node of every scope, by uid."""

    def __init__(self, analysis: Analysis) -> None:
        self._leaves = _leaf_texts(analysis)
        self._outputs = _output_places(analysis)
        self._orders = {id(scope): topological_order(scope.nodes) for scope in analysis.scopes}
        self._bodies: _Hashes = {}
        self._own: _Hashes = {}
        self._up: _Hashes = {}
        self._down: _Hashes = {}
        # Every scope stands behind its owner's.
        for scope in reversed(analysis.scopes):
            self._add_own(scope)
        for scope in analysis.scopes:
            self._add_up(scope)
        for scope in analysis.scopes:
            self._add_down(scope)

    def key(self, node: NodeInfo) -> str:
        return f"{self._up[node.uid]}.{self._down[node.uid]}"

    def _add_own(self, scope: Scope) -> None:
        """What each node is by itself, and what the scope computes, its captured values aside."""
        for node in scope.nodes:
            self._own[node.uid] = self._own_part(node)
        if scope.owner is None:
            return
        inner: _Hashes = {}
        for number in self._orders[id(scope)]:
            node = scope.nodes[number]
            parts = (self._inner_text(value, scope, inner) for value in node.inputs)
            inner[node.uid] = _digest(*parts, self._own[node.uid])
        outputs = [self._inner_text(value, scope, inner) for value in scope.outputs]
        self._bodies[id(scope)] = _digest(*outputs, "", *sorted(inner.values()))

    def _own_part(self, node: NodeInfo) -> str:
        operator = "call" if node.calls_function else f"{node.domain}|{node.op_type}"
        parts = [operator, str(len(node.outputs)), *_attribute_texts(node.proto)]
        parts += [f"{label}={self._bodies[id(body)]}" for label, body in node.bodies.items()]
        weights = [self._weight(value) for value in node.inputs]
        return "\x1f".join((*parts, *weights))  # not hashed: it only goes into the two hashes

    def _weight(self, value: Value | None) -> str:
        if value is None:
            return "-"
        return "?" if value.source is not None else self._leaves[value.index]

    def _inner_text(self, value: Value | None, scope: Scope, hashes: _Hashes) -> str:
        if value is not None and value.scope is not scope:
            return "outer"
        return self._text(value, hashes)

    def _text(self, value: Value | None, hashes: _Hashes) -> str:
        if value is None:
            return "-"
        if value.source is None:
            return self._leaves[value.index]
        node, slot = value.source
        return f"{hashes[node.uid]}:{slot}"

    def _add_up(self, scope: Scope) -> None:
        place = self._place(scope)
        for number in self._orders[id(scope)]:
            node = scope.nodes[number]
            inputs = (self._text(value, self._up) for value in node.inputs)
            captured = sorted(self._text(value, self._up) for value in node.captured)
            self._up[node.uid] = _digest(place, *inputs, self._own[node.uid], *captured)

    def _place(self, scope: Scope) -> str:
        """Where a scope is: the same for all instances of a function."""
        if scope.owner is None:
            return ""
        if isinstance(scope.body, FunctionProto):
            return self._bodies[id(scope)]
        (label,) = (name for name, body in scope.owner.bodies.items() if body is scope)
        return f"{self._up[scope.owner.uid]}.{label}"

    def _add_down(self, scope: Scope) -> None:
        for number in reversed(self._orders[id(scope)]):
            node = scope.nodes[number]
            uses = sorted(self._uses(node))
            self._down[node.uid] = _digest(self._own[node.uid], *uses)

    def _uses(self, node: NodeInfo) -> Iterator[str]:
        for slot, value in enumerate(node.outputs):
            if value is None:
                continue
            for reader, place in value.readers:
                inside = reader.scope is node.scope
                used = self._down[reader.uid] if inside else f"body {self._own[reader.uid]}"
                yield f"{slot}>{place}:{used}"
            for place in self._outputs.get(value.index, ()):
                yield f"{slot}>output{place}"


def _leaf_texts(analysis: Analysis) -> dict[int, str]:
    """What stands for a value that no node makes: a weight's type and shape, an input's place."""
    found: dict[int, str] = {}
    for scope in analysis.scopes:
        for place, value in enumerate(scope.inputs):
            found[value.index] = f"input{place}"
        if isinstance(scope.body, FunctionProto):
            continue
        for tensor in scope.body.initializer:
            found[scope.values[tensor.name].index] = _tensor_text(tensor)
        for sparse in scope.body.sparse_initializer:
            found[scope.values[sparse.values.name].index] = _sparse_text(sparse)
    return found


def _output_places(analysis: Analysis) -> dict[int, list[int]]:
    """Where a value is an output of its own scope."""
    found: dict[int, list[int]] = {}
    for scope in analysis.scopes:
        for place, value in enumerate(scope.outputs):
            if value.scope is scope:
                found.setdefault(value.index, []).append(place)
    return found


def _unused_key(node: NodeProto) -> str:
    """Of a node of a function that nothing calls."""
    operator = f"{text(node.domain)}|{text(node.op_type)}"
    return _digest("unused", operator, str(len(node.output)), *_attribute_texts(node))


def _attribute_texts(node: NodeProto) -> list[str]:
    return sorted(
        f"{text(attr.name)}={_attribute_text(attr)}"
        for attr in node.attribute
        if attr.type not in _GRAPHS
    )


def _attribute_text(attr: AttributeProto) -> str:
    kind = attr.type
    if attr.ref_attr_name:
        return f"@{text(attr.ref_attr_name)}"
    if kind == AttributeProto.TENSOR:
        return _tensor_text(attr.t)
    if kind == AttributeProto.TENSORS:
        return ";".join(map(_tensor_text, attr.tensors))
    if kind == AttributeProto.SPARSE_TENSOR:
        return _sparse_text(attr.sparse_tensor)
    if not attr.doc_string:
        return _serialised(attr)
    bare = AttributeProto()
    bare.CopyFrom(attr)
    bare.ClearField("doc_string")
    return _serialised(bare)


def _serialised(attr: AttributeProto) -> str:
    return bytes(attr.SerializeToString(deterministic=True)).hex()


def _tensor_text(tensor: TensorProto) -> str:
    return f"{tensor.data_type}{list(tensor.dims)}"


def _sparse_text(sparse: SparseTensorProto) -> str:
    return f"sparse{_tensor_text(sparse.values)}{list(sparse.dims)}"


def _digest(*parts: str) -> str:
    data = "\n".join(parts).encode("utf-8", "surrogateescape")
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).hexdigest()
