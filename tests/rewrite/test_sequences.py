"""Sequences of tensors: one precision wherever one goes, casts where tensors enter or leave."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from conformance.harness import run_ort
from halve.convert import convert
from halve.errors import PlanError
from halve.options import ConvertOptions
from halve.plan import analyse, load_target, make_plan
from halve.rewrite import rewrite
from halve.session import load, lower
from halve.source import open_model
from halve.types import ConvertResult
from onnx_text import BFLOAT16, FLOAT, FLOAT16, checked, parse

X = np.array([0.5, -1.25], np.float32)
FEEDS = {"x": X, "n": np.array(3), "c": np.array(True)}

LISTS = """g (float[2] x) => (float[m] y) <float[2] w = {1.5, 0.25}> {
    [a] a = Sin(x)
    [make] s = SequenceConstruct(a, w)
    [i] i = Constant<value_int = 1>()
    [insert] t = SequenceInsert(s, x, i)
    [erase] u = SequenceErase(t, i)
    [at] b = SequenceAt(u, i)
    [length] n = SequenceLength(u)
    [join] d = ConcatFromSequence<axis = 0>(u)
    [y] y = Exp(d)
}"""
SPLIT = """g (float[2] x) => (float[1] y) {
    [a] a = Sin(x)
    [split] s = SplitToSequence<axis = 0>(a)
    [i] i = Constant<value_int = 0>()
    [at] b = SequenceAt(s, i)
    [flat] f = Reshape(b, k)
    [y] y = Exp(f)
}"""
LOOP = """g (int64 n, bool c, float[2] x) => (float[m] y) {
    [a] a = Sin(x)
    [empty] s = SequenceEmpty()
    [loop] t = Loop(n, c, s) <body = b (int64 k, bool go, seq(float[2]) u)
        => (bool more, seq(float[2]) v) {
        more = Identity(go)
        [in] e = Cos(a)
        [insert] v = SequenceInsert(u, e)
    }>
    [join] d = ConcatFromSequence<axis = 0>(t)
    [y] y = Exp(d)
}"""
BRANCHES = """g (bool c, float[2] x) => (float[2] y) {
    [a] a = Sin(x)
    [if] s = If(c) <
        then_branch = t () => (seq(float[2]) p) { [one] p = SequenceConstruct(a) },
        else_branch = e () => (seq(float[2]) q) { [two] q = SequenceConstruct(a, x) }
    >
    [i] i = Constant<value_int = 0>()
    [at] b = SequenceAt(s, i)
    [y] y = Exp(b)
}"""
CALLS = """g (float[2] x) => (float[2] y) {
    [a] a = Sin(x)
    [make] s = SequenceConstruct(x)
    [one] t = local.more(s, a)
    [two] u = local.more(t, x)
    [i] i = Constant<value_int = 2>()
    [at] b = SequenceAt(u, i)
    [y] y = Exp(b)
}"""
MORE = """<domain: "local", opset_import: ["" : 17]>
more (s, t) => (u) { [cos] d = Cos(t) [insert] u = SequenceInsert(s, d) }"""


def split_model() -> ModelProto:
    model = parse(SPLIT)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "k"))
    return model


CASES = {
    "lists": parse(LISTS),
    "split": split_model(),
    "loop": parse(LOOP),
    "branches": parse(BRANCHES),
    "calls": parse(CALLS, functions=MORE),
}


def converted(model: ModelProto, **options: object) -> ConvertResult:
    options.setdefault("target", "any")
    return convert(model, options=ConvertOptions(**options))  # type: ignore[arg-type]


def dtypes(result: ConvertResult) -> dict[str, str]:
    return {node.name: node.dtype for node in result.plan.nodes if node.name}


def runs_alike(source: ModelProto, result: ConvertResult) -> None:
    """The result loads, and under true rounding agrees with the source to what float16 holds."""
    done = checked(result)
    load(done, optimise=False)
    feeds = {info.name: FEEDS[info.name] for info in source.graph.input}
    (expected,) = run_ort(source, feeds)
    (got,) = run_ort(lower(done), feeds)
    np.testing.assert_allclose(got.astype(np.float32), expected, rtol=4e-3, atol=4e-3)


@pytest.mark.parametrize("target", ["any", "cuda", "cpu"])
@pytest.mark.parametrize("name", CASES)
def test_all_half_without_a_cast(name: str, target: str) -> None:
    result = converted(CASES[name], target=target)
    runs_alike(CASES[name], result)
    assert result.casts == ()
    assert set(dtypes(result).values()) <= {"float16", ""}


@pytest.mark.parametrize("name", CASES)
def test_with_float32_inputs_and_outputs_and_twice(name: str) -> None:
    result = converted(CASES[name], keep_io_types=True)
    runs_alike(CASES[name], result)
    assert "float16" in dtypes(result).values()
    again = converted(checked(result), keep_io_types=True)
    assert again.identity


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_any_one_node_kept(name: str, keep: bool) -> None:
    for number in range(len(converted(CASES[name]).plan.nodes)):
        runs_alike(CASES[name], converted(CASES[name], fp32_nodes=(number,), keep_io_types=keep))


@pytest.mark.parametrize("name", CASES)
def test_everything_blocked_is_the_identity(name: str) -> None:
    result = converted(CASES[name], op_block=(".*",), keep_io_types=True)
    assert result.identity
    assert result.model == CASES[name]


def test_one_blocked_operator_keeps_the_sequence_and_no_more() -> None:
    result = converted(CASES["lists"], node_block=("erase",))
    found = dtypes(result)
    group = {"make", "insert", "erase", "at", "length", "join"}
    assert {name for name, dtype in found.items() if dtype == "float32"} == group
    reasons = {node.name: node.reason for node in result.plan.nodes}
    assert "stays float32 for node 4" in reasons["make"]
    assert [row.tensor for row in result.casts] == ["x", "a", "d"]


def test_a_blocked_body_of_a_function_keeps_what_both_calls_share() -> None:
    result = converted(CASES["calls"], node_block=("insert",))
    found = dtypes(result)
    kept = {name for name, dtype in found.items() if dtype == "float32"}
    assert kept == {"make", "insert", "at"}
    calls = [node.operands for node in result.plan.nodes if node.type == "more"]
    assert calls == [{"in0": "float32", "out0": "float32"}] * 2


def test_between_float32_ends_a_sequence_stays_float32() -> None:
    result = converted(CASES["split"], node_block=("a", "y"))
    assert {dtype for dtype in dtypes(result).values() if dtype} == {"float32"}
    assert len(result.casts) == 2  # the model's input and output


def test_declared_sequences_are_retyped() -> None:
    done = checked(converted(CASES["loop"]))
    (loop,) = [node for node in done.graph.node if node.op_type == "Loop"]
    body = loop.attribute[0].g
    for info in (body.input[2], body.output[1]):
        assert info.type.sequence_type.elem_type.tensor_type.elem_type == FLOAT16
    (empty,) = [node for node in done.graph.node if node.op_type == "SequenceEmpty"]
    assert [attr.i for attr in empty.attribute] == [FLOAT16]


@pytest.mark.parametrize("keep", [False, True])
def test_a_sequence_at_the_border_keeps_its_type(keep: bool) -> None:
    model = parse("""g (seq(float[2]) s, float[2] x) => (seq(float[2]) t, float[2] y) {
        a = Sin(x) t = SequenceInsert(s, a) i = Constant<value_int = 0>()
        b = SequenceAt(t, i) y = Exp(b) }""")
    result = converted(model, keep_io_types=keep)
    done = checked(result)
    for info in (done.graph.input[0], done.graph.output[0]):
        assert info.type.sequence_type.elem_type.tensor_type.elem_type == FLOAT
    rows = {node.type: node for node in result.plan.nodes}
    assert rows["Sin"].dtype == rows["Exp"].dtype == "float16"
    assert "input or output of the model" in rows["SequenceAt"].reason


def test_sequences_of_other_tensors_are_no_obstacle() -> None:
    model = parse("""g (int64 n, bool c, float[2] x) => (float[2] y, int64 m) {
        s = SequenceEmpty<dtype = 7>()
        z, t = Loop(n, c, x, s) <body = b (int64 k, bool go, float[2] u, seq(int64) v)
            => (bool more, float[2] p, seq(int64) q) {
            more = Identity(go) p = Cos(u) q = SequenceInsert(v, k) }>
        m = SequenceLength(t) y = Exp(z) }""")
    result = converted(model)
    checked(result)
    assert [node.type for node in result.plan.nodes if node.dtype == "float32"] == []
    assert result.casts == ()


def test_bfloat16_where_the_schema_has_it() -> None:
    model = parse(SPLIT, opset=24, ir_version=13)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "k"))
    result = converted(model, dtype="bfloat16")
    checked(result)
    kept = {node.type: node.reason for node in result.plan.nodes if node.dtype == "float32"}
    # SequenceAt has no bfloat16 at any opset, so nothing that shares its sequence can.
    assert kept.keys() == {"SplitToSequence", "SequenceAt"}
    assert "no bfloat16" in kept["SequenceAt"]
    assert {row.to for row in result.casts} == {FLOAT, BFLOAT16}


def test_an_optional_sequence_stays_float32() -> None:
    model = parse("""g (float[2] x) => (float[2] y) {
        a = Sin(x) s = SequenceConstruct(a) o = Optional(s) t = OptionalGetElement(o)
        i = Constant<value_int = 0>() b = SequenceAt(t, i) y = Exp(b) }""")
    result = converted(model)
    runs_alike(model, result)
    kept = [node.type for node in result.plan.nodes if node.dtype == "float32"]
    assert kept == ["SequenceConstruct", "Optional", "OptionalGetElement", "SequenceAt"]


def test_a_plan_that_gives_a_sequence_two_types_is_refused() -> None:
    options = ConvertOptions(target="any")
    source = open_model(CASES["lists"])
    analysis = analyse(source.proto)
    plan = make_plan(analysis, options, load_target("any"), model_hash=source.digest)
    rows = tuple(
        replace(node, dtype="float32") if node.name == "erase" else node for node in plan.nodes
    )
    with pytest.raises(PlanError, match="two types"):
        rewrite(source, analysis, replace(plan, nodes=rows), options)
