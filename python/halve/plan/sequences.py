"""Sequences of float32 tensors: one precision for all that makes, passes on or reads one.

A sequence has no Cast. So the places that a sequence reaches (through operators, bodies and calls)
are a group, and a group becomes 16-bit as a whole or not at all. Rules:

1. It stays float32 where one of its places does: an operator that is blocked, or has no kernel, or
   no schema for it.
2. It stays float32 where it is an input or output of the main graph, whose type nobody who feeds
   or reads it could tell from keep_io_types otherwise.
3. The tensors that enter and leave it are cast there, as those of any operator.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from halve.plan.analysis import Analysis, NodeInfo, Value
from halve.plan.decision import Decision

__all__ = ["SequenceGroup", "keep_sequences", "sequence_groups"]

# A node's id and one of its type variables: instances of a function share the nodes of one body.
_Place = tuple[int, str]


@dataclass(frozen=True, slots=True)
class SequenceGroup:
    """The places that sequences of one precision reach, and the values that they are."""

    places: frozenset[_Place]
    values: tuple[Value, ...]

    @property
    def at_border(self) -> bool:
        """Whether one is an input or output of the main graph."""
        return any(value.is_input or value.is_output for value in self.values)


def sequence_groups(analysis: Analysis) -> list[SequenceGroup]:
    """The groups of a model's sequences of float32 tensors."""
    homes: dict[_Place, int] = {}
    joined = list(range(len(analysis.sequences)))

    def find(number: int) -> int:
        while joined[number] != number:
            number = joined[number]
        return number

    for number, values in enumerate(analysis.sequences):
        for place in {place for value in values for place in _places(value)}:
            joined[find(number)] = find(homes.setdefault(place, number))
    found: dict[int, tuple[set[_Place], list[Value]]] = {}
    for number, values in enumerate(analysis.sequences):
        places, members = found.setdefault(find(number), (set(), []))
        places.update(place for value in values for place in _places(value))
        members += values
    return [SequenceGroup(frozenset(places), tuple(values)) for places, values in found.values()]


def _places(value: Value) -> Iterator[_Place]:
    if value.source is not None:
        node, slot = value.source
        yield node.id, node.out_types[slot][0]
    for node, slot in value.readers:
        yield node.id, node.in_types[slot][0]


def keep_sequences(analysis: Analysis, decisions: list[Decision]) -> list[Decision]:
    """The decisions with groups that cannot be 16-bit in float32 (rules 1 and 2)."""
    groups = sequence_groups(analysis)
    if not groups:
        return decisions
    nodes: dict[int, list[NodeInfo]] = {}
    for node in analysis.nodes:
        nodes.setdefault(node.id, []).append(node)
    result = list(decisions)
    for group in groups:
        reason = _obstacle(group, nodes, decisions)
        for number, var in group.places if reason else ():
            for node in nodes[number]:
                _keep(result, node, var, reason)
    return result


def _obstacle(
    group: SequenceGroup, nodes: dict[int, list[NodeInfo]], decisions: Sequence[Decision]
) -> str:
    """Why a group stays float32; "" where it need not."""
    if group.at_border:
        return "its sequence is an input or output of the model"
    for number, var in sorted(group.places):
        for node in nodes[number]:
            if var not in decisions[node.uid].half_vars:
                return f"its sequence stays float32 for {node.label()}"
    return ""


def _keep(result: list[Decision], node: NodeInfo, var: str, reason: str) -> None:
    kept = result[node.uid]
    if var in kept.half_vars:
        result[node.uid] = Decision(kept.half_vars - {var}, kept.reason or reason)
