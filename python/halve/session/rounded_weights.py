"""Weights as a conversion rounds them, beside those that they are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper

from halve.session.gate_graph import FLOAT, Names, Scope, add_constant, copy_node
from halve.session.weight_store import Weights

__all__ = ["RoundedWeights", "Rounding"]

Rounding = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class RoundedWeights:
    """Makes rounded copies, only of what rounding changes; `weights` has the values."""

    rounding: Rounding
    weights: Weights
    name: Names

    def with_rounded(
        self, node: NodeProto, in_slots: Sequence[int], scope: Scope
    ) -> NodeProto | None:
        """A copy of a node that reads rounded weights; None where they are the same."""
        other = copy_node(node)
        for slot in in_slots:
            owner = scope.owner_of(node.input[slot])
            if owner is not None:
                other.input[slot] = self._weight(node.input[slot], owner)
        changed = self._round_attribute(other)
        return other if changed or list(other.input) != list(node.input) else None

    def _weight(self, name: str, owner: Scope) -> str:
        if name not in owner.rounded_weights:
            array = self.weights.array(owner.constants[name])
            rounded = self._rounded(array)
            same = np.array_equal(rounded.view(np.uint32), array.view(np.uint32))
            owner.rounded_weights[name] = name if same else self.name(name)
            if not same:
                tensor = self.weights.tensor(owner.rounded_weights[name], rounded)
                add_constant(owner, tensor)
        return owner.rounded_weights[name]

    def _round_attribute(self, node: NodeProto) -> bool:
        """A ConstantOfShape's value is a weight, too; whether it changed."""
        if node.op_type != "ConstantOfShape" or node.domain:
            return False
        for attribute in node.attribute:
            if attribute.name == "value" and attribute.t.data_type == FLOAT:
                array = numpy_helper.to_array(attribute.t)
                rounded = self._rounded(array)
                attribute.t.CopyFrom(numpy_helper.from_array(rounded))
                return not np.array_equal(rounded.view(np.uint32), array.view(np.uint32))
        return False

    def _rounded(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.rounding(np.ascontiguousarray(array, np.float32)).reshape(array.shape)
