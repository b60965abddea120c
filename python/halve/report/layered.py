"""A graph in layers: every node below what it reads, neighbours near each other.

Coordinates are in steps: y is the layer, x a place in it. Nothing here knows SVG.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

__all__ = ["layered"]

# Down and up again, twice: more hardly changes the order of a network's few branches.
_SWEEPS = 2
_Places = dict[int, tuple[float, int]]
_Near = Mapping[int, Sequence[int]]


def layered(ids: Sequence[int], edges: Iterable[tuple[int, int]]) -> _Places:
    """(x, layer) of every id; x begins at 0. Edges of other ids are left out. A node in a cycle,
    which only a damaged record has, goes below all others.
    """
    known = set(ids)
    above: dict[int, list[int]] = {id: [] for id in ids}
    below: dict[int, list[int]] = {id: [] for id in ids}
    for maker, reader in edges:
        if maker in known and reader in known and maker != reader:
            above[reader].append(maker)
            below[maker].append(reader)
    layer = _layers(ids, above, below)
    rows: list[list[int]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for id in ids:
        rows[layer[id]].append(id)
    for _ in range(_SWEEPS):
        _sort(rows, above)
        _sort(rows[::-1], below)
    _sort(rows, above)
    x = _spread(rows, above)
    left = min(x.values(), default=0.0)
    return {id: (x[id] - left, layer[id]) for id in ids}


def _layers(ids: Sequence[int], above: _Near, below: _Near) -> dict[int, int]:
    """The longest way from a node without makers; such nodes go right above their first reader."""
    waiting = {id: len(above[id]) for id in ids}
    ready = [id for id in ids if not waiting[id]]
    layer: dict[int, int] = {}
    for id in ready:
        layer[id] = max((layer[maker] + 1 for maker in above[id]), default=0)
        for reader in below[id]:
            waiting[reader] -= 1
            if not waiting[reader]:
                ready.append(reader)
    last = max(layer.values(), default=-1) + 1
    layer |= {id: last for id in ids if id not in layer}
    for id in ids:
        if not above[id] and below[id]:
            layer[id] = max(0, min(layer[reader] for reader in below[id]) - 1)
    return layer


def _sort(rows: Sequence[list[int]], near: _Near) -> None:
    """Each row by the middle of its neighbours in the rows before it."""
    place: dict[int, float] = {}
    for row in rows:
        middles = {}
        for number, id in enumerate(row):
            found = [place[other] for other in near[id] if other in place]
            middles[id] = sum(found) / len(found) if found else number / max(1, len(row))
        row.sort(key=lambda id: middles[id])
        for number, id in enumerate(row):
            place[id] = (number + 0.5) / len(row)


def _spread(rows: Sequence[Sequence[int]], above: _Near) -> dict[int, float]:
    """As near as can be to the middle of what a node reads, a step apart from its neighbours."""
    x: dict[int, float] = {}
    for row in rows:
        wanted: list[float] = []
        taken: list[float] = []
        for id in row:
            found = [x[maker] for maker in above[id] if maker in x]
            middle = sum(found) / len(found) if found else (taken[-1] + 1 if taken else 0.0)
            wanted.append(middle)
            taken.append(max(middle, taken[-1] + 1) if taken else middle)
        shift = sum(a - b for a, b in zip(wanted, taken, strict=True)) / max(1, len(row))
        x |= {id: at + shift for id, at in zip(row, taken, strict=True)}
    return x
