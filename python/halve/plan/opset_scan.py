"""Scan of opset 8 at a later one: a Scan over the batch, whose body is the Scan over the sequence.

Before opset 9 the first dimension of every operand was a batch, and an optional first operand gave
the length of each sequence in it. The outer Scan takes all operands apart along the batch, as scan
inputs, and puts all results together again, as scan outputs. Lengths have no counterpart.
"""

from __future__ import annotations

from collections.abc import Callable

from onnx import GraphProto, NodeProto, TypeProto, ValueInfoProto, helper

from halve.plan.opset_forms import Goal, mark, origin, refusal
from halve.plan.type_attributes import attribute

__all__ = ["scan_the_batch"]


def scan_the_batch(node: NodeProto, goal: Goal, fresh: Callable[[NodeProto], str]) -> None:
    """Make `node`, a Scan of opset 8, the Scan over the batch; its old self goes into the body.

    `fresh` makes names for values.

    Raises:
        UnsupportedModelError: the node has lengths of sequences, or no body.
    """
    body, count = attribute(node, "body"), attribute(node, "num_scan_inputs")
    if body is None or count is None:
        raise refusal(node, goal, "it has no body or no num_scan_inputs")
    if len(node.input) == 0 or node.input[0]:
        raise refusal(node, goal, "the lengths of its sequences have no place from opset 9 on")
    inner = NodeProto(op_type="Scan", domain=node.domain)
    mark(inner, origin(node), added=True)
    inner.attribute.add().CopyFrom(body)
    inner.attribute.add().CopyFrom(count)
    directions = attribute(node, "directions")
    if directions is not None:
        inner.attribute.add().CopyFrom(directions)
        inner.attribute[-1].name = "scan_input_directions"
    graph = GraphProto(name="sequence", node=[inner])
    for info in body.g.input:
        graph.input.append(_like(info, fresh(node)))
    for info in body.g.output:
        graph.output.append(_like(info, fresh(node)))
    graph.node[0].input.extend(info.name for info in graph.input)
    graph.node[0].output.extend(info.name for info in graph.output)
    del node.input[0]
    del node.attribute[:]
    node.attribute.append(helper.make_attribute("body", graph))
    node.attribute.append(helper.make_attribute("num_scan_inputs", len(node.input)))


def _like(info: ValueInfoProto, name: str) -> ValueInfoProto:
    """A value of the same element type, of any shape."""
    elem = info.type.tensor_type.elem_type
    known = helper.make_tensor_type_proto(elem, None) if elem else TypeProto()
    return ValueInfoProto(name=name, type=known)
