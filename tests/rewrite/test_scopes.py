"""Types across scopes: If, Loop, Scan, captured values, local functions."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator

from halve.convert import convert
from halve.errors import ModelError
from halve.options import ConvertOptions
from halve.types import ConvertResult
from onnx_text import FLOAT, FLOAT16, checked, io_types, parse

X = np.array([0.5, -1.25], np.float32)

IF = """g (bool c, float[2] x) => (float[2] y)
<float[2] w = {1.5, 2.5}> {
    [a] a = Sin(x)
    [if] y = If(c) <
        then_branch = t () => (float[2] p) { [then] p = Mul(a, w) },
        else_branch = e () => (float[2] q) { [else] q = Add(a, w) }
    >
}"""
LOOP = """g (int64 n, bool c, float[2] x) => (float[2] y, float[k, 2] all)
<float[2] w = {0.5, 0.25}> {
    [a] a = Sin(x)
    [loop] y, all = Loop(n, c, a) <
        body = b (int64 i, bool go, float[2] s) => (bool go2, float[2] t, float[2] u) {
            go2 = Identity(go)
            [in] t = Add(s, w)
            [cap] u = Mul(t, a)
        }
    >
}"""
SCAN = """g (float[2] s0, float[3, 2] xs) => (float[2] s, float[3, 2] ys) {
    [scan] s, ys = Scan(s0, xs) <
        num_scan_inputs = 1,
        body = b (float[2] st, float[2] xi) => (float[2] st2, float[2] yi) {
            [in] st2 = Add(st, xi)
            [out] yi = Exp(st2)
        }
    >
}"""
NESTED = """g (bool c, int64 n, float[2] x) => (float[2] y) {
    [a] a = Cos(x)
    [if] y = If(c) <
        then_branch = t () => (float[2] p) {
            [loop] p = Loop(n, c, a) <
                body = b (int64 i, bool go, float[2] s) => (bool go2, float[2] r) {
                    go2 = Identity(go)
                    [deep] r = Add(s, a)
                }
            >
        },
        else_branch = e () => (float[2] q) { [else] q = Neg(a) }
    >
}"""
CALLS = """g (float[2] x, double[2] d) => (float[2] y, double[2] e, float[2] z) {
    [first] y = local.twice(x)
    [other] e = local.twice(d)
    [third] z = local.twice(y)
}"""
TWICE = """<domain: "local", opset_import: ["" : 17]>
twice (u) => (v) { [one] a = Sin(u) [two] v = Add(a, u) }"""
OUTER = """g (float[2] x) => (float[2] y) { [call] y = local.outer <k = 3.0> (x) }"""
NESTED_FUNCTIONS = """<domain: "local", opset_import: ["" : 17]>
inner (u) => (v) { [deep] v = Exp(u) }
<domain: "local", opset_import: ["" : 17, "local" : 1]>
outer <k> (u) => (v) {
    c = Constant<value_float : float = @k>()
    a = local.inner(u)
    v = Mul(a, c)
}"""

FEEDS = {"c": np.array(True), "n": np.array(3), "x": X, "s0": X, "xs": np.ones((3, 2), np.float32)}
FEEDS["d"] = X.astype(np.float64)


def converted(model: ModelProto, **options: object) -> ConvertResult:
    options.setdefault("target", "any")
    return convert(model, options=ConvertOptions(**options))  # type: ignore[arg-type]


def same_results(source: ModelProto, result: ConvertResult) -> None:
    """Both models agree to what float16 holds, run by onnx's reference evaluator."""
    feeds = {info.name: FEEDS[info.name] for info in source.graph.input}
    expected = ReferenceEvaluator(source).run(None, feeds)
    done = checked(result)
    types = io_types(done)
    halves = {name: x.astype(np.float16) for name, x in feeds.items() if types[name] == FLOAT16}
    for want, got in zip(expected, ReferenceEvaluator(done).run(None, feeds | halves), strict=True):
        np.testing.assert_allclose(got.astype(want.dtype), want, rtol=8e-3, atol=8e-3)


CASES = {
    "if": parse(IF),
    "loop": parse(LOOP),
    "scan": parse(SCAN),
    "nested": parse(NESTED),
    "calls": parse(CALLS, functions=TWICE),
    "functions": parse(OUTER, functions=NESTED_FUNCTIONS),
}
NODE_COUNTS = {name: len(converted(model).plan.nodes) for name, model in CASES.items()}


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_all_half(name: str, keep: bool) -> None:
    same_results(CASES[name], converted(CASES[name], keep_io_types=keep))


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(
    ("name", "number"), [(name, k) for name, count in NODE_COUNTS.items() for k in range(count)]
)
def test_any_one_node_kept(name: str, number: int, keep: bool) -> None:
    result = converted(CASES[name], fp32_nodes=(number,), keep_io_types=keep)
    same_results(CASES[name], result)
    assert result.plan.nodes[number].dtype in ("", "float32", "float16")


@pytest.mark.parametrize("name", CASES)
def test_everything_blocked_with_keep_io_is_the_identity(name: str) -> None:
    result = converted(CASES[name], op_block=(".*",), keep_io_types=True)
    assert result.identity
    assert result.model == CASES[name]


@pytest.mark.parametrize("name", CASES)
def test_everything_blocked_without_keep_io_casts_inputs_and_outputs_once(name: str) -> None:
    result = converted(CASES[name], op_block=(".*",))
    same_results(CASES[name], result)
    infos = (*CASES[name].graph.input, *CASES[name].graph.output)
    floats = [info for info in infos if info.type.tensor_type.elem_type == FLOAT]
    assert len(result.casts) == len(floats)
    assert {row.scope for row in result.casts} == {""}


@pytest.mark.parametrize("name", CASES)
def test_converting_twice_changes_nothing(name: str) -> None:
    first = checked(converted(CASES[name]))
    second = converted(first)
    assert second.identity
    assert second.model == first


def test_a_node_inside_a_branch_is_cast_inside() -> None:
    result = converted(CASES["if"], node_block=("then",))
    rows = {(row.tensor, row.scope) for row in result.casts}
    assert rows == {("a", ""), ("p", "1.then_branch")}


def test_a_captured_value_is_cast_in_its_own_scope_not_in_the_loop() -> None:
    result = converted(CASES["loop"], node_block=("cap",))
    rows = {(row.tensor, row.scope) for row in result.casts}
    assert ("a", "") in rows
    assert {scope for tensor, scope in rows if tensor in ("t", "u")} == {"1.body"}


def test_blocking_an_owner_blocks_its_bodies() -> None:
    plan = converted(CASES["nested"], node_block=("if",)).plan
    assert {node.name: node.dtype for node in plan.nodes if node.name in ("loop", "deep")} == {
        "loop": "float32",
        "deep": "float32",
    }
    assert "inside node 1" in next(node.reason for node in plan.nodes if node.name == "deep")


def test_a_function_called_with_two_types_is_specialised_where_they_differ() -> None:
    same = checked(converted(CASES["calls"]))
    assert [node.op_type for node in same.graph.node] == ["twice"] * 3
    done = checked(converted(CASES["calls"], node_block=("two",)))
    # The second Add of one call is float32 and so is that of the next: what is between stays so.
    names = [node.op_type for node in done.graph.node if node.op_type != "Cast"]
    assert len(set(names)) == len(done.functions) == 3


def test_equal_calls_share_one_function() -> None:
    text = "g (float[2] x) => (float[2] z) { y = local.twice(x) z = local.twice(y) }"
    done = checked(converted(parse(text, functions=TWICE), node_block=("one",)))
    assert [f.name for f in done.functions] == ["twice"]


def test_a_constant_in_a_function_is_converted_in_each_variant() -> None:
    function = """<domain: "local", opset_import: ["" : 17]>
    plus (u) => (v) { c = Constant<value = float[2] {1, 2}>() f = CastLike(c, u) v = Add(u, f) }"""
    text = """g (float[2] x, double[2] d) => (float[2] y, double[2] e) {
        y = local.plus(x)
        e = local.plus(d)
    }"""
    source = parse(text, functions=function)
    same_results(source, converted(source))


def test_a_function_that_calls_itself() -> None:
    text = "g (float[2] x) => (float[2] y) { y = local.f(x) }"
    function = (
        '<domain: "local", opset_import: ["" : 17, "local" : 1]>\nf (u) => (v) { v = local.f(u) }'
    )
    with pytest.raises(ModelError, match="calls itself"):
        converted(parse(text, functions=function))


def test_a_body_that_is_too_short_for_its_owner() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(CASES["loop"])
    del model.graph.node[1].attribute[0].g.output[1:]
    with pytest.raises(ModelError, match=r"1\.body.*fewer"):
        converted(model)


def test_unsorted_bodies_come_out_valid() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(CASES["loop"])
    body = model.graph.node[1].attribute[0].g
    shuffled = list(body.node)[::-1]
    del body.node[:]
    body.node.extend(shuffled)
    outer = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(outer)
    same_results(CASES["loop"], converted(model, node_block=("in",)))


def test_initializers_inside_a_body() -> None:
    text = """g (bool c, float[2] x) => (float[2] y) {
        y = If(c) <
            then_branch = t () => (float[2] p) <float[2] w = {1, 2}> { [m] p = Mul(x, w) },
            else_branch = e () => (float[2] q) <float[2] w = {3, 4}> { q = Add(x, w) }
        >
    }"""
    source = parse(text)
    for block in ((), ("m",)):
        same_results(source, converted(source, node_block=block))


def test_a_cast_in_a_function_follows_each_call_s_readers() -> None:
    """One call needs a float32 result, the other a float16 one, without a second Cast behind it."""
    function = """<domain: "local", opset_import: ["" : 17]>
    f <t: int = 1> (p) => (v) { l = Clip(p) c = Cast<to: int = @t>(l) v = Cast<to = 1>(c) }"""
    model = parse(
        """g (float[2] x) => (float[2] y) {
            a = local.f(x) b = local.f<t = 11>(a) y = Exp(b) }""",
        functions=function,
    )
    result = convert(model, options=ConvertOptions(target="any", keep_io_types=True))
    done = checked(result)
    assert [row.tensor for row in result.casts] == ["y"]
    last = {f.name: f.node[-1].attribute[0].i for f in done.functions}
    assert sorted(last.values()) == [FLOAT, FLOAT16]
