"""The rows of a plan and the nodes of a model that may have changed since: which is which.

What is left of one rule goes to the next:

1. the same key;
2. the same `up` part: it computes the same, and is used otherwise now;
3. the same `down` part: something changed above it, and nothing in it or below it;
4. the same name and operator.

Several rows and as many nodes that a rule takes for the same are paired in order where the rows'
decisions are the same, so that it does not matter which is which; else by their names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from halve.plan.keys import down_part, up_part
from halve.plans import PlanNode

__all__ = ["Matching", "listed", "match_rows"]

_LISTED = 8
_NAME_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class Matching:
    """`pairs` of (row of the plan, node of the model), rows that found none, and nodes that no row
    is for; in the order of ids.
    """

    pairs: tuple[tuple[PlanNode, PlanNode], ...]
    lost: tuple[PlanNode, ...]
    new: tuple[PlanNode, ...]


def match_rows(rows: Sequence[PlanNode], nodes: Sequence[PlanNode]) -> Matching:
    """Find each row's node; of `nodes` only id, name, type and key are looked at."""
    pairs: list[tuple[PlanNode, PlanNode]] = []
    lost, new = list(rows), list(nodes)
    for rule in _RULES:
        found = _apply(rule, lost, new)
        pairs += found
        rows_done, nodes_done = {id(row) for row, _ in found}, {id(node) for _, node in found}
        lost = [row for row in lost if id(row) not in rows_done]
        new = [node for node in new if id(node) not in nodes_done]
    pairs.sort(key=lambda pair: pair[0].id)
    return Matching(tuple(pairs), tuple(lost), tuple(new))


def listed(nodes: Sequence[PlanNode]) -> str:
    """Nodes for a message: id, operator, name and scope, eight at most."""
    shown = [_spelt(node) for node in nodes[:_LISTED]]
    more = f" and {len(nodes) - _LISTED} more" if len(nodes) > _LISTED else ""
    return ", ".join(shown) + more


def _spelt(node: PlanNode) -> str:
    name = f" {node.name[:_NAME_CHARACTERS]!r}" if node.name else ""
    scope = f" in {node.scope}" if node.scope else ""
    return f"node {node.id} ({node.type}{name}{scope})"


def _by_name(node: PlanNode) -> str:
    return f"{node.type}|{node.name}" if node.name else ""


_RULES: tuple[Callable[[PlanNode], str], ...] = (
    lambda node: node.key,
    lambda node: up_part(node.key),
    lambda node: down_part(node.key),
    _by_name,
)


def _apply(
    rule: Callable[[PlanNode], str], rows: Sequence[PlanNode], nodes: Sequence[PlanNode]
) -> list[tuple[PlanNode, PlanNode]]:
    groups: dict[str, tuple[list[PlanNode], list[PlanNode]]] = {}
    for place, side in enumerate((rows, nodes)):
        for node in side:
            groups.setdefault(rule(node), ([], []))[place].append(node)
    groups.pop("", None)
    return [pair for group in groups.values() if all(group) for pair in _pair(*group)]


def _pair(rows: Sequence[PlanNode], nodes: Sequence[PlanNode]) -> list[tuple[PlanNode, PlanNode]]:
    same = all(_decision(row) == _decision(rows[0]) for row in rows)
    if same and len(rows) == len(nodes):
        return list(zip(rows, nodes, strict=True))
    counts = Counter(row.name for row in rows), Counter(node.name for node in nodes)
    by_name = {node.name: node for node in nodes if counts[1][node.name] == 1}
    return [
        (row, by_name[row.name])
        for row in rows
        if row.name and counts[0][row.name] == 1 and row.name in by_name
    ]


def _decision(row: PlanNode) -> tuple[str, dict[str, str]]:
    return row.dtype, dict(row.operands)
