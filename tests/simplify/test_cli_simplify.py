"""halve simplify, and --simplify on other commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

import halve
from halve.cli.main import main
from models import text_model


@pytest.fixture
def file(tmp_path: Path) -> Path:
    model = text_model(
        "g (float[N, 4] x) => (float[N, 4] y) { a = Identity(x) b = Relu(a) y = Exp(b) }"
    )
    onnx.save(model, tmp_path / "m.onnx")
    np.savez(tmp_path / "sample0_inputs.npz", x=np.ones((2, 4), np.float32))
    return tmp_path / "m.onnx"


def test_simplify(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(file.with_name("out.onnx"))
    assert main(["simplify", str(file), out, "--sample-dir", str(file.parent)]) == 0
    text = capsys.readouterr().out
    assert "nodes     3 -> 2\n" in text
    assert "types     Identity 1 -> 0\n" in text
    assert "1 outputs of 1 samples equal within the tolerance" in text


def test_json_and_random_samples(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(file.with_name("out.onnx"))
    args = ["simplify", str(file), out, "--max-shapes", "x:[3,4]", "--json", "--skip_fuse_bn"]
    assert main([*args, "--skip", "eliminate_identity"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["nodes_after"] == 3
    assert record["origins"] == [[0], [1], [2]]
    assert record["warnings"] == ["the samples were random: real ones may give other values"]


def test_on_convert_and_auto(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = file.with_name("out.onnx")
    samples = ["--sample-dir", str(file.parent)]
    assert main(["convert", str(file), str(out), "--simplify", *samples, "--op-block", "Relu"]) == 0
    assert "Identity" not in [node.op_type for node in onnx.load(out).graph.node]
    assert "1 float16, 2 float32, 0 without" in capsys.readouterr().out  # Identity is with Relu
    assert main(["auto", str(file), str(out), *samples, "--simplify", "--json"]) == 0
    assert "ids are those of the file given" in capsys.readouterr().out


def test_on_manual(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ids, names and operators are the file's, in flags, statistics, plan and deployable model."""
    work = file.with_name("w")
    given = ["manual", str(file), "--simplify", "--sample-dir", str(file.parent)]
    given += ["--workspace", str(work)]
    assert main([*given, "--fp32-nodes", "1", "--op-type-filter", "Relu", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    ((key, row),) = record["op_statistic"][0].items()
    assert (key, row["id"], row["type"], row["precision"]) == ("1", 1, "Relu", "float32")
    assert [output["name"] for output in row["outputs"]] == ["b"]
    plan = halve.Plan.load(work / "plan.json")
    assert [node.type for node in plan.nodes] == ["Identity", "Relu", "Exp"]
    assert plan.nodes[1].dtype == "float32"
    assert main([*given, "--fp32-nodes", f"@{work / 'plan.json'}", "--finalize"]) == 0
    found = [node.op_type for node in onnx.load(work / "deploy.onnx").graph.node]
    assert found == ["Cast", "Relu", "Cast", "Exp"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["convert", "m.onnx", "o.onnx", "--skip", "x"], "--skip is for simplification"),
        (["auto", "m.onnx", "o.onnx", "--skip-fuse-bn"], "--skip-fuse-bn is for simplification"),
        (["convert", "m.onnx", "o.onnx", "--sample-dir", "d"], "--sample-dir is for --simplify"),
        (["simplify", "m.onnx"], "expected the model IN and the file to write OUT"),
        (["simplify", "m.onnx", "o.onnx", "--rtol", "x"], "--rtol is 'x'; allowed: a number"),
    ],
)
def test_wrong_use(
    args: list[str], message: str, file: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(file.parent)
    assert main(args) == 1
    assert message in capsys.readouterr().err


def test_unknown_pass(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = [str(file), str(file.with_name("o.onnx")), "--max-shapes", "x:[3,4]", "--skip", "fuse_x"]
    assert main(["simplify", *args]) == 1
    error = capsys.readouterr().err
    assert "there is no pass 'fuse_x'; allowed: eliminate_" in error
    assert "fuse_bn_into_conv" in error
