"""A float32 model in which every unit is in an `If` on its own element of one mask input.

Rules:
1. `then` of a unit rounds: what its 16-bit operands read, weights by value, and what its 16-bit
   outputs yield, each by a Cast to the 16-bit type and back around the float32 node. `else` is the
   nodes as they were. What is read is rounded only where it may be needed: a second input, BORDER,
   says which units read something that no unit rounded before.
2. Weights are rounded within the bounds of the conversion and stay constants. Rounded copies exist
   only where rounding changes a value. Constant nodes become initializers: read from inside an
   `If`, only those are constants that ONNX Runtime packs for its kernels.
3. A node without inputs to round (a generator) stays outside; only its outputs are gated.
4. An initializer that is also a graph input stops being an input: else it would be no constant.
5. Nodes that ONNX Runtime would take for casts of its own, and so erase, are renamed.
6. A local function gets both as further inputs.
7. ONNX Runtime removes a Cast that undoes another without looking into branches that read it; a
   copy between keeps it.
Graph inputs and outputs that the conversion makes 16-bit are rounded outside, where they are fed
and read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from onnx import (
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from halve.search_types import Unit
from halve.session.weight_store import InlineWeights, Weights
from halve.source.scopes import child_path, function_path, iter_nodes, subgraphs

__all__ = ["BORDER", "MASK", "Rounding", "gate_units"]

MASK = "halve.mask"
BORDER = "halve.border"
_FLOAT = int(TensorProto.FLOAT)
# Initializers that are not graph inputs exist from this IR version on (rule 4).
_MIN_IR_VERSION = 4
# Until this opset, Cast's type is written as text.
_CAST_WITH_CODES = 6
# From this opset on, Split's sizes are an input.
_SPLIT_BY_INPUT = 13
_ERASED_PREFIX = "InsertedPrecisionFreeCast_"

Rounding = Callable[[NDArray[np.float32]], NDArray[np.float32]]
_Body = GraphProto | FunctionProto


@dataclass(slots=True)
class _Scope:
    """A body: what its names stand for, and the rounded copies of its constants.

    `constants` are its weights, `made` every other name that it defines, `conditions` the names
    of the elements of MASK and BORDER, `head` the nodes to put first.
    """

    body: _Body
    path: str
    parent: _Scope | None
    opset: int
    constants: dict[str, TensorProto] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)
    rounded: dict[str, str] = field(default_factory=dict)
    conditions: dict[str, list[str]] = field(default_factory=dict)
    head: list[NodeProto] = field(default_factory=list)

    def owner_of(self, name: str) -> _Scope | None:
        """The scope that holds the constant of that name; None where it is no constant."""
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.constants:
                return scope
            if name in scope.made:
                return None
            scope = scope.parent
        return None


def gate_units(  # noqa: PLR0913 - what is gated, and how
    model: ModelProto,
    units: Iterable[Unit],
    half: int,
    rounding: Rounding,
    *,
    assume_fused: bool = False,
    weights: Weights | None = None,
) -> ModelProto:
    """Put every unit of `model` behind the mask (see the rules of this module), in place.

    The mask is the further graph input MASK: bool[n], true where unit n is 16-bit. BORDER, bool[n],
    must be true at a unit with `sources` where one of them is float32. `half` is the
    TensorProto code of the 16-bit type; `rounding` rounds weights as the conversion does. All
    payload of weights that units read must be in the model, or in `weights`. With `assume_fused`,
    what goes from one node of a unit to another is not rounded.
    """
    worker = _Gates(
        model,
        tuple(units),
        half,
        rounding,
        assume_fused=assume_fused,
        weights=weights or InlineWeights(),
    )
    worker.run()
    return model


class _Gates:
    """One model's state."""

    def __init__(  # noqa: PLR0913 - as gate_units
        self,
        model: ModelProto,
        units: tuple[Unit, ...],
        half: int,
        rounding: Rounding,
        *,
        assume_fused: bool,
        weights: Weights,
    ) -> None:
        self._model = model
        self._half = half
        self._rounding = rounding
        self._fused = assume_fused
        self._weights = weights
        self._count = len(units)
        self._last = {unit.nodes[-1].id: unit for unit in units}
        self._inner = {node.id for unit in units for node in unit.nodes[:-1]}
        self._ids: dict[tuple[str, int], int] = {}
        self._nodes: dict[int, NodeProto] = {}
        self._opsets = {
            ("" if o.domain == "ai.onnx" else o.domain): o.version for o in model.opset_import
        }
        self._fresh = 0

    def run(self) -> None:
        model = self._model
        places: dict[str, int] = {}
        for number, path, node in iter_nodes(model):
            self._ids[path, places.get(path, 0)] = number
            places[path] = places.get(path, 0) + 1
            copy = NodeProto()
            copy.CopyFrom(node)
            self._nodes[number] = copy
        model.ir_version = max(model.ir_version, _MIN_IR_VERSION)
        del model.training_info[:]
        graph = model.graph
        _drop_initializer_inputs(graph)
        for function in model.functions:
            self._function(function)
        self._body(_Scope(graph, "", None, self._opsets.get("", 1)))
        for name in (MASK, BORDER):
            info = helper.make_tensor_value_info(name, TensorProto.BOOL, [self._count])
            graph.input.append(info)

    def _function(self, function: FunctionProto) -> None:
        opset = next(
            (o.version for o in function.opset_import if o.domain in ("", "ai.onnx")),
            self._opsets.get("", 1),
        )
        function.input.extend([MASK, BORDER])
        self._body(_Scope(function, function_path(function), None, opset))

    def _body(self, scope: _Scope) -> None:
        body = scope.body
        _index(scope)
        nodes: list[NodeProto] = []
        cast: set[str] = set()
        calls = {(f.domain, f.name) for f in self._model.functions}
        for place, node in enumerate(body.node):
            number = self._ids[scope.path, place]
            if node.name.startswith(_ERASED_PREFIX):
                node.name = f"halve.{node.name}"
            for label, graph in subgraphs(node):
                path = child_path(scope.path, number, label)
                self._body(_Scope(graph, path, scope, scope.opset))
            if (node.domain, node.op_type) in calls:
                node.input.extend([MASK, BORDER])
            if number in self._inner or _became_initializer(node, scope):
                continue
            unit = self._last.get(number)
            if unit is not None:
                nodes += self._gate(unit, scope)
            elif node.op_type == "Cast" and node.input[0] in cast:
                nodes += self._held(node)
            else:
                nodes.append(node)
            cast.update(node.output if node.op_type == "Cast" else ())
        made = [_copy(node) for node in (*scope.head, *nodes)]
        del body.node[:]
        body.node.extend(made)

    def _gate(self, unit: Unit, scope: _Scope) -> list[NodeProto]:
        """The nodes that stand for a unit."""
        originals = [self._nodes[node.id] for node in unit.nodes]
        last = originals[-1]
        condition = self._condition(MASK, unit.index, scope)
        if len(originals) == 1 and not unit.nodes[0].in_slots:
            return self._gate_outputs(unit, originals[0], condition, scope)
        outputs = [name for name in last.output if name]
        plain = [_copy(node) for node in originals]
        renamed = {name: self._name(name) for name in outputs}
        for node in plain:
            _rename_outputs(node, renamed)
        unrounded = _graph("else", plain, [renamed[name] for name in outputs])
        _own_weights(unrounded, scope)
        then = self._rounded_graph(unit, originals, scope)
        return [_if(f"halve.unit{unit.index}", condition, outputs, then, unrounded)]

    def _rounded_graph(self, unit: Unit, originals: list[NodeProto], scope: _Scope) -> GraphProto:
        """`then`, which again asks whether what is read is to be rounded where that may vary."""
        if unit.sources is None:
            return self._rounded_branch(unit, originals, scope, pairs=True)
        lean = self._rounded_branch(unit, originals, scope, pairs=False)
        if not unit.sources:
            return lean
        full = self._rounded_branch(unit, originals, scope, pairs=True)
        outputs = [self._name(info.name) for info in full.output]
        border = self._condition(BORDER, unit.index, scope)
        gate = _if(f"halve.border{unit.index}", border, outputs, full, lean)
        return _graph("then", [gate], outputs)

    def _rounded_branch(
        self, unit: Unit, originals: list[NodeProto], scope: _Scope, *, pairs: bool
    ) -> GraphProto:
        made, results = self._rounded_nodes(unit, originals, scope, pairs=pairs)
        outputs = [results[name] for name in originals[-1].output if name]
        branch = _graph("rounded", made, outputs)
        _own_weights(branch, scope)
        return branch

    def _held(self, node: NodeProto) -> list[NodeProto]:
        """A Cast of a Cast's result, with a copy behind it (rule 7)."""
        if not _is_to_float(node):
            return [node]
        name = node.output[0]
        node = _copy(node)
        node.output[0] = self._name(name)
        return [node, helper.make_node("Sum", [node.output[0]], [name])]

    def _gate_outputs(
        self, unit: Unit, node: NodeProto, condition: str, scope: _Scope
    ) -> list[NodeProto]:
        """Rule 3."""
        node = _copy(node)
        made = [node]
        for slot in unit.nodes[0].out_slots:
            name = node.output[slot]
            inner, low, high = self._name(name), self._name(name), self._name(name)
            node.output[slot] = inner
            then: list[NodeProto] = []
            self._pair(inner, low, then, scope)
            same = helper.make_node("Identity", [inner], [high])
            branches = _graph("then", then, [low]), _graph("else", [same], [high])
            made.append(_if(f"halve.unit{unit.index}.{slot}", condition, [name], *branches))
        return made

    def _rounded_nodes(
        self, unit: Unit, originals: list[NodeProto], scope: _Scope, *, pairs: bool
    ) -> tuple[list[NodeProto], dict[str, str]]:
        """The nodes of `then`, and under which name each output of the last node leaves it."""
        made: list[NodeProto] = []
        known: dict[str, str] = {}
        results: dict[str, str] = {}
        for info, original in zip(unit.nodes, originals, strict=True):
            node = _copy(original)
            for slot in info.in_slots:
                node.input[slot] = self._input(
                    node.input[slot], known, made if pairs else None, scope
                )
            for slot, name in enumerate(node.input):
                node.input[slot] = results.get(name, name)
            self._round_attribute(node)
            after: list[tuple[str, str]] = []
            for slot, name in enumerate(original.output):
                if not name:
                    continue
                result = self._name(name)
                results[name] = known[name] = result
                if slot in info.out_slots and not (self._fused and info is not unit.nodes[-1]):
                    raw = self._name(name)
                    after.append((raw, result))
                    node.output[slot] = raw
                else:
                    node.output[slot] = result
            made.append(node)
            for raw, result in after:
                self._pair(raw, result, made, scope)
        return made, results

    def _input(
        self, name: str, known: dict[str, str], made: list[NodeProto] | None, scope: _Scope
    ) -> str:
        """What a 16-bit operand reads in place of `name`; without `made` all that is no weight is
        rounded already.
        """
        if not name or name in known.values():
            return name
        if name not in known:
            owner = scope.owner_of(name)
            if owner is not None:
                known[name] = self._rounded_weight(name, owner)
            elif made is None:
                return name
            else:
                known[name] = self._name(name)
                self._pair(name, known[name], made, scope)
        return known[name]

    def _rounded_weight(self, name: str, owner: _Scope) -> str:
        """Rule 2."""
        if name not in owner.rounded:
            array = self._weights.array(owner.constants[name])
            rounded = self._rounding(np.ascontiguousarray(array, np.float32)).reshape(array.shape)
            same = np.array_equal(rounded.view(np.uint32), array.view(np.uint32))
            owner.rounded[name] = name if same else self._name(name)
            if not same:
                _add_constant(owner, self._weights.tensor(owner.rounded[name], rounded))
        return owner.rounded[name]

    def _round_attribute(self, node: NodeProto) -> None:
        """A ConstantOfShape's value is a weight, too."""
        if node.op_type != "ConstantOfShape" or node.domain:
            return
        for attribute in node.attribute:
            if attribute.name == "value" and attribute.t.data_type == _FLOAT:
                array = numpy_helper.to_array(attribute.t)
                rounded = self._rounding(np.ascontiguousarray(array)).reshape(array.shape)
                attribute.t.CopyFrom(numpy_helper.from_array(rounded))

    def _pair(self, source: str, result: str, made: list[NodeProto], scope: _Scope) -> None:
        low = self._name(source)
        made.append(_cast(source, low, self._half, scope.opset))
        made.append(_cast(low, result, _FLOAT, scope.opset))

    def _condition(self, source: str, index: int, scope: _Scope) -> str:
        """The name of a unit's element of MASK or BORDER, made at the outermost body's head."""
        outer = scope
        while outer.parent is not None:
            outer = outer.parent
        if source not in outer.conditions:
            names = [self._name("condition") for _ in range(self._count)]
            outer.conditions[source] = names
            outer.head += _split(source, names, self._name("sizes"), outer.opset)
        return outer.conditions[source][index]

    def _name(self, base: str) -> str:
        self._fresh += 1
        return f"halve.{self._fresh}.{base}"


def _copy(node: NodeProto) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy


def _cast(source: str, result: str, to: int, opset: int) -> NodeProto:
    code: int | str = to if opset >= _CAST_WITH_CODES else TensorProto.DataType.Name(to)
    return helper.make_node("Cast", [source], [result], to=code)


def _split(source: str, results: list[str], sizes: str, opset: int) -> list[NodeProto]:
    """The elements of a vector, one a result."""
    ones = [1] * len(results)
    if opset < _SPLIT_BY_INPUT:
        return [helper.make_node("Split", [source], results, axis=0, split=ones)]
    constant = numpy_helper.from_array(np.array(ones, np.int64), sizes)
    return [
        helper.make_node("Constant", [], [sizes], value=constant),
        helper.make_node("Split", [source, sizes], results, axis=0),
    ]


def _graph(name: str, nodes: list[NodeProto], outputs: list[str]) -> GraphProto:
    """A branch; the types of its outputs are left to ONNX Runtime to infer."""
    infos = [ValueInfoProto(name=output) for output in outputs]
    return helper.make_graph(nodes, name, [], infos)


def _is_to_float(node: NodeProto) -> bool:
    return any(attr.name == "to" and attr.i == _FLOAT for attr in node.attribute)


def _if(
    name: str, condition: str, outputs: list[str], then: GraphProto, other: GraphProto
) -> NodeProto:
    return helper.make_node(
        "If", [condition], outputs, name=name, then_branch=then, else_branch=other
    )


def _rename_outputs(node: NodeProto, names: Mapping[str, str]) -> None:
    for slot, name in enumerate(node.output):
        node.output[slot] = names.get(name, name)


def _drop_initializer_inputs(graph: GraphProto) -> None:
    """Rule 4."""
    weights = {tensor.name for tensor in graph.initializer}
    kept = [info for info in graph.input if info.name not in weights]
    copies = [ValueInfoProto.FromString(info.SerializeToString()) for info in kept]
    del graph.input[:]
    graph.input.extend(copies)


def _index(scope: _Scope) -> None:
    """Tell a body's constants from all else that it defines."""
    body = scope.body
    if isinstance(body, GraphProto):
        scope.made.update(info.name for info in body.input)
        scope.constants.update({t.name: t for t in body.initializer if t.data_type == _FLOAT})
    else:
        scope.made.update(body.input)
    for node in body.node:
        tensor = _constant_value(node)
        if tensor is not None:
            scope.constants[node.output[0]] = tensor
        else:
            scope.made.update(node.output)


def _constant_value(node: NodeProto) -> TensorProto | None:
    """The float32 tensor of a Constant node."""
    if node.op_type != "Constant" or node.domain:
        return None
    if any(attribute.ref_attr_name for attribute in node.attribute):
        return None
    for attribute in node.attribute:
        if attribute.name == "value" and attribute.t.data_type == _FLOAT:
            tensor: TensorProto = attribute.t
            return tensor
        if attribute.name == "value_float":
            return numpy_helper.from_array(np.array(attribute.f, np.float32))
        if attribute.name == "value_floats":
            return numpy_helper.from_array(np.array(attribute.floats, np.float32))
    return None


def _became_initializer(node: NodeProto, scope: _Scope) -> bool:
    """Whether a Constant node was replaced by an initializer (rule 2)."""
    if not isinstance(scope.body, GraphProto) or _constant_value(node) is None:
        return False
    tensor = TensorProto()
    tensor.CopyFrom(scope.constants[node.output[0]])
    tensor.name = node.output[0]
    scope.body.initializer.append(tensor)
    return True


def _own_weights(branch: GraphProto, scope: _Scope) -> None:
    """Give a branch its own copies of the weights that it reads: ONNX Runtime lays out and packs,
    for its fastest kernels, only those of a node's own graph.
    """
    read = dict.fromkeys(name for node in branch.node for name in node.input if name)
    for name in read:
        owner = scope.owner_of(name)
        if owner is not None:
            copy = branch.initializer.add()
            copy.CopyFrom(owner.constants[name])
            copy.name = name


def _add_constant(scope: _Scope, tensor: TensorProto) -> None:
    name = tensor.name
    scope.constants[name] = tensor
    if isinstance(scope.body, GraphProto):
        scope.body.initializer.append(tensor)
    else:
        scope.head.append(helper.make_node("Constant", [], [name], value=tensor))
