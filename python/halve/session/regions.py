"""Runs of small units that are gated together, so that a trial enters one `If` for all of them.

Entering an `If` takes ONNX Runtime longer than running a node on a few thousand elements. A region
is a run of a graph's nodes in which every unit is small; where all its units are alike in a trial,
it is computed by nodes without gates.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from onnx import NodeProto

from halve.search_types import Unit
from halve.session.gate_graph import Scope, names_read

__all__ = ["Item", "Region", "Sizes", "find_regions"]

# Two casts of as many elements take about as long as entering an `If`.
_SMALL = 16384
_LEAST_UNITS = 2
# One unit that differs makes a trial take the slow way through its region.
_MOST_UNITS = 16
# What carries a state or draws numbers must stand in one place only. A Cast may undo one of ours
# (rule 7 of halve.session.gates).
_ALONE = frozenset({
    "Bernoulli", "Cast", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Item:
    """A step of a body: a node that is no unit's, or a unit, at the place of its last node.

    `nodes` are copies of the nodes as they were; `alone` says that it stays out of regions.
    """

    nodes: tuple[NodeProto, ...]
    unit: Unit | None
    alone: bool

    @property
    def makes(self) -> set[str]:
        """The names that others may read."""
        return {name for name in self.nodes[-1].output if name}

    @property
    def reads(self) -> set[str]:
        """The names that it takes from outside itself."""
        inner = {name for node in self.nodes[:-1] for name in node.output}
        return {name for node in self.nodes for name in names_read(node) if name} - inner


@dataclass(frozen=True, slots=True)
class Region:
    """Consecutive items; `units` are consecutive indices, `outputs` the names that others read."""

    first: int
    last: int
    units: range
    outputs: tuple[str, ...]


class Sizes:
    """How many elements values have, by name; those of the main graph are known, if any are."""

    def __init__(self, elements: Mapping[str, int]) -> None:
        """Counts of main-graph values that are no weights."""
        self._elements = elements
        # What a body computes is taken to be as large as the largest value outside: where that is
        # wrong, trials take longer.
        self._largest = max(elements.values(), default=math.inf)

    def small_reading(self, unit: Unit, nodes: Sequence[NodeProto], scope: Scope) -> bool:
        """Whether rounding what a unit reads is cheaper than asking whether to."""
        names = {
            node.input[slot]
            for info, node in zip(unit.nodes, nodes, strict=True)
            for slot in info.in_slots
        }
        return self._sum((name for name in names if scope.owner_of(name) is None), scope) <= _SMALL

    def small(self, item: Item, scope: Scope) -> bool:
        """Whether an item may be in a region: three copies of it cost next to nothing."""
        weights = [_count(scope, name) for name in item.reads]
        stays = item.alone or any(node.op_type in _ALONE for node in item.nodes)
        if stays or sum(weights) > _SMALL:
            return False
        if item.unit is None:
            return True
        generates = not any(info.in_slots for info in item.unit.nodes)
        if generates or not self.small_reading(item.unit, item.nodes, scope):
            return False
        made = {
            node.output[slot]
            for info, node in zip(item.unit.nodes, item.nodes, strict=True)
            for slot in info.out_slots
        }
        return self._sum(made, scope) <= _SMALL

    def _sum(self, names: Iterable[str], scope: Scope) -> float:
        unknown = self._largest if scope.path else math.inf
        return sum(self._elements.get(name, unknown) for name in names)


def _count(scope: Scope, name: str) -> int:
    """The elements of a weight; 0 for what is none."""
    owner = scope.owner_of(name)
    return 0 if owner is None else math.prod(owner.constants[name].dims)


def find_regions(
    items: Sequence[Item], small: Callable[[Item], bool], outputs: Collection[str]
) -> list[Region]:
    """The regions of a body with these outputs; none where its nodes are not in order."""
    if not _in_order(items):
        return []
    readers = Counter(name for item in items for name in item.reads)
    readers.update(outputs)
    found: list[Region] = []
    for run in _runs(items, small):
        units = [index for index in run if items[index].unit is not None]
        if len(units) < _LEAST_UNITS:
            continue
        found += _region(items, range(units[0], units[-1] + 1), readers)
    return found


def _in_order(items: Sequence[Item]) -> bool:
    """Whether nothing is read before it is made."""
    later = set().union(*(item.makes for item in items))
    for item in items:
        if item.reads & later:
            return False
        later -= item.makes
    return True


def _runs(items: Sequence[Item], small: Callable[[Item], bool]) -> list[list[int]]:
    """Runs of small items with consecutive units, no more than a region has."""
    runs: list[list[int]] = [[]]
    count, expected = 0, -1
    for index, item in enumerate(items):
        if not small(item):
            runs.append([])
            count = 0
            continue
        if item.unit is not None:
            if count == _MOST_UNITS or (count and item.unit.index != expected):
                runs.append([])
                count = 0
            count, expected = count + 1, item.unit.index + 1
        runs[-1].append(index)
    return runs


def _region(items: Sequence[Item], run: range, readers: Counter[str]) -> list[Region]:
    inside = Counter(name for index in run for name in items[index].reads)
    made = dict.fromkeys(name for index in run for name in sorted(items[index].makes))
    outputs = tuple(name for name in made if readers[name] > inside[name])
    numbers = [unit.index for unit in (items[index].unit for index in run) if unit is not None]
    units = range(numbers[0], numbers[-1] + 1)
    return [Region(run.start, run.stop - 1, units, outputs)] if outputs else []
