"""The minimum cut of a network with 64-bit capacities."""

from __future__ import annotations

from collections.abc import Sequence

from halve import _core

__all__ = ["source_side"]


def source_side(
    vertices: int, edges: Sequence[tuple[int, int, int]], source: int, sink: int
) -> list[int]:
    """The vertices on the source's side of the smallest of all minimum cuts, ascending.

    Vertices are 0 to `vertices` - 1, edges (from, to, capacity); those between the same two add up.

    Raises:
        ValueError: a number is not a vertex, source and sink are one, or a capacity is negative.
    """
    return _core.source_side(vertices, edges, source, sink)
