"""Two lowered models, the float32 source and its 16-bit conversion, as one list of work.

Nodes of both models that are the same source node's (halve.session.twin_lane says how they are
known) become an item of work, which holds what both runs do, and what the local error needs:

1. The two runs are the nodes of the two lowered models; names of the 16-bit one have a prefix.
   Where a provider's own 16-bit kernels run, the models are flat instead and the 16-bit nodes read
   and make 16-bit tensors themselves, whose names are given.
2. The local run is the 16-bit node on the float32 run's values, each rounded where the 16-bit
   node reads a 16-bit tensor; its weights are the converted ones.
3. The local run is left out where it is known: a node that rounds nothing has the float32 run's
   result; so does, before it is rounded, one that only moves or selects values; and where all
   that the 16-bit node reads is the rounded float32 value, it has the 16-bit run's result.
4. Constants become initializers of their scope, so that they are constants in every part that the
   work is cut into.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
)

from halve.session.lowering import LOWERED_CAST
from halve.session.scope import bodies
from halve.session.twin_lane import (
    HALF_CODES,
    Constant,
    Lane,
    cast_code,
    free_prefix,
    prefix_names,
    reads_of,
    tag_of,
)
from halve.source.scopes import subgraphs

__all__ = [
    "CONTROL_FLOW",
    "Control",
    "Item",
    "PairedBody",
    "Rounding",
    "TwinOutput",
    "Workload",
    "pair_models",
    "rounding_nodes",
]

CONTROL_FLOW = ("If", "Loop", "Scan")
_FLOAT = int(TensorProto.FLOAT)
# Scan's first form has a batch axis; it is run as a whole.
_SCAN_STEPPED = 9


@dataclass(frozen=True, slots=True)
class Rounding:
    """A float32 value rounded for a local run: `code` is the 16-bit type's, and `widened` says
    that the node reads it as float32 again.
    """

    exact: str
    code: int
    widened: bool


@dataclass(frozen=True, slots=True)
class TwinOutput:
    """A float output of a source node, by the names of its values.

    `stored` is what the 16-bit run keeps, `raw` that before it is rounded (None: not rounded, or
    never seen unrounded), `local` the local run's result before it is rounded (rule 3; None: not
    run). A `neutral` node only moves or selects values.
    """

    node: int
    slot: int
    name: str
    exact: str | None
    stored: str | None
    raw: str | None = None
    local: str | None = None
    neutral: bool = False


@dataclass(frozen=True, slots=True)
class Control:
    """An If, Loop or Scan that is stepped: the node in each run, and its bodies by label."""

    op_type: str
    exact: NodeProto | None
    half: NodeProto | None
    bodies: Mapping[str, PairedBody]


@dataclass(slots=True)
class Item:
    """What is done for one source node, in each run; `control` comes before the nodes.

    `roundings` are values that the local run reads, by name.

    `exact_reads` and `half_reads` are what the node reads, for telling inherited infinities.
    """

    exact: list[NodeProto] = field(default_factory=list)
    half: list[NodeProto] = field(default_factory=list)
    local: list[NodeProto] = field(default_factory=list)
    roundings: dict[str, Rounding] = field(default_factory=dict)
    outputs: list[TwinOutput] = field(default_factory=list)
    exact_reads: tuple[str, ...] = ()
    half_reads: tuple[str, ...] = ()
    control: Control | None = None


@dataclass(slots=True)
class PairedBody:
    """A graph in both runs: inputs and outputs by position, constants by name, and the work."""

    parent: PairedBody | None
    exact_inputs: tuple[str, ...]
    half_inputs: tuple[str, ...]
    exact_outputs: tuple[str, ...]
    half_outputs: tuple[str, ...]
    constants: dict[str, Constant] = field(default_factory=dict)
    items: list[Item] = field(default_factory=list)

    def constant(self, name: str) -> Constant | None:
        """The constant of that name that can be seen from here."""
        body: PairedBody | None = self
        while body is not None:
            if name in body.constants:
                return body.constants[name]
            body = body.parent
        return None


@dataclass(frozen=True, slots=True)
class Workload:
    """The paired main graph, and what every part of it declares.

    `whole` has the ids of nodes inside bodies that are run as a whole, with the reason.
    """

    main: PairedBody
    model: ModelProto
    whole: Mapping[int, str]


def pair_models(  # noqa: PLR0913 - two models, and what is known of them
    exact: ModelProto,
    half: ModelProto,
    floats: Mapping[int, tuple[int, ...]],
    neutral: frozenset[int],
    code: int,
    *,
    local: bool = True,
    halves: frozenset[str] = frozenset(),
) -> Workload:
    """Pair the lowered source with its lowered conversion, or both flat; both are changed.

    `floats` has the positions of each source node's float32 outputs, by id; `neutral` are the ids
    of nodes that only move or select values. `code` is the 16-bit type's, of TensorProto. `local`:
    whether to make local runs. `halves` are the names of a flat conversion's 16-bit tensors.
    """
    prefix = free_prefix(exact.graph)
    prefix_names(half.graph, prefix)
    opset = next((o.version for o in exact.opset_import if o.domain in ("", "ai.onnx")), 1)
    names = frozenset(prefix + name for name in halves)
    pairing = _Pairing(floats, neutral, code, opset, halves=names, local=local)
    main = pairing.body(exact.graph, half.graph, None)
    frame = ModelProto(ir_version=max(exact.ir_version, half.ir_version))
    domains = {o.domain: o.version for o in (*exact.opset_import, *half.opset_import)}
    for domain, version in domains.items():
        frame.opset_import.add(domain=domain, version=version)
    return Workload(main, frame, pairing.whole)


def rounding_nodes(items: Iterable[Item]) -> Iterator[NodeProto]:
    """The casts that make the roundings of some items, each once."""
    wanted = {name: each for item in items for name, each in item.roundings.items()}
    for name, rounding in wanted.items():
        low = f"{name}:low"
        yield helper.make_node("Cast", [rounding.exact], [low], to=rounding.code)
        if rounding.widened:
            yield helper.make_node("Cast", [low], [name], to=_FLOAT)
        else:
            # Before a node that has to run in float32, ONNX Runtime drops a cast that it can see.
            yield helper.make_node("Identity", [low], [name])


@dataclass(slots=True)
class _Known:
    """What the 16-bit run's names stand for in a scope and those around it.

    `exact_of` has the float32 run's name of the same value, `rounded` the 16-bit type of what a
    name holds or was rounded to, `clean` the names that hold the float32 run's value, rounded so,
    `origin` what was stored before it was cast for a reader. `stored_of` has the 16-bit run's name
    by the float32 run's.
    """

    exact_of: dict[str, str] = field(default_factory=dict)
    rounded: dict[str, int] = field(default_factory=dict)
    clean: set[str] = field(default_factory=set)
    origin: dict[str, str] = field(default_factory=dict)
    stored_of: dict[str, str] = field(default_factory=dict)

    def child(self) -> _Known:
        return _Known(
            dict(self.exact_of),
            dict(self.rounded),
            set(self.clean),
            dict(self.origin),
            dict(self.stored_of),
        )


class _Pairing:
    """One pair of models' state."""

    def __init__(  # noqa: PLR0913 - what is known of both models
        self,
        floats: Mapping[int, tuple[int, ...]],
        neutral: frozenset[int],
        half: int,
        opset: int,
        *,
        halves: frozenset[str],
        local: bool,
    ) -> None:
        self._halves = halves
        self._floats = floats
        self._neutral = neutral
        self._half = half
        self._opset = opset
        self._runs_local = local
        self._fresh = 0
        self.whole: dict[int, str] = {}

    def body(
        self,
        exact: GraphProto,
        half: GraphProto,
        parent: PairedBody | None,
        known: _Known | None = None,
    ) -> PairedBody:
        """Pair two graphs of the same place."""
        paired = PairedBody(
            parent,
            tuple(item.name for item in exact.input),
            tuple(item.name for item in half.input),
            tuple(item.name for item in exact.output),
            tuple(item.name for item in half.output),
        )
        known = _Known() if known is None else known.child()
        for info, a in zip(half.input, paired.exact_inputs, strict=False):
            known.exact_of[info.name] = a
            known.stored_of[a] = info.name
            if info.type.tensor_type.elem_type in HALF_CODES:
                known.rounded[info.name] = info.type.tensor_type.elem_type
            elif info.name in self._halves:
                known.rounded[info.name] = self._half
            if parent is None:
                known.clean.add(info.name)
        first, second = Lane(exact, paired.constants), Lane(half, paired.constants)
        for node in first.constants:
            self._pair_constant(node, second, paired)
        own, groups = first.by_rank(first), second.by_rank(first)
        self._start(own.get(-1, []), groups.get(-1, []), paired, known)
        for place, node in enumerate(first.nodes):
            both = own.get(place, []), groups.get(place, [])
            self._pair_node(node, both, (first, second), paired, known)
        return paired

    def _start(
        self, exact: list[NodeProto], half: list[NodeProto], paired: PairedBody, known: _Known
    ) -> None:
        """Casts of inputs and constants, which follow no source node."""
        for node in half:
            self._learn(node, known)
        if exact or half:
            paired.items.append(Item(exact=exact, half=half))

    def _pair_constant(self, node: NodeProto, lane: Lane, paired: PairedBody) -> None:
        number = tag_of(node)
        if number is None or 0 not in self._floats.get(number, ()):
            return
        twin = lane.constant_tags.get(number)
        stored = None if twin is None else twin.output[0]
        name = node.output[0]
        local = name if self._runs_local else None
        output = TwinOutput(number, 0, name, name, stored, local=local, neutral=True)
        paired.items.append(Item(outputs=[output]))

    def _pair_node(
        self,
        node: NodeProto,
        groups: tuple[list[NodeProto], list[NodeProto]],
        lanes: tuple[Lane, Lane],
        paired: PairedBody,
        known: _Known,
    ) -> None:
        """`groups` are the nodes of each run that are done for it, itself among them."""
        own, group = groups
        main = next((n for n in group if lanes[1].key(n) == lanes[0].key(node)), None)
        item = Item(exact_reads=tuple(reads_of(node)))
        if main is not None:
            item.half_reads = tuple(known.origin.get(name, name) for name in reads_of(main))
        if self._is_stepped(node, main):
            item.control = self._control(node, main, paired, known)
        else:
            self._note_whole(node)
        item.exact = [n for n in own if item.control is None or n is not node]
        item.half = [n for n in group if item.control is None or n is not main]
        self._outputs(item, node, main, lanes, known)
        for each in item.half:
            if each is not main:
                self._learn(each, known)
        paired.items.append(item)

    def _is_stepped(self, node: NodeProto, main: NodeProto | None) -> bool:
        if node.domain not in ("", "ai.onnx") or node.op_type not in CONTROL_FLOW or main is None:
            return False
        return node.op_type != "Scan" or self._opset >= _SCAN_STEPPED

    def _note_whole(self, node: NodeProto) -> None:
        for body in bodies(node):
            for inner in body.node:
                number = tag_of(inner)
                if number is not None:
                    self.whole[number] = (
                        f"inside the body of a {node.op_type}, which runs as a whole"
                    )
                self._note_whole(inner)

    def _control(
        self, node: NodeProto, main: NodeProto | None, paired: PairedBody, known: _Known
    ) -> Control:
        others = {} if main is None else dict(subgraphs(main))
        made = {
            label: self.body(graph, others[label], paired, known)
            for label, graph in subgraphs(node)
        }
        return Control(node.op_type, node, main, made)

    def _outputs(
        self,
        item: Item,
        node: NodeProto,
        main: NodeProto | None,
        lanes: tuple[Lane, Lane],
        known: _Known,
    ) -> None:
        number = tag_of(node)
        wanted = () if number is None else self._floats.get(number, ())
        local = self._local(item, number, main, lanes, known)
        clean = local == "exact" and item.control is None and _reads_clean(main, known)
        local = local if self._runs_local else "none"
        for slot, name in enumerate(node.output):
            if not name:
                continue
            exact = lanes[0].readable(name)
            raw, stored = self._stored(node, main, slot, lanes[1], known)
            if stored is not None:
                known.stored_of[exact] = stored
            if main is not None and main.output[slot]:
                known.exact_of[main.output[slot]] = exact
                if clean:
                    known.clean.add(main.output[slot])
                if main.output[slot] in self._halves:
                    known.rounded[main.output[slot]] = self._half
            if slot in wanted and number is not None:
                names = {"exact": exact, "raw": raw or stored, "none": None}
                result = names[local] if local in names else _suffixed(main, slot, local)
                neutral = number in self._neutral or item.control is not None
                item.outputs.append(
                    TwinOutput(number, slot, name, exact, stored, raw, result, neutral)
                )

    def _stored(
        self, node: NodeProto, main: NodeProto | None, slot: int, lane: Lane, known: _Known
    ) -> tuple[str | None, str | None]:
        """The names of an output in the 16-bit run, before and after it is rounded."""
        if main is None:  # a Cast that the conversion dropped: what it reads stands for it
            return None, known.stored_of.get(node.input[0]) if node.input else None
        name = main.output[slot]
        rounded = lane.rounded_of(name)
        return (None, name) if rounded is None else (name, rounded)

    def _learn(self, node: NodeProto, known: _Known) -> None:
        """A cast of the 16-bit run hands on what its input stands for."""
        if node.op_type != "Cast" or node.input[0] not in known.exact_of:
            return
        source, result = node.input[0], node.output[0]
        lowering, code = node.name.startswith(LOWERED_CAST), cast_code(node)
        known.exact_of[result] = known.exact_of[source]
        if code in HALF_CODES:
            known.rounded[result] = code
        elif lowering:
            known.rounded[result] = known.rounded.get(source, self._half)
        if source in known.clean and (code in HALF_CODES or lowering):
            known.clean.add(result)
        if not (lowering and code in HALF_CODES):
            known.origin[result] = known.origin.get(source, source)

    def _local(
        self,
        item: Item,
        number: int | None,
        main: NodeProto | None,
        lanes: tuple[Lane, Lane],
        known: _Known,
    ) -> str:
        """The local run of a node (rules 2 and 3): "exact", "raw", "none" where it cannot be made,
        or the suffix of its outputs.
        """
        if number is None or main is None or item.control is not None:
            return "exact"
        if number in self._neutral or main.op_type == "Cast" or not self._floats.get(number):
            return "exact"
        operands = [name for name in reads_of(main) if name in known.exact_of]
        rounded = [name for name in operands if name in known.rounded]
        rounds_out = any(
            name in self._halves or lanes[1].rounded_of(name) is not None
            for name in main.output
            if name
        )
        if not rounds_out and not rounded:
            return "exact"
        if not any(bodies(main)) and all(name in known.clean for name in operands):
            return "raw"
        if any(bodies(main)) or not self._runs_local:
            return "none"
        self._fresh += 1
        suffix = f":local{self._fresh}"
        copy = NodeProto()
        copy.CopyFrom(main)
        for slot, name in enumerate(main.input):
            if name in known.exact_of:
                copy.input[slot] = self._operand(item, name, known)
        copy.output[:] = [name and name + suffix for name in main.output]
        item.local.append(copy)
        return suffix

    def _operand(self, item: Item, name: str, known: _Known) -> str:
        exact = known.exact_of[name]
        code = known.rounded.get(name)
        if code is None:
            return exact
        widened = name not in self._halves
        result = f"{exact}:{'rounded' if widened else 'half'}{code}"
        item.roundings[result] = Rounding(exact, code, widened)
        return result


def _reads_clean(main: NodeProto | None, known: _Known) -> bool:
    """Whether all that a node of the 16-bit run reads is the float32 run's value, rounded."""
    if main is None:
        return False
    return all(name in known.clean for name in reads_of(main) if name in known.exact_of)


def _suffixed(main: NodeProto | None, slot: int, suffix: str) -> str | None:
    return None if main is None else main.output[slot] + suffix
