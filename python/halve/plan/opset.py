"""Raise a model's opset where its own has not what the 16-bit type needs.

1. For bfloat16 it is 13, the lowest that serves: Cast, the arithmetic, matrix and reduction
   operators take bfloat16 from there. Convolutions, pools and recurrent operators do from 22 only,
   which changes the form of many more nodes and shuts out older runtimes; who wants them 16-bit
   asks for it (`ConvertOptions.opset`). Until then they stay float32 and the plan names them.
   For a quantised model it is 19 where that saves casts: QuantizeLinear and DequantizeLinear have
   16-bit scales from there.
2. Every node of the default domain is converted for itself, by onnx's version converter. The
   converter's own representation drops functions, payload markers, annotations and unknown
   fields; so nothing but the nodes whose form changes passes through it.
3. Constants that a new form reads become initializers of the same graph, so that nodes keep their
   ids. In a function's body, which has none, they are nodes.
4. Training graphs are raised with the rest. They read the main graph's values by name, and their
   nodes have no ids.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace

import onnx
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    TypeProto,
    helper,
)

from halve.options import ConvertOptions
from halve.plan.opset_forms import (
    ADDED,
    SCALES,
    Goal,
    changes,
    is_batched_scan,
    mark,
    origin,
    raised_form,
    single_node_model,
)
from halve.plan.opset_parameters import settle_parameters
from halve.plan.opset_scan import scan_the_batch
from halve.plan.scales import QUANTIZERS
from halve.plan.schemas import normal_domain
from halve.plan.shapes import with_shapes
from halve.source import payload_index, text
from halve.source.names import append_name
from halve.source.scopes import body_nodes, iter_nodes, subgraphs
from halve.types import DType, Plan, PlanNode, SourceModel

__all__ = ["Goal", "RaisedModel", "needed_opset", "raise_opset", "useful_opset"]

_BFLOAT16 = Goal(
    13,
    "which bfloat16 needs",
    ": below it Cast and most operators have no bfloat16",
    ", or convert to float16",
)
_SCALES = Goal(
    19,
    "which 16-bit scales need",
    ": below it QuantizeLinear and DequantizeLinear have float32 scales only, with a cast around"
    " each",
)

_TRAINING = -1  # the id of every node of a training graph (rule 4)
_IR_OVERRIDES = 4  # the first IR version whose initializers need not be inputs

_Types = MutableMapping[str | bytes, TypeProto]


@dataclass(frozen=True, slots=True)
class RaisedModel:
    """A model at a higher opset, and what its nodes are in the file.

    `model` keeps the digest and the payloads of the source. `ids` holds, by the id of a node in
    `model`, the id of the file's node that it is, or that it was added for; `added` are the ids in
    `model` of the latter. `warning` says what was done.
    """

    model: SourceModel
    ids: tuple[int, ...]
    added: frozenset[int]
    warning: str

    def inner_ids(self, file_ids: Iterable[int]) -> tuple[int, ...]:
        """The ids in `model` of the nodes that stand for these of the file."""
        wanted = frozenset(file_ids)
        return tuple(number for number, file_id in enumerate(self.ids) if file_id in wanted)

    def file_plan(self, plan: Plan, source: Plan) -> Plan:
        """`plan`, made for `model`, with the rows of the file's own nodes (those of `source`).

        A node's row has the decision for the node that took its place; added nodes have no row.
        """
        rows = {self.ids[row.id]: row for row in plan.nodes if row.id not in self.added}
        return replace(plan, nodes=tuple(_settled(own, rows[own.id]) for own in source.nodes))

    def file_scopes(self, source: Plan) -> dict[str, str]:
        """The scopes of `model` as the ids of the file, whose plan is `source`, name them."""
        return {
            path: source.nodes[self.ids[number]].scope
            for number, path, _ in iter_nodes(self.model.proto)
        }


def _settled(own: PlanNode, row: PlanNode) -> PlanNode:
    """The file's row with the decision of `row`; what blocks it is told in the file's ids."""
    reason = own.reason if "blocked by" in row.reason else row.reason
    return replace(own, dtype=row.dtype, operands=row.operands, reason=reason)


def needed_opset(options: ConvertOptions) -> Goal | None:
    """The opset that a model must have for these options, if its own is lower."""
    least = _BFLOAT16 if options.half == DType.BFLOAT16 else None
    if options.opset is None or (least is not None and options.opset < least.opset):
        return least
    return Goal(options.opset, "which was asked for", ", as was asked for")


def useful_opset(plan: Plan, options: ConvertOptions) -> Goal | None:
    """An opset at which the model might need fewer casts: rule 1 for quantised models."""
    kept = (node for node in plan.nodes if node.type in QUANTIZERS and node.dtype == "float32")
    free = any("blocked by" not in node.reason for node in kept)
    return _SCALES if free and options.opset is None else None


def raise_opset(model: SourceModel, goal: Goal) -> RaisedModel | None:
    """`model` at the goal's opset of the default domain, or None where its own is as high.

    The source is not changed and no payload is read. Shapes are inferred where they can be: they
    make some forms shorter and are not needed.

    Raises:
        UnsupportedModelError: a node cannot be expressed at that opset.
    """
    versions = [e.version for e in _bodies_opsets(model.proto) if normal_domain(e.domain) == ""]
    low = [version for version in versions if 0 < version < goal.opset]
    if not low:
        return None
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    work = _Work(_names(proto), goal)
    work.convert_model(proto)
    warning = f"opset {min(low)} of the default domain was raised to {goal.opset}{goal.reason}"
    if proto.ir_version < goal.ir_version:
        warning += (
            f"; IR version {proto.ir_version} was raised to {goal.ir_version}, which it needs"
        )
        proto.ir_version = goal.ir_version
    return work.result(replace(model, proto=proto), warning)


def _bodies_opsets(proto: ModelProto) -> Iterator[onnx.OperatorSetIdProto]:
    yield from proto.opset_import
    for function in proto.functions:
        yield from function.opset_import


def _training_graphs(proto: ModelProto) -> list[GraphProto]:
    return [
        graph for item in proto.training_info for graph in (item.initialization, item.algorithm)
    ]


def _training_nodes(proto: ModelProto) -> Iterator[NodeProto]:
    for graph in _training_graphs(proto):
        yield from body_nodes(graph)


def _names(proto: ModelProto) -> set[str | bytes]:
    """Every name of a value in the model, in whatever scope."""
    names: set[str | bytes] = set()
    for node in (*(node for _, _, node in iter_nodes(proto)), *_training_nodes(proto)):
        names.update(node.input, node.output)
        for _, graph in subgraphs(node):
            names.update(_graph_names(graph))
    for graph in (proto.graph, *_training_graphs(proto)):
        names.update(_graph_names(graph))
    for function in proto.functions:
        names.update(function.input, function.output)
    return names


def _graph_names(graph: GraphProto) -> Iterator[str | bytes]:
    for item in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        yield item.name
    yield from (sparse.values.name for sparse in graph.sparse_initializer)


def _add_types(types: _Types, graph: GraphProto) -> None:
    for info in (*graph.input, *graph.value_info, *graph.output):
        types[info.name] = info.type
    for tensor in graph.initializer:
        types[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, tensor.dims)


def _constants(proto: ModelProto) -> Iterator[tuple[str | bytes, TensorProto]]:
    """The main graph's constants that are at hand; one that an input can override is none."""
    inputs = {info.name for info in proto.graph.input} if proto.ir_version >= _IR_OVERRIDES else ()
    for tensor in proto.graph.initializer:
        if tensor.name not in inputs and payload_index(tensor) is None:
            yield tensor.name, tensor
    for node in proto.graph.node:
        for attr in node.attribute if node.op_type == "Constant" else ():
            if attr.name == "value" and payload_index(attr.t) is None:
                yield node.output[0], attr.t


@dataclass(slots=True)
class _Work:
    """Converts bodies in place, and keeps which nodes are whose."""

    names: set[str | bytes]
    goal: Goal
    known: dict[bytes, GraphProto] = field(default_factory=dict)
    count: int = 0
    constants: dict[str | bytes, TensorProto] = field(default_factory=dict)

    def convert_model(self, proto: ModelProto) -> None:
        inferred = with_shapes(proto)
        self.constants = dict(_constants(proto))
        for number, _, node in iter_nodes(proto):
            mark(node, number)
        for node in _training_nodes(proto):
            mark(node, _TRAINING)
        self.settle_parameters(proto)
        opset = _raise(proto, self.goal.opset)
        self.convert_body(proto.graph, inferred.graph, opset, ChainMap())
        types: ChainMap[str | bytes, TypeProto] = ChainMap()
        _add_types(types, inferred.graph)
        for graph in _training_graphs(proto):
            self.convert_body(graph, graph, opset, types)
        self.constants = {}  # functions have names of their own
        for function in proto.functions:
            self.convert_body(function, function, _raise(function, self.goal.opset), ChainMap())

    def settle_parameters(self, proto: ModelProto) -> None:
        """Replace functions whose nodes' forms depend on what a call says."""

        def changes_form(node: NodeProto, function: FunctionProto) -> bool:
            return changes(node, _opset(function, self.goal.opset), self.goal)

        def mark_added(node: NodeProto) -> None:
            number = origin(node)
            del node.metadata_props[-1]
            mark(node, number, added=True)

        settle_parameters(proto, changes_form, mark_added)

    def convert_body(
        self,
        body: GraphProto | FunctionProto,
        shaped: GraphProto | FunctionProto,
        opset: int,
        types: ChainMap[str | bytes, TypeProto],
    ) -> None:
        types = types.new_child()
        if isinstance(shaped, GraphProto):
            _add_types(types, shaped)
        nodes: list[NodeProto] = []
        for node, twin in zip(body.node, shaped.node, strict=True):
            for (_, graph), (_, inner) in zip(subgraphs(node), subgraphs(twin), strict=True):
                self.convert_body(graph, inner, opset, types)
            nodes += self.convert_node(body, node, opset, types)
        if len(nodes) != len(body.node):
            kept = [_copy(node) for node in nodes]
            del body.node[:]
            body.node.extend(kept)

    def convert_node(
        self, body: GraphProto | FunctionProto, node: NodeProto, opset: int, types: _Types
    ) -> list[NodeProto]:
        """The nodes that stand for `node`, which is changed to be one of them."""
        if not changes(node, opset, self.goal):
            return [node]
        if is_batched_scan(node, opset):
            scan_the_batch(node, self.goal, self.fresh)
            return [node]
        small = single_node_model(node, opset, types, self.goal)
        if node.op_type == "Resize" and opset == 10:
            small.graph.initializer.append(self.scales(node))
        key = small.SerializeToString(deterministic=True)
        if key not in self.known:
            self.known[key] = raised_form(small, node, self.goal)
        return self.splice(body, node, self.known[key])

    def scales(self, node: NodeProto) -> TensorProto:
        """The scales of a Resize, under the name that they have in a model of the node alone."""
        found = TensorProto()
        known = self.constants.get(node.input[1]) if len(node.input) > 1 else None
        if known is not None:
            found.CopyFrom(known)
        else:
            found.CopyFrom(helper.make_tensor("", TensorProto.FLOAT, [0], []))
        found.name = SCALES
        return found

    def splice(
        self, body: GraphProto | FunctionProto, node: NodeProto, graph: GraphProto
    ) -> list[NodeProto]:
        """The nodes of `graph` in place of `node`, with names of the model."""
        names: dict[str, str | bytes] = {"": ""}
        names |= {f"i{slot}": name for slot, name in enumerate(node.input)}
        names |= {f"o{slot}": name for slot, name in enumerate(node.output)}
        constants, made = _parted(graph)
        new = [tensor.name for tensor in constants] + [o for item in made for o in item.output]
        names |= {name: self.fresh(node) for name in new if name not in names}
        place = _own_place(made, node)
        rest = [node if n == place else _added(item, node, names) for n, item in enumerate(made)]
        _become(node, made[place], names)
        return [*_add_constants(body, constants, node, names), *rest]

    def fresh(self, node: NodeProto) -> str:
        base = next((_stem(name) for name in node.output if name), "")
        while True:
            name = f"{base}_opset{self.goal.opset}_{self.count}"
            self.count += 1
            if name not in self.names:
                self.names.add(name)
                return name

    def result(self, model: SourceModel, warning: str) -> RaisedModel:
        ids: list[int] = []
        added: set[int] = set()
        for number, _, node in iter_nodes(model.proto):
            entry = node.metadata_props.pop()
            ids.append(int(entry.value))
            if entry.key == ADDED:
                added.add(number)
        for node in _training_nodes(model.proto):
            node.metadata_props.pop()
        return RaisedModel(model, tuple(ids), frozenset(added), warning)


def _copy(node: NodeProto) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy


def _raise(body: ModelProto | FunctionProto, opset: int) -> int:
    """Set the body's opset of the default domain; the one that it had."""
    before = _opset(body, opset)
    for entry in body.opset_import:
        if normal_domain(entry.domain) == "":
            entry.version = max(before, opset)
    return before


def _opset(body: ModelProto | FunctionProto, absent: int) -> int:
    """The body's opset of the default domain, or `absent`."""
    entries = (e.version for e in body.opset_import if normal_domain(e.domain) == "")
    return int(next(entries, absent))


def _parted(graph: GraphProto) -> tuple[list[TensorProto], list[NodeProto]]:
    """The constants of a converted node, and its other nodes."""
    constants = [tensor for tensor in graph.initializer if tensor.name != SCALES]
    constants += [_constant(item) for item in graph.node if item.op_type == "Constant"]
    return constants, [item for item in graph.node if item.op_type != "Constant"]


def _add_constants(
    body: GraphProto | FunctionProto,
    constants: Sequence[TensorProto],
    node: NodeProto,
    names: Mapping[str, str | bytes],
) -> list[NodeProto]:
    """Rule 3: the nodes that are needed for constants, none in a graph."""
    made = [_constant_node(tensor, names) for tensor in constants]
    if isinstance(body, GraphProto):
        body.initializer.extend(item.attribute[0].t for item in made)
        return []
    for item in made:
        mark(item, origin(node), added=True)
    return made


def _own_place(made: list[NodeProto], node: NodeProto) -> int:
    """Which of the new nodes is the file's: of its type, else the one with its output."""
    for place, item in enumerate(made):
        if item.op_type == node.op_type:
            return place
    return len(made) - 1


def _constant(item: NodeProto) -> TensorProto:
    tensor = TensorProto()
    tensor.CopyFrom(item.attribute[0].t)
    tensor.name = item.output[0]
    return tensor


def _constant_node(tensor: TensorProto, names: Mapping[str, str | bytes]) -> NodeProto:
    name = str(names[tensor.name])
    item = helper.make_node("Constant", [], [name], value=tensor)
    item.attribute[0].t.name = name
    return item


def _added(item: NodeProto, node: NodeProto, names: Mapping[str, str | bytes]) -> NodeProto:
    made = NodeProto(domain=node.domain)
    if node.name:
        made.name = f"{_stem(node.name)}_{item.op_type}"
    mark(made, origin(node), added=True)
    _become(made, item, names)
    return made


def _stem(name: str | bytes) -> str:
    return text(name).encode("utf-8", "replace").decode()


def _become(node: NodeProto, item: NodeProto, names: Mapping[str, str | bytes]) -> None:
    """Take operator, attributes and operands of `item`; all else about the node stays."""
    if node.op_type != item.op_type:
        node.op_type = item.op_type
    if not _same_attributes(node, item):
        del node.attribute[:]
        node.attribute.extend(item.attribute)
    for kind in ("input", "output"):
        wanted = [names[name] for name in getattr(item, kind)]
        present = getattr(node, kind)
        if wanted != list(present):
            del present[:]
            for name in wanted:
                append_name(node, kind, name)


def _same_attributes(node: NodeProto, item: NodeProto) -> bool:
    return sorted(map(_plain, node.attribute)) == sorted(map(_plain, item.attribute))


def _plain(attribute: AttributeProto) -> bytes:
    """The attribute without its documentation, which the converter drops."""
    plain = AttributeProto()
    plain.CopyFrom(attribute)
    plain.ClearField("doc_string")
    return bytes(plain.SerializeToString(deterministic=True))
