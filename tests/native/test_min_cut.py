"""The cut against all cuts of small networks."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halve._native.min_cut import source_side

Edge = tuple[int, int, int]


def smallest(vertices: int, edges: list[Edge]) -> list[int]:
    """The intersection of the source's sides of all minimum cuts, by trying every set."""
    between = range(2, vertices)
    sides = [{0, *s} for n in range(vertices - 1) for s in combinations(between, n)]
    costs = [sum(c for a, b, c in edges if a in side and b not in side) for side in sides]
    least = [side for side, cost in zip(sides, costs, strict=True) if cost == min(costs)]
    return sorted(set.intersection(*least))


@given(
    vertices=st.integers(2, 7),
    numbers=st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 6)), max_size=25
    ),
    factor=st.sampled_from([1, 1 << 50]),
)
@settings(deadline=None, max_examples=300)
def test_it_is_the_smallest_of_all_minimum_cuts(
    vertices: int, numbers: list[Edge], factor: int
) -> None:
    edges = [(a % vertices, b % vertices, c * factor) for a, b, c in numbers]
    assert source_side(vertices, edges, 0, 1) == smallest(vertices, edges)


def test_a_long_chain_is_cut_at_its_first_narrow_place() -> None:
    length = 200_000
    edges = [(i, i + 1, 5 if i in (700, 150_000) else 9) for i in range(length)]
    assert source_side(length + 1, edges, 0, length) == list(range(701))


def test_what_is_no_network_is_refused() -> None:
    for vertices, edges, sink in (
        (2, [(0, 2, 1)], 1),
        (2, [(0, 1, -1)], 1),
        (2, [], 2),
        (2, [], 0),
    ):
        with pytest.raises(ValueError, match=r"must be two vertices|leaves the network"):
            source_side(vertices, edges, 0, sink)
