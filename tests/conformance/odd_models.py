"""Small valid models that are merely unusual, each with inputs that run it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from onnx import ModelProto

from models import text_model

__all__ = ["MODELS", "Odd"]

X = np.array([0.5, -1.25], np.float32)
M = np.array([[0.5, -1.25, 2], [1, 0.25, -0.75]], np.float32)
Y = np.array(True)
LOCAL = {"local": 1}


@dataclass(frozen=True)
class Odd:
    """A model and the values of its inputs, in order."""

    model: ModelProto
    inputs: tuple[Any, ...]


def odd(graph: str, *inputs: Any, functions: str = "", **options: Any) -> Odd:
    """From ONNX's text form."""
    return Odd(text_model(graph, functions, **options), inputs)


MODELS: dict[str, Odd] = {}

# Bodies within bodies.
MODELS["a loop in a scan, with captured weights"] = odd(
    """g (float[2] s, float[3, 2] xs, int64 n) => (float[2] t, float[3, 2] ys)
    <float[2] w = {0.5, 2}, float[2] b = {1, -1}> {
        t, ys = Scan(s, xs) <num_scan_inputs = 1, body = sb (float[2] u, float[2] v)
            => (float[2] p, float[2] q) <float half = {0.5}> {
            yes = Constant<value = bool {1}>()
            p0 = Loop(n, yes, u) <body = lb (int64 k, bool go, float[2] a)
                => (bool more, float[2] c) {
                more = Identity(go) d = Mul(a, w) e = Add(d, v) c = Mul(e, half)
            }>
            p = Add(p0, b) q = Mul(p, w)
        }>
    }""",
    X, np.ones((3, 2), np.float32), np.array(2),
)  # fmt: skip
MODELS["branches that hand out a captured value, a weight and a constant"] = odd(
    """g (bool c, float[2] x) => (float[2] y, float[2] z) <float[2] w = {0.5, 2}> {
        a = Sin(x)
        y, z = If(c) <
            then_branch = t () => (float[2] p, float[2] q) <float[2] q = {3, 4}> {
                p = Identity(a) },
            else_branch = e () => (float[2] p, float[2] q) {
                p = Identity(w) q = Constant<value = float[2] {5, 6}>() }
        >
    }""",
    Y, X,
)  # fmt: skip
MODELS["a loop that makes nothing but a list of its input"] = odd(
    """g (int64 n, float[2] x) => (float[k, 2] y) {
        yes = Constant<value = bool {1}>()
        y = Loop(n, yes) <body = b (int64 k, bool go) => (bool more, float[2] o) {
            more = Identity(go) o = Identity(x) }>
    }""",
    np.array(3), X,
)  # fmt: skip
MODELS["a loop whose state passes through, beside one that swaps"] = odd(
    """g (int64 n, float[2] x, float[2] z) => (float[2] y, float[2] v, float[2] u) {
        yes = Constant<value = bool {1}>()
        y, v, u = Loop(n, yes, x, z, x) <body = b (int64 k, bool go, float[2] a, float[2] b1,
            float[2] c) => (bool more, float[2] d, float[2] e, float[2] f) {
            more = Identity(go) d = Identity(b1) e = Identity(a) f = Identity(c) }>
    }""",
    np.array(3), X, X + 1,
)  # fmt: skip
MODELS["a loop without end that counts in floats"] = odd(
    """g (float[2] x) => (float y) <float one = {1}, float five = {5}> {
        yes = Constant<value = bool {1}>() zero = Constant<value_float = 0.0>()
        y = Loop(, yes, zero) <body = b (int64 k, bool go, float a) => (bool more, float c) {
            c = Add(a, one) more = Less(c, five) }>
    }""",
    X,
)  # fmt: skip
MODELS["sibling branches that use the same names"] = odd(
    """g (bool c, float[2] x) => (float[2] y) <float[2] w = {0.5, 2}> {
        y = If(c) <
            then_branch = t () => (float[2] r) { a = Sin(x) r = Mul(a, w) },
            else_branch = t () => (float[2] r) { a = Cast<to = 11>(x) b = Exp(a)
                r = Cast<to = 1>(b) }
        >
    }""",
    Y, X,
)  # fmt: skip
MODELS["an if in an if by one condition, all from one weight"] = odd(
    """g (bool c, float[2] x) => (float[2] y) <float[2] w = {0.5, 2}> {
        y = If(c) <
            then_branch = t () => (float[2] r) { r = If(c) <
                then_branch = tt () => (float[2] rr) { rr = Mul(x, w) },
                else_branch = te () => (float[2] rr) { rr = Add(x, w) }> },
            else_branch = e () => (float[2] r) { r = Sub(x, w) }
        >
    }""",
    Y, X,
)  # fmt: skip
MODELS["a scan backwards along the other axis"] = odd(
    """g (float[2] s, float[2, 3] xs) => (float[2] t, float[2, 3] ys) {
        t, ys = Scan(s, xs) <num_scan_inputs = 1, scan_input_axes = [1],
            scan_input_directions = [1], scan_output_axes = [1], body = b (float[2] u, float[2] v)
            => (float[2] p, float[2] q) { p = Add(u, v) q = Identity(p) }>
    }""",
    X, M,
)  # fmt: skip

# Local functions.
MODELS["a function of floats, of doubles and of integers"] = odd(
    """g (bool c, float[2] x, double[2] d, int64[2] i) => (float[2] y, double[2] e, int64[2] j) {
        y = If(c) <then_branch = t () => (float[2] p) { p = local.twice(x) },
                   else_branch = f () => (float[2] q) { q = Neg(x) }>
        e = local.twice(d) j = local.twice(i)
    }""",
    Y, X, X.astype(np.float64), np.array([3, 4]),
    functions="""<domain: "local", opset_import: ["" : 17]>
    twice (u) => (v) { v = Add(u, u) }""",
    domains=LOCAL,
)  # fmt: skip
MODELS["a function that casts to what the call says"] = odd(
    """g (float[2] x, int64[2] i) => (float[2] y, double[2] d, float[2] z) {
        y = local.to<t = 1>(i) d = local.to<t = 11>(x) z = local.to(x)
    }""",
    X, np.array([3, 4]),
    functions="""<domain: "local", opset_import: ["" : 17]>
    to <t: int = 1> (u) => (v) { v = Cast<to: int = @t>(u) }""",
    domains=LOCAL,
)  # fmt: skip
MODELS["functions that hand on attributes to functions"] = odd(
    """g (float[2] x) => (float[2] y, float[2] z) {
        y = local.outer<a = 0.25>(x) z = local.outer<a = 0.75>(y)
    }""",
    X,
    functions="""<domain: "local", opset_import: ["" : 17, "local" : 1]>
    outer <a> (u) => (v) { w = local.inner<b: float = @a>(u) v = Exp(w) }
    <domain: "local", opset_import: ["" : 17]>
    inner <b> (u) => (v) {
        w = Constant<value_float: float = @b>()
        x = LeakyRelu<alpha: float = @b>(u) v = Mul(x, w) }""",
    domains=LOCAL,
)  # fmt: skip
MODELS["a function at another opset, with a body that captures"] = odd(
    """g (bool c, float[2, 3] x) => (float[2] y) { a = Sin(x) y = local.f(c, a) }""",
    Y, M,
    functions="""<domain: "local", opset_import: ["" : 18]>
    f (c, u) => (v) {
        ax = Constant<value_ints = [1]>()
        v = If(c) <then_branch = t () => (float[2] p) { p = ReduceMean<keepdims = 0>(u, ax) },
                   else_branch = e () => (float[2] q) { q = ReduceMax<keepdims = 0>(u, ax) }> }""",
    opset=18, domains=LOCAL,
)  # fmt: skip
MODELS["a function with an operand and a result left out"] = odd(
    "g (float[2] x) => (float[2] y) { , y = local.f(x, ) }",
    X,
    functions="""<domain: "local", opset_import: ["" : 17]>
    f (u, low) => (a, v) { a = Sin(u) v = Clip(u, low) }""",
    domains=LOCAL,
)  # fmt: skip

# Graphs that are hardly any.
MODELS["no node at all"] = odd("g (float[2] x) => (float[2] x) { }", X)
MODELS["only a weight"] = odd("g () => (float[2] w) <float[2] w = {0.5, 2}> { }")
MODELS["nothing but a constant"] = odd("g () => (float y) { y = Constant<value_float = 2.5>() }")
MODELS["dead nodes, unused weights and inputs"] = odd(
    """g (float[2] x, float[2] unused) => (float[2] y)
    <float[2] w = {0.5, 2}, float[2] never = {1, 2}> {
        a = Sin(x) dead = Exp(unused) y = Mul(a, w) }""",
    X, X,
)  # fmt: skip
MODELS["one value in every slot"] = odd(
    """g (float[2] x) => (float[2] y, float[6] z, float[2] v) {
        y = Add(x, x) z = Concat<axis = 0>(x, x, x) c = Equal(x, x) v = Where(c, x, x) }""",
    X,
)  # fmt: skip
MODELS["names that a converter might choose"] = odd(
    """g (float[2] x, float[2] x_float16) => (float[2] y, float[2] x_float32) {
        x_cast = Exp(x) x_to_float16 = Sin(x_cast) y_float16 = Add(x_to_float16, x_float16)
        y = Exp(y_float16) x_float32 = Sin(y) }""",
    X, X,
)  # fmt: skip

# Zero-size tensors, scalars, strings.
MODELS["tensors without elements"] = odd(
    """g (float[0, 2] x, float[2] z) => (float[n, 2] y, float s, float[0, 2] v)
    <float[0, 2] none = {}> {
        y = Concat<axis = 0>(x, none) v = Mul(x, z) s = ReduceSum<keepdims = 0>(z) }""",
    np.zeros((0, 2), np.float32), X,
)  # fmt: skip
MODELS["strings between floats"] = odd(
    """g (string[2] t, float[2] x) => (string[2] u, bool[2] e, float[2] y, float[2] z) {
        u = Identity(t) e = Equal(t, t) p = Cast<to = 8>(x) y = Cast<to = 1>(p)
        f = Cast<to = 1>(t) z = Exp(f) }""",
    np.array(["1.5", "-2"], object), X, opset=19, ir_version=9,
)  # fmt: skip
MODELS["words counted"] = odd(
    """g (string[3] t) => (float[n] y) <float[2] w = {0.5, 2}> {
        f = TfIdfVectorizer<mode = "TF", min_gram_length = 1, max_gram_length = 1,
            max_skip_count = 0, ngram_counts = [0], ngram_indexes = [0, 1],
            pool_strings = ["a", "b"], weights = [0.5, 1.5]>(t)
        y = Mul(f, w) }""",
    np.array(["a", "b", "a"], object),
)  # fmt: skip

# Sequences, optionals, maps.
MODELS["a map over a sequence"] = odd(
    """g (float[2] x, float[2] z) => (float[2] y) {
        s = SequenceConstruct(x, z)
        t = SequenceMap(s, z) <body = b (float[2] u, float[2] v) => (float[2] w) {
            a = Mul(u, v) w = Exp(a) }>
        i = Constant<value_int = 1>() y = SequenceAt(t, i) }""",
    X, X,
)  # fmt: skip
MODELS["an optional tensor within"] = odd(
    """g (float[2] x) => (float[2] y, bool h) {
        a = Sin(x) o = Optional(a) h = OptionalHasElement(o)
        b = OptionalGetElement(o) y = Exp(b) }""",
    X,
)  # fmt: skip
MODELS["an optional of nothing"] = odd(
    """g (float[2] x) => (bool h, float[2] y) {
        o = Optional<type = float[2]>() h = OptionalHasElement(o)
        y = If(h) <then_branch = t () => (float[2] p) { p = OptionalGetElement(o) },
                   else_branch = e () => (float[2] q) { q = Exp(x) }> }""",
    X, opset=18,
)  # fmt: skip
MODELS["an optional in and out"] = odd(
    """g (optional(float[2]) o, float[2] z) => (optional(float[2]) p, float[2] y) {
        a = OptionalGetElement(o) b = Add(a, z) y = Exp(b) p = Optional(b) }""",
    X, X,
)  # fmt: skip
MODELS["an optional sequence in and out"] = odd(
    """g (optional(seq(float[2])) o, float[2] z)
        => (optional(seq(float[2])) p, float[2] y) {
        s = OptionalGetElement(o) t = SequenceInsert(s, z)
        i = Constant<value_int = 0>() a = SequenceAt(t, i) y = Exp(a) p = Optional(t) }""",
    [X, X + 1], X,
)  # fmt: skip
MODELS["an optional that a branch chooses"] = odd(
    """g (bool c, float[2] x) => (float[2] y) {
        a = Sin(x)
        o = If(c) <then_branch = t () => (optional(float[2]) p) { p = Optional(a) },
                   else_branch = e () => (optional(float[2]) q) { b = Exp(a) q = Optional(b) }>
        g1 = OptionalGetElement(o) y = Mul(g1, x) }""",
    Y, X,
)  # fmt: skip
MODELS["an optional as the state of a loop"] = odd(
    """g (int64 n, float[2] x) => (float[2] y) {
        yes = Constant<value = bool {1}>() a = Sin(x) o = Optional(a)
        p = Loop(n, yes, o) <body = b (int64 k, bool go, optional(float[2]) u)
            => (bool more, optional(float[2]) v) {
            more = Identity(go) w = OptionalGetElement(u) z = Exp(w) v = Optional(z) }>
        r = OptionalGetElement(p) y = Mul(r, x) }""",
    np.array(2), X,
)  # fmt: skip
MODELS["an optional captured by a body"] = odd(
    """g (bool c, float[2] x) => (float[2] y) {
        a = Sin(x) o = Optional(a)
        y = If(c) <then_branch = t () => (float[2] p) { w = OptionalGetElement(o) p = Mul(w, x) },
                   else_branch = e () => (float[2] q) { q = Identity(a) }> }""",
    Y, X,
)  # fmt: skip
MODELS["an optional through a function"] = odd(
    """g (float[2] x) => (float[2] y) {
        a = Sin(x) o = local.wrap(a) b = local.open(o) y = Exp(b) }""",
    X,
    functions="""<domain: "local", opset_import: ["" : 17]>
    wrap (u) => (v) { e = Exp(u) v = Optional(e) }
    <domain: "local", opset_import: ["" : 17]>
    open (u) => (v) { v = OptionalGetElement(u) }""",
    domains=LOCAL,
)  # fmt: skip
MODELS["an optional that a value became by being asked"] = odd(
    """g (float[2] x) => (float[2] y, bool h) {
        a = Sin(x) h = OptionalHasElement(a) b = OptionalGetElement(a) y = Exp(b) }""",
    X, opset=18,
)  # fmt: skip
MODELS["a sequence of sequences' lengths beside floats"] = odd(
    """g (float[4] x) => (int64 n, float[2] y) <int64 two = {2}> {
        a = Sin(x) s = SplitToSequence<axis = 0>(a, two) n = SequenceLength(s)
        m = Cast<to = 1>(n) i = Constant<value_int = -1>() b = SequenceAt(s, i) y = Mul(b, m) }""",
    np.arange(4, dtype=np.float32),
)  # fmt: skip

MODELS["an optional that is not given"] = odd(
    """g (optional(float[2]) o, float[2] x) => (float[2] y, bool h, bool never) {
        h = OptionalHasElement(o) never = OptionalHasElement()
        y = If(h) <then_branch = t () => (float[2] p) { a = OptionalGetElement(o) p = Exp(a) },
                   else_branch = e () => (float[2] q) { q = Sin(x) }> }""",
    None, X, opset=18,
)  # fmt: skip
MODELS["an optional sequence that a loop hands on"] = odd(
    """g (int64 n, optional(seq(float[2])) o, float[2] x) => (float[2] y, int64 m) {
        yes = Constant<value = bool {1}>() a = Sin(x)
        p = Loop(n, yes, o) <body = b (int64 k, bool go, optional(seq(float[2])) u)
            => (bool more, optional(seq(float[2])) v) {
            more = Identity(go) s = OptionalGetElement(u) t = SequenceInsert(s, a)
            v = Optional(t) }>
        s2 = OptionalGetElement(p) m = SequenceLength(s2)
        i = Constant<value_int = -1>() c = SequenceAt(s2, i) y = Mul(c, x) }""",
    np.array(2), [X, X + 1], X,
)  # fmt: skip

# Quantised values.
MODELS["weights of four bits, by blocks"] = odd(
    """g (float[2, 4] x) => (float[2, 3] y) <float[2, 3] s = {0.5, 0.25, 1, 2, 0.5, 1}> {
        w = DequantizeLinear<axis = 0, block_size = 2>(q, s) y = MatMul(x, w) }""",
    np.ones((2, 4), np.float32), opset=21, ir_version=10,
    weights={"q": np.arange(-6, 6).reshape(4, 3).astype(ml_dtypes.int4)},
)  # fmt: skip
MODELS["values of eight bits that are floats"] = odd(
    """g (float[2] x) => (float[2] y) <float s = {0.5}> {
        z = Constant<value = float8e4m3fn {0}>() q = QuantizeLinear(x, s, z)
        d = DequantizeLinear(q, s, z) c = Cast<to = 17>(d) e = Cast<to = 1>(c) y = Exp(e) }""",
    X, opset=19, ir_version=9,
)  # fmt: skip
MODELS["values of two bits"] = odd(
    """g (float[2] x) => (float[2] y) <float s = {0.5}> {
        q = QuantizeLinear<output_dtype = 25>(x, s) d = DequantizeLinear(q, s) y = Exp(d) }""",
    X, opset=25, ir_version=13,
)  # fmt: skip
MODELS["a scale that is a weight as well"] = odd(
    """g (float[2] x) => (float[2] y) <float s = {0.5}, uint8 z = {128}> {
        q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) y = Mul(d, s) }""",
    X,
)  # fmt: skip
MODELS["a dynamic quantisation"] = odd(
    """g (float[2, 3] x) => (float[2, 2] y) <int8[3, 2] w = {1, 2, 3, 4, 5, 6}, float ws = {0.5}> {
        q, s, z = DynamicQuantizeLinear(x) m = MatMulInteger(q, w, z) f = Cast<to = 1>(m)
        t = Mul(s, ws) y = Mul(f, t) }""",
    M,
)  # fmt: skip

# Operators of other domains.
MODELS["trees, scalers and a map of scores"] = odd(
    """g (float[1, 2] x) => (float[n, 2] y, int64[n] label, seq(map(int64, float)) scores) {
        a = Exp(x)
        b = ai.onnx.ml.Scaler<offset = [0.5, 0.25], scale = [2.0, 4.0]>(a)
        y = ai.onnx.ml.Normalizer<norm = "L2">(b)
        label, p = ai.onnx.ml.LinearClassifier<classlabels_ints = [0, 1],
            coefficients = [0.5, -0.5, 0.25, 1.0], intercepts = [0.0, 0.5], multi_class = 0,
            post_transform = "NONE">(y)
        scores = ai.onnx.ml.ZipMap<classlabels_int64s = [0, 1]>(p) }""",
    M[:1, :2], domains={"ai.onnx.ml": 2},
)  # fmt: skip
MODELS["labels, one hot"] = odd(
    """g (string[2] t, float[2] x) => (float[2] y, float[2, 2] h) {
        f = ai.onnx.ml.LabelEncoder<keys_strings = ["a", "b"], values_floats = [0.5, 2.0]>(t)
        y = Mul(f, x) h = ai.onnx.ml.OneHotEncoder<cats_strings = ["a", "b"]>(t) }""",
    np.array(["a", "b"], object), X, domains={"ai.onnx.ml": 2},
)  # fmt: skip
MODELS["a dictionary as an input"] = odd(
    """g (map(string, float) d, float[2] x) => (float[1, 2] y) {
        f = ai.onnx.ml.DictVectorizer<string_vocabulary = ["a", "b"]>(d) y = Mul(f, x) }""",
    {"a": 0.5, "b": 2.0}, X, domains={"ai.onnx.ml": 1},
)  # fmt: skip
MODELS["imputed, binarised, gathered"] = odd(
    """g (float[1, 3] x) => (float[1, n] y, float[1, 3] z) <int64[2] at = {0, 2}> {
        a = ai.onnx.ml.Imputer<imputed_value_floats = [0.5], replaced_value_float = 2.0>(x)
        z = ai.onnx.ml.Binarizer<threshold = 0.75>(a)
        b = ai.onnx.ml.ArrayFeatureExtractor(a, at) y = Exp(b) }""",
    M[:1], domains={"ai.onnx.ml": 1},
)  # fmt: skip
MODELS["operators of the runtime"] = odd(
    """g (float[2, 4] x) => (float[2, 4] y, float[2, 4] z)
    <float[4, 4] w = {1,0,0,0, 0,1,0,0, 0,0,1,0, 0,0,0,1}, float[4] b = {1, 2, 3, 4}> {
        a = com.microsoft.FusedMatMul<alpha = 0.5>(x, w) c = com.microsoft.BiasGelu(a, b)
        d = com.microsoft.QuickGelu(c) y = com.microsoft.FastGelu(d, b)
        z = com.microsoft.Gelu(y) }""",
    np.ones((2, 4), np.float32), domains={"com.microsoft": 1},
)  # fmt: skip
MODELS["a skip, with statistics left out"] = odd(
    """g (float[1, 2, 4] x, float[1, 2, 4] s) => (float[1, 2, 4] y, float[1, 2, 4] sum)
    <float[4] one = {1, 1, 1, 1}, float[4] nil = {0, 0, 0, 0}> {
        y, , , sum = com.microsoft.SkipLayerNormalization(x, s, one, nil) }""",
    np.arange(8, dtype=np.float32).reshape(1, 2, 4), np.ones((1, 2, 4), np.float32),
    domains={"com.microsoft": 1},
)  # fmt: skip
MODELS["a quantiser of the runtime"] = odd(
    """g (float[2] x) => (float[2] y) <float s = {0.0625}, uint16 z = {32768}> {
        q = com.microsoft.QuantizeLinear(x, s, z) y = com.microsoft.DequantizeLinear(q, s, z) }""",
    X, domains={"com.microsoft": 1},
)  # fmt: skip

# Types that meet.
MODELS["shapes computed in floats"] = odd(
    """g (float[1, 1, 2, 2] x) => (float[1, 1, a, b] y)
    <float[4] twice = {1, 1, 2, 2}, float[0] none = {}> {
        s = Shape(x) f = Cast<to = 1>(s) g1 = Mul(f, twice) t = Cast<to = 7>(g1)
        e = Exp(x) y = Resize<mode = "nearest">(e, none, , t) }""",
    np.ones((1, 1, 2, 2), np.float32),
)  # fmt: skip
MODELS["one weight as scales of a resize and as a factor"] = odd(
    """g (float[1, 1, 2, 2] x, float[4] z) => (float[1, 1, a, b] y, float[4] v)
    <float[4] s = {1, 1, 2, 2}> { y = Resize<mode = "nearest">(x, , s) v = Mul(z, s) }""",
    np.ones((1, 1, 2, 2), np.float32), np.arange(4, dtype=np.float32),
)  # fmt: skip
MODELS["powers of mixed types"] = odd(
    """g (float[2] x, int64[2] i, double[2] d) => (float[2] y, int64[2] j, float[2] z) {
        a = Exp(x) y = Pow(a, i) j = Pow(i, y) z = Pow(a, d) }""",
    X, np.array([1, 2]), np.array([2.0, 1.0]),
)  # fmt: skip
MODELS["doubles between floats"] = odd(
    """g (float[2] x) => (float[2] y) <double[2] w = {0.5, 2}> {
        a = Sin(x) d = Cast<to = 11>(a) e = Mul(d, w) f = Cast<to = 1>(e) y = Add(f, a) }""",
    X,
)  # fmt: skip
MODELS["half between floats, by the author"] = odd(
    """g (float[2] x) => (float[2] y, float16[2] z) {
        a = Sin(x) z = Cast<to = 10>(a) b = Exp(z) c = Cast<to = 1>(b) y = Mul(c, x) }""",
    X,
)  # fmt: skip
MODELS["a type like another's"] = odd(
    """g (int64[2] i, float[2] x, double[2] d) => (float[2] y, double[2] e) {
        a = CastLike(i, x) y = Mul(a, x) b = CastLike(x, d) e = Add(b, d) }""",
    np.array([1, 2]), X, np.ones(2), opset=19, ir_version=9,
)  # fmt: skip
MODELS["a ratio that is a weight as well"] = odd(
    """g (float[2] x) => (float[2] y) <float r = {0.5}> {
        no = Constant<value = bool {0}>() a = Dropout(x, r, no) y = Mul(a, r) }""",
    X,
)  # fmt: skip
MODELS["a fill value of its own"] = odd(
    """g (float[2] x) => (float[2, 2] y, float[2] z) {
        s = Shape(x) a = ConstantOfShape(s) b = ConstantOfShape<value = float[1] {0.1}>(s)
        c = Add(a, b) z = Mul(c, x) two = Concat<axis = 0>(s, s)
        m = ConstantOfShape<value = float[1] {1}>(two) y = EyeLike(m) }""",
    X,
)  # fmt: skip
MODELS["every kind of constant"] = odd(
    """g (float[2] x) => (float[2] y, string[1] t) {
        a = Constant<value_floats = [0.5, 2.0]>() b = Constant<value_float = 3.0>()
        i = Constant<value_ints = [1, 0]>() t = Constant<value_strings = ["a"]>()
        g1 = Gather(x, i) c = Mul(g1, a) y = Add(c, b) }""",
    X,
)  # fmt: skip
MODELS["a bound that is left out"] = odd(
    """g (float[2] x) => (float[2] y, float[2] z) <float high = {0.25}> {
        y = Clip(x, , high) z = Max(x) }""",
    X,
)  # fmt: skip
MODELS["an input with a default"] = odd(
    """g (float[2] x, float[2] w) => (float[2] y, float[2] w) <float[2] w = {0.5, 2}> {
        y = Mul(x, w) }""",
    X,
)  # fmt: skip
MODELS["a recurrent net with operands left out"] = odd(
    """g (float[3, 1, 2] x, float[1, 8, 2] w, float[1, 8, 2] r, float[1, 6] p)
        => (float[1, 1, 2] h, float[1, 1, 2] c) {
        , h, c = LSTM<hidden_size = 2>(x, w, r, , , , , p) }""",
    np.ones((3, 1, 2), np.float32), np.full((1, 8, 2), 0.25, np.float32),
    np.full((1, 8, 2), -0.25, np.float32), np.full((1, 6), 0.5, np.float32),
)  # fmt: skip
