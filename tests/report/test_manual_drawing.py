"""Where manual mode's drawings put things: layers, bars, grades and distributions."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halve.manual_types import NodeStatistics, OutputStatistics, RunStatistics
from halve.report.layered import layered
from halve.report.manual_drawing import (
    distribution,
    draw_graph,
    draw_strip,
    grade_limits,
    grade_of,
    half_range,
)
from halve.types import Comparison
from manual_report_cases import make_manual_report

EDGES = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=30)


def node(error: float, *, clip: int = 0) -> NodeStatistics:
    local = Comparison(4, sum_aa=1.0, sum_bb=1.0, sum_ab=1.0, sum_ee=error * error)
    output = OutputStatistics(0, "t", "float16", fp16=RunStatistics(4, clip=clip), local=local)
    return NodeStatistics(0, "n", "Add", "", "float16", (output,))


@given(EDGES)
@settings(max_examples=80, deadline=None)
def test_every_node_is_below_what_it_reads_and_none_covers_another(
    pairs: list[tuple[int, int]],
) -> None:
    edges = sorted({(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]})
    places = layered(range(13), edges)
    assert all(places[a][1] < places[b][1] for a, b in edges)
    by_layer: dict[int, list[float]] = {}
    for x, layer in places.values():
        by_layer.setdefault(layer, []).append(x)
    for row in by_layer.values():
        row.sort()
        assert all(b - a >= 1 - 1e-9 for a, b in itertools.pairwise(row))
    assert min(x for x, _ in places.values()) == pytest.approx(0)


@given(EDGES)
@settings(max_examples=40, deadline=None)
def test_cycles_and_unknown_ids_end(pairs: list[tuple[int, int]]) -> None:
    assert sorted(layered(range(5), pairs)) == list(range(5))


def test_a_chain_is_straight_and_a_weight_stands_above_its_reader() -> None:
    places = layered([0, 1, 2, 3, 4], [(0, 1), (1, 2), (2, 3), (4, 3)])
    assert len({places[i][0] for i in (0, 1, 2)}) == 1
    assert places[4][1] == places[3][1] - 1


@pytest.mark.parametrize(
    ("error", "clip", "grade"),
    [
        (0.0, 0, "none"),
        (2.0**-11, 0, "e1"),
        (2.0**-10, 0, "e2"),
        (2.0**-7, 0, "e3"),
        (2.0**-5, 0, "e4"),
        (math.inf, 0, "e4"),
        (0.0, 1, "over"),
    ],
)
def test_grades(error: float, clip: int, grade: str) -> None:
    assert grade_of(node(error, clip=clip), "float16") == grade


def test_grades_are_in_roundings_of_the_type() -> None:
    assert grade_of(node(2.0**-8), "bfloat16") == "e1"
    assert grade_limits("bfloat16") == (2.0**-8, 2.0**-6, 2.0**-3)
    assert half_range("bfloat16").beyond == 128
    assert grade_of(None, "float16") == "none"


def test_the_strip_has_a_bar_for_every_error() -> None:
    report = make_manual_report(30)
    strip = draw_strip(report, "float16")
    assert strip.nodes == 30
    bars = "".join(strip.errors.values())
    assert len(re.findall("M", bars)) == sum(grade != "none" for grade in strip.grades)
    assert strip.errors["over"].startswith("M4 100V36")
    assert strip.precision["float32"] == "M1 6h1v24H1z"


def test_edges_that_pass_boxes_go_beside_them() -> None:
    graph = draw_graph(make_manual_report(3), [(0, 1), (1, 2), (0, 2)], "float16")
    side = max(box.x for box in graph.boxes) + graph.box[0]
    edges = [[float(n) for n in re.findall(r"[\d.]+", edge)] for edge in graph.edges.split("M")[1:]]
    aside = [max(edge[2], edge[4]) > side for edge in edges]  # the two controls of a curve
    assert aside == [False, False, True]
    assert all(edge[0] <= side for edge in edges)


def test_constants_are_not_drawn() -> None:
    report = make_manual_report(3)
    first, *rest = report.plan.nodes
    plan = replace(report.plan, nodes=(replace(first, type="Constant"), *rest))
    graph = draw_graph(replace(report, plan=plan), [(0, 1), (1, 2)], "float16")
    assert [box.node.type for box in graph.boxes] == ["Mul", "Relu"]


def test_a_distribution_is_cut_at_both_ends_and_grows_with_the_root() -> None:
    assert distribution(((-40, 1), (-32, 3), (0, 16), (30, 4))) == (
        "M0 24V12.0h1V24zM32 24V0.0h1V24zM55 24V12.0h1V24z"
    )
    assert distribution(()) == ""
