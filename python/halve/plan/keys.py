"""Structural keys of nodes: what a node is, whatever it and its values are called.

A key is the hash of: operator, attributes, the keys of the producers of its inputs with the output
slot, and the type and shape of its weights; graph inputs count by position. Equal nodes are told
apart by their ordinal in the file.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable

from onnx import AttributeProto, GraphProto, NodeProto, SparseTensorProto, TensorProto

from halve.plan.analysis import Analysis, NodeInfo
from halve.plan.order import topological_order

__all__ = ["node_keys"]

_DIGEST_BYTES = 8
_Texts = dict[str | bytes, str]


def node_keys(analysis: Analysis) -> list[str]:
    """A key a node of the file, in the order of ids ("<hash>" or "<hash>.<ordinal>")."""
    main = _main_hashes(analysis)
    seen: Counter[str] = Counter()
    keys = []
    for number, path, node in analysis.all_nodes:
        text = _digest(_shape_of_path(path), _own_parts(node)) if path else main[number]
        keys.append(f"{text}.{seen[text]}" if seen[text] else text)
        seen[text] += 1
    return keys


def _shape_of_path(path: str) -> str:
    """A scope's path without its names and numbers, which a re-export may change."""
    return "/".join(part.rpartition(".")[2] for part in path.split("/")) if path else path


def _main_hashes(analysis: Analysis) -> list[str]:
    graph = analysis.proto.graph
    inputs = {info.name: f"input{number}" for number, info in enumerate(graph.input)}
    weights = {t.name: f"{t.data_type}{list(t.dims)}" for t in graph.initializer}
    nodes = analysis.main.nodes
    hashes = [""] * len(nodes)
    for number in topological_order(nodes):
        parts = _input_parts(nodes[number], inputs, weights, hashes)
        hashes[number] = _digest(*parts, _own_parts(nodes[number].proto))
    return hashes


def _input_parts(
    node: NodeInfo,
    inputs: dict[str | bytes, str],
    weights: dict[str | bytes, str],
    hashes: list[str],
) -> Iterable[str]:
    for value in node.inputs:
        if value is None:
            yield "-"
        elif value.source is not None:
            yield f"{hashes[value.source[0].id]}:{value.source[1]}"
        else:
            yield weights.get(value.name) or inputs.get(value.name, "sparse")


def _own_parts(node: NodeProto) -> str:
    attributes = sorted(f"{attr.name}={_attribute_text(attr)}" for attr in node.attribute)
    return "|".join((node.domain, node.op_type, str(len(node.output)), *attributes))


def _attribute_text(attr: AttributeProto) -> str:
    kind = attr.type
    if kind == AttributeProto.TENSOR:
        return _tensor_text(attr.t)
    if kind == AttributeProto.GRAPH:
        return _graph_text(attr.g)
    if kind == AttributeProto.GRAPHS:
        return ";".join(map(_graph_text, attr.graphs))
    if kind == AttributeProto.TENSORS:
        return ";".join(map(_tensor_text, attr.tensors))
    if kind == AttributeProto.SPARSE_TENSOR:
        return _sparse_text(attr.sparse_tensor)
    return bytes(attr.SerializeToString(deterministic=True)).hex()


def _tensor_text(tensor: TensorProto) -> str:
    return f"{tensor.data_type}{list(tensor.dims)}"


def _sparse_text(sparse: SparseTensorProto) -> str:
    return f"sparse{_tensor_text(sparse.values)}{list(sparse.dims)}"


def _graph_text(graph: GraphProto) -> str:
    return "{" + ",".join(map(_own_parts, graph.node)) + "}"


def _digest(*parts: str) -> str:
    text = "\n".join(parts).encode("utf-8", "surrogateescape")
    return hashlib.blake2b(text, digest_size=_DIGEST_BYTES).hexdigest()
