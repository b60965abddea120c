"""Small valid models of unusual operators and types, each with inputs that run it."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from conformance.odd_models import M, Odd, X, odd

__all__ = ["MODELS"]

MODELS: dict[str, Odd] = {}

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
MODELS["statistics of a batch"] = odd(
    """g (float[4, 2] x) => (float[4, 2] y, float[2] m, float[2] v)
    <float[2] scale = {1, 1}, float[2] shift = {0, 0}, float[2] mean = {0, 0},
     float[2] var = {1, 1}> {
        y, m, v = BatchNormalization<training_mode = 1>(x, scale, shift, mean, var) }""",
    np.arange(8, dtype=np.float32).reshape(4, 2) / 8,
)  # fmt: skip
MODELS["products of integers with scales"] = odd(
    """g (uint8[2, 2] x, float[2, 2] f) => (uint8[2, 2] y, float[2, 2] z)
    <uint8[2, 2] w = {1, 2, 3, 4}, float s = {0.5}, uint8 o = {0}> {
        y = QLinearMatMul(x, s, o, w, s, o, s, o) z = Mul(f, s) }""",
    np.ones((2, 2), np.uint8), np.ones((2, 2), np.float32),
)  # fmt: skip
MODELS["a product that quantises"] = odd(
    """g (float[2, 3] x) => (float[2, 2] y)
    <int8[3, 2] w = {1, 2, 3, 4, 5, 6}, float s = {0.5}> {
        a = com.microsoft.DynamicQuantizeMatMul(x, w, s) y = Sin(a) }""",
    M, domains={"com.microsoft": 1},
)  # fmt: skip
MODELS["texts split, matched and joined"] = odd(
    """g (string[2] t, float[2] x) => (string[2] u, bool[2] b, float[2] y, int64[2] n)
    <string[2] end = {"!", "?"}> {
        u = StringConcat(t, end) b = RegexFullMatch<pattern = "a.*">(t)
        parts, n = StringSplit<delimiter = " ">(t) f = Cast<to = 1>(b) y = Mul(f, x) }""",
    np.array(["a b", "c"], object), X, opset=20, ir_version=9,
)  # fmt: skip
MODELS["counting, comparing, choosing"] = odd(
    """g (float[2, 3] x) => (float[k] y, int64[2, n] at, float[2, 3] z, int64[2] top) {
        zero = Constant<value_float = 0.0>() b = Greater(x, zero) at = NonZero(x)
        all = Constant<value_ints = [-1]>() flat = Reshape(b, all) y = Compress(x, flat)
        c = Cast<to = 1>(b) z = Where(b, x, c) top = ArgMax<axis = 1, keepdims = 0>(x) }""",
    M,
)  # fmt: skip
MODELS["ranges and sums of floats"] = odd(
    """g (float[4] x) => (float[n] y, float[4] z, float[2, 2] e) {
        a = Constant<value_float = 0.0>() b = Constant<value_float = 2.0>()
        c = Constant<value_float = 0.5>() y = Range(a, b, c) i = Constant<value_int = 0>()
        s = Exp(x) z = CumSum(s, i) d = Constant<value_ints = [2, 2]>() f = Reshape(s, d)
        e = Einsum<equation = "ij,jk->ik">(f, f) }""",
    np.arange(4, dtype=np.float32) / 4,
)  # fmt: skip
MODELS["one hot of floats, and a fraction's remainder"] = odd(
    """g (int64[2] i, float[2] x) => (float[2, 3] y, float[2] z)
    <float[2] onoff = {0.25, 1.5}, int64 three = {3}> {
        y = OneHot(i, three, onoff) ones = Constant<value_ints = [1, 1]>()
        w = Gather(onoff, ones) z = Mod<fmod = 1>(x, w) }""",
    np.array([0, 2]), X,
)  # fmt: skip
MODELS["padded by a value, gathered, scattered"] = odd(
    """g (float[2, 3] x, float[1] v) => (float[2, 5] y, float[2, 3] z) <float pad = {0.5}> {
        p = Constant<value_ints = [0, 1, 0, 1]>() e = Exp(x) y = Pad(e, p, pad)
        i = Constant<value = int64[1, 2] {1, 1}>() z = ScatterND(x, i, v) }""",
    M, np.array([7], np.float32),
)  # fmt: skip
MODELS["a step of an optimiser"] = odd(
    """g (float r, int64 t, float[2] x, float[2] d, float[2] v) => (float[2] y, float[2] w) {
        e = Exp(d) y, w = ai.onnx.preview.training.Momentum<alpha = 0.5, beta = 0.5,
            mode = "standard", norm_coefficient = 0.25>(r, t, x, e, v) }""",
    np.array(0.5, np.float32), np.array(1), X, X, X, domains={"ai.onnx.preview.training": 1},
)  # fmt: skip
MODELS["a map that makes two sequences and captures"] = odd(
    """g (float[2] x, float[2] z) => (float[2] y, float[2] v) <float[2] w = {0.5, 2}> {
        a = Sin(x) s = SequenceConstruct(a, z)
        t, r = SequenceMap(s) <body = b (float[2] u) => (float[2] p, float[2] q) {
            p = Mul(u, u) q = Exp(u) }>
        i = Constant<value_int = 0>() v = SequenceAt(r, i)
        first = SequenceAt(t, i) y = Mul(first, w) }""",
    X, X,
)  # fmt: skip
