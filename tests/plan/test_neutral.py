"""Where precision-neutral nodes are placed: the cheapest casts, and no fewer 16-bit nodes."""

from __future__ import annotations

from itertools import product

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, helper

from halve.convert import convert
from halve.options import ConvertOptions
from halve.plan import analyse, load_target, make_plan
from onnx_text import FLOAT, checked, convert_text, parse

WIDTH = 4


def kept(text: str, **options: object) -> list[str]:
    options.setdefault("target", "any")
    chosen = ConvertOptions(**options)  # type: ignore[arg-type]
    plan = make_plan(analyse(parse(text)), chosen, load_target(chosen.target), model_hash="")
    return [node.type for node in plan.nodes if node.dtype == "float32"]


def test_a_neutral_node_between_float_ones_stays_float() -> None:
    text = """g (float[2,3] x) => (float[3,2] y) {
        a = Sin(x) b = Transpose(a) c = Relu(b) y = Cos(c)
    }"""
    assert kept(text, op_block=("Sin", "Cos")) == ["Sin", "Transpose", "Relu", "Cos"]
    assert len(checked(convert_text(text, op_block=("Sin", "Cos"))).graph.node) == 6


def test_among_equals_a_neutral_node_is_half() -> None:
    text = "g (float[2] x) => (float[2] y) { a = Sin(x) b = Relu(a) y = Cos(b) }"
    assert kept(text, op_block=("Sin",)) == ["Sin"]
    assert kept(text, op_block=("Cos",)) == ["Cos"]


def test_the_cast_goes_where_the_tensor_is_small() -> None:
    text = """g (float[8,8] x) => (float[1,8] y)
    <int64[1] zero = {0}, int64[1] one = {1}> {
        a = Sin(x) b = Slice(a, zero, one) y = Cos(b)
    }"""
    assert kept(text, op_block=("Sin",)) == ["Sin", "Slice"]
    assert kept(text, op_block=("Cos",)) == ["Cos"]


def test_sizes_inside_are_inferred() -> None:
    text = """g (float[64] x) => (float[64] y)
    <int64[1] zero = {0}, int64[1] one = {1}, int64[1] all = {64}> {
        a = Sin(x) b = Slice(a, zero, one) c = Tanh(b) d = Expand(c, all) y = Cos(d)
    }"""
    assert kept(text, op_block=("Sin", "Cos")) == ["Sin", "Slice", "Expand", "Cos"]


def test_an_inexact_constant_makes_arithmetic() -> None:
    tensor = """g (float[2] x) => (float[2] y) {{
        a = Sin(x) c = Constant<value = float {{{}}}>() b = Max(a, c) y = Cos(b)
    }}"""
    block = ("Sin", "Cos")
    assert "Max" in kept(tensor.format("0.5"), op_block=block)
    assert "Max" not in kept(tensor.format("1e-12"), op_block=block)


def test_a_cast_from_an_integer_goes_where_it_is_read() -> None:
    text = "g (int64[2] i) => (float[2] y) { a = Cast<to = 1>(i) y = Sin(a) }"
    assert kept(text, op_block=("Sin",)) == ["Cast", "Sin"]
    assert kept(text) == []


def test_an_integer_reaches_a_float_reader_unrounded() -> None:
    text = """g (INT[2] i) => (float[2] y, float[2] z, float[2] q) {
        a = Cast<to = 1>(i) b = Relu(a) y = Sin(b) z = Cos(a) q = Exp(a)
    }"""
    wide, exact = text.replace("INT", "int64"), text.replace("INT", "uint8")
    assert kept(wide, op_block=("Sin",), keep_io_types=False) == ["Cast", "Relu", "Sin"]
    assert kept(exact, op_block=("Sin",), keep_io_types=False) == ["Sin"]


def test_a_branch_between_float_readers_stays_float() -> None:
    text = """g (bool c, float[2] x) => (float[2] y) {
        a = Sin(x)
        b = If(c) <
            then_branch = t () => (float[2] p) { p = Cos(a) },
            else_branch = e () => (float[2] q) { q = Tan(a) }
        >
        y = Exp(b)
    }"""
    result = convert_text(text, op_block=("Sin", "Cos", "Tan", "Exp"))
    assert [row.tensor for row in result.casts] == ["x", "y"]


@pytest.mark.parametrize("width", [1 << 20, 1 << 30])
def test_sizes_beyond_32_bits_do_not_upset_the_cut(width: int) -> None:
    text = f"""g (float[{width},64] x) => (float[{width},64] y) {{
        a = Sin(x) b = Relu(a) c = Relu(b) y = Cos(c)
    }}"""
    assert kept(text, op_block=("Sin", "Cos")) == ["Sin", "Relu", "Relu", "Cos"]


def random_graph(draw: st.DrawFn) -> ModelProto:
    """Sin is 16-bit, Cos is kept float32, Relu and Max are neutral."""
    names = ["x"]
    nodes = []
    for number in range(draw(st.integers(2, 9))):
        op = draw(st.sampled_from(["Sin", "Cos", "Relu", "Relu", "Max"]))
        inputs = [draw(st.sampled_from(names[-4:])) for _ in range(2 if op == "Max" else 1)]
        nodes.append(helper.make_node(op, inputs, [f"v{number}"]))
        names.append(f"v{number}")
    outputs = sorted({names[-1], *draw(st.lists(st.sampled_from(names[1:]), max_size=2))})
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, [WIDTH])],
        [helper.make_tensor_value_info(name, FLOAT, [WIDTH]) for name in outputs],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def cost(model: ModelProto, is_float: list[bool], keep: bool) -> int:
    """Casts that an assignment needs, all tensors being of one size."""
    made = {"x": keep} | {n.output[0]: f for n, f in zip(model.graph.node, is_float, strict=True)}
    crossings = {
        name
        for node, reader in zip(model.graph.node, is_float, strict=True)
        for name in node.input
        if made[name] != reader
    }
    return len(crossings | {o.name for o in model.graph.output if made[o.name] != keep})


def between_float_ends(model: ModelProto, keep: bool) -> list[bool]:
    """Which neutral nodes pass on what one float32 end made to another that reads it."""
    nodes = list(model.graph.node)
    before = {"x": keep}
    for node in nodes:
        neutral = node.op_type in ("Relu", "Max")
        before[node.output[0]] = (
            any(before[name] for name in node.input) if neutral else node.op_type == "Cos"
        )
    after = {node.output[0]: False for node in nodes} | {"x": False}
    after |= {item.name: keep for item in model.graph.output}
    for node in reversed(nodes):
        passes = after[node.output[0]] if node.op_type in ("Relu", "Max") else node.op_type == "Cos"
        for name in node.input:
            after[name] = after[name] or passes
    return [
        node.op_type in ("Relu", "Max") and before[node.output[0]] and after[node.output[0]]
        for node in nodes
    ]


@settings(max_examples=80, deadline=None)
@given(st.data(), st.booleans())
def test_no_assignment_needs_fewer_casts(data: st.DataObject, keep: bool) -> None:
    model = random_graph(data.draw)
    options = ConvertOptions(target="any", op_block=("Cos",), keep_io_types=keep)
    result = convert(model, options=options)
    assert result.model is not None
    onnx.checker.check_model(result.model, full_check=True)
    fixed = {"Sin": False, "Cos": True}
    choices = [
        [fixed[node.op_type]] if node.op_type in fixed else [True] if inside else [False, True]
        for node, inside in zip(model.graph.node, between_float_ends(model, keep), strict=True)
    ]
    best = min((cost(model, list(c), keep), sum(c)) for c in product(*choices))
    chosen = [node.dtype == "float32" for node in result.plan.nodes]
    assert (cost(model, chosen, keep), sum(chosen)) == best
    assert len(result.casts) == result.cast_lower_bound == best[0]


def test_one_cast_is_cheaper_than_two_small_ones() -> None:
    text = """g (float[64] x) => (float[1] y)
    <int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}> {
        a = Sin(x) b = Slice(a, zero, one) c = Slice(a, one, two) d = Cos(b) e = Cos(c)
        y = Mul(d, e)
    }"""
    assert kept(text, op_block=("Sin",)) == ["Sin"]


def test_a_value_read_in_both_branches_is_cast_before_them() -> None:
    text = """g (bool c, float[2,4] x) => (float[1,4] y) <int64[1] zero = {0}, int64[1] one = {1}> {
        y = If (c) <
            then_branch = t () => (float[1,4] p) {
                a = Gather(x, zero) b = Gather(x, one) p = Mul(a, b) },
            else_branch = e () => (float[1,4] q) {
                d = Gather(x, one) f = Gather(x, zero) q = Div(d, f) }>
    }"""
    casts = [
        node.op_type for node in checked(convert_text(text, keep_io_types=True)).graph.node
    ].count("Cast")
    assert casts == 2
