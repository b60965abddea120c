"""A plan outlives its model's file: searched, exported again, converted and judged again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from halve import ConvertOptions, Plan, SearchOptions, verify_plan
from halve.cli.main import main
from halve.session import Sample, write_samples
from onnx_text import parse
from re_export import re_export

# 300 squared leaves float16's range, and so does the sum of four such squares.
MODEL = """g (float[N,4] x) => (float[N,4] y, float[N,1] z) <int64[1] axes = {1}> {
  [scale] a = Mul(x, x)
  [sum] b = ReduceSum<keepdims = 1>(a, axes)
  [root] c = Sqrt(b)
  [left] l = Tanh(x)
  [right] r = Sigmoid(x)
  [both] y = Add(l, r)
  [out] z = Sqrt(c)
}"""


def model(*changes: tuple[str, str]) -> ModelProto:
    text = MODEL
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse(text)


@pytest.fixture
def searched(tmp_path: Path, found: Path) -> Path:
    """A folder with the model, samples, and the plan that a search wrote."""
    shutil.copytree(found, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("found")
    onnx.save(model(), tmp_path / "first.onnx")
    random = np.random.default_rng(1)
    rows = [random.uniform(200, 400, (2, 4)).astype(np.float32) for _ in range(4)]
    write_samples(tmp_path / "s", [Sample(i, {"x": row}) for i, row in enumerate(rows)])
    arguments = ["auto", str(tmp_path / "first.onnx"), str(tmp_path / "mixed.onnx"), "--sample-dir"]
    more = [str(tmp_path / "s"), "--workspace", str(tmp_path / "w"), "--target", "any", "--quiet"]
    assert main(arguments + more) == 0
    return tmp_path


def float32_types(plan: Plan) -> list[str]:
    return sorted(node.type for node in plan.nodes if node.dtype == "float32")


def convert(folder: Path, made: ModelProto, plan: Path, *more: str) -> int:
    onnx.save(made, folder / "again.onnx")
    paths = [str(folder / "again.onnx"), str(folder / "out.onnx")]
    flags = ["--fp32-nodes", f"@{plan}", "--target", "any", "--report", str(folder / "r.json")]
    return main(["convert", *paths, *flags, *more])


def kept(folder: Path) -> list[str]:
    record = json.loads((folder / "r.json").read_text("utf-8"))
    return sorted(node["type"] for node in record["nodes"]["kept_float32"])


@pytest.mark.parametrize("seed", range(3))
def test_convert_takes_the_plan_of_the_other_export(
    searched: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Plan.load(searched / "w" / "plan.json")
    assert "Mul" in float32_types(plan)
    assert convert(searched, re_export(model(), seed), searched / "w" / "plan.json") == 0
    assert kept(searched) == float32_types(plan)
    err = capsys.readouterr().err
    assert err == (
        "halve: warning: the plan was made for another file; its nodes were found by their"
        " structure\n"
    )


def test_verify_plan_judges_the_other_export(
    searched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = searched / "again.onnx"
    onnx.save(re_export(model(), 5, keep_ports=True), again)
    arguments = ["auto", str(again), "--sample-dir", str(searched / "s"), "--target", "any"]
    plan = str(searched / "w" / "plan.json")
    assert main([*arguments, "--verify-plan", plan, "--json"]) == 0
    shown = capsys.readouterr()
    record = json.loads(shown.out)
    assert record["verified"]["passed"] is True
    assert len(record["warnings"]) == 1
    assert "found by their structure" in shown.err


def test_verify_plan_names_the_provider_that_differs(searched: Path) -> None:
    path = searched / "w" / "plan.json"
    record = json.loads(path.read_text("utf-8")) | {"provider": "CUDAExecutionProvider"}
    path.write_text(json.dumps(record), "utf-8")
    options = SearchOptions(convert=ConvertOptions(target="any"))
    verdict = verify_plan(searched / "first.onnx", path, searched / "s", options=options)
    assert verdict.passed
    assert any(
        "was verified on CUDAExecutionProvider and is judged on CPUExecutionProvider" in text
        for text in verdict.warnings
    )


def test_a_search_starts_from_the_plan_of_the_other_export(searched: Path) -> None:
    again = searched / "again.onnx"
    onnx.save(re_export(model(), 6, keep_ports=True), again)
    plan, report = searched / "w" / "plan.json", searched / "r.json"
    arguments = [
        "auto",
        str(again),
        str(searched / "out.onnx"),
        "--sample-dir",
        str(searched / "s"),
    ]
    more = ["--target", "any", "--fp32-nodes", f"@{plan}", "--report", str(report), "--quiet"]
    assert main(arguments + more) == 0
    record = json.loads(report.read_text("utf-8"))
    assert any("found by their structure" in text for text in record["warnings"])
    assert {row["type"] for row in record["kept_float32"]} >= set(float32_types(Plan.load(plan)))


def test_a_node_more_is_named(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed = model(("[both] y = Add(l, r)", "[extra] s = Softsign(l) y = Add(s, r)"))
    assert convert(searched, re_export(changed, 2), searched / "w" / "plan.json") == 0
    err = capsys.readouterr().err
    assert "the model has changed: 1 nodes are new and follow the rules: node" in err
    assert "(Softsign 'again" in err
    assert "judge it again with halve auto --verify-plan" in err


def test_a_node_less_is_named(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed = model(("[left] l = Tanh(x)", ""), ("Add(l, r)", "Add(x, r)"))
    assert convert(searched, changed, searched / "w" / "plan.json") == 0
    assert "1 of its nodes are not here: node 3 (Tanh 'left')" in capsys.readouterr().err


def test_a_float32_node_less_is_an_error(
    searched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = model(("[scale] a = Mul(x, x)", "[scale] a = Add(x, x)"))
    assert convert(searched, changed, searched / "w" / "plan.json") == 1
    err = capsys.readouterr().err
    assert "the plan no longer fits this model: 1 of its" in err
    assert "node 0 (Mul 'scale'); new here: node 0 (Add 'scale')" in err
    assert not (searched / "out.onnx").exists()


def test_another_model_is_refused(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = parse("g (float[N,4] x) => (float[N,4] y) { a = Exp(x) b = Neg(a) y = Add(b, x) }")
    assert convert(searched, other, searched / "w" / "plan.json") == 1
    err = capsys.readouterr().err
    assert "the plan belongs to another model: of its 7 nodes 0 are here; not here: node 0" in err


@pytest.mark.parametrize(
    ("change", "flags", "words"),
    [
        (
            {"runtime": "onnxruntime 1.2.3"},
            ["--threads", "1"],
            "was verified on onnxruntime 1.2.3, this is",
        ),
        (
            {"provider": "CUDAExecutionProvider"},
            ["--target", "cpu"],
            "verified on CUDAExecutionProvider and is applied for target 'cpu'",
        ),
    ],
)
def test_a_plan_verified_elsewhere_warns(
    searched: Path,
    change: dict[str, str],
    flags: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = searched / "w" / "plan.json"
    plan.write_text(json.dumps(json.loads(plan.read_text("utf-8")) | change), "utf-8")
    assert convert(searched, model(), plan, *flags) == 0
    assert words in capsys.readouterr().err


def test_manual_mode_reads_and_writes_the_same_plan(
    searched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again, space = searched / "again.onnx", searched / "m"
    onnx.save(re_export(model(), 7, keep_ports=True), again)
    plan = searched / "w" / "plan.json"
    arguments = ["manual", str(again), "--sample-dir", str(searched / "s"), "--target", "any"]
    assert main([*arguments, "--fp32-nodes", f"@{plan}", "--workspace", str(space)]) == 0
    assert "found by their structure" in capsys.readouterr().err
    written = Plan.load(space / "plan.json")
    assert float32_types(written) == float32_types(Plan.load(plan))
    # And back: what manual mode wrote for this export serves the first one.
    assert convert(searched, model(), space / "plan.json") == 0
    assert kept(searched) == float32_types(written)
