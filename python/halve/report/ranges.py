"""Sets of whole numbers as ranges."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["ranges"]


def ranges(indices: Iterable[int]) -> list[list[int]]:
    """Whole numbers as [first, last] pairs of neighbours, ascending: a set may have thousands."""
    pairs: list[list[int]] = []
    for index in sorted(indices):
        if pairs and index == pairs[-1][1] + 1:
            pairs[-1][1] = index
        else:
            pairs.append([index, index])
    return pairs
