"""One node at a higher opset, by onnx's version converter.

1. A node that the converter cannot express is refused, by its id in the file.
2. What the converter leaves as it is although its meaning changes is corrected here: the axis of
   Hardmax, the positions of Resize; or refused: Dropout's mask.
3. Before opset 7 an operand could begin at an axis of the other one: it gets sizes of 1 behind its
   own, for which the ranks of both must be known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    TypeProto,
    ValueInfoProto,
    defs,
    helper,
    numpy_helper,
    version_converter,
)

from halve.errors import UnsupportedModelError
from halve.plan.opset_old import oldest_convertible
from halve.plan.schemas import normal_domain
from halve.source import payload_index, text

__all__ = [
    "ADDED",
    "SCALES",
    "Goal",
    "changes",
    "is_batched_scan",
    "mark",
    "origin",
    "raised_form",
    "refusal",
    "single_node_model",
]

_PLAIN_SCAN_OPSET = 9
# What onnx raises for a node that it cannot convert, or that is malformed.
_REFUSED = (
    version_converter.ConvertError,
    onnx.checker.ValidationError,
    IndexError,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
)
_BROADCAST_OPSET = 7  # from here on shapes broadcast by themselves
SCALES = "scales"  # the initializer by which a single Resize tells its scales

# Their versions differ in types alone, and they hold bodies or payload.
_SAME_FORM = frozenset({"Constant", "If", "Loop", "Scan"})
# Rule 2. Hardmax changed as Softmax did, comparisons and logic as Add did, for which the converter
# has forms.
_CORRECTED = {"Hardmax": "Softmax"} | dict.fromkeys(
    ("And", "Equal", "Greater", "Less", "Or", "Xor"), "Add"
)
# Their form is one but for this attribute, gone at 7, which says that output 0 is made: that it is
# named says so, too.
_RECURRENT = frozenset({"GRU", "LSTM", "RNN"})
_OUTPUT_SEQUENCE = "output_sequence"
_POSITIONS, _ROUNDING = "coordinate_transformation_mode", "nearest_mode"
_ALIGNED = "aligned"  # the operand of a single node that got sizes of 1 (rule 3)


@dataclass(frozen=True, slots=True)
class Goal:
    """The opset to raise to. `clause` says in errors for what ("which bfloat16 needs"), `reason` in
    the warning why, and `otherwise` what else helps where it cannot be done.
    """

    opset: int
    clause: str
    reason: str = ""
    otherwise: str = ""

    @property
    def ir_version(self) -> int:
        """The first IR version that has the opset."""
        return int(helper.find_min_ir_version_for([helper.make_opsetid("", self.opset)]))


# A node carries its id in the file as its last metadata entry while bodies are converted.
_OWN, ADDED = "halve.id", "halve.added"


def mark(node: NodeProto, number: int, *, added: bool = False) -> None:
    """Note that a node is, or was `added` for, node `number` of the file."""
    node.metadata_props.add(key=ADDED if added else _OWN, value=str(number))


def origin(node: NodeProto) -> int:
    """The id in the file of the node that this one is or was added for."""
    return int(node.metadata_props[-1].value)


def changes(node: NodeProto, opset: int, goal: Goal) -> bool:
    """Whether another version of the node's operator is in force at the new opset."""
    # An operator's name may be no text where nothing runs: nobody knows it then.
    if normal_domain(node.domain) or opset >= goal.opset or not isinstance(node.op_type, str):
        return False
    before = _since(node.op_type, opset)
    if before is None:
        return False  # a local function, or an operator that nobody knows
    if is_batched_scan(node, opset):
        return True
    return node.op_type not in _SAME_FORM and before != _since(node.op_type, goal.opset)


def _since(op_type: str, opset: int) -> int | None:
    """The opset from which on the operator has been what it is at this one."""
    try:
        return int(defs.get_schema(op_type, opset, "").since_version)
    except defs.SchemaError:
        return None


def is_batched_scan(node: NodeProto, opset: int) -> bool:
    """Whether the node is a Scan of opset 8, which had a batch dimension."""
    return node.op_type == "Scan" and opset < _PLAIN_SCAN_OPSET


def refusal(node: NodeProto, goal: Goal, reason: str) -> UnsupportedModelError:
    """The error for a node that has no form at the higher opset."""
    name = f" {text(node.name)!r}" if node.name else ""
    number = origin(node)
    place = "a node of training_info" if number < 0 else f"node {number}"
    return UnsupportedModelError(
        f"{place} ({node.op_type}{name}) cannot be raised to opset {goal.opset},"
        f" {goal.clause}: {reason}; export the model again with opset {goal.opset} or"
        f" later{goal.otherwise}"
    )


def single_node_model(
    node: NodeProto, opset: int, types: Mapping[str | bytes, TypeProto], goal: Goal
) -> ModelProto:
    """A model of this node alone, its operands named by their places."""
    _check_attributes(node, goal)
    item = NodeProto(op_type=_CORRECTED.get(node.op_type, node.op_type))
    item.attribute.extend(attr for attr in node.attribute if not _is_gone(attr, node))
    item.input.extend(f"i{slot}" if name else "" for slot, name in enumerate(node.input))
    item.output.extend(f"o{slot}" if name else "" for slot, name in enumerate(node.output))
    opset, obstacle = oldest_convertible(item, opset, goal.opset)
    if obstacle:
        raise refusal(node, goal, obstacle)
    graph = GraphProto(name="node", node=[item])
    for slot, name in enumerate(node.input):
        if name:
            graph.input.append(ValueInfoProto(name=f"i{slot}", type=_type(types.get(name), opset)))
    for slot, name in enumerate(node.output):
        if name:
            graph.output.append(ValueInfoProto(name=f"o{slot}", type=_type(types.get(name), opset)))
    if opset < _BROADCAST_OPSET:
        _align(graph)
    if node.op_type in _RECURRENT:
        opset = max(opset, _BROADCAST_OPSET)
    opsets = [helper.make_opsetid("", opset)]
    return ModelProto(ir_version=goal.ir_version, graph=graph, opset_import=opsets)


def _is_gone(attribute: AttributeProto, node: NodeProto) -> bool:
    return node.op_type in _RECURRENT and attribute.name == _OUTPUT_SEQUENCE


def _align(graph: GraphProto) -> None:
    """Rule 3, for the only node of a graph."""
    node, types = graph.node[0], [info.type.tensor_type for info in graph.input]
    start = _first_axis(node, types)
    if start is None:
        return
    rank = len(types[1].shape.dim)
    behind = len(types[0].shape.dim) - start - rank
    if behind <= 0:
        return
    aligned = ValueInfoProto(name=_ALIGNED, type=graph.input[1].type)
    for _ in range(behind):
        aligned.type.tensor_type.shape.dim.add(dim_value=1)
    graph.value_info.append(aligned)
    kept = [attr for attr in node.attribute if attr.name != "axis"]
    del node.attribute[:]
    node.attribute.extend(kept)
    axes = list(range(rank, rank + behind))
    unsqueeze = helper.make_node("Unsqueeze", [node.input[1]], [_ALIGNED], axes=axes)
    node.input[1] = _ALIGNED
    graph.node.insert(0, unsqueeze)


def _first_axis(node: NodeProto, types: Sequence[TypeProto.Tensor]) -> int | None:
    """The axis of the first operand at which the second begins, where that is not told by the
    shapes alone; None where it is, or a rank is not known.
    """
    numbers = {attr.name: attr.i for attr in node.attribute}
    if len(types) != 2 or not all(known.HasField("shape") for known in types):
        return None
    if node.op_type == "PRelu":  # one slope a channel
        return 1 if len(types[1].shape.dim) == 1 and len(types[0].shape.dim) > 1 else None
    if not numbers.get("broadcast") or "axis" not in numbers:
        return None
    axis = int(numbers["axis"])
    return axis if axis >= 0 else axis + len(types[0].shape.dim)


def _check_attributes(node: NodeProto, goal: Goal) -> None:
    for attr in node.attribute:
        if attr.ref_attr_name:
            raise refusal(
                node,
                goal,
                f"its attribute {attr.name!r} is a parameter of a function that nothing calls",
            )
        if attr.type == AttributeProto.TENSOR and payload_index(attr.t) is not None:
            raise refusal(node, goal, f"its attribute {attr.name!r} is a large tensor")


def _type(known: TypeProto | None, opset: int) -> TypeProto:
    """Element type and rank; the sizes are left out, so that equal nodes are converted once, but
    below opset 7, where the form of a broadcast depends on them.

    An unknown element type is given as float32: no form depends on it, but the converter's own
    representation wants one.
    """
    if known is None or known.WhichOneof("value") is None:
        return helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    if known.WhichOneof("value") != "tensor_type" or opset < _BROADCAST_OPSET:
        return known
    tensor = known.tensor_type
    dims = [None] * len(tensor.shape.dim) if tensor.HasField("shape") else None
    return helper.make_tensor_type_proto(tensor.elem_type or TensorProto.FLOAT, dims)


def raised_form(small: ModelProto, node: NodeProto, goal: Goal) -> GraphProto:
    """The nodes at the higher opset that compute what `small`, the model of `node` alone, does.

    Raises:
        UnsupportedModelError: there are none (rules 1 and 2).
    """
    before = small.opset_import[0].version
    _check_form(node, small.graph, before, goal)
    try:
        _check_nodes(small.graph, before, goal)  # malformed ones can crash the converter
        graph = version_converter.convert_version(small, goal.opset).graph
        _correct(graph, node, before, goal)
        _check_nodes(graph, goal.opset, goal)
    except _REFUSED as error:
        raise refusal(node, goal, f"onnx says {error}") from error
    return graph


def _check_nodes(graph: GraphProto, opset: int, goal: Goal) -> None:
    context = onnx.checker.C.CheckerContext()
    context.ir_version = goal.ir_version
    context.opset_imports = {"": opset}
    for item in graph.node:
        onnx.checker.check_node(item, context)


def _check_form(node: NodeProto, graph: GraphProto, opset: int, goal: Goal) -> None:
    """Rule 2: what the converter would let through with another meaning."""
    if node.op_type == "PRelu" and opset < _BROADCAST_OPSET and not _slope_broadcasts(graph):
        raise refusal(
            node,
            goal,
            "its slope was one a channel, and broadcasts from opset 7 on, for which the ranks of"
            " its inputs are not known",
        )
    if node.op_type == "Dropout" and opset < 10 and len(node.output) > 1 and node.output[1]:
        raise refusal(node, goal, "the mask that it makes was float and is bool from opset 10 on")


def _slope_broadcasts(graph: GraphProto) -> bool:
    """Whether one slope a channel is what broadcasting gives: one for all, or by rule 3."""
    types = [info.type.tensor_type for info in graph.input]
    if len(types) != 2 or not types[1].HasField("shape"):
        return False
    sizes = [dim.dim_value for dim in types[1].shape.dim]
    return all(size == 1 for size in sizes) or types[0].HasField("shape")


def _correct(graph: GraphProto, node: NodeProto, opset: int, goal: Goal) -> None:
    """Rule 2."""
    for item in graph.node:
        if item.op_type == _CORRECTED.get(node.op_type):
            item.op_type = node.op_type
    for item in [item for item in graph.node if item.op_type == "Resize" and opset < 11]:
        scales = [t for t in graph.initializer if t.name == SCALES]
        _keep_coordinates(graph, item, scales)


def _keep_coordinates(graph: GraphProto, item: NodeProto, scales: Sequence[TensorProto]) -> None:
    """Before opset 11 a position was divided by the scale, then rounded down (up where the result
    is smaller, in ONNX Runtime); the defaults of 11 are others, and the converter keeps them.
    """
    values = numpy_helper.to_array(scales[0]).ravel() if scales else np.ones(1)
    shrinks, grows = bool((values < 1).any()), bool((values > 1).any())
    nearest = _interpolation(item) == b"nearest"
    _set_positions(item, "ceil" if shrinks else "floor")
    if nearest and (values.size == 0 or (shrinks and grows)):
        _reduce_first(graph, item)


def _set_positions(item: NodeProto, rounding: str) -> None:
    kept = [attr for attr in item.attribute if attr.name not in (_POSITIONS, _ROUNDING)]
    del item.attribute[:]
    item.attribute.extend(kept)
    item.attribute.append(helper.make_attribute(_POSITIONS, "asymmetric"))
    item.attribute.append(helper.make_attribute(_ROUNDING, rounding))


def _reduce_first(graph: GraphProto, item: NodeProto) -> None:
    """Make a Resize two, each with its own rounding: along axes that get smaller, then along those
    that grow. Positions along one axis are independent of the others.
    """
    second = NodeProto()
    second.CopyFrom(item)
    made, given = item.output[0], item.input[2]
    one = helper.make_tensor("", TensorProto.FLOAT, [], [1.0])
    added = [
        helper.make_node("Constant", [], ["one"], value=one),
        helper.make_node("Min", [given, "one"], ["reducing"]),
        helper.make_node("Max", [given, "one"], ["enlarging"]),
    ]
    _set_positions(item, "ceil")
    _set_positions(second, "floor")
    item.input[2], item.output[0] = "reducing", "reduced"
    second.input[0], second.input[2], second.output[0] = "reduced", "enlarging", made
    place = list(graph.node).index(item)
    nodes = [*graph.node[:place], *added, item, second, *graph.node[place + 1 :]]
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _interpolation(node: NodeProto) -> bytes:
    """The mode of a Resize or Upsample."""
    return next((attr.s for attr in node.attribute if attr.name == "mode"), b"nearest")
