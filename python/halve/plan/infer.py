"""Element types by unification: operands that share a schema's type variable have one type.

1. Initializers, graph inputs and attributes that choose a type fix a value's type.
2. A schema's fixed operand fixes the type of the value there.
3. Operands of a node under one type variable are one class.
4. Places that a link ties together (halve.plan.links) are one class.
5. Declared types of outputs and value_info are hints: they hold where nothing else tells.
6. A class with two different types is OPAQUE: it is left alone.
7. A sequence is OPAQUE, and its tensors have a class of their own, which is tied to the tensors
   that operators put in and take out (halve.plan.operand_rules.SEQUENCE_OPERATORS).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from halve.plan.links import links_of
from halve.plan.operand_rules import SEQUENCE_OPERATORS
from halve.plan.schemas import OPAQUE, UNKNOWN
from halve.plan.type_attributes import CHOOSING, SAME, chosen_type

if TYPE_CHECKING:
    from halve.plan.analysis import NodeInfo, Value

__all__ = ["TypeClasses"]


class TypeClasses:
    """Union-find over values, each class with one element type."""

    def __init__(self, count: int) -> None:
        """Start with `count` values, each in a class of its own and of unknown type."""
        self._parent = list(range(count))
        self._type = [UNKNOWN] * count
        self._hint = [UNKNOWN] * count
        self._tensors: dict[int, int] = {}
        self.conflicts: list[str] = []

    def find(self, index: int) -> int:
        """The representative of a value's class."""
        parent = self._parent
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    def fix(self, index: int, elem: int, node: NodeInfo | None = None) -> None:
        """Rules 1 and 2: the value's class has type `elem`."""
        root = self.find(index)
        self._type[root] = self._meet(self._type[root], elem, node)

    def hint(self, index: int, elem: int) -> None:
        """Rule 5."""
        root = self.find(index)
        self._hint[root] = self._hint[root] or elem

    def unite(self, a: int, b: int, node: NodeInfo) -> None:
        """Rule 3: two values have one type."""
        a, b = self.find(a), self.find(b)
        if a == b:
            return
        a, b = min(a, b), max(a, b)
        self._parent[b] = a
        self._type[a] = self._meet(self._type[a], self._type[b], node)
        self._hint[a] = self._hint[a] or self._hint[b]
        if b in self._tensors:
            inner = self._tensors.pop(b)
            self.unite(self._tensors.setdefault(a, inner), inner, node)

    def tensors(self, index: int) -> int:
        """The class of a sequence's tensors (rule 7); the value is a sequence from now on."""
        self.fix(index, OPAQUE)
        root = self.find(index)
        if root not in self._tensors:
            self._tensors[root] = len(self._parent)
            self._parent.append(len(self._parent))
            self._type.append(UNKNOWN)
            self._hint.append(UNKNOWN)
        return self._tensors[root]

    def held_type(self, index: int) -> int:
        """The type of the tensors in a sequence, UNKNOWN where nothing tells or it is none."""
        inner = self._tensors.get(self.find(index))
        return UNKNOWN if inner is None else self.type_of(inner)

    def type_of(self, index: int) -> int:
        """The type of a value's class, UNKNOWN where nothing tells."""
        root = self.find(index)
        return self._type[root] or self._hint[root]

    def add_node(self, node: NodeInfo) -> None:
        """Add what a node's schema and attributes say of its operands."""
        first_of: dict[str, int] = {}
        opaque = node.rule.opaque if node.rule is not None else ()
        on_sequences = (node.domain, node.op_type) in SEQUENCE_OPERATORS
        for values, types in _schema_slots(node) if on_sequences else _slots(node):
            for value, (var, elem) in zip(values, types, strict=True):
                if value is None:
                    continue
                if elem or var in opaque:
                    self.fix(value.index, elem or OPAQUE, node)
                if var:
                    first = first_of.setdefault(var, value.index)
                    if first != value.index:
                        self.unite(first, value.index, node)
        if on_sequences:
            self._add_sequence(node, first_of)
        for link in links_of(node) if node.bodies else ():
            indices = [value.index for value in link.values(node)]
            for index in indices[1:]:
                self.unite(indices[0], index, node)
        self._add_attribute(node)

    def _add_sequence(self, node: NodeInfo, first_of: Mapping[str, int]) -> None:
        """Rule 7."""
        sequence, tensor = SEQUENCE_OPERATORS[node.domain, node.op_type]
        if sequence not in first_of:
            return
        inner = self.tensors(first_of[sequence])
        if tensor in first_of:
            self.unite(inner, first_of[tensor], node)

    def _add_attribute(self, node: NodeInfo) -> None:
        if (node.domain, node.op_type) not in CHOOSING:
            return
        elem = chosen_type(node.domain, node.proto, node.scope.attributes)
        made = node.outputs[0] if node.outputs else None
        given = node.inputs[0] if node.inputs else None
        if elem is None or made is None:
            return
        if (node.domain, node.op_type) in SEQUENCE_OPERATORS:
            self.fix(self.tensors(made.index), elem, node)
        elif elem != SAME:
            self.fix(made.index, elem, node)
        elif given is not None:
            self.unite(given.index, made.index, node)

    def _meet(self, a: int, b: int, node: NodeInfo | None) -> int:
        if a == b or not a or not b:
            return a or b
        if OPAQUE not in (a, b):
            self.conflicts.append(node.label() if node else "a graph input")
        return OPAQUE


_Slots = tuple[tuple[Sequence["Value | None"], tuple[tuple[str, int], ...]], ...]


def _slots(node: NodeInfo) -> _Slots:
    """A node's inputs and outputs with their types."""
    return (node.inputs, node.in_types), (node.outputs, node.out_types)


def _schema_slots(node: NodeInfo) -> _Slots:
    """The same by the schema of an operator on sequences: the node's own types have one variable
    for the precision of a sequence and of its tensors.
    """
    if node.rule is None:
        return _slots(node)
    inputs = node.rule.slot_types("in", len(node.inputs))
    return (node.inputs, inputs), (node.outputs, node.rule.slot_types("out", len(node.outputs)))
