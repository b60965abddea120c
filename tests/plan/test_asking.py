"""Types that only an oracle knows: what is asked, how often, and what becomes of the answers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from onnx import ModelProto, NodeProto, TensorProto

from halve.errors import SessionError
from halve.plan import Analysis, analyse
from halve.types import TypeAnswer, TypeQuestion
from onnx_text import parse

FLOAT, INT64, OPAQUE = int(TensorProto.FLOAT), int(TensorProto.INT64), -1


class Oracle:
    """Knows operators by name; keeps what it was asked."""

    def __init__(self, **known: tuple[int, ...]) -> None:
        self.known = known
        self.asked: list[TypeQuestion] = []

    def __call__(self, questions: Sequence[TypeQuestion]) -> list[TypeAnswer]:
        self.asked += questions
        return [self.answer(NodeProto.FromString(q.operator)) for q in questions]

    def answer(self, node: NodeProto) -> TypeAnswer:
        found = self.known.get(node.op_type)
        return TypeAnswer(reason="never heard of it") if found is None else TypeAnswer(found)


def types(analysis: Analysis) -> dict[str | bytes, int]:
    return {name: value.elem for name, value in analysis.main.values.items()}


CHAIN = """g (float[N] x) => (float[N] y, float[N] z) {
    a = my.One(x)
    b = Relu(a)
    c, d = my.Two<mode = 3>(b, a)
    e = my.One(c)
    y = Abs(e)
    z = Relu(x)
}"""


def test_answers_travel_along_chains_and_equal_operators_are_asked_once() -> None:
    oracle = Oracle(One=(FLOAT,), Two=(FLOAT, INT64))
    analysis = analyse(parse(CHAIN), oracle)
    assert types(analysis) == dict.fromkeys("xabceyz", FLOAT) | {"d": INT64}
    assert analysis.warnings == []
    asked = [(NodeProto.FromString(q.operator).op_type, q.inputs, q.outputs) for q in oracle.asked]
    assert asked == [("One", (FLOAT,), (True,)), ("Two", (FLOAT, FLOAT), (True, True))]
    (two,) = [q for q in oracle.asked if len(q.inputs) == 2]
    node = NodeProto.FromString(two.operator)
    assert (node.domain, node.attribute[0].i, list(node.input), two.opset) == ("my", 3, [], 1)


def test_what_is_told_is_not_asked() -> None:
    oracle = Oracle()
    analysis = analyse(parse("g (float[N] x) => (float[N] y) { y = my.One(x) }"), oracle)
    assert (oracle.asked, types(analysis)["y"], analysis.warnings) == ([], FLOAT, [])


@pytest.mark.parametrize("oracle", [None, Oracle(Two=(FLOAT, FLOAT))])
def test_what_stays_unknown_is_named(oracle: Oracle | None) -> None:
    analysis = analyse(parse(CHAIN), oracle)
    reason = "no runtime was asked" if oracle is None else "never heard of it"
    assert len(analysis.warnings) == 2
    assert (
        f"my::One makes are not known (1 nodes, the first is node 0 (One): {reason})"
        in (analysis.warnings[0])
    )
    assert "my::Two" in analysis.warnings[1]
    assert types(analysis)["b"] == 0
    assert types(analysis)["z"] == FLOAT


def test_an_operator_with_unknown_inputs_says_so() -> None:
    analysis = analyse(parse(CHAIN), Oracle())
    assert "the types of its inputs are not known" in analysis.warnings[1]


def test_a_sequence_is_no_tensor_and_a_missing_answer_stays_unknown() -> None:
    model = parse("g (float[N] x) => (float[N] y) { a, b = my.Two(x) y = Relu(x) }")
    found = types(analyse(model, Oracle(Two=(OPAQUE, 0))))
    assert (found["a"], found["b"]) == (OPAQUE, 0)


def test_attributes_of_a_function_s_call_are_part_of_the_question() -> None:
    model = parse(
        "g (float[N] x) => (float[N] y) { a = local.F<k = 7>(x) y = Relu(x) }",
        functions='<domain: "local", opset_import: ["" : 17, "my" : 1]>'
        " F <k> (v) => (w) { w = my.One<mode : int = @k>(v) }",
    )
    oracle = Oracle(One=(FLOAT,))
    analysis = analyse(model, oracle)
    (question,) = oracle.asked
    (attribute,) = NodeProto.FromString(question.operator).attribute
    assert (attribute.name, attribute.i, attribute.ref_attr_name) == ("mode", 7, "")
    assert types(analysis)["a"] == FLOAT


def test_an_oracle_that_cannot_answer_is_told_of_before_any_question() -> None:
    def broken(questions: Sequence[TypeQuestion]) -> list[TypeAnswer]:
        raise SessionError("no library")

    with pytest.raises(SessionError, match="no library"):
        analyse(plain(), broken)


def plain() -> ModelProto:
    return parse("g (float[N] x) => (float[N] y) { y = Relu(x) }")
