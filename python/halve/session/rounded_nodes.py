"""The nodes of 16-bit units: float32, with what they read and yield rounded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper

from halve.search_types import Unit
from halve.session.gate_graph import FLOAT, Names, Scope, add_constant, cast_node, copy_node
from halve.session.weight_store import Weights

__all__ = ["Known", "Rounder", "Rounding"]

Rounding = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(slots=True)
class Known:
    """What a branch has made so far.

    `renamed` are the names under which it has what the body defines, `rounded` the rounded copies
    of what comes from outside, `done` the names that hold rounded values.
    """

    renamed: dict[str, str] = field(default_factory=dict)
    rounded: dict[str, str] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    def take(self, node: NodeProto, name: Names) -> NodeProto:
        """A copy of a node that rounds nothing, under names of the branch."""
        node = copy_node(node)
        self.read(node)
        for slot, output in enumerate(node.output):
            if output:
                node.output[slot] = self.renamed[output] = name(output)
        return node

    def read(self, node: NodeProto) -> None:
        """Let a node read what the branch has made."""
        for slot, name in enumerate(node.input):
            node.input[slot] = self.renamed.get(name, name)


@dataclass(frozen=True, slots=True)
class Rounder:
    """How values are rounded: to the 16-bit type `half`, and weights by `rounding`. With `fused`,
    what goes from one node of a unit to another is not rounded.
    """

    half: int
    rounding: Rounding
    weights: Weights
    name: Names
    fused: bool

    def nodes(
        self,
        unit: Unit,
        originals: Sequence[NodeProto],
        scope: Scope,
        known: Known,
        *,
        pairs: bool,
    ) -> list[NodeProto]:
        """A 16-bit unit's nodes; without `pairs`, all that it reads and that is no weight is
        rounded already. What they make is under the names of `known.renamed`.
        """
        made: list[NodeProto] = []
        inside: set[str] = set()
        for info, original in zip(unit.nodes, originals, strict=True):
            node = copy_node(original)
            known.read(node)
            for slot in info.in_slots:
                if node.input[slot] not in inside:
                    node.input[slot] = self._input(
                        node.input[slot], known, made if pairs else None, scope
                    )
            self._round_attribute(node)
            rounds = () if self.fused and info is not unit.nodes[-1] else info.out_slots
            after = self._outputs(node, rounds, known)
            inside.update(known.renamed[name] for name in original.output if name)
            made.append(node)
            for raw, result in after:
                self.pair(raw, result, made, scope)
        return made

    def pair(self, source: str, result: str, made: list[NodeProto], scope: Scope) -> None:
        """Round a value, by a Cast to the 16-bit type and back."""
        low = self.name(source)
        made.append(cast_node(source, low, self.half, scope.opset))
        made.append(cast_node(low, result, FLOAT, scope.opset))

    def _outputs(
        self, node: NodeProto, rounds: Sequence[int], known: Known
    ) -> list[tuple[str, str]]:
        """Give a node's outputs names of the branch; those to round, and what they are then."""
        after: list[tuple[str, str]] = []
        for slot, name in enumerate(node.output):
            if not name:
                continue
            node.output[slot] = known.renamed[name] = self.name(name)
            if slot in rounds:
                after.append((self.name(name), known.renamed[name]))
                known.done.add(known.renamed[name])
                node.output[slot] = after[-1][0]
        return after

    def _input(self, name: str, known: Known, made: list[NodeProto] | None, scope: Scope) -> str:
        """What a 16-bit operand reads in place of `name`; without `made` all that is no weight is
        rounded already.
        """
        if not name or name in known.done:
            return name
        if name not in known.rounded:
            owner = scope.owner_of(name)
            if owner is not None:
                known.rounded[name] = self._weight(name, owner)
            elif made is None:
                return name
            else:
                known.rounded[name] = self.name(name)
                self.pair(name, known.rounded[name], made, scope)
        return known.rounded[name]

    def _weight(self, name: str, owner: Scope) -> str:
        """A rounded copy, only where rounding changes a value."""
        if name not in owner.rounded:
            array = self.weights.array(owner.constants[name])
            rounded = self.rounding(np.ascontiguousarray(array, np.float32)).reshape(array.shape)
            same = np.array_equal(rounded.view(np.uint32), array.view(np.uint32))
            owner.rounded[name] = name if same else self.name(name)
            if not same:
                add_constant(owner, self.weights.tensor(owner.rounded[name], rounded))
        return owner.rounded[name]

    def _round_attribute(self, node: NodeProto) -> None:
        """A ConstantOfShape's value is a weight, too."""
        if node.op_type != "ConstantOfShape" or node.domain:
            return
        for attribute in node.attribute:
            if attribute.name == "value" and attribute.t.data_type == FLOAT:
                array = numpy_helper.to_array(attribute.t)
                rounded = self.rounding(np.ascontiguousarray(array)).reshape(array.shape)
                attribute.t.CopyFrom(numpy_helper.from_array(rounded))
