"""Small valid models of unusual structure, each with inputs that run it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto

from models import text_model

__all__ = ["LOCAL", "MODELS", "M", "Odd", "X", "Y", "odd"]

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

# Names, domains, declarations.
MODELS["functions that differ by their overload"] = odd(
    "g (float[2] x) => (float[2] y) { a = local.f:one(x) y = local.f:two(a) }",
    X,
    functions="""<domain: "local", overload: "one", opset_import: ["" : 21]>
    f (u) => (v) { v = Sin(u) }
    <domain: "local", overload: "two", opset_import: ["" : 21]>
    f (u) => (v) { c = Cast<to = 11>(u) d = Exp(c) v = Cast<to = 1>(d) }""",
    opset=21, ir_version=10, domains=LOCAL,
)  # fmt: skip
MODELS["a function that stands for an operator of the runtime"] = odd(
    "g (float[2] x) => (float[2] y) { a = Sin(x) y = com.microsoft.QuickGelu(a) }",
    X,
    functions="""<domain: "com.microsoft", opset_import: ["" : 17]>
    QuickGelu (u) => (v) {
        k = Constant<value_float = 1.702>() a = Mul(u, k) b = Sigmoid(a) v = Mul(u, b) }""",
    domains={"com.microsoft": 1},
)  # fmt: skip
MODELS["functions within functions within branches"] = odd(
    """g (bool c, float[2] x) => (float[2] y) {
        y = If(c) <then_branch = t () => (float[2] p) { p = local.four(x) },
                   else_branch = e () => (float[2] q) { a = local.two(x) q = local.four(a) }> }""",
    Y, X,
    functions="""<domain: "local", opset_import: ["" : 17]>
    two (u) => (v) { v = Add(u, u) }
    <domain: "local", opset_import: ["" : 17, "local" : 1]>
    four (u) => (v) { a = local.two(u) v = local.two(a) }""",
    domains=LOCAL,
)  # fmt: skip
MODELS["an input handed out through casts that do nothing"] = odd(
    """g (float[2] x) => (float[2] y, float[2] z) {
        a = Cast<to = 1>(x) b = Identity(a) y = Cast<to = 1>(b) z = Identity(x) }""",
    X,
)  # fmt: skip
MODELS["both kinds of half"] = odd(
    """g (float[2] x, float16[2] h) => (float[2] y, float16[2] z, float[2] v) {
        a = Cast<to = 1>(h) b = Mul(a, x) z = Cast<to = 10>(b) c = Cast<to = 16>(b)
        y = Cast<to = 1>(c) d = Sin(h) v = Cast<to = 1>(d) }""",
    X, X.astype(np.float16),
)  # fmt: skip


def nested(depth: int) -> Odd:
    """Branches within branches, each reading a value and a weight of the main graph."""
    body = "y = Mul(a, w)"
    for number in range(depth):
        body = f"""y = If(c) <then_branch = t () => (float[2] y{number}) {{
            {body.replace("y =", f"y{number} =", 1)} }},
            else_branch = e () => (float[2] z{number}) {{ z{number} = Add(a, w) }}>"""
    text = (
        f"g (bool c, float[2] x) => (float[2] y) <float[2] w = {{0.5, 2}}> {{ a = Sin(x) {body} }}"
    )
    return odd(text, Y, X)


MODELS["twelve branches deep"] = nested(12)


def declared() -> Odd:
    """Types declared of inner values, of some twice and of one that does not exist."""
    found = odd(
        """g (bool c, float[2] x) => (float[2] y) { a = Sin(x)
            y = If(c) <then_branch = t () => (float[2] p) { b = Exp(a) p = Exp(b) },
                       else_branch = e () => (float[2] q) { q = Cos(a) }> }""",
        Y, X,
    )  # fmt: skip
    for name in ("a", "a", "nobody"):
        info = found.model.graph.value_info.add(name=name)
        info.type.tensor_type.elem_type = 1
        info.type.tensor_type.shape.dim.add(dim_value=2)
    inner = found.model.graph.node[1].attribute[0].g.value_info.add(name="b")
    inner.type.tensor_type.elem_type = 1
    return found


MODELS["declarations, some twice"] = declared()
