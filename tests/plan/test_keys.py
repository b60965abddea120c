"""Structural keys: the same for a model that was exported again, others where it changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import ModelProto, numpy_helper

from halve.plan.analysis import analyse
from halve.plan.keys import down_part, node_keys, up_part
from halve.source import open_model
from onnx_text import parse
from re_export import re_export

ATTENTION = """g (float[2,4] x) => (float[2,2] y)
<float[4,2] wq = {1,0,0,0,0,1,0,0}, float[4,2] wk = {1,0,0,0,0,1,0,2},
 float[4,2] wv = {1,0,0,0,0,1,0,3}> {
  [q] a = MatMul(x, wq)
  [k] b = MatMul(x, wk)
  [v] c = MatMul(x, wv)
  [t] d = Transpose(b)
  [s] e = MatMul(a, d)
  [p] f = Softmax(e)
  [o] y = MatMul(f, c)
}"""
BRANCHES = """g (bool c, float[2] x) => (float[2] y, float[2] z) {
  [before] h = Sin(x)
  [choice] y = If (c) <
    then_branch = a () => (float[2] p) { [in1] r = Exp(h) [in2] s = Sin(x) [in3] p = Mul(r, s) },
    else_branch = b () => (float[2] q) { [in4] t = Exp(h) [in5] q = Neg(t) } >
  [after] z = Sin(y)
}"""
CALLS = """g (float[2] x) => (float[2] y) {
  [one] a = local.f(x) [two] b = local.f(a) [three] y = local.h(b)
}"""
FUNCTIONS = """<domain: "local", opset_import: ["" : 17]>
f (u) => (v) { [i] w = Exp(u) [j] s = Sin(u) [k] v = Mul(w, s) }
<domain: "local", opset_import: ["" : 17]>
h (u) => (v) { [l] w = Exp(u) [m] v = Neg(w) }"""


def keys_by_name(model: ModelProto) -> dict[str, str]:
    names = [node.name for _, _, node in analyse(model).all_nodes]
    return dict(zip(names, node_keys(analyse(model)), strict=True))


def model_of(text: str) -> ModelProto:
    return parse(text, functions=FUNCTIONS if "local" in text else "")


@pytest.mark.parametrize("text", [ATTENTION, BRANCHES, CALLS], ids=["attention", "if", "calls"])
@pytest.mark.parametrize("seed", range(6))
def test_names_and_order_do_not_matter(text: str, seed: int) -> None:
    """What is behind each key is the same: the operator, and the weight by its contents."""
    first, again = model_of(text), re_export(model_of(text), seed)
    found = [_identities(model) for model in (first, again)]
    assert found[0] == found[1]
    assert len(found[0]) == len(analyse(first).all_nodes)


def _identities(model: ModelProto) -> dict[str, tuple[str, list[object]]]:
    analysis = analyse(model)
    weights = {t.name: numpy_helper.to_array(t).tolist() for t in model.graph.initializer}
    return {
        key: (
            "call" if node.domain == "local" else node.op_type,
            [weights[name] for name in node.input if name in weights],
        )
        for key, (_, _, node) in zip(node_keys(analysis), analysis.all_nodes, strict=True)
    }


def test_trained_models_keep_their_keys(trained_model: Path) -> None:
    model = open_model(trained_model / "model.onnx").proto
    again = re_export(model, 1)
    assert sorted(node_keys(analyse(again))) == sorted(node_keys(analyse(model)))


def test_projections_of_an_attention_are_told_apart() -> None:
    keys = keys_by_name(parse(ATTENTION))
    assert len({up_part(keys[name]) for name in "qkv"}) == 1
    assert len({down_part(keys[name]) for name in "qkv"}) == 3


def test_equal_bodies_of_two_owners_are_told_apart() -> None:
    text = """g (bool c, float[2] x) => (float[2] y) {
      a = If (c) <then_branch = t () => (float[2] p) { [i] p = Exp(x) },
                  else_branch = e () => (float[2] q) { [j] q = Exp(x) }>
      y = If (c) <then_branch = t2 () => (float[2] r) { [k] r = Exp(a) },
                  else_branch = e2 () => (float[2] s) { [l] s = Exp(a) }> }"""
    keys = keys_by_name(parse(text))
    assert len({keys[name] for name in "ijkl"}) == 4


def test_a_change_above_keeps_the_lower_half_and_one_below_the_upper() -> None:
    before = keys_by_name(parse(ATTENTION))
    after = keys_by_name(
        parse(ATTENTION.replace("[p] f = Softmax(e)", "g = Tanh(e) [p] f = Softmax(g)"))
    )
    assert [up_part(before[name]) == up_part(after[name]) for name in "qkvtspo"] == [
        True, True, True, True, True, False, False,
    ]  # fmt: skip
    assert [down_part(before[name]) == down_part(after[name]) for name in "qkvtspo"] == [
        False, False, True, False, False, True, True,
    ]  # fmt: skip


def test_a_functions_nodes_have_one_key_however_often_it_is_called() -> None:
    keys = keys_by_name(model_of(CALLS))
    assert len(set(keys.values())) == len(keys) == 8


def test_a_function_that_nothing_calls_has_keys() -> None:
    model = parse("g (float[2] x) => (float[2] y) { y = Exp(x) }", functions=FUNCTIONS)
    keys = node_keys(analyse(model))
    assert len(set(keys)) == len(keys) == 6


def test_notes_in_attributes_do_not_matter() -> None:
    plain, noted = (parse("g (float[2,2] x) => (float[2,2] y) { y = Softmax<axis = 1>(x) }"),) * 2
    noted = re_export(plain)
    noted.graph.node[0].attribute[0].doc_string = "the last axis"
    assert node_keys(analyse(plain)) == node_keys(analyse(noted))
