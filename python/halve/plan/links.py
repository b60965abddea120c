"""How the operands of a node are tied to the inputs and outputs of the bodies that it owns.

A link is a set of places that must have one type: slots of the owner, inputs and outputs of its
bodies. Rules, after the operators' texts in onnx's Operators.md:

1. If: output k, and output k of every branch.
2. Loop: state k: input 2+k, body input 2+k, body output 1+k, output k; scan output k: body output
   1+n+k, output n+k, for n states. Body inputs 0 and 1 are the iteration and the condition.
3. Scan (opset 9 on): input k and body input k; body output k and output k; a state's input and
   output are one. At opset 8 input 0 is the lengths, and the others move by one.
4. A call of a local function: input k and the function's input k; output k likewise.
5. Any other operator with a body: the places inside are tied to nothing and keep their types.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halve.errors import ModelError
from halve.plan.type_attributes import attribute

if TYPE_CHECKING:
    from halve.plan.analysis import NodeInfo, Scope, Value

__all__ = ["Link", "links_of"]


@dataclass(frozen=True, slots=True)
class Link:
    """Places of one type: the owner's input and output slots, and (scope, position) inside."""

    in_slots: tuple[int, ...] = ()
    out_slots: tuple[int, ...] = ()
    body_inputs: tuple[tuple[Scope, int], ...] = ()
    body_outputs: tuple[tuple[Scope, int], ...] = ()

    def values(self, owner: NodeInfo) -> Iterator[Value]:
        """The values at these places; absent optional operands are left out."""
        places = [owner.inputs[k] for k in self.in_slots if k < len(owner.inputs)]
        places += [owner.outputs[k] for k in self.out_slots if k < len(owner.outputs)]
        yield from (value for value in places if value is not None)
        yield from (scope.inputs[k] for scope, k in self.body_inputs)
        yield from (scope.outputs[k] for scope, k in self.body_outputs)


def links_of(owner: NodeInfo) -> list[Link]:
    """The links of a node that owns bodies; [] for others.

    Raises:
        ModelError: a body has too few inputs or outputs for its owner.
    """
    links = _links_of(owner) if owner.bodies else []
    for link in links:
        missing = [b.path for b, k in link.body_inputs if k >= len(b.inputs)]
        missing += [b.path for b, k in link.body_outputs if k >= len(b.outputs)]
        if missing:
            raise ModelError(
                f"body {missing[0]!r} of {owner.label()} has fewer inputs or outputs than the"
                " node needs"
            )
    return links


def _links_of(owner: NodeInfo) -> list[Link]:
    body = owner.bodies.get("body")
    if owner.calls_function:
        return _call_links(owner.bodies[""])
    if owner.domain == "" and owner.op_type == "If":
        return _if_links(owner)
    if owner.domain == "" and owner.op_type == "Loop" and body is not None:
        return _loop_links(owner, body)
    if owner.domain == "" and owner.op_type == "Scan" and body is not None:
        return _scan_links(owner, body)
    return [link for body in owner.bodies.values() for link in _loose_links(body)]


def _if_links(owner: NodeInfo) -> list[Link]:
    count = max(len(body.outputs) for body in owner.bodies.values())
    return [
        Link(
            out_slots=(k,),
            body_outputs=tuple((b, k) for b in owner.bodies.values() if k < len(b.outputs)),
        )
        for k in range(count)
    ]


def _loop_links(owner: NodeInfo, body: Scope) -> list[Link]:
    states = len(owner.inputs) - 2
    links = [Link(body_inputs=((body, k),)) for k in range(min(2, len(body.inputs)))]
    links += [Link(body_outputs=((body, 0),))]
    links += [
        Link((2 + k,), (k,), ((body, 2 + k),), ((body, 1 + k),)) for k in range(max(states, 0))
    ]
    scans = range(max(states, 0), len(body.outputs) - 1)
    return links + [Link(out_slots=(k,), body_outputs=((body, 1 + k),)) for k in scans]


def _scan_links(owner: NodeInfo, body: Scope) -> list[Link]:
    found = attribute(owner.proto, "num_scan_inputs")
    count = int(found.i) if found is not None else 0
    if not 0 <= count <= len(body.inputs):
        raise ModelError(
            f"num_scan_inputs of {owner.label()} is {count}; allowed: 0 to {len(body.inputs)}, the"
            " number of its body's inputs; export the model again"
        )
    first = 0 if owner.opset >= 9 else 1
    states = len(body.inputs) - count
    links = [Link((first + k,), (k,), ((body, k),), ((body, k),)) for k in range(states)]
    links += [
        Link(in_slots=(first + k,), body_inputs=((body, k),))
        for k in range(states, len(body.inputs))
    ]
    links += [
        Link(out_slots=(k,), body_outputs=((body, k),)) for k in range(states, len(body.outputs))
    ]
    return links


def _call_links(body: Scope) -> list[Link]:
    links = [Link(in_slots=(k,), body_inputs=((body, k),)) for k in range(len(body.inputs))]
    return links + [
        Link(out_slots=(k,), body_outputs=((body, k),)) for k in range(len(body.outputs))
    ]


def _loose_links(body: Scope) -> list[Link]:
    links = [Link(body_inputs=((body, k),)) for k in range(len(body.inputs))]
    return links + [Link(body_outputs=((body, k),)) for k in range(len(body.outputs))]
