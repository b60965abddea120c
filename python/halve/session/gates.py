"""A float32 model in which every unit is 16-bit or not as a run's switches say.

Rules:
1. What a unit reads and what it makes in 16 bits goes through a rounding that a switch rules
   (halve.session.switches, halve.session.roundings); the nodes themselves stay where they are. A
   value is rounded once on its way from a unit to a reader: where either is 16-bit.
2. What is read is not rounded where all the units that made it have done so. What only moves a
   value, or takes its positive part, does so before the value is rounded: that changes no bit.
3. Weights are rounded within the bounds of the conversion and stay constants, which kernels pack:
   a node that reads a weight that rounding changes stands in both branches of an `If`, with the
   rounded copy in one, together with the activation that belongs to it. Small operands of
   elementwise nodes are chosen when the model runs.
4. Constant nodes become initializers: read from inside an `If`, only those are packed, and only
   where they belong to the branch.
5. An initializer that is also a graph input stops being an input: else it would be no constant.
6. Nodes that ONNX Runtime would take for casts of its own, and so erase, are renamed.
7. ONNX Runtime removes a Cast that undoes another without looking into branches that read it; a
   copy between keeps it.
8. A local function gets the switches as a further input. Inside it casts round: ONNX Runtime does
   not infer through our operators there.
Graph inputs and outputs that the conversion makes 16-bit are rounded outside, where they are fed
and read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, helper

from halve.search_types import Unit, UnitNode
from halve.session.gate_graph import (
    Scope,
    became_initializer,
    copy_node,
    drop_initializer_inputs,
    graph_of,
    if_node,
    index_scope,
    is_to_float,
    names_read,
    output_names,
    own_weights,
    replace_nodes,
    split_nodes,
)
from halve.session.rounded_weights import RoundedWeights
from halve.session.roundings import CastRoundings, Roundings
from halve.session.switches import Switch, SwitchList
from halve.source.scopes import child_path, function_path, iter_nodes, subgraphs

__all__ = ["Gated", "gate_units"]

# Initializers that are not graph inputs exist from this IR version on (rule 5).
_MIN_IR_VERSION = 4
_ERASED_PREFIX = "InsertedPrecisionFreeCast_"
# Kernels that read an operand as it comes, and operands whose copy takes no longer than entering an
# `If` (rule 3).
_ELEMENTWISE = frozenset(
    {"Add", "Div", "Max", "Mean", "Min", "Mul", "PRelu", "Sub", "Sum", "Where"}
)
_SMALL = 16384
# Of their first input (rule 2).
_MOVES = frozenset({
    "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "Relu", "Reshape", "Slice",
    "SpaceToDepth", "Squeeze", "Tile", "Transpose", "Unsqueeze",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gated:
    """A gated model, and what rules each element of its input `port`."""

    model: ModelProto
    switches: tuple[Switch, ...]
    port: str


def gate_units(
    model: ModelProto,
    units: Iterable[Unit],
    weights: RoundedWeights,
    roundings: Roundings,
    *,
    assume_fused: bool = False,
) -> Gated:
    """Gate every unit of `model` (see the rules of this module), in place.

    All payload of weights that units read must be in the model, or where `weights` finds it. No
    value of the model has the name of the roundings' `port`. With `assume_fused`, what goes from
    one node of a unit to another is not rounded.
    """
    return _Gates(model, units, weights, roundings, fused=assume_fused).run()


class _Gates:
    """One model's state."""

    def __init__(
        self,
        model: ModelProto,
        units: Iterable[Unit],
        weights: RoundedWeights,
        roundings: Roundings,
        *,
        fused: bool,
    ) -> None:
        self._model = model
        self._port = roundings.port
        self._weights = weights
        self._name = weights.name
        self._in_graphs = roundings
        self._in_functions = CastRoundings(roundings.half, self._name, roundings.port)
        self._switch = SwitchList()
        self._member: dict[int, tuple[Unit, UnitNode]] = {}
        self._rounds: dict[int, tuple[int, ...]] = {}
        for unit in units:
            for info in unit.nodes:
                self._member[info.id] = unit, info
                inner = fused and info is not unit.nodes[-1]
                self._rounds[info.id] = () if inner else info.out_slots
        # Nodes with rounded weights and with their own, by what an activation behind them reads.
        self._waiting: dict[str, tuple[NodeProto, NodeProto]] = {}
        self._outermost: list[Scope] = []
        self._ids: dict[tuple[str, int], int] = {}
        # What each function takes by itself.
        self._calls = {(f.domain, f.name, f.overload): len(f.input) for f in model.functions}
        self._opsets = {
            ("" if o.domain == "ai.onnx" else o.domain): o.version for o in model.opset_import
        }

    def run(self) -> Gated:
        model = self._model
        places: dict[str, int] = {}
        for number, path, _ in iter_nodes(model):
            self._ids[path, places.get(path, 0)] = number
            places[path] = places.get(path, 0) + 1
        model.ir_version = max(model.ir_version, _MIN_IR_VERSION)
        del model.training_info[:]
        drop_initializer_inputs(model.graph)
        for function in model.functions:
            self._function(function)
        self._body(Scope(model.graph, "", None, self._opsets.get("", 1)))
        switches = self._switch.made
        for scope in self._outermost:
            splits = split_nodes(self._port, len(switches), scope, self._name)
            replace_nodes(scope.body, [*splits, *scope.body.node])
        model.graph.input.append(
            helper.make_tensor_value_info(self._port, TensorProto.BOOL, [len(switches)])
        )
        domains = self._in_graphs.domains
        model.opset_import.extend(helper.make_opsetid(domain, 1) for domain in domains)
        return Gated(model, switches, self._port)

    def _function(self, function: FunctionProto) -> None:
        opset = next(
            (o.version for o in function.opset_import if o.domain in ("", "ai.onnx")),
            self._opsets.get("", 1),
        )
        function.input.append(self._port)
        self._body(Scope(function, function_path(function), None, opset))

    def _body(self, scope: Scope) -> None:
        body = scope.body
        index_scope(scope)
        for place, node in enumerate(body.node):
            self._index(node, self._ids[scope.path, place], scope)
        nodes: list[NodeProto] = []
        cast: set[str] = set()
        for place, node in enumerate(body.node):
            nodes += self._node(node, self._ids[scope.path, place], scope, cast)
            cast.update(node.output if node.op_type == "Cast" else ())
        nodes = list(self._with_results(nodes, scope))
        replace_nodes(body, [*scope.head, *nodes])
        if scope.parent is None:
            self._outermost.append(scope)

    def _roundings(self, scope: Scope) -> Roundings:
        """Rule 8."""
        in_function = isinstance(scope.outermost.body, FunctionProto)
        return self._in_functions if in_function else self._in_graphs

    def _moves(self, node: NodeProto, number: int) -> bool:
        """Whether a node moves its first input and rounds nothing."""
        if node.op_type not in _MOVES or node.domain not in ("", "ai.onnx"):
            return False
        member = self._member.get(number)
        return member is None or not (member[1].in_slots or member[1].out_slots)

    def _index(self, node: NodeProto, number: int, scope: Scope) -> None:
        """Note who makes what, and what is rounded before it is read."""
        if self._moves(node, number) and node.input[0] in scope.raw:
            scope.makers[node.output[0]] = scope.makers[node.input[0]]
            scope.raw[node.output[0]] = self._name(node.output[0])
        if number not in self._member:
            return
        unit, _ = self._member[number]
        scope.makers.update({name: unit.index for name in node.output if name})
        for slot in self._rounds[number]:
            if node.output[slot]:
                scope.raw[node.output[slot]] = self._name(node.output[slot])

    def _node(self, node: NodeProto, number: int, scope: Scope, cast: set[str]) -> list[NodeProto]:
        """What stands for a node; `cast` are the results of Casts before it."""
        if node.name.startswith(_ERASED_PREFIX):
            node.name = f"halve.{node.name}"
        for label, graph in subgraphs(node):
            self._body(Scope(graph, child_path(scope.path, number, label), scope, scope.opset))
        takes = self._calls.get((node.domain, node.op_type, node.overload))
        if takes is not None:  # a call may leave out its last operands
            node.input.extend([*[""] * (takes - len(node.input)), self._port])
        if became_initializer(node, scope):
            return []
        if self._moves(node, number) and node.input[0] in scope.raw:
            node.input[0] = scope.raw[node.input[0]]
            node.output[0] = scope.raw[node.output[0]]
            return [node]
        if number in self._member:
            return self._gate(node, number, scope)
        if node.op_type == "Cast" and node.input[0] in cast:
            return self._held(node)
        return [node]

    def _gate(self, node: NodeProto, number: int, scope: Scope) -> list[NodeProto]:
        """A unit's node, with what it reads rounded before it."""
        unit, info = self._member[number]
        node = copy_node(node)
        made: list[NodeProto] = []
        for slot in info.in_slots:
            node.input[slot] = self._read(node.input[slot], unit, scope, made)
        for slot in self._rounds[number]:
            node.output[slot] = scope.raw.get(node.output[slot], "")
        if info.neutral and node.input[0] in self._waiting:
            both = self._waiting.pop(node.input[0])
            return [self._branches([(variant, node) for variant in both], unit, scope)]
        other = self._weights.with_rounded(node, info.in_slots, scope)
        if other is None:
            return [*made, node]
        chosen = self._chosen(node, other, unit, scope, made)
        if chosen is not None:
            return [*made, chosen]
        if unit.nodes[-1].neutral and not info.neutral:
            self._waiting[node.output[0]] = other, node
            return made
        return [*made, self._branches([(other,), (node,)], unit, scope)]

    def _read(self, name: str, unit: Unit, scope: Scope, made: list[NodeProto]) -> str:
        """What a unit reads in place of `name`; weights stay (rule 3)."""
        if not name or scope.owner_of(name) is not None:
            return name
        maker = scope.makers.get(name)
        if maker == unit.index or unit.sources == ():
            return name
        if name in scope.raw and maker is not None:
            both = self._switch((maker, unit.index))
            return self._rounding(scope.raw[name], name, both, scope, made)
        switch = self._switch((unit.index,), unit.sources or ())
        return self._rounding(name, name, switch, scope, made)

    def _rounding(
        self, source: str, name: str, switch: int, scope: Scope, made: list[NodeProto]
    ) -> str:
        """A value's rounding, made once in a body."""
        key = source, switch
        if key not in scope.rounded:
            scope.rounded[key] = self._name(name)
            made.append(self._roundings(scope).round(source, scope.rounded[key], switch, scope))
        return scope.rounded[key]

    def _chosen(
        self, node: NodeProto, other: NodeProto, unit: Unit, scope: Scope, made: list[NodeProto]
    ) -> NodeProto | None:
        """The node with its weights chosen at run time, where rule 3 says so."""
        if node.op_type not in _ELEMENTWISE or node.domain:
            return None
        result = copy_node(node)
        chosen: list[NodeProto] = []
        for slot, (plain, rounded) in enumerate(zip(node.input, other.input, strict=True)):
            if plain == rounded:
                continue
            owner = scope.owner_of(plain)
            if owner is None or math.prod(owner.constants[plain].dims) > _SMALL:
                return None
            result.input[slot] = self._name(plain)
            switch = self._switch((unit.index,))
            choice = self._roundings(scope).choose(plain, rounded, result.input[slot], switch)
            if choice is None:
                return None
            chosen.append(choice)
        made += chosen
        return result

    def _branches(
        self, variants: Sequence[Sequence[NodeProto]], unit: Unit, scope: Scope
    ) -> NodeProto:
        """An If between a unit's nodes with rounded weights and with their own."""
        outputs = [name for name in variants[0][-1].output if name]
        graphs: list[GraphProto] = []
        for nodes in variants:
            names: dict[str, str] = {"": ""}
            copies = [copy_node(node) for node in nodes]
            for node in copies:
                for slot, name in enumerate(node.input):
                    node.input[slot] = names.get(name, name)
                for slot, name in enumerate(node.output):
                    node.output[slot] = names.setdefault(name, self._name(name))
            graphs.append(graph_of("variant", copies, [names[name] for name in outputs]))
            own_weights(graphs[-1], scope)
        condition = scope.condition(self._switch((unit.index,)), self._name)
        return if_node(self._name(f"unit{unit.index}"), condition, outputs, *graphs)

    def _held(self, node: NodeProto) -> list[NodeProto]:
        """A Cast of a Cast's result, with a copy behind it (rule 7)."""
        if not is_to_float(node):
            return [node]
        name = node.output[0]
        node = copy_node(node)
        node.output[0] = self._name(name)
        return [node, helper.make_node("Sum", [node.output[0]], [name])]

    def _with_results(self, nodes: Iterable[NodeProto], scope: Scope) -> Iterator[NodeProto]:
        """The nodes, and what units made as others than units read it: rounded behind them."""
        nodes = list(nodes)
        read = set(output_names(scope.body)).union(*map(names_read, nodes))
        asked = {raw: name for name, raw in scope.raw.items() if name in read}
        for node in nodes:
            yield node
            for raw in node.output:
                if raw in asked:
                    name = asked[raw]
                    switch = self._switch((scope.makers[name],))
                    yield self._roundings(scope).round(raw, name, switch, scope)
