"""Ask a runtime for the element types of what operators without a schema make.

1. Only an operator with an output of unknown type is asked about, once its inputs' types are known.
2. Equal operators are one question: operator, attributes, types of the inputs, outputs present.
3. An answer fixes types, which may make the inputs of further operators known: so in rounds, until
   nothing changes.
4. What stays unknown is left alone; a warning an operator says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from onnx import NodeProto

from halve.plan.infer import TypeClasses
from halve.plan.schemas import UNKNOWN
from halve.source import text
from halve.types import TypeAnswer, TypeOracle, TypeQuestion

if TYPE_CHECKING:
    from halve.plan.analysis import NodeInfo

__all__ = ["ask_types"]

_NOBODY = "no runtime was asked"
_INPUTS = "the types of its inputs are not known"
_BODIES = "it has bodies of its own"


def ask_types(
    nodes: Sequence[NodeInfo], classes: TypeClasses, oracle: TypeOracle | None
) -> list[str]:
    """Fix in `classes` the types that `oracle` knows; returns the warnings of rule 4.

    Raises:
        SessionError: the runtime cannot be asked at all (a custom-op library that does not load).
    """
    waiting = [node for node in nodes if _is_unknown(node, classes)]
    asking = _Asking(classes, oracle)
    if oracle is not None:
        oracle(())  # so that a library that does not load is told of in any case
    while waiting and oracle is not None:
        left = asking.round(waiting)
        if len(left) == len(waiting):
            break
        waiting = left
    return asking.warnings([node for node in nodes if _is_unknown(node, classes)])


def _is_unknown(node: NodeInfo, classes: TypeClasses) -> bool:
    """Rule 1."""
    if node.rule is not None or node.calls_function:
        return False
    return any(v is not None and not classes.type_of(v.index) for v in node.outputs)


class _Asking:
    def __init__(self, classes: TypeClasses, oracle: TypeOracle | None) -> None:
        self._classes = classes
        self._oracle = oracle
        self._operators: dict[int, bytes] = {}
        self._answers: dict[TypeQuestion, TypeAnswer] = {}
        self._reasons: dict[int, str] = {}

    def round(self, waiting: Sequence[NodeInfo]) -> list[NodeInfo]:
        """Ask what can be asked (rule 3); returns the nodes without an answer."""
        questions = [self._question(node) for node in waiting]
        new = [q for q in dict.fromkeys(questions) if q is not None and q not in self._answers]
        if new and self._oracle is not None:
            self._answers.update(zip(new, self._oracle(new), strict=True))
        return [node for node in waiting if not self._settle(node)]

    def warnings(self, unknown: Sequence[NodeInfo]) -> list[str]:
        """Rule 4."""
        groups: dict[tuple[str, str], list[NodeInfo]] = {}
        for node in unknown:
            groups.setdefault((node.domain, node.op_type), []).append(node)
        return [
            f"the types of what {domain or 'onnx'}::{op_type} makes are not known"
            f" ({len(found)} nodes, the first is {found[0].label()}: {self._reason(found[0])});"
            " what only reads it stays as it is"
            for (domain, op_type), found in groups.items()
        ]

    def _reason(self, node: NodeInfo) -> str:
        return _NOBODY if self._oracle is None else self._reasons.get(node.uid, _INPUTS)

    def _settle(self, node: NodeInfo) -> bool:
        question = self._question(node)
        answer = self._answers.get(question) if question is not None else None
        if answer is None:
            return False
        self._reasons[node.uid] = answer.reason
        for value, elem in zip(node.outputs, answer.outputs, strict=False):
            if value is not None and not self._classes.type_of(value.index):
                self._classes.fix(value.index, elem, node)
        return True

    def _question(self, node: NodeInfo) -> TypeQuestion | None:
        """Rule 2; None while the type of an input is not known."""
        types = [UNKNOWN if v is None else self._classes.type_of(v.index) for v in node.inputs]
        if node.bodies:
            self._reasons[node.uid] = _BODIES
            return None
        pairs = zip(node.inputs, types, strict=True)
        if any(value is not None and elem <= UNKNOWN for value, elem in pairs):
            return None
        if node.uid not in self._operators:
            self._operators[node.uid] = _operator(node)
        present = tuple(value is not None for value in node.outputs)
        return TypeQuestion(self._operators[node.uid], node.opset, tuple(types), present)


def _operator(node: NodeInfo) -> bytes:
    """The node without its names: equal for equal operators."""
    plain = NodeProto(domain=node.domain, op_type=node.op_type, overload=text(node.proto.overload))
    for attribute in node.proto.attribute:
        passed = node.scope.attributes.get(attribute.ref_attr_name)
        if attribute.ref_attr_name and passed is None:
            continue  # an attribute that the call leaves out
        added = plain.attribute.add()
        added.CopyFrom(attribute if passed is None else passed)
        added.name = attribute.name
    return bytes(plain.SerializeToString(deterministic=True))
