"""Edges between nodes: in the main graph, into bodies and out of them, and inside functions."""

from __future__ import annotations

from halve.plan.analysis import analyse
from halve.plan.edges import node_edges
from onnx_text import parse


def test_a_node_reads_what_another_makes() -> None:
    text = "g (float[2] x) => (float[2] y) { a = Exp(x) b = Neg(a) y = Add(a, b) }"
    assert node_edges(analyse(parse(text))) == ((0, 1), (0, 2), (1, 2))


def test_a_body_stands_between_what_it_captures_and_its_owner() -> None:
    text = """g (bool c, float[2] x) => (float[2] y) {
      h = Sin(x)
      i = If (c) <then_branch = t () => (float[2] p) { p = Exp(h) },
                  else_branch = e () => (float[2] h) { }>
      y = Neg(i) }"""
    # 0 Sin, 1 If, 2 Neg, 3 Exp in the branch; the other branch returns what Sin makes.
    assert node_edges(analyse(parse(text))) == ((0, 1), (0, 3), (1, 2), (3, 1))


def test_a_function_is_by_itself() -> None:
    text = "g (float[2] x) => (float[2] y) { a = local.f(x) y = local.f(a) }"
    function = '<domain: "local", opset_import: ["" : 17]> f (u) => (v) { w = Exp(u) v = Neg(w) }'
    assert node_edges(analyse(parse(text, functions=function))) == ((0, 1), (2, 3))
