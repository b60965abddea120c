"""halve convert, from arguments to files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import onnx
import pytest

from halve.cli import convert as command
from halve.cli.main import main
from halve.options import Progress

SCHEMA = Path(__file__).parents[2] / "docs" / "report.schema.json"
DEMO = Path(command.__file__).parents[1] / "data" / "demo" / "model.onnx"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.onnx"


def element_types(model: onnx.ModelProto) -> set[int]:
    return {tensor.data_type for tensor in model.graph.initializer}


def test_convert(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(DEMO), str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0] == f"model     {DEMO} -> {out}"
    assert "25 float16, 0 float32" in captured.out
    model = onnx.load(out)
    onnx.checker.check_model(model, full_check=True)
    assert element_types(model) == {onnx.TensorProto.FLOAT16}
    assert list(out.parent.iterdir()) == [out]


def test_the_summary_is_the_same_every_time(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["convert", str(DEMO), str(out), "--op-block", "Softmax,Conv"]
    assert main(args) == 0
    first = capsys.readouterr()
    assert main(args) == 0
    assert capsys.readouterr() == first


def test_flags_reach_the_conversion(out: Path) -> None:
    args = ["--keep_io_types", "--op_block=Gem.", "--fp32_nodes", "0", "--dtype=bfloat16"]
    assert main(["convert", "--input_onnx", str(DEMO), str(out), "--target", "any", *args]) == 0
    model = onnx.load(out)
    kept = {tensor.name for tensor in model.graph.initializer if tensor.data_type == 1}
    assert {"dense1.weight", "dense2.bias"} <= kept
    assert element_types(model) == {onnx.TensorProto.FLOAT, onnx.TensorProto.BFLOAT16}
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_a_file_name_that_is_no_text(tmp_path: Path) -> None:
    out = os.fsencode(tmp_path) + b"/\xff.onnx"
    command = [sys.executable, "-m", "halve", "convert", os.fsencode(DEMO), out]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\udcff.onnx" in done.stdout.splitlines()[0]
    assert Path(os.fsdecode(out)).is_file()


def test_report(out: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    args = ["--report", str(report), "--op-block", "Softmax"]
    assert main(["convert", str(DEMO), str(out), *args]) == 0
    record = json.loads(report.read_text("utf-8"))
    jsonschema.validate(record, json.loads(SCHEMA.read_text("utf-8")))
    model = onnx.load(out)
    casts = [node.name for node in model.graph.node if node.op_type == "Cast"]
    assert sorted(row["node"] for row in record["casts"]["rows"]) == sorted(casts)
    assert record["casts"]["count"] == record["casts"]["lower_bound"] == len(casts)
    weights = {row["name"]: row for row in record["tensors"]}
    assert weights["dense1.weight"]["shape"] == [64, 512]
    assert weights["dense1.weight"]["counts"]["elements"] == 64 * 512
    counts = weights["dense1.weight"]["counts"]
    assert 0 < counts["max_abs_error"] <= counts["max_abs"] * 2**-11
    assert [row["type"] for row in record["nodes"]["kept_float32"]] == ["Softmax"]
    assert record["source"]["nbytes"] == DEMO.stat().st_size
    assert record["target"]["files"] == ["out.onnx"]


def test_json_on_stdout(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(DEMO), str(out), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    jsonschema.validate(record, json.loads(SCHEMA.read_text("utf-8")))


def test_quiet(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(DEMO), str(out), "--quiet"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert out.is_file()


@pytest.mark.parametrize("paths", [[], ["a"], ["a", "b", "c"], ["--input-onnx", "a", "b", "c"]])
def test_wrong_number_of_paths(paths: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", *paths]) == 1
    assert "expected the model IN and the file to write OUT" in capsys.readouterr().err


def test_a_missing_model(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "none.onnx", str(out)]) == 1
    err = capsys.readouterr().err
    assert err.startswith("halve: error: ")
    assert "none.onnx" in err
    assert err.count("\n") == 1
    assert not out.exists()


def test_onto_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(DEMO.read_bytes())
    assert main(["convert", str(model), str(model)]) == 1
    assert capsys.readouterr().err.startswith("halve: error: ")
    assert model.read_bytes() == DEMO.read_bytes()


@pytest.mark.parametrize(
    ("report", "message"),
    [("out.onnx", "is the model itself"), ("none/r.json", "no folder"), (".", "is a folder")],
)
def test_a_report_that_cannot_be_is_refused_before_the_work(
    report: str, message: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["convert", str(DEMO), str(out), "--report", str(out.parent / report)]
    assert main(args) == 1
    assert message in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("start", [b"\x00\x01", b"{\x01\x80\x3f", b'{ "\x00\x00'])
def test_a_report_replaces_json_only(
    out: Path, start: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    report = out.parent / "weights.bin"
    report.write_bytes(start)
    args = ["convert", str(DEMO), str(out), "--report", str(report)]
    assert main(args) == 1
    assert "exists and is no JSON file" in capsys.readouterr().err
    assert report.read_bytes() == start
    for old in ("", "{}", ' {\n  "schema_version": 1'):
        report.write_text(old, "utf-8")
        assert main(args) == 0
    assert json.loads(report.read_text("utf-8"))["kind"] == "convert"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_report_into_a_pipe_is_refused_without_waiting(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = out.parent / "pipe"
    os.mkfifo(pipe)
    assert main(["convert", str(DEMO), str(out), "--report", str(pipe)]) == 1
    assert "is no regular file; --json prints the report" in capsys.readouterr().err
    assert not out.exists()


def test_a_report_never_replaces_the_new_weights(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["convert", str(DEMO), str(out), "--external-data", "always", "--json"]
    assert main(args) == 0
    (data,) = json.loads(capsys.readouterr().out)["target"]["files"][1:]
    out.unlink()
    weights = out.parent / data
    weights.unlink()
    assert main([*args, "--report", str(weights)]) == 1
    assert "is a file of the new model" in capsys.readouterr().err
    onnx.checker.check_model(str(out), full_check=True)


def test_warnings_are_shown_to_a_limit(capsys: pytest.CaptureFixture[str]) -> None:
    command.show_warnings([f"w{number}" for number in range(12)])
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "halve: warning: w0"
    assert len(lines) == 11
    assert lines[-1] == "halve: warning: 2 more; --report F.json lists all"


class Terminal:
    """A text stream that says it is a terminal, over another stream."""

    def __init__(self, inner: object) -> None:
        self.inner = inner

    def isatty(self) -> bool:
        return True

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


def test_terminal_output(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", Terminal(sys.stdout))
    monkeypatch.setattr(sys, "stderr", Terminal(sys.stderr))
    assert main(["convert", str(DEMO), str(out)]) == 0
    captured = capsys.readouterr()
    assert "largest errors: 10 of" in captured.out
    assert "converting weights" in captured.err


def test_progress_shows_rate_and_bytes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "stderr", Terminal(sys.stderr))
    from halve.cli.progress import conversion_progress

    with conversion_progress(quiet=False) as update:
        assert update is not None
        update(Progress("open"))
        for done in (1, 2):
            update(Progress("write", done * 10**9, 4 * 10**9))
    err = capsys.readouterr().err
    assert "2.0/4.0 GB" in err
    assert "B/s" in err


def test_no_progress_where_nobody_looks() -> None:
    from halve.cli.progress import conversion_progress

    with conversion_progress(quiet=False) as update:
        assert update is None


def test_a_trained_model(
    trained_model: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = trained_model / "model.onnx"
    before = source.read_bytes()
    assert main(["convert", str(source), str(out), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["casts"]["count"] == record["casts"]["lower_bound"]
    assert record["nodes"]["half"] > 0
    onnx.checker.check_model(onnx.load(out), full_check=True)
    assert source.read_bytes() == before
