"""Which side precision-neutral nodes take: the minimum cut on what casts would cost.

A neutral node copies or selects values, so that it gives the same in both precisions; only casts
tell the sides apart. Rules:

1. Neutral are the operators of `_MOVES` and `_SELECTS` where their constant operands are small
   and exact in the 16-bit type, a Cast's output, the operators on sequences, and the operands by
   which values enter and leave bodies and local functions. What is blocked, or has no kernel, is
   not. The places that a sequence reaches take one side.
2. Every other operand is fixed: at the source (float32) or the sink (16-bit). So are the main
   graph's inputs and outputs.
3. A value costs a launch and its bytes once where a reader is on the other side than its producer.
   Weights cost nothing: they are converted, not cast. A Cast's input follows its producer.
4. Neutral nodes are transparent: on a way from a float32 producer to a float32 reader they are
   float32, so that no value is rounded between two that keep it. A Cast to another type reads
   what its input's producer made, and one from another type is a float32 producer, but where all
   values of that type are exact in 16 bits.
5. Of all minimum cuts the one with the fewest float32 nodes is taken.

The flow is scipy's, whose capacities are 32-bit and wrong beyond without a word: they are scaled
so that even their sum fits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, TensorProto, numpy_helper

from halve.errors import ModelError
from halve.options import ConvertOptions
from halve.plan.analysis import Analysis, Kind, NodeInfo, Scope, Value
from halve.plan.decision import CAST_COST, Decision
from halve.plan.links import Link, links_of
from halve.plan.operand_rules import SEQUENCE_OPERATORS
from halve.plan.sequences import SequenceGroup, sequence_groups
from halve.plan.sizes import value_bytes
from halve.plan.type_attributes import attribute
from halve.source import payload_index, text
from halve.types import DType

__all__ = ["carried_nodes", "initializer_tensors", "is_neutral", "settle_neutral", "small_constant"]

# Operators that only move values (onnx's Operators.md), in the default domain.
_MOVES = frozenset({
    "Compress", "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements",
    "GatherND", "Identity", "Reshape", "ReverseSequence", "Slice", "SpaceToDepth", "Split",
    "Squeeze", "Tile", "Transpose", "Trilu", "Unsqueeze",
})  # fmt: skip
# Operators that choose among values, a constant operand's among them, or change no more than the
# sign.
_SELECTS = frozenset({
    "Abs", "Clip", "GlobalMaxPool", "Max", "MaxPool", "Min", "Neg", "Pad", "ReduceMax",
    "ReduceMin", "Relu", "ScatterElements", "ScatterND", "Where",
})  # fmt: skip
_NEUTRAL = _MOVES | _SELECTS
_FLOAT32, _HALF, _FREE = 0, 1, 2  # the first two are the ids of the source and the sink
_CAPACITY_SUM = 1 << 30
# Types whose values are the same in both 16-bit types.
_EXACT = (DType.BOOL, DType.INT8, DType.UINT8)
# What a cast costs however small its value, in bytes: a launch takes about 2 microseconds, in which
# a device moves some 8 MB. Below that it is the number of casts that counts.
_LAUNCH_BYTES = 1 << 23


# What decides together: a node's type variable, or a link of a node that owns bodies. The instances
# of a function's body have the nodes of one body, and so one place.
_Key = tuple[int, str]
_Tensors = Mapping[Value, TensorProto]


@dataclass(slots=True)
class _Net:
    """Operands as vertices: `state` by vertex, the vertex of each place, and of each formal input
    and output of a body.
    """

    state: list[int]
    sites: dict[_Key, int]
    scope_inputs: dict[tuple[Scope, int], int]
    scope_outputs: dict[tuple[Scope, int], int]


def settle_neutral(
    analysis: Analysis, decisions: list[Decision], options: ConvertOptions
) -> list[Decision]:
    """The decisions with neutral nodes moved to float32 where that makes casts cheaper."""
    if all(decision.half_vars or not decision.reason for decision in decisions) and (
        options.keep_io_types is False
    ):
        return decisions  # nothing is float32
    net = _net(analysis, decisions, options)
    ties = list(_ties(analysis, net, options))
    reached = _reachable(net, ties)
    ties = [(value, p, readers) for value, p, readers in ties if {p, *readers} & reached]
    if not ties:
        return decisions
    weights = value_bytes(analysis, [value for value, _, _ in ties])
    weights = {value: weight + _LAUNCH_BYTES for value, weight in weights.items()}
    moved = _cut(net, ties, weights, _transparent(analysis, net, options))
    return _moved_decisions(analysis, net, decisions, moved)


def _net(
    analysis: Analysis,
    decisions: list[Decision],
    options: ConvertOptions,
    priced: Mapping[int, float] | None = None,
) -> _Net:
    """The network; nodes of `priced` ids are free even where they compute."""
    sides: dict[_Key, int] = {}
    owners = [node for node in analysis.nodes if node.bodies]
    tensors = initializer_tensors(analysis)
    for node in analysis.nodes:
        half = decisions[node.uid].half_vars
        free = (
            not node.bodies
            and bool(half)
            and (node.id in (priced or ()) or is_neutral(node, tensors, options))
        )
        for var in _float_vars(node):
            side = (_FREE if free else _HALF) if var in half else _FLOAT32
            sides[node.id, var] = min(side, sides.get((node.id, var), _FREE))
    for node in owners:
        for key, variables, _ in _links(node):
            known = [sides[node.id, var] for var in variables]
            side = _FREE if known and _FLOAT32 not in known else _FLOAT32
            sides[key] = min(side, sides.get(key, _FREE))
    net = _Net([_FLOAT32, _HALF], {}, {}, {})
    for key, side in sides.items():
        net.sites[key] = side if side != _FREE else _new_vertex(net)
    for node in owners:
        _tie_links(net, node)
    for group in sequence_groups(analysis):
        _join(net, group)
    return net


def _join(net: _Net, group: SequenceGroup) -> None:
    """Give the places of a sequence one vertex."""
    sides = {net.sites[place] for place in group.places}
    fixed = sorted(sides & {_FLOAT32, _HALF})
    net.sites.update(dict.fromkeys(group.places, fixed[0] if fixed else min(sides)))


def carried_nodes(
    analysis: Analysis,
    decisions: list[Decision],
    options: ConvertOptions,
    prices: Mapping[int, float],
    sizes: Mapping[str, float],
) -> set[int]:
    """Nodes that are cheaper in float32 than the casts around them: the minimum cut.

    `decisions` keep float32 what must be. `prices` is what float32 costs, by the id of each node
    that may be moved; `sizes` are measured bytes of the main graph's float32 values by name (where
    there is none, as halve.plan.sizes has it). A cast reads 4 bytes an element and writes 2, or
    the other way round: 1.5 times the value's bytes. Prices are bytes, too.
    """
    net = _net(analysis, decisions, options, prices)
    ties = list(_ties(analysis, net, options))
    reached = _reachable(net, ties)
    ties = [(value, p, readers) for value, p, readers in ties if {p, *readers} & reached]
    if not ties:
        return set()
    weights = value_bytes(analysis, [value for value, _, _ in ties])
    weights |= {v: int(sizes[text(v.name)]) for v in weights if _is_measured(v, sizes)}
    weights = {value: (3 * weight + 1) // 2 for value, weight in weights.items()}
    settled = _net(analysis, decisions, options)
    fixed = _same_vertices(settled, net, _transparent(analysis, settled, options))
    costs: dict[int, float] = {}
    for (number, _), vertex in net.sites.items():
        if number in prices and net.state[vertex] == _FREE and vertex in reached:
            costs[vertex] = max(costs.get(vertex, 0.0), prices[number])
    moved = _cut(net, ties, weights, fixed, costs)
    return {number for (number, _), v in net.sites.items() if number in prices and v in moved}


def _is_measured(value: Value, sizes: Mapping[str, float]) -> bool:
    return value.scope.owner is None and text(value.name) in sizes


def _same_vertices(first: _Net, second: _Net, vertices: set[int]) -> set[int]:
    """Where `vertices` of one network are in another of the same nodes."""
    return {second.sites[key] for key, vertex in first.sites.items() if vertex in vertices}


def _new_vertex(net: _Net) -> int:
    net.state.append(_FREE)
    return len(net.state) - 1


def _links(node: NodeInfo) -> Iterable[tuple[_Key, list[str], Link]]:
    """Each link of an owner with its key and the type variables of its float32 slots."""
    for number, link in enumerate(links_of(node)):
        variables = [node.in_types[k][0] for k in link.in_slots if _is_float(node.inputs, k)]
        variables += [node.out_types[k][0] for k in link.out_slots if _is_float(node.outputs, k)]
        yield (node.id, f"link {number}"), variables, link


def _tie_links(net: _Net, node: NodeInfo) -> None:
    for key, variables, link in _links(node):
        vertex = net.sites[key]
        net.sites.update({(node.id, var): vertex for var in variables})
        net.scope_inputs.update(dict.fromkeys(link.body_inputs, vertex))
        net.scope_outputs.update(dict.fromkeys(link.body_outputs, vertex))


def _is_float(values: list[Value | None], slot: int) -> bool:
    value = values[slot] if slot < len(values) else None
    return value is not None and value.is_float


def _float_vars(node: NodeInfo) -> Iterable[str]:
    for values, types in ((node.inputs, node.in_types), (node.outputs, node.out_types)):
        for value, (var, _) in zip(values, types, strict=True):
            if value is not None and value.is_float:
                yield var


def initializer_tensors(analysis: Analysis) -> _Tensors:
    """The tensor of each initializer, in all graphs."""
    return {
        scope.values[tensor.name]: tensor
        for scope in analysis.scopes
        if isinstance(scope.body, GraphProto)
        for tensor in scope.body.initializer
    }


def is_neutral(node: NodeInfo, tensors: _Tensors, options: ConvertOptions) -> bool:
    """Rule 1: whether a node computes nothing, so that it may be of either precision."""
    if node.domain != "":
        return False
    if node.op_type == "Cast" or _on_sequences(node):
        return True
    if node.op_type not in _NEUTRAL or _adds_up(node):
        return False
    constants = [v for v in node.inputs if v is not None and v.elem == DType.FLOAT and _fixed(v)]
    return all(_is_exact(value, tensors, options) for value in constants)


def _on_sequences(node: NodeInfo) -> bool:
    return (node.domain, node.op_type) in SEQUENCE_OPERATORS


def _adds_up(node: NodeInfo) -> bool:
    """Whether a Scatter reduces, or a Clip before opset 11 has bounds as attributes."""
    reduction = attribute(node.proto, "reduction")
    if reduction is not None and reduction.s not in (b"none", b""):
        return True
    return node.op_type in ("Clip", "Pad") and node.opset < 11


def _fixed(value: Value) -> bool:
    return value.kind in (Kind.INITIALIZER, Kind.CONSTANT, Kind.SPARSE)


def _is_exact(value: Value, tensors: _Tensors, options: ConvertOptions) -> bool:
    """Whether a small constant has the same value in the 16-bit type; others are not asked."""
    array = small_constant(value, tensors)
    if array is None:
        return False
    sizes = np.abs(array[(array != 0) & np.isfinite(array)])
    bounds = options.bounds
    if np.any((sizes < bounds.min_positive) | (sizes > bounds.max_finite)):
        return False
    with np.errstate(over="ignore"):
        if options.half == DType.FLOAT16:
            return bool(np.array_equal(array.astype(np.float16).astype(np.float32), array))
    return not bool(np.any(array.view(np.uint32) & 0xFFFF))


def small_constant(value: Value, tensors: _Tensors) -> NDArray[np.float32] | None:
    """A float32 constant whose payload is at hand; None for others and for defaults of inputs.

    Raises:
        ModelError: the tensor contradicts itself.
    """
    tensor = _constant_tensor(value, tensors)
    if tensor is None or payload_index(tensor) is not None or value.is_input:
        return None
    try:
        return np.asarray(numpy_helper.to_array(tensor), np.float32)
    except (TypeError, ValueError, KeyError) as error:  # no such type, too few elements
        raise ModelError(
            f"the constant {text(value.name)!r} in {value.scope.place()} has data_type"
            f" {tensor.data_type} and shape {list(tensor.dims)} and cannot be read: {error};"
            " export the model again"
        ) from error


def _constant_tensor(value: Value, tensors: _Tensors) -> TensorProto | None:
    if value.kind == Kind.CONSTANT and value.source is not None:
        found = attribute(value.source[0].proto, "value")
        return None if found is None else found.t
    return tensors.get(value)


_Tie = tuple[Value, int, frozenset[int]]


def _ties(analysis: Analysis, net: _Net, options: ConvertOptions) -> Iterable[_Tie]:
    """(value, vertex of its producer, vertices of its readers) where they are not all one."""
    for value in analysis.values:
        if value.elem != DType.FLOAT or _fixed(value):
            continue
        producer = _producer(value, net, options)
        readers = frozenset(_readers(value, net, options)) - {producer}
        if readers and (producer == _FREE or readers != {producer}):
            yield value, producer, readers


def _producer(value: Value, net: _Net, options: ConvertOptions) -> int:
    if value.source is not None:
        node, slot = value.source
        return net.sites[node.id, node.out_types[slot][0]]
    if value.scope.owner is None:
        return _io_side(value, options)
    return net.scope_inputs.get((value.scope, value.scope.inputs.index(value)), _FLOAT32)


def _readers(value: Value, net: _Net, options: ConvertOptions) -> Iterable[int]:
    for node, slot in value.readers:
        if (node.domain, node.op_type) != ("", "Cast"):
            yield net.sites[node.id, node.in_types[slot][0]]
    for place in value.exits:
        yield net.scope_outputs[place]
    if value.is_output:
        yield _io_side(value, options)


def _io_side(value: Value, options: ConvertOptions) -> int:
    keep = options.keep_io_types
    return _FLOAT32 if (keep if isinstance(keep, bool) else value.name in keep) else _HALF


def _transparent(analysis: Analysis, net: _Net, options: ConvertOptions) -> set[int]:
    """The free vertices on a way from a float32 producer to a float32 reader (rule 4)."""
    forward: dict[int, set[int]] = {}
    backward: dict[int, set[int]] = {}
    for value in analysis.values:
        if value.elem != DType.FLOAT:
            continue
        if _fixed(value):  # what a body or a sequence is given is as a float32 producer's
            producer, readers = _FLOAT32, set(_passing_sites(value, net))
        else:
            producer = _producer(value, net, options)
            readers = {*_readers(value, net, options), *_cast_readers(value, net, options)}
        if _comes_of_cast(value, options):
            forward.setdefault(_FLOAT32, set()).add(producer)
        for reader in readers:
            forward.setdefault(producer, set()).add(reader)
            backward.setdefault(reader, set()).add(producer)
    return _free_reach(net, forward) & _free_reach(net, backward)


def _passing_sites(value: Value, net: _Net) -> Iterable[int]:
    """Where a value enters a body or a local function as an operand of its owner, or a sequence."""
    for node, slot in value.readers:
        if node.bodies or _on_sequences(node):
            yield net.sites[node.id, node.in_types[slot][0]]


def _cast_readers(value: Value, net: _Net, options: ConvertOptions) -> Iterable[int]:
    """Where Casts pass a value on: a wider or another type is as good as a float32 reader."""
    for node, _ in value.readers:
        if (node.domain, node.op_type) != ("", "Cast"):
            continue
        result = node.outputs[0]
        if result is not None and result.elem == DType.FLOAT:
            yield net.sites[node.id, node.out_types[0][0]]
        elif result is None or result.elem != options.half:
            yield _FLOAT32


def _comes_of_cast(value: Value, options: ConvertOptions) -> bool:
    """Whether a Cast from another type makes it, which the 16-bit type would round."""
    if value.source is None:
        return False
    node, _ = value.source
    if (node.domain, node.op_type) != ("", "Cast") or node.inputs[0] is None:
        return False
    return node.inputs[0].elem not in (DType.FLOAT, options.half, *_EXACT)


def _free_reach(net: _Net, near: Mapping[int, set[int]]) -> set[int]:
    """The free vertices that `near` leads to from the source, by free ones only."""
    found: set[int] = set()
    waiting = deque([_FLOAT32])
    while waiting:
        for vertex in near.get(waiting.popleft(), ()):
            if net.state[vertex] == _FREE and vertex not in found:
                found.add(vertex)
                waiting.append(vertex)
    return found


def _reachable(net: _Net, ties: list[_Tie]) -> set[int]:
    """The free vertices that are tied to the source, directly or by other free ones."""
    near: dict[int, set[int]] = {}
    for _, producer, readers in ties:
        for a, b in ((producer, reader) for reader in readers):
            near.setdefault(a, set()).add(b)
            near.setdefault(b, set()).add(a)
    found: set[int] = set()
    waiting = deque(near.get(_FLOAT32, ()))
    while waiting:
        vertex = waiting.popleft()
        if net.state[vertex] == _FREE and vertex not in found:
            found.add(vertex)
            waiting.extend(near[vertex])
    return found


def _cut(
    net: _Net,
    ties: list[_Tie],
    weights: Mapping[Value, int],
    forced: set[int],
    costs: Mapping[int, float] | None = None,
) -> set[int]:
    """The free vertices on the source's side of the minimum cut (rules 3 to 5)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    edges, size = _edges(net, ties, weights, costs or {})
    edges += [(_FLOAT32, vertex, _CAPACITY_SUM) for vertex in sorted(forced)]
    # scipy before 1.15 finds flows with 32-bit indices only; _edges keeps capacities below 2^31.
    rows, columns, capacities = (np.array(column, np.int32) for column in zip(*edges, strict=True))
    graph = coo_array((capacities, (rows, columns)), shape=(size, size)).tocsr()
    flow = maximum_flow(graph, _FLOAT32, _HALF)
    residual = (graph - flow.flow).tocsr()
    residual.data[residual.data < 0] = 0
    residual.eliminate_zeros()
    reached = breadth_first_order(residual, _FLOAT32, return_predecessors=False)
    return {int(v) for v in reached if v < len(net.state) and net.state[v] == _FREE}


def _edges(
    net: _Net, ties: list[_Tie], weights: Mapping[Value, int], costs: Mapping[int, float]
) -> tuple[list[tuple[int, int, int]], int]:
    """(from, to, capacity): each value's bytes once a direction, by a vertex between; and what a
    vertex costs on the side of the source.
    """
    total = sum(weights[value] for value, _, _ in ties) + sum(costs.values())
    scale = max(1.0, 2 * total / _CAPACITY_SUM)
    endless = _CAPACITY_SUM
    edges: dict[tuple[int, int], int] = {}
    size = len(net.state)

    def add(a: int, b: int, capacity: int) -> None:
        edges[a, b] = min(edges.get((a, b), 0) + capacity, endless)

    for value, producer, readers in ties:
        weight = max(1, int(weights[value] / scale))
        down, up = size, size + 1
        size += 2
        add(producer, down, weight)
        add(up, producer, weight)
        for reader in readers:
            add(down, reader, endless)
            add(reader, up, endless)
    for vertex, cost in costs.items():
        add(vertex, _HALF, max(1, int(cost / scale)))
    return [(a, b, capacity) for (a, b), capacity in edges.items()], size


def _moved_decisions(
    analysis: Analysis, net: _Net, decisions: list[Decision], moved: set[int]
) -> list[Decision]:
    result = list(decisions)
    for node in analysis.nodes:
        kept = decisions[node.uid].half_vars
        gone = {var for var in kept if net.sites.get((node.id, var)) in moved}
        if gone:
            result[node.uid] = Decision(kept - gone, CAST_COST)
    return result
