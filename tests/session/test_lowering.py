"""The lowering: where it rounds, where it does not, and what it refuses."""

from __future__ import annotations

from collections import Counter
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from halve.errors import DataError, ModelError, UnsupportedModelError
from halve.session.lowering import lower
from halve.session.runtime import load, run
from models import (
    BFLOAT16,
    FLOAT,
    FLOAT16,
    INT64,
    NUMPY_TYPES,
    build,
    dyadic,
    mlp,
    mlp_weights,
    text_model,
)

H = np.float16


def evaluate(model: ModelProto, **feeds: NDArray[Any]) -> list[NDArray[Any]]:
    """Run the lowered model at every optimisation level; the levels must agree."""
    lowered = lower(model)
    results = [run(load(lowered, optimise=level), feeds) for level in (False, "basic", True)]
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two)
    return results[0]


def half(*values: float) -> NDArray[np.float16]:
    return np.array(values, H)


def ops(model: ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


# Where it rounds


def test_product_overflows() -> None:
    model = text_model("g (float16[N] x) => (float16[N] y) { y = Mul(x, x) }")
    (y,) = evaluate(model, x=half(300, 255, -300, 2**-13))
    assert y.dtype == H
    np.testing.assert_array_equal(y, half(np.inf, 65024, np.inf, 2**-24 * 0.25))


def test_small_summand_is_rounded_away() -> None:
    model = text_model(
        """g (float16[N] x) => (float[N] y) {
            sum = Add(x, c)
            back = Sub(sum, x)
            y = Cast<to = 1>(back)
        }""",
        weights={"c": half(2**-12)},
    )
    (y,) = evaluate(model, x=half(1, 0.25))
    np.testing.assert_array_equal(y, [0, 2**-12])


def test_matmul_accumulates_in_float32_and_rounds_once() -> None:
    model = text_model(
        "g (float16[A,B] x, float16[B,1] w) => (float16[A,1] y) { y = MatMul(x, w) }"
    )
    x = np.array([[2048, 1, -2048], [2048, 1, 0], [2048, 1, 1]], H)
    (y,) = evaluate(model, x=x, w=np.ones((3, 1), H))
    # Summed in float16, the first would be 0, and the last 2048 (2049 is rounded twice).
    np.testing.assert_array_equal(y[:, 0], half(1, 2048, 2050))


def test_bfloat16_rounds_to_eight_bits() -> None:
    model = text_model("g (bfloat16[N] x, bfloat16[N] c) => (bfloat16[N] y) { y = Add(x, c) }")
    bf16 = ml_dtypes.bfloat16
    x, c = np.array([1, 1, 3e38], bf16), np.array([2**-9, 2**-7, 3e38], bf16)
    (y,) = evaluate(model, x=x, c=c)
    assert y.dtype == bf16
    np.testing.assert_array_equal(y.astype(np.float32), np.array([1, 1 + 2**-7, np.inf]))


def test_float32_island_is_not_rounded() -> None:
    model = text_model(
        """g (float16[N] x) => (float[N] y) {
            wide = Cast<to = 1>(x)
            square = Mul(wide, wide)
            y = Mul(square, square)
        }"""
    )
    (y,) = evaluate(model, x=half(300))
    np.testing.assert_array_equal(y, np.array([300.0**4], np.float32))


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16])
def test_mlp_equals_numpy(dtype: int) -> None:
    kind = NUMPY_TYPES[dtype]
    x = dyadic(np.random.default_rng(1), 5, 16).astype(kind)
    weights = mlp_weights()
    hidden = x
    for index in range(2):
        product = (hidden.astype(np.float32) @ weights[f"w{index}"]).astype(kind)
        added = (product.astype(np.float32) + weights[f"b{index}"]).astype(kind)
        hidden = np.maximum(added, kind(0)) if index == 0 else added
    (y,) = evaluate(mlp(dtype=dtype), x=x)
    assert y.tobytes() == hidden.tobytes()


@pytest.mark.parametrize("optimise", [True, False])
def test_float32_model_is_unchanged(optimise: bool) -> None:
    model = mlp()
    lowered = lower(model)
    assert ops(lowered) == ops(model)
    x = np.random.default_rng(2).standard_normal((3, 16)).astype(np.float32)
    for one, two in zip(
        run(load(model, optimise=optimise), {"x": x}),
        run(load(lowered, optimise=optimise), {"x": x}),
        strict=True,
    ):
        assert one.tobytes() == two.tobytes()


_OPERATIONS = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}


_STEP = st.tuples(st.sampled_from(sorted(_OPERATIONS)), st.integers(0, 9))


@settings(max_examples=25, deadline=None)
@given(st.lists(_STEP, min_size=1, max_size=8))
def test_arithmetic_equals_numpys_float16(steps: list[tuple[str, int]]) -> None:
    rng = np.random.default_rng(len(steps))
    values = [
        (rng.standard_normal(64) * 10.0 ** rng.integers(-5, 5, 64)).astype(H) for _ in range(2)
    ]
    names = ["x0", "x1"]
    feeds = dict(zip(names, values, strict=True))
    nodes = []
    for op, pick in steps:
        left, right = len(values) - 1, pick % len(values)
        name = f"v{len(values)}"
        nodes.append(helper.make_node(op, [names[left], names[right]], [name]))
        with np.errstate(all="ignore"):
            values.append(_OPERATIONS[op](values[left], values[right]))
        names.append(name)
    inputs = {name: (FLOAT16, [64]) for name in feeds}
    model = build(nodes, inputs, {names[-1]: (FLOAT16, [64])})
    (y,) = run(load(lower(model)), feeds)
    np.testing.assert_array_equal(y, values[-1])


# Op families


def test_casts_round_and_integers_go_straight() -> None:
    model = text_model(
        """g (float[N] x, int64[N] i, double[N] d)
        => (float16[N] a, float[N] b, float16[N] c, float16[N] e) {
            a = Cast<to = 10>(x)
            b = Cast<to = 1>(a)
            c = Cast<to = 10>(i)
            e = CastLike(d, a)
        }"""
    )
    x = np.array([1 + 2**-12, 65520], np.float32)
    a, b, c, e = evaluate(model, x=x, i=np.array([2049, 70000]), d=np.array([1e-9, 65519.0]))
    np.testing.assert_array_equal(a, half(1, np.inf))
    np.testing.assert_array_equal(b, np.array([1, np.inf], np.float32))
    np.testing.assert_array_equal(c, half(2048, np.inf))
    np.testing.assert_array_equal(e, half(0, 65504))


def test_constants_and_generators() -> None:
    nodes = [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(half(3, 0.1))),
        helper.make_node("Constant", [], ["two"], value_ints=[2]),
        helper.make_node(
            "ConstantOfShape", ["two"], ["filled"], value=numpy_helper.from_array(half(0.2))
        ),
        helper.make_node("EyeLike", ["m"], ["eye"], dtype=FLOAT16),
        helper.make_node("RandomNormal", [], ["noise"], dtype=FLOAT16, shape=[1000], seed=1.0),
        helper.make_node("Add", ["c", "filled"], ["y"]),
    ]
    outputs = {"y": (FLOAT16, [2]), "eye": (FLOAT16, [2, 2]), "noise": (FLOAT16, [1000])}
    model = build(nodes, {"m": (INT64, [2, 2])}, {**outputs, "c": (FLOAT16, [2])})
    y, eye, noise, c = evaluate(model, m=np.zeros((2, 2), np.int64))
    np.testing.assert_array_equal(y, half(3, 0.1) + half(0.2))
    np.testing.assert_array_equal(eye, np.eye(2))
    np.testing.assert_array_equal(c, half(3, 0.1))
    assert noise.dtype == H
    assert 0.5 < float(np.std(noise.astype(np.float32))) < 1.5


def test_operands_of_other_types_keep_theirs() -> None:
    """float32 scales of Resize, float32 statistics of BatchNormalization and LayerNormalization."""
    model = text_model(
        """g (float16[1,2,2,2] x) => (float16[1,2,4,4] r, float16[1,2,2,2] b, float16[1,2,2,2] l,
             float[1,2,2,1] mean)
        <float[4] scales = {1.0, 1.0, 2.0, 2.0},
         float[2] one = {1.0, 1.0}, float[2] big = {1e5, 1.0}> {
            r = Resize<mode = "nearest">(x, , scales)
            b = BatchNormalization<epsilon = 0.0>(x, one, one, big, one)
            l, mean = LayerNormalization(x, unit)
        }""",
        weights={"unit": half(1, 1)},
    )
    x = np.arange(8).reshape(1, 2, 2, 2).astype(H)
    r, b, n, mean = evaluate(model, x=x)
    assert (r.dtype, b.dtype, n.dtype, mean.dtype) == (H, H, H, np.float32)
    np.testing.assert_array_equal(r[0, 0], np.kron(x[0, 0], np.ones((2, 2))))
    np.testing.assert_array_equal(b[0, 0], np.full((2, 2), -np.inf))
    np.testing.assert_array_equal(mean.ravel(), [0.5, 2.5, 4.5, 6.5])


def test_empty_optional_operands_and_many_outputs() -> None:
    model = text_model(
        """g (float16[4] x) => (float16[2] a, float16[2] b, float16[4] c, float16[2] v, int64[2] i)
        <int64[1] k = {2}> {
            a, b = Split<axis = 0>(x)
            c = Clip(x, , top)
            v, i = TopK(x, k)
        }""",
        weights={"top": np.array(1.5, H)},
    )
    a, b, c, v, i = evaluate(model, x=half(1, 2, 3, 0.1))
    np.testing.assert_array_equal(np.concatenate([a, b]), half(1, 2, 3, 0.1))
    np.testing.assert_array_equal(c, half(1, 1.5, 1.5, 0.1))
    np.testing.assert_array_equal(v, half(3, 2))
    np.testing.assert_array_equal(i, [2, 1])


def test_op_that_only_the_runtime_knows() -> None:
    node = helper.make_node("FusedMatMul", ["x", "w"], ["y"], domain="com.microsoft", alpha=2.0)
    model = build(
        [node],
        {"x": (FLOAT16, [1, 2]), "w": (FLOAT16, [2, 1])},
        {"y": (FLOAT16, [1, 1])},
        domains={"com.microsoft": 1},
    )
    (y,) = evaluate(model, x=np.array([[200, 1]], H), w=np.array([[200], [1]], H))
    np.testing.assert_array_equal(y, [[np.inf]])


def test_unknown_op_is_typed_by_value_info() -> None:
    nodes = [
        helper.make_node("Mystery", ["x"], ["m"], domain="elsewhere"),
        helper.make_node("Relu", ["m"], ["y"]),
    ]
    io = {"x": (FLOAT16, [2])}, {"y": (FLOAT16, [2])}
    model = build(nodes, *io, domains={"elsewhere": 1}, value_info={"m": (FLOAT16, [2])})
    assert ops(lower(model)) == {"Mystery": 1, "Relu": 1, "Cast": 4}
    with pytest.raises(UnsupportedModelError, match=r"Mystery.*'m' cannot be told"):
        lower(build(nodes, *io, domains={"elsewhere": 1}))


# Structure


def test_outputs_that_are_inputs_or_initializers() -> None:
    model = build(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        {"x": (FLOAT16, [1])},
        {"x": (FLOAT16, [1]), "w": (FLOAT16, [1]), "y": (FLOAT16, [1])},
        {"w": half(0.1)},
    )
    x, w, y = run(load(lower(model)), {"x": half(3)})
    assert (x.dtype, w.dtype, y.dtype) == (H, H, H)
    assert (x[0], w[0], y[0]) == (H(3), H(0.1), H(3) * H(0.1))


@pytest.mark.parametrize("ir_version", [3, 8])
def test_initializer_that_is_an_input_becomes_a_constant(ir_version: int) -> None:
    inputs = {"x": (FLOAT16, [1]), "w": (FLOAT16, [1])}
    node = helper.make_node("Mul", ["x", "w"], ["y"])
    model = build([node], inputs, {"y": (FLOAT16, [1])}, {"w": half(300)}, ir_version=ir_version)
    lowered = lower(model)
    assert [item.name for item in lowered.graph.input] == ["x"]
    assert [(t.data_type, *numpy_helper.to_array(t)) for t in lowered.graph.initializer] == [
        (FLOAT, 300.0)
    ]
    (y,) = run(load(lowered), {"x": half(300)})
    np.testing.assert_array_equal(y, half(np.inf))


@pytest.mark.parametrize("field", ["raw_data", "int32_data"])
@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16])
def test_payload_in_either_field(field: str, dtype: int) -> None:
    values = np.array([0.1, -3, 2**-14], NUMPY_TYPES[dtype])
    tensor = TensorProto(name="w", data_type=dtype, dims=[3])
    if field == "raw_data":
        tensor.raw_data = values.tobytes()
    else:
        tensor.int32_data.extend(values.view(np.uint16).tolist())
    node = helper.make_node("Neg", ["w"], ["y"])
    model = build([node], {}, {"y": (dtype, [3])})
    model.graph.initializer.append(tensor)
    (y,) = run(load(lower(model)), {})
    np.testing.assert_array_equal(y, -values)


def test_erasable_cast_names_are_replaced() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], name="InsertedPrecisionFreeCast_1", to=FLOAT16),
        helper.make_node("Cast", ["h"], ["y"], name="InsertedPrecisionFreeCast_2", to=FLOAT),
    ]
    model = build(nodes, {"x": (FLOAT, [1])}, {"y": (FLOAT, [1])})
    (y,) = evaluate(model, x=np.array([1 + 2**-12], np.float32))
    np.testing.assert_array_equal(y, [1])


def test_node_name_that_is_no_text() -> None:
    model = text_model("g (float16[1] x) => (float16[1] y) { y = Mul(x, x) }")
    model.graph.node[0].name = "AAAA"
    broken = model.SerializeToString().replace(b"AAAA", b"\xff\xfeAA")
    (y,) = evaluate(onnx.load_from_string(broken), x=half(300))
    np.testing.assert_array_equal(y, half(np.inf))


def test_names_in_use_are_avoided() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["x.lowered0"]),
        helper.make_node("Sub", ["x.lowered0", "x"], ["y"]),
    ]
    model = build(nodes, {"x": (FLOAT16, [1])}, {"y": (FLOAT16, [1])})
    (y,) = evaluate(model, x=half(3))
    np.testing.assert_array_equal(y, half(6))


def test_argument_is_not_changed() -> None:
    model = mlp(dtype=FLOAT16)
    before = model.SerializeToString(deterministic=True)
    lower(model)
    assert model.SerializeToString(deterministic=True) == before


def test_functions_are_inlined() -> None:
    model = text_model(
        "g (float16[1] x) => (float16[1] y) { y = local.square(x) }",
        '<domain: "local", opset_import: ["" : 17]> square (a) => (b) { b = Mul(a, a) }',
        domains={"local": 1},
    )
    (y,) = evaluate(model, x=half(300))
    np.testing.assert_array_equal(y, half(np.inf))


# Bodies


def test_if_branches_round() -> None:
    model = text_model(
        """g (bool c, float16[1] x) => (float16[1] y) {
            big = Mul(x, x)
            y = If (c) <
                then_branch = t () => (float16[1] a) { p = Mul(x, x)  a = Sub(p, big) },
                else_branch = e () => (float16[1] b) { p = Add(x, x)  b = Identity(p) }
            >
        }"""
    )
    (y,) = evaluate(model, c=np.array(True), x=half(300))
    assert np.isnan(y[0])
    (y,) = evaluate(model, c=np.array(False), x=half(300))
    np.testing.assert_array_equal(y, half(600))


def test_loop_state_is_rounded_every_round() -> None:
    model = text_model(
        """g (int64 n, float16[1] x) => (float16[1] y, float16[M,1] all)
        <bool go = {1}> {
            y, all = Loop (n, go, x) <
                body = b (int64 i, bool c, float16[1] s) => (bool c2, float16[1] t, float16[1] u) {
                    c2 = Identity(c)  t = Add(s, step)  u = Identity(t)
                }
            >
        }""",
        weights={"step": half(1)},
    )
    y, rounds = evaluate(model, n=np.array(4), x=half(2046))
    np.testing.assert_array_equal(y, half(2048))
    np.testing.assert_array_equal(rounds[:, 0], half(2047, 2048, 2048, 2048))


def test_scan_state_is_rounded_every_round() -> None:
    model = text_model(
        """g (float16[1] x, float16[M,1] steps) => (float16[1] y, float16[M,1] all) {
            y, all = Scan <num_scan_inputs = 1,
                body = b (float16[1] s, float16[1] d) => (float16[1] t, float16[1] u) {
                    t = Add(s, d)  u = Identity(t)
                }
            > (x, steps)
        }"""
    )
    y, rounds = evaluate(model, x=half(2047), steps=np.ones((3, 1), H))
    np.testing.assert_array_equal(y, half(2048))
    np.testing.assert_array_equal(rounds[:, 0], half(2048, 2048, 2048))


def test_sequences_hold_rounded_elements() -> None:
    model = text_model(
        """g (float16[1] x) => (float16[2] y) {
            a = Mul(x, x)
            s = SequenceConstruct(a, x)
            y = ConcatFromSequence<axis = 0>(s)
        }"""
    )
    (y,) = evaluate(model, x=half(300))
    np.testing.assert_array_equal(y, half(np.inf, 300))


# What it refuses


@pytest.mark.parametrize(
    ("graph", "error", "message"),
    [
        (
            "g (float16[1] x, float[1] w) => (float16[1] y) { y = Mul(x, w) }",
            ModelError,
            r"node unnamed, output 'y' \(Mul\): input 'w' is tensor\(float\).*tensor\(float16\)",
        ),
        (
            "g (float16[1] x) => (float[1] y) { y = Relu(x) }",
            ModelError,
            r"'y' is declared tensor\(float\), but tensor\(float16\)",
        ),
        (
            "g (float16[1] x) => (float16[1] y) { y = Add(x, later) later = Relu(x) }",
            ModelError,
            r"Add.* reads 'later', which nothing before it defines",
        ),
        (
            """g (bool c, float16[1] x) => (float16[1] y) { y = If (c) <
                then_branch = t () => (float16[1] a) { a = Relu(x) },
                else_branch = e () => (float[1] b) { b = Cast<to = 1>(x) }> }""",
            ModelError,
            r"branches end in \(tensor\(float16\)\) and \(tensor\(float\)\)",
        ),
        (
            """g (int64 n, bool c, float16[1] x) => (float16[1] y) { y = Loop (n, c, x) <
                body = b (int64 i, bool d, float[1] s) => (bool e, float[1] t) {
                    e = Identity(d) t = Relu(s) }> }""",
            ModelError,
            r"input 's' of a body is declared tensor\(float\)",
        ),
        (
            "g (float16[1] x) => (seq(float16[1]) y) { y = SequenceConstruct(x) }",
            UnsupportedModelError,
            r"'y' is seq\(tensor\(float16\)\)",
        ),
    ],
)
def test_contradictions_are_errors(graph: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        lower(text_model(graph))


def test_sparse_halves_are_refused() -> None:
    values = numpy_helper.from_array(half(1), "s")
    indices = numpy_helper.from_array(np.array([0]), "s_indices")
    sparse = helper.make_sparse_tensor(values, indices, [3])
    model = build([helper.make_node("Relu", ["s"], ["y"])], {}, {"y": (FLOAT16, [3])})
    model.graph.sparse_initializer.append(sparse)
    with pytest.raises(UnsupportedModelError, match=r"sparse initializer 's'"):
        lower(model)
    node = helper.make_node("Constant", [], ["y"], name="k", sparse_value=sparse)
    with pytest.raises(UnsupportedModelError, match=r"node k \(Constant\)"):
        lower(build([node], {}, {"y": (FLOAT16, [3])}))


def test_payload_elsewhere_is_an_error() -> None:
    model = mlp(dtype=FLOAT16)
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "w.bin")
    with pytest.raises(DataError, match=r"'w0' has its data in another file"):
        lower(model)


def test_short_payload_is_an_error() -> None:
    model = mlp(dtype=FLOAT16)
    model.graph.initializer[0].raw_data = b"123"
    with pytest.raises(DataError, match=r"'w0' holds 1 values; allowed: 256, as its shape"):
        lower(model)
