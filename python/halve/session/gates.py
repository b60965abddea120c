"""A float32 model in which every unit is in an `If` on its own element of one mask input.

Rules:
1. `then` of a unit rounds: what its 16-bit operands read, weights by value, and what its 16-bit
   outputs yield, each by a Cast to the 16-bit type and back around the float32 node. `else` is the
   nodes as they were. What is read is rounded only where it may be needed: a second input, BORDER,
   says which units read something that no unit rounded before. What is small is rounded without
   asking.
2. Weights are rounded within the bounds of the conversion and stay constants. Rounded copies exist
   only where rounding changes a value. Constant nodes become initializers: read from inside an
   `If`, only those are constants that ONNX Runtime packs for its kernels.
3. A node without inputs to round (a generator) stays outside; only its outputs are gated.
4. An initializer that is also a graph input stops being an input: else it would be no constant.
5. Nodes that ONNX Runtime would take for casts of its own, and so erase, are renamed.
6. A local function gets both as further inputs.
7. ONNX Runtime removes a Cast that undoes another without looking into branches that read it; a
   copy between keeps it.
8. A region of small units (halve.session.regions) is in an `If` on its elements of a third input,
   REGION: all in 16 bits and no border in it, else all in float32, else gated one by one.
9. Each mask is split once into what is asked for; a region splits its own part, where it needs to.
Graph inputs and outputs that the conversion makes 16-bit are rounded outside, where they are fed
and read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, helper

from halve.search_types import Unit
from halve.session.gate_graph import (
    Names,
    Scope,
    became_initializer,
    copy_node,
    drop_initializer_inputs,
    graph_of,
    if_node,
    index_scope,
    is_to_float,
    own_weights,
    rename,
    rename_outputs,
    split_nodes,
)
from halve.session.regions import Item, Region, Sizes, find_regions
from halve.session.rounded_nodes import Known, Rounder, Rounding
from halve.session.weight_store import InlineWeights, Weights
from halve.source.scopes import child_path, function_path, iter_nodes, subgraphs

__all__ = ["BORDER", "MASK", "REGION", "Gated", "gate_units"]

MASK = "halve.mask"
BORDER = "halve.border"
REGION = "halve.region"
# Initializers that are not graph inputs exist from this IR version on (rule 4).
_MIN_IR_VERSION = 4
_ERASED_PREFIX = "InsertedPrecisionFreeCast_"


@dataclass(frozen=True, slots=True)
class Gated:
    """A gated model, and what its masks are.

    MASK is bool[units], true where a unit is 16-bit. BORDER is bool[units], too, true at a 16-bit
    unit with `sources` where one of them is float32. REGION is bool[2 * regions]: for each of
    `regions`, which are ranges of units, whether all of it is 16-bit and at no border, and whether
    all of it is float32.
    """

    model: ModelProto
    regions: tuple[range, ...]


def gate_units(  # noqa: PLR0913 - what is gated, and how
    model: ModelProto,
    units: Iterable[Unit],
    half: int,
    rounding: Rounding,
    *,
    assume_fused: bool = False,
    weights: Weights | None = None,
    elements: Mapping[str, int] | None = None,
) -> Gated:
    """Put every unit of `model` behind the masks (see the rules of this module), in place.

    `half` is the TensorProto code of the 16-bit type; `rounding` rounds weights as the conversion
    does. All payload of weights that units read must be in the model, or in `weights`. With
    `assume_fused`, what goes from one node of a unit to another is not rounded. `elements` says how
    many elements values of the main graph have, for what is made of small ones.
    """
    names = Names("halve")
    rounder = Rounder(half, rounding, weights or InlineWeights(), names, assume_fused)
    worker = _Gates(model, tuple(units), rounder, Sizes(elements or {}))
    return Gated(worker.run(), tuple(region.units for region in worker.regions))


class _Gates:
    """One model's state."""

    def __init__(
        self, model: ModelProto, units: tuple[Unit, ...], rounder: Rounder, sizes: Sizes
    ) -> None:
        self._model = model
        self._rounder = rounder
        self._name = rounder.name
        self._sizes = sizes
        self._count = len(units)
        self._last = {unit.nodes[-1].id: unit for unit in units}
        self._inner = {node.id for unit in units for node in unit.nodes[:-1]}
        self._ids: dict[tuple[str, int], int] = {}
        self._nodes: dict[int, NodeProto] = {}
        self._calls = {(f.domain, f.name) for f in model.functions}
        self._opsets = {
            ("" if o.domain == "ai.onnx" else o.domain): o.version for o in model.opset_import
        }
        self.regions: list[Region] = []
        # Names of the elements of MASK in the region that is gated one by one at the moment.
        self._here: dict[int, str] = {}

    def run(self) -> ModelProto:
        model = self._model
        places: dict[str, int] = {}
        for number, path, node in iter_nodes(model):
            self._ids[path, places.get(path, 0)] = number
            places[path] = places.get(path, 0) + 1
            self._nodes[number] = copy_node(node)
        model.ir_version = max(model.ir_version, _MIN_IR_VERSION)
        del model.training_info[:]
        graph = model.graph
        drop_initializer_inputs(graph)
        for function in model.functions:
            self._function(function)
        self._body(Scope(graph, "", None, self._opsets.get("", 1)))
        for name, count in (
            (MASK, self._count),
            (BORDER, self._count),
            (REGION, 2 * len(self.regions)),
        ):
            graph.input.append(helper.make_tensor_value_info(name, TensorProto.BOOL, [count]))
        return model

    def _function(self, function: FunctionProto) -> None:
        opset = next(
            (o.version for o in function.opset_import if o.domain in ("", "ai.onnx")),
            self._opsets.get("", 1),
        )
        function.input.extend([MASK, BORDER])
        self._body(Scope(function, function_path(function), None, opset))

    def _body(self, scope: Scope) -> None:
        body = scope.body
        index_scope(scope)
        items = [
            item
            for place, node in enumerate(body.node)
            for item in self._items(node, self._ids[scope.path, place], scope)
        ]
        regions = self._regions(items, scope)
        nodes: list[NodeProto] = []
        cast: set[str] = set()
        place = 0
        for region in regions:
            nodes += self._gated(items[place : region.first], scope, cast)
            nodes.append(self._region(region, items[region.first : region.last + 1], scope))
            place = region.last + 1
        nodes += self._gated(items[place:], scope, cast)
        made = [copy_node(node) for node in (*self._splits(scope), *scope.head, *nodes)]
        del body.node[:]
        body.node.extend(made)

    def _items(self, node: NodeProto, number: int, scope: Scope) -> list[Item]:
        """What stands for a node of a body: nothing where another does."""
        if node.name.startswith(_ERASED_PREFIX):
            node.name = f"halve.{node.name}"
        bodies = list(subgraphs(node))
        for label, graph in bodies:
            self._body(Scope(graph, child_path(scope.path, number, label), scope, scope.opset))
        called = (node.domain, node.op_type) in self._calls
        if called:
            node.input.extend([MASK, BORDER])
        if number in self._inner or became_initializer(node, scope):
            return []
        unit = self._last.get(number)
        if unit is None:
            return [Item((node,), None, called or bool(bodies))]
        originals = tuple(self._nodes[info.id] for info in unit.nodes)
        return [Item(originals, unit, bool(bodies))]

    def _regions(self, items: Sequence[Item], scope: Scope) -> list[Region]:
        """Rule 8; a function, which may be called from several places, has none."""
        if not isinstance(scope.body, GraphProto) or scope.outermost.path:
            return []
        outputs = [info.name for info in scope.body.output]
        found = find_regions(items, lambda item: self._sizes.small(item, scope), outputs)
        self.regions += found
        return found

    def _gated(self, items: Iterable[Item], scope: Scope, cast: set[str]) -> list[NodeProto]:
        """Items with a gate for each unit; `cast` are the results of Casts before them."""
        nodes: list[NodeProto] = []
        for item in items:
            node = item.nodes[-1]
            if item.unit is not None:
                nodes += self._gate(item.unit, item.nodes, scope)
            elif node.op_type == "Cast" and node.input[0] in cast:
                nodes += self._held(node)
            else:
                nodes.append(node)
            cast.update(node.output if node.op_type == "Cast" else ())
        return nodes

    def _region(self, region: Region, items: Sequence[Item], scope: Scope) -> NodeProto:
        """The `If` of a region (rule 8)."""
        number = self.regions.index(region)
        name = f"halve.region{number}"
        alike = self._region_branch(self._float_items(items), region, scope)
        mixed = self._region_branch(self._mixed_items(region, items, scope), region, scope)
        outputs = [self._name(output) for output in region.outputs]
        float32 = self._condition(REGION, 2 * number + 1, scope)
        gate = if_node(f"{name}.float32", float32, outputs, alike, mixed)
        half = self._half_items(items, scope, region)
        return if_node(
            name,
            self._condition(REGION, 2 * number, scope),
            region.outputs,
            half,
            graph_of("else", [gate], outputs),
        )

    def _region_branch(
        self, nodes: Sequence[NodeProto], region: Region, scope: Scope
    ) -> GraphProto:
        """Nodes as a branch of a region's `If`, which makes what they made."""
        names = {output: self._name(output) for output in region.outputs}
        copies = [copy_node(node) for node in nodes]
        for node in copies:
            rename(node, names)
        branch = graph_of("alike", copies, list(names.values()))
        own_weights(branch, scope)
        return branch

    def _float_items(self, items: Sequence[Item]) -> list[NodeProto]:
        return [node for item in items for node in item.nodes]

    def _half_items(self, items: Sequence[Item], scope: Scope, region: Region) -> GraphProto:
        """All in 16 bits: what a unit reads is rounded where no unit rounds it."""
        known, nodes = Known(), list[NodeProto]()
        for item in items:
            if item.unit is None:
                nodes.append(known.take(item.nodes[0], self._name))
                continue
            pairs = item.unit.sources is None
            nodes += self._rounder.nodes(item.unit, item.nodes, scope, known, pairs=pairs)
        branch = graph_of("half", nodes, [known.renamed[name] for name in region.outputs])
        own_weights(branch, scope)
        return branch

    def _mixed_items(self, region: Region, items: Sequence[Item], scope: Scope) -> list[NodeProto]:
        """As without a region, with the units' elements taken from the region's (rule 9)."""
        self._here = {index: self._name("condition") for index in region.units}
        part = self._condition(MASK, region.units.start, scope, many=True)
        ones = [1] * len(region.units)
        nodes = split_nodes(part, list(self._here.values()), ones, self._name("sizes"), scope.opset)
        nodes += self._gated(items, scope, set())
        self._here = {}
        return nodes

    def _gate(self, unit: Unit, originals: Sequence[NodeProto], scope: Scope) -> list[NodeProto]:
        """The nodes that stand for a unit."""
        last = originals[-1]
        condition = self._condition(MASK, unit.index, scope)
        if len(originals) == 1 and not unit.nodes[0].in_slots:
            return self._gate_outputs(unit, originals[0], condition, scope)
        outputs = [name for name in last.output if name]
        plain = [copy_node(node) for node in originals]
        renamed = {name: self._name(name) for name in outputs}
        for node in plain:
            rename_outputs(node, renamed)
        unrounded = graph_of("else", plain, [renamed[name] for name in outputs])
        own_weights(unrounded, scope)
        then = self._rounded_graph(unit, originals, scope)
        return [if_node(f"halve.unit{unit.index}", condition, outputs, then, unrounded)]

    def _rounded_graph(
        self, unit: Unit, originals: Sequence[NodeProto], scope: Scope
    ) -> GraphProto:
        """`then`, which again asks whether what is read is to be rounded where that may vary."""
        if unit.sources is None or (
            unit.sources and self._sizes.small_reading(unit, originals, scope)
        ):
            return self._rounded_branch(unit, originals, scope, pairs=True)
        lean = self._rounded_branch(unit, originals, scope, pairs=False)
        if not unit.sources:
            return lean
        full = self._rounded_branch(unit, originals, scope, pairs=True)
        outputs = [self._name(info.name) for info in full.output]
        border = self._condition(BORDER, unit.index, scope)
        gate = if_node(f"halve.border{unit.index}", border, outputs, full, lean)
        return graph_of("then", [gate], outputs)

    def _rounded_branch(
        self, unit: Unit, originals: Sequence[NodeProto], scope: Scope, *, pairs: bool
    ) -> GraphProto:
        known = Known()
        made = self._rounder.nodes(unit, originals, scope, known, pairs=pairs)
        outputs = [known.renamed[name] for name in originals[-1].output if name]
        branch = graph_of("rounded", made, outputs)
        own_weights(branch, scope)
        return branch

    def _held(self, node: NodeProto) -> list[NodeProto]:
        """A Cast of a Cast's result, with a copy behind it (rule 7)."""
        if not is_to_float(node):
            return [node]
        name = node.output[0]
        node = copy_node(node)
        node.output[0] = self._name(name)
        return [node, helper.make_node("Sum", [node.output[0]], [name])]

    def _gate_outputs(
        self, unit: Unit, node: NodeProto, condition: str, scope: Scope
    ) -> list[NodeProto]:
        """Rule 3."""
        node = copy_node(node)
        made = [node]
        for slot in unit.nodes[0].out_slots:
            name = node.output[slot]
            inner, low, high = self._name(name), self._name(name), self._name(name)
            node.output[slot] = inner
            then: list[NodeProto] = []
            self._rounder.pair(inner, low, then, scope)
            same = helper.make_node("Identity", [inner], [high])
            branches = graph_of("then", then, [low]), graph_of("else", [same], [high])
            made.append(if_node(f"halve.unit{unit.index}.{slot}", condition, [name], *branches))
        return made

    def _condition(self, source: str, index: int, scope: Scope, *, many: bool = False) -> str:
        """The name of an element of a mask, or with `many` of the region's that begins there."""
        if source == MASK and index in self._here and not many:
            return self._here[index]
        known = scope.outermost.conditions
        return known.setdefault((source, index), self._name("condition"))

    def _splits(self, scope: Scope) -> list[NodeProto]:
        """Rule 9, at an outermost body's head."""
        if scope.parent is not None:
            return []
        lengths = {region.units.start: len(region.units) for region in self.regions}
        nodes: list[NodeProto] = []
        for mask, count in ((MASK, self._count), (BORDER, self._count), (REGION, 2 * len(lengths))):
            asked = {index: name for (m, index), name in scope.conditions.items() if m == mask}
            if asked:
                whole = lengths if mask == MASK and not scope.path else {}
                nodes += self._split(mask, count, asked, whole, scope.opset)
        return nodes

    def _split(
        self,
        mask: str,
        count: int,
        asked: Mapping[int, str],
        lengths: Mapping[int, int],
        opset: int,
    ) -> list[NodeProto]:
        """A mask in the parts that are asked for, and what lies between them."""
        names: list[str] = []
        sizes: list[int] = []
        place = 0
        for index in sorted(asked):
            if index > place:
                names.append(self._name("unused"))
                sizes.append(index - place)
            names.append(asked[index])
            sizes.append(lengths.get(index, 1))
            place = index + sizes[-1]
        if place < count:
            names.append(self._name("unused"))
            sizes.append(count - place)
        return split_nodes(mask, names, sizes, self._name("sizes"), opset)
