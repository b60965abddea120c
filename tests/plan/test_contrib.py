"""ONNX Runtime's own operators: the packaged schemas, and models that use them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import ModelProto, parser

from conformance.backend_cases import Case
from conformance.harness import baseline, evaluate
from halve.convert import convert
from halve.errors import SessionError
from halve.options import ConvertOptions
from halve.plan import refresh_contrib
from halve.plan.kernels import CONTRIB_SCHEMAS, ORT_TABLE, load_ort_table, table_path
from halve.plan.schemas import rule_for
from halve.types import DType

HEAD = '<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>\n'
X = np.linspace(-1, 2, 12, dtype=np.float32).reshape(1, 3, 4)
MODELS = {
    "Gelu": "g (float[1,3,4] x) => (float[1,3,4] y) { y = com.microsoft.Gelu(x) }",
    "FusedMatMul": """g (float[1,3,4] x) => (float[1,3,3] y) {
        y = com.microsoft.FusedMatMul<transB = 1, alpha = 0.5>(x, x)
    }""",
    "SkipLayerNormalization": """g (float[1,3,4] x) => (float[1,3,4] y)
    <float[4] w = {1, 2, 3, 4}, float[4] b = {0, 0, 1, 1}> {
        a = Neg(x) y = com.microsoft.SkipLayerNormalization<epsilon = 1e-5>(x, a, w, b)
    }""",
    "SimplifiedLayerNormalization": """g (float[1,3,4] x) => (float[1,3,4] y)
    <float[4] w = {1, 2, 3, 4}> {
        y = SimplifiedLayerNormalization<axis = -1, epsilon = 1e-5>(x, w)
    }""",
    "RotaryEmbedding": """g (float[1,3,4] x) => (float[1,3,4] y)
    <int64[1] p = {0}, float[4,2] c = {1, 1, 0.5, 0.5, 0.25, 0.25, 0, 0},
     float[4,2] s = {0, 0, 0.5, 0.5, 0.75, 0.75, 1, 1}> {
        y = com.microsoft.RotaryEmbedding<num_heads = 1>(x, p, c, s)
    }""",
}


def model(name: str) -> ModelProto:
    return parser.parse_model(HEAD + MODELS[name])


@pytest.mark.parametrize("target", ["any", "cuda", "cpu"])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_with_an_operator_of_the_runtime(name: str, target: str) -> None:
    case = Case("contrib", name, model(name), (X,))
    base = baseline(case)
    assert not isinstance(base, str), base
    for keep in (False, True):
        outcome = evaluate(case, *base, target=target, keep_io_types=keep)
        assert outcome.error <= 1
        assert outcome.written == "onnxruntime"
        dtypes = {node.type: node.dtype for node in outcome.result.plan.nodes}
        assert dtypes[name] == "float16"


def test_statistics_stay_float32() -> None:
    rule = rule_for("com.microsoft", "SkipLayerNormalization", 1)
    assert rule is not None
    assert not rule.allows("U", DType.FLOAT16)


def test_an_operator_with_bodies_of_its_own_stays_float32() -> None:
    text = """g (int32[1,2] i, int32 m, float p) => (int32[1,1,2] s) {
        s = com.microsoft.BeamSearch<eos_token_id = 1, pad_token_id = 0,
            decoder = b (int32[1,2] d) => (float[1,2] l) { l = Cast<to = 1>(d) }>(i, m, , m, m, p)
    }"""
    source = parser.parse_model(HEAD + text)
    plan = convert(source, options=ConvertOptions(target="any")).plan
    assert plan.nodes[0].dtype == "float32"
    assert "bodies" in plan.nodes[0].reason


def test_the_packaged_schemas_are_what_the_runtime_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if ort.__version__ != load_ort_table("CPUExecutionProvider").version:
        pytest.skip("another runtime is installed than the table is of")
    out = tmp_path / "schemas.json"
    assert refresh_contrib.main(["--out", str(out)]) == 0
    assert out.read_bytes() == table_path(CONTRIB_SCHEMAS).read_bytes()
    assert "operators" in capsys.readouterr().out


def test_the_two_tables_are_of_one_runtime() -> None:
    heads = [
        table_path(name).read_text(encoding="utf-8").splitlines()[1:3]
        for name in (ORT_TABLE, CONTRIB_SCHEMAS)
    ]
    assert heads[0] == heads[1]


def test_a_python_without_the_runtime_is_one_error(tmp_path: Path) -> None:
    stub = tmp_path / "python"
    stub.write_text("#!/bin/sh\necho 'no module named onnxruntime' >&2\nexit 1\n")
    stub.chmod(0o755)
    with pytest.raises(SessionError, match="no module named onnxruntime"):
        refresh_contrib.read_installed(str(stub))
