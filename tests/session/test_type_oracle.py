"""What ONNX Runtime knows of operators without an ONNX schema, with a library of custom ops."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, checker, helper

import halve
from halve import ConvertOptions, float16
from halve.cli.main import main
from halve.errors import SessionError
from halve.session import load, run
from halve.session.type_oracle import RuntimeTypes, with_runtime_types
from halve.types import TypeQuestion
from models import text_model

FLOAT, STRING = int(TensorProto.FLOAT), int(TensorProto.STRING)
MODEL = """g (float[2, 2] x) => (float[2, 2] y) {
    a = Tanh(x)
    p, n = ai.onnx.contrib.NegPos(a)
    s = Add(p, n)
    i = ai.onnx.contrib.Inverse(s)
    r = Sigmoid(i)
    y = MatMul(r, r)
}"""


@pytest.fixture(scope="module")
def library() -> Path:
    extensions = pytest.importorskip("onnxruntime_extensions", reason="a library of custom ops")
    return Path(extensions.get_library_path())


def model() -> ModelProto:
    return text_model(MODEL, domains={"ai.onnx.contrib": 1})


def question(op_type: str, domain: str, *inputs: int, outputs: int = 1) -> TypeQuestion:
    operator = NodeProto(op_type=op_type, domain=domain).SerializeToString()
    return TypeQuestion(operator, 1, inputs, (True,) * outputs)


def test_a_library_s_operators_are_known(library: Path) -> None:
    oracle = RuntimeTypes(library)
    answers = oracle(
        [
            question("NegPos", "ai.onnx.contrib", FLOAT, outputs=2),
            question("NoSuchOp", "ai.onnx.contrib", FLOAT),
            question("StringUpper", "ai.onnx.contrib", STRING),
            question("NegPos", "ai.onnx.contrib", STRING, outputs=2),
        ]
    )
    assert [a.outputs for a in answers] == [(FLOAT, FLOAT), (), (STRING,), ()]
    assert "NoSuchOp" in answers[1].reason
    assert oracle([question("NoSuchOp", "ai.onnx.contrib", FLOAT)]) == [answers[1]]


def test_the_runtime_s_own_operators_need_no_library() -> None:
    tokenizer = helper.make_node(
        "Tokenizer", [], [], domain="com.microsoft", mark=1, pad_value="", mincharnum=1,
        separators=[" "],
    )  # fmt: skip
    asked = TypeQuestion(tokenizer.SerializeToString(), 1, (STRING,), (True,))
    assert RuntimeTypes()([asked])[0].outputs == (STRING,)


def test_what_follows_a_custom_op_is_converted(library: Path) -> None:
    options = ConvertOptions(custom_op_library=library, target="cpu", keep_io_types=True)
    result = halve.convert(model(), options=options)
    dtypes = {node.type: node.dtype for node in result.plan.nodes}
    assert dtypes == {
        "Tanh": "float16", "NegPos": "float32", "Add": "float16", "Inverse": "float32",
        "Sigmoid": "float16", "MatMul": "float16",
    }  # fmt: skip
    assert result.warnings == ()
    assert result.model is not None
    checker.check_model(result.model, full_check=True)
    x = np.array([[3, 1], [2, 5]], np.float32)
    want, got = (run(load(m, custom_op_library=library), {"x": x}) for m in (model(), result.model))
    np.testing.assert_allclose(got[0], want[0], rtol=1e-2)


def test_a_model_with_custom_ops_is_searched_and_judged(library: Path, tmp_path: Path) -> None:
    x = np.array([[3, 1], [2, 5]], np.float32)
    convert = ConvertOptions(custom_op_library=library, target="any", keep_io_types=True)
    options = halve.SearchOptions(convert=convert, workers=1)
    result = halve.auto(model(), tmp_path / "mixed.onnx", [{"x": x}], options=options)
    assert result.verdict.passed
    assert result.verdict.level == "emulated"
    dtypes = {node.type: node.dtype for node in result.search.plan.nodes}
    assert (dtypes["Inverse"], dtypes["MatMul"]) == ("float32", "float16")


def test_without_the_library_the_region_stays_float32_and_is_named() -> None:
    result = halve.convert(model(), options=ConvertOptions(target="cpu"))
    dtypes = {node.type: node.dtype for node in result.plan.nodes}
    assert (dtypes["Tanh"], dtypes["Add"]) == ("float16", "")
    assert "ai.onnx.contrib::NegPos makes are not known" in result.warnings[0]
    assert "not a registered function/op" in result.warnings[0]
    with pytest.warns(UserWarning, match="NegPos makes are not known"):
        float16.convert_float_to_float16(model())


def test_without_onnx_runtime_the_region_stays_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    result = halve.convert(model(), options=ConvertOptions(target="cpu"))
    assert "ONNX Runtime cannot be imported" in result.warnings[0]
    assert result.plan.nodes[2].dtype == ""


def test_nothing_unknown_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    plain = text_model("g (float[N] x) => (float[N] y) { y = Relu(x) }")
    assert halve.convert(plain).warnings == ()


def test_a_library_that_does_not_load_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "in.onnx", tmp_path / "out.onnx"
    onnx.save(text_model("g (float[N] x) => (float[N] y) { y = Relu(x) }"), source)
    flags = ["--custom-op-library", str(tmp_path / "absent.so")]
    assert main(["convert", str(source), str(target), *flags]) == 1
    err = capsys.readouterr().err
    assert "absent.so cannot be loaded" in err
    assert "give the path of a shared library" in err
    assert not target.exists()


def test_the_oracle_of_the_options_wins_and_travels() -> None:
    given = RuntimeTypes()
    assert with_runtime_types(ConvertOptions(type_oracle=given)).type_oracle is given
    copy = pickle.loads(pickle.dumps(RuntimeTypes(Path("a.so"))))
    with pytest.raises(SessionError, match=r"a\.so cannot be loaded"):
        copy([])
