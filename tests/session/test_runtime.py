"""Loading and running: options, feeds, types, and every error."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from halve.errors import BackendUnavailableError, OptionError, SampleError, SessionError
from halve.session import runtime
from halve.session.installed import describe_runtime, runtime_module
from halve.session.runtime import CPU_PROVIDER, load, run
from models import BFLOAT16, BOOL, FLOAT, FLOAT16, INT64, build, mlp, text_model

BF16 = ml_dtypes.bfloat16


def identity(dtype: int, shape: list[int | str | None] | None) -> onnx.ModelProto:
    node = helper.make_node("Identity", ["x"], ["y"])
    return build([node], {"x": (dtype, shape)}, {"y": (dtype, None)})


@pytest.mark.parametrize("form", ["path", "text", "bytes", "proto"])
def test_every_form_of_model(form: str, tmp_path: Path) -> None:
    model = mlp()
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    given = {"path": path, "text": str(path), "bytes": path.read_bytes(), "proto": model}[form]
    session = load(given)
    assert session.provider == CPU_PROVIDER
    assert [(port.name, port.type, port.shape) for port in session.inputs] == [
        ("x", "tensor(float)", ("n", 16))
    ]
    (y,) = run(session, {"x": np.zeros((2, 16), np.float32)})
    assert y.shape == (2, 8)


def test_external_data_of_a_model_in_memory(tmp_path: Path) -> None:
    weights = np.arange(512, dtype=np.float32)
    node = helper.make_node("Add", ["x", "w"], ["y"])
    model = build([node], {"x": (FLOAT, [512])}, {"y": (FLOAT, [512])}, {"w": weights})
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin")
    skeleton = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    session = load(skeleton, external_data_folder=tmp_path)
    (y,) = run(session, {"x": np.ones(512, np.float32)})
    np.testing.assert_array_equal(y, weights + 1)
    assert {item.name for item in tmp_path.iterdir()} == {"m.onnx", "w.bin"}


@pytest.mark.parametrize("optimise", [True, False, *runtime.OPTIMISE_LEVELS])
def test_every_level_runs(optimise: bool | str) -> None:
    (y,) = run(load(mlp(), optimise=optimise, threads=2), {"x": np.ones((1, 16), np.float32)})
    assert np.isfinite(y).all()


def test_wrong_options() -> None:
    with pytest.raises(OptionError, match=r"optimise is 'fast'; allowed: disabled, basic"):
        load(mlp(), optimise="fast")
    with pytest.raises(OptionError, match="threads is 0"):
        load(mlp(), threads=0)
    with pytest.raises(BackendUnavailableError, match=r"no usable FooProvider.*CPUExecution"):
        load(mlp(), provider="FooProvider")


def test_models_that_do_not_load(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match=r"absent\.onnx: there is no such file"):
        load(tmp_path / "absent.onnx")
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(SessionError, match=r"broken\.onnx: ONNX Runtime .* cannot load it on CPU"):
        load(path)
    with pytest.raises(SessionError, match="model in memory"):
        load(b"no model")
    with pytest.raises(SessionError, match="cannot load"):
        load(mlp(), custom_op_library=tmp_path / "absent.so")


def test_failure_while_running() -> None:
    model = text_model("g (float[N] x, int64[M] s) => (float[A,B] y) { y = Reshape(x, s) }")
    with pytest.raises(SessionError, match="judged: ONNX Runtime failed while running"):
        run(load(model, where="judged"), {"x": np.ones(3, np.float32), "s": np.array([2, 2])})


def test_missing_and_unknown_inputs() -> None:
    session = load(mlp(), where="m.onnx")
    with pytest.raises(SampleError, match=r"m\.onnx: input 'x' is missing; .* inputs: 'x'"):
        run(session, {})
    x = np.zeros((1, 16), np.float32)
    with pytest.raises(SampleError, match=r"m\.onnx: the model has no input 'z'; its inputs: 'x'"):
        run(session, {"x": x, "z": x})


def test_wrong_types_and_shapes() -> None:
    session = load(mlp())
    with pytest.raises(SampleError, match=r"'x' has type float64; allowed: float$"):
        run(session, {"x": np.zeros((1, 16))})
    with pytest.raises(SampleError, match=r"'x' has shape \[1, 15\]; allowed: \[n, 16\]"):
        run(session, {"x": np.zeros((1, 15), np.float32)})
    with pytest.raises(SampleError, match=r"'x' has shape \[16\]; allowed: \[n, 16\]"):
        run(session, {"x": np.zeros(16, np.float32)})
    with pytest.raises(SampleError, match=r"'x' has type int64; allowed: float16, or float32"):
        run(load(identity(FLOAT16, [1])), {"x": np.zeros(1, np.int64)})


def test_half_is_not_taken_for_float32() -> None:
    with pytest.raises(SampleError, match="'x' has type float16; allowed: float"):
        run(load(identity(FLOAT, [1])), {"x": np.zeros(1, np.float16)})


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16])
def test_float32_is_rounded_for_a_half_input(dtype: int) -> None:
    kind = np.float16 if dtype == FLOAT16 else BF16
    x = np.array([0.1, 1 + 2**-12, 65520, 1e-9], np.float32)
    (y,) = run(load(identity(dtype, ["n"])), {"x": x})
    assert y.dtype == kind
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(y, x.astype(kind))


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (2, 3)])
def test_bfloat16_shapes(shape: tuple[int, ...]) -> None:
    x = np.arange(int(np.prod(shape))).reshape(shape).astype(BF16)
    (y,) = run(load(identity(BFLOAT16, list(shape))), {"x": x})
    assert (y.dtype, y.shape) == (BF16, shape)
    np.testing.assert_array_equal(y, x)


def test_bfloat16_beside_other_types() -> None:
    model = text_model(
        """g (bfloat16[N] x, int64[N] i, bool[N] b) => (bfloat16[N] y, int64[N] j, bool[N] c) {
            y = Identity(x)  j = Identity(i)  c = Not(b)
        }"""
    )
    x = np.array([1, 2, 3, 4], BF16)[::2]  # not contiguous
    y, j, c = run(load(model), {"x": x, "i": np.array([5, 6]), "b": np.array([True, False])})
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(j, [5, 6])
    np.testing.assert_array_equal(c, [False, True])


MIXED = """g (bfloat16[2] b, seq(float[2]) s, string[2] t, optional(seq(float[2])) o)
    => (bfloat16[2] y, seq(float[2]) q, string[2] u, float[2] z) {
    f = Cast <to = 1> (b) y = Cast <to = 16> (f) q = SequenceInsert (s, f) u = Identity (t)
    i = Constant <value_int = 0> () p = OptionalGetElement (o) z = SequenceAt (p, i) }"""


def mixed_feeds() -> dict[str, object]:
    x = np.array([1.5, -2], np.float32)
    return {"b": x, "s": [x, x + 1], "t": np.array(["a", "\u00fc"], object), "o": [x + 2]}


def test_bfloat16_beside_sequences_texts_and_optionals() -> None:
    y, q, u, z = run(load(text_model(MIXED)), mixed_feeds())  # type: ignore[arg-type]
    x = np.array([1.5, -2], np.float32)
    np.testing.assert_array_equal(y, x.astype(BF16))
    assert [part.tolist() for part in q] == [x.tolist(), (x + 1).tolist(), x.tolist()]
    assert u.tolist() == ["a", "\u00fc"]
    np.testing.assert_array_equal(z, x + 2)


def test_an_empty_sequence_beside_bfloat16() -> None:
    y, q, *_ = run(load(text_model(MIXED)), mixed_feeds() | {"s": []})  # type: ignore[arg-type]
    assert y.dtype == BF16
    assert [part.tolist() for part in q] == [[1.5, -2]]


def test_bfloat16_inputs_alone_beside_whatever_a_model_takes() -> None:
    model = text_model(
        "g (bfloat16[2] b, optional(float[2]) o) => (bool h, float[2] y) {"
        " h = OptionalHasElement (o) y = Cast <to = 1> (b) }"
    )
    for given, wanted in ((None, False), (np.ones(2, np.float32), True)):
        feeds = {"b": np.ones(2, np.float32), "o": given}
        h, y = run(load(model), feeds)  # type: ignore[arg-type]
        assert h.item() is wanted
        assert y.tolist() == [1, 1]


def test_an_optional_without_a_value_beside_bfloat16_outputs() -> None:
    model = text_model(
        "g (bfloat16[2] b, optional(float[2]) o) => (bfloat16[2] y, bool h, optional(float[2]) p) {"
        " h = OptionalHasElement (o) y = Identity (b) p = Identity (o) }"
    )
    y, h, p = run(load(model), {"b": np.ones(2, BF16), "o": None})  # type: ignore[dict-item]
    assert y.dtype == BF16
    assert (h.item(), p) == (False, None)


def test_maps_have_no_value_beside_bfloat16_outputs() -> None:
    model = text_model(
        """g (bfloat16[2] b, map(string, float) m) => (bfloat16[2] y, float[1, 2] z) {
        y = Identity (b)
        z = ai.onnx.ml.DictVectorizer <string_vocabulary = ["a", "b"]> (m) }""",
        domains={"ai.onnx.ml": 1},
    )
    with pytest.raises(SessionError, match=r"'m' is map\(string,tensor\(float\)\).*keep_io_types"):
        run(load(model), {"b": np.ones(2, BF16), "m": {"a": 1.0}})  # type: ignore[dict-item]


def test_scalars_integers_and_texts() -> None:
    assert run(load(identity(INT64, [])), {"x": np.array(7)})[0] == 7
    assert run(load(identity(BOOL, [])), {"x": np.array(True)})[0]
    text = identity(int(onnx.TensorProto.STRING), [2])
    assert list(run(load(text), {"x": np.array(["a", "b"])})[0]) == ["a", "b"]


def test_initializer_that_is_an_input_may_be_fed_or_not() -> None:
    node = helper.make_node("Mul", ["x", "w"], ["y"])
    inputs = {"x": (FLOAT, [1]), "w": (FLOAT, [1])}
    model = build([node], inputs, {"y": (FLOAT, [1])}, {"w": np.array([2], np.float32)})
    session = load(model)
    three = np.array([3], np.float32)
    assert run(session, {"x": three})[0] == 6
    assert run(session, {"x": three, "w": three})[0] == 9


def test_one_session_runs_in_many_threads() -> None:
    session = load(mlp())
    x = np.random.default_rng(0).standard_normal((8, 16)).astype(np.float32)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: run(session, {"x": x})[0].tobytes(), range(32)))
    assert set(results) == {run(session, {"x": x})[0].tobytes()}


def test_description() -> None:
    info = describe_runtime()
    assert info.supported
    assert CPU_PROVIDER in info.providers
    assert info.supported_range == ">= 1.20"
    assert info.version in info.distribution


def test_absent_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendUnavailableError, match=r"halve\[cpu\]"):
        load(mlp())
    info = describe_runtime()
    assert (info.version, info.supported) == ("", False)
    assert "halve[cpu]" in info.note


def test_runtime_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", "1.19.2")
    with pytest.raises(BackendUnavailableError, match=r"1\.19\.2 is too old; allowed: 1\.20"):
        load(mlp())
    assert not describe_runtime().supported


@pytest.mark.parametrize("version", ["1.20", "1.31.1", "1.32.0rc1", "2.0.0"])
def test_runtime_new_enough(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", version)
    assert describe_runtime().supported


@pytest.mark.huge
def test_proto_over_two_gib_is_refused() -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    model = build([node], {"x": (FLOAT, [1])}, {"y": (FLOAT, [1])})
    weight = np.zeros(9 << 25, np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "a"))
    model.graph.initializer.append(numpy_helper.from_array(weight, "b"))
    with pytest.raises(SessionError, match=r"does not fit into 2 GiB.*give its path"):
        load(model)


@pytest.mark.parametrize(
    ("cause", "expected"),
    [("KeyboardInterrupt()", KeyboardInterrupt), ("OSError()", BackendUnavailableError)],
)
def test_an_import_that_is_interrupted(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cause: str,
    expected: type[BaseException],
) -> None:
    code = f'raise ImportError("initialization failed") from {cause}\n'
    (tmp_path / "onnxruntime.py").write_text(code, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxruntime")
    with pytest.raises(expected):
        runtime_module()
