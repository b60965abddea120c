"""Run a written model node by node, so that every 16-bit tensor is really stored.

ONNX Runtime's CPU provider computes runs of float16 nodes in float32 and drops the casts between
them; a node alone it cannot but store. That makes a second, independent reading of a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, helper, numpy_helper

__all__ = ["run_stepwise"]

Run = Callable[[ModelProto, Mapping[str, Any]], list[Any]]


def run_stepwise(model: ModelProto, feeds: Mapping[str, Any], run: Run) -> list[Any] | None:
    """The outputs, each node of the main graph run by itself; None where a value is no tensor."""
    flat = onnx.inliner.inline_local_functions(model) if model.functions else model
    weights = {tensor.name: tensor for tensor in flat.graph.initializer}
    values: dict[str, Any] = {n: numpy_helper.to_array(t) for n, t in weights.items()} | dict(feeds)
    weights = {name: tensor for name, tensor in weights.items() if name not in feeds}
    if flat.graph.sparse_initializer:
        return None
    for node in flat.graph.node:
        if not all(isinstance(values.get(name), np.ndarray) for name in _reads(node)):
            return None
        single = _single(flat, node, values, weights)
        ready = {info.name: values[info.name] for info in single.graph.input}
        names = [name for name in node.output if name]
        values.update(zip(names, run(single, ready), strict=True))
    return [values[info.name] for info in flat.graph.output]


def _reads(node: NodeProto) -> list[str]:
    """Names that a node and its bodies read from around it."""
    names = dict.fromkeys(name for name in node.input if name)
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            names |= dict.fromkeys(_captured(attribute.g))
    return list(names)


def _captured(graph: GraphProto) -> list[str]:
    own = {info.name for info in graph.input} | {t.name for t in graph.initializer}
    own |= {name for node in graph.node for name in node.output}
    read = [name for node in graph.node for name in _reads(node)]
    read += [info.name for info in graph.output]
    return [name for name in read if name not in own]


def _single(
    model: ModelProto, node: NodeProto, values: Mapping[str, Any], weights: Mapping[str, Any]
) -> ModelProto:
    reads = _reads(node)
    infos = [_info(name, values[name]) for name in reads if name not in weights]
    graph = helper.make_graph(
        [node],
        "single",
        infos,
        [helper.make_empty_tensor_value_info(name) for name in node.output if name],
        [weights[name] for name in reads if name in weights],
    )
    single = helper.make_model(graph, opset_imports=model.opset_import)
    single.ir_version = model.ir_version
    return single


def _info(name: str, value: Any) -> onnx.ValueInfoProto:
    elem = helper.np_dtype_to_tensor_dtype(value.dtype)
    return helper.make_tensor_value_info(name, elem, value.shape)
