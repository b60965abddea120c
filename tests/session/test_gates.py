"""What of a gated model a switch rules, and when a run has it on."""

from __future__ import annotations

from collections import Counter

import onnx
import pytest
from onnx import GraphProto, NodeProto

from halve._native.switches import SwitchBoard
from halve.errors import SessionError
from halve.options import ConvertOptions
from halve.plan import analyse, load_target
from halve.plan.units import search_units
from halve.session import canary, gates
from halve.session.gate_graph import Names
from halve.session.gates import Gated, gate_units
from halve.session.probe import weight_rounding
from halve.session.rounded_weights import RoundedWeights
from halve.session.roundings import CastRoundings, OperatorRoundings
from halve.session.switches import Switch
from halve.session.weight_store import InlineWeights
from halve.source import open_model
from halve.types import CastBounds, DType
from onnx_text import parse


def gated(text: str, *, casts: bool = False) -> Gated:
    model = parse(text)
    options = ConvertOptions(target="any")
    units = search_units(analyse(open_model(model).proto), options, load_target("any"))
    rounding = weight_rounding(DType.FLOAT16, CastBounds())
    names, half = Names("halve"), int(DType.FLOAT16)
    weights = RoundedWeights(rounding, InlineWeights(), names)
    roundings = CastRoundings(half, names) if casts else OperatorRoundings(half)
    return gate_units(model, units, weights, roundings)


def ops(graph: GraphProto) -> Counter[str]:
    return Counter(node.op_type for node in graph.node)


def switch_of(node: NodeProto) -> int:
    assert node.op_type == "Round", node.op_type
    return next(attribute.i for attribute in node.attribute if attribute.name == "switch")


def test_a_value_is_rounded_once_between_two_units() -> None:
    found = gated("g (float[4] x) => (float[4] y) { a = Sin(x) y = Cos(a) }")
    assert ops(found.model.graph) == {"Round": 2, "Sin": 1, "Cos": 1}
    assert found.switches == (Switch((0, 1)), Switch((1,)))


def test_what_nothing_rounded_before_is_rounded_by_its_reader() -> None:
    found = gated("g (int64[4] i) => (float[4] y) { x = Cast<to = 1>(i) y = Cos(x) }")
    assert found.switches == (Switch((0,)),)
    assert ops(found.model.graph)["Round"] == 2


def test_readers_of_a_value_each_have_theirswitch_of() -> None:
    outputs = "float[4] a, float[4] y, float[4] z"
    found = gated(f"g (float[4] x) => ({outputs}) {{ a = Sin(x) y = Cos(a) z = Exp(a) }}")
    assert {Switch((0, 1)), Switch((0, 2)), Switch((0,))} <= set(found.switches)


def test_a_move_stands_before_the_rounding() -> None:
    found = gated(
        """g (float[2, 2] x) => (float[2, 2] y) {
            a = Sin(x) b = Transpose<perm = [1, 0]>(a) c = Relu(b) y = Cos(c)
        }"""
    )
    assert ops(found.model.graph)["Round"] == 2
    cos = next(node for node in found.model.graph.node if node.op_type == "Cos")
    made = {node.output[0]: node for node in found.model.graph.node}
    read = made[cos.input[0]]
    assert found.switches[switch_of(read)] == Switch((0, 1))
    assert made[read.input[0]].op_type == "Relu"


def test_what_is_joined_is_settled_where_all_parts_are() -> None:
    found = gated(
        """g (float[2] x) => (float[4] y) {
            a = Sin(x) b = Cos(x) c = Concat<axis = 0>(a, b) y = Exp(c)
        }"""
    )
    assert Switch((2,), settled=(0, 1)) in found.switches


def test_only_weights_that_rounding_changes_need_branches() -> None:
    text = "g (float[2, 2] x) => (float[2, 2] y) <float[2, 2] w = {W}> { y = MatMul(x, w) }"
    assert ops(gated(text.replace("W", "1, 2, 3, 4")).model.graph)["If"] == 0
    found = gated(text.replace("W", "1, 2, 3, 0.1")).model.graph
    (gate,) = (node for node in found.node if node.op_type == "If")
    for attribute in gate.attribute:
        assert [tensor.name for tensor in attribute.g.initializer] == [attribute.g.node[0].input[1]]


def test_small_elementwise_operands_are_chosen_and_large_ones_have_branches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "g (float[2] x) => (float[2] y) <float[2] w = {0.1, 0.2}> { y = Mul(x, w) }"
    assert ops(gated(text).model.graph)["Choose"] == 1
    monkeypatch.setattr(gates, "_SMALL", 1)
    assert ops(gated(text).model.graph)["Choose"] == 0
    assert ops(gated(text).model.graph)["If"] == 1


def test_switches_follow_the_units() -> None:
    board = SwitchBoard([[0], [0, 1], [2], []], [[], [], [0, 1], []], 3)
    assert board.set(()).tolist() == [True, True, False, False]
    assert board.set({0}).tolist() == [False, True, True, False]
    assert board.set({0, 1}).tolist() == [False, False, True, False]
    assert board.set([2]).tolist() == [True, True, False, False]
    assert board.set({0, 1, 2}).tolist() == [False] * 4
    assert SwitchBoard([], [], 0).set(()).shape == (0,)


def test_a_switch_of_no_unit_is_refused() -> None:
    with pytest.raises(IndexError):
        SwitchBoard([[3]], [[]], 3)
    with pytest.raises(IndexError):
        SwitchBoard([[0]], [[]], 3).set({3})


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_canary_rounds_by_operators(dtype: str) -> None:
    roundings = OperatorRoundings(int(DType[dtype.upper()]))
    assert canary.check_canary(dtype, roundings=roundings).values > 4096


def test_the_canary_sees_an_operator_that_rounds_to_another_type() -> None:
    with pytest.raises(SessionError, match="rounds otherwise"):
        canary.check_canary("float16", roundings=OperatorRoundings(int(DType.BFLOAT16)))


def test_gated_models_are_valid_but_for_our_domain() -> None:
    """The casts' form has no operators of our own: onnx's checker reads all of it."""
    text = "g (float[2] x) => (float[2] y) <float[2] w = {0.1, 0.2}> { a = Mul(x, w) y = Sin(a) }"
    found = gated(text, casts=True)
    onnx.checker.check_model(found.model)
    assert ops(found.model.graph)["Round"] == 0
    assert ops(found.model.graph)["If"] == len(found.switches)
