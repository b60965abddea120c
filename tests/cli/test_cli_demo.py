"""halve demo: what it writes, what it says, and what it leaves alone."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest

from halve import ConvertOptions, OutputTolerance, SearchOptions, Tolerances
from halve.cli import demo
from halve.cli.main import main
from halve.session import read_samples

SCHEMA = Path(__file__).parents[2] / "docs" / "auto.schema.json"
FILES = {
    "digits.onnx",
    "digits_float16.onnx",
    "digits_mixed.onnx",
    "report.html",
    "report.json",
    "samples",
}


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "folder"
    assert main(["demo", "--output", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "FAILED      passed" in out
    assert "/input/Mul_2          required, overflow: the result reaches" in out
    assert {item.name for item in folder.iterdir()} == FILES
    report = json.loads((folder / "report.json").read_text("utf-8"))
    jsonschema.validate(report, json.loads(SCHEMA.read_text("utf-8")))
    page = (folder / "report.html").read_text("utf-8")
    assert "/input/Mul_2" in page
    assert "beyond 65504" in page


def test_the_last_line_repeats_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    program, *arguments = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert program == "halve"
    assert main(arguments) == 0
    assert "4 of 25 nodes: 4 required" in capsys.readouterr().out
    assert (tmp_path / "again.onnx").is_file()


def test_demo_again_into_its_own_folder(tmp_path: Path) -> None:
    for _ in range(2):
        assert main(["demo", "--output", str(tmp_path), "--quiet"]) == 0


def test_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--quiet"]) == 0
    assert [item.name for item in tmp_path.iterdir()] == ["halve-demo"]


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--output", str(tmp_path), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["images"] == 360
    assert record["float16_passed"] is False
    accuracy = record["accuracy"]
    assert accuracy["float32"] > 0.98
    assert accuracy["float16"] < 0.5
    assert abs(accuracy["mixed"] - accuracy["float32"]) < 0.01
    # Why a run on the CPU provider proves nothing: it computes the broken model in float32.
    assert min(record["accuracy_on_cpu_provider"].values()) > 0.98
    assert record["search"]["verified"]["level"] == "emulated"
    assert len(record["search"]["required"]) == 4


def test_foreign_files_are_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("years", "utf-8")
    assert main(["demo", "--output", str(tmp_path)]) == 1
    assert "holds 'thesis.txt', which is not the demo's" in capsys.readouterr().err
    assert [item.name for item in tmp_path.iterdir()] == ["thesis.txt"]


def test_output_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file"
    path.write_text("x", "utf-8")
    assert main(["demo", "--output", str(path)]) == 1
    assert "name a folder with --output" in capsys.readouterr().err


def test_no_verified_model_is_a_failed_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = demo.SearchOptions
    strict = Tolerances(OutputTolerance(0.0, 0.0))

    def without_tolerance(**fields: object) -> SearchOptions:
        convert = ConvertOptions()  # so that the inputs and outputs are rounded in any case
        return real(**{**fields, "tolerances": strict, "convert": convert})  # type: ignore[arg-type]

    monkeypatch.setattr(demo, "SearchOptions", without_tolerance)
    assert main(["demo", "--output", str(tmp_path)]) == 2
    assert "fails its check" in capsys.readouterr().err


def test_the_shipped_model_loads_in_old_runtimes_and_fits_its_samples() -> None:
    model = onnx.load(demo.DATA / "model.onnx")
    assert (model.ir_version, model.opset_import[0].version) == (8, 17)
    samples = read_samples(demo.DATA)
    with np.load(demo.DATA / "labels.npz", allow_pickle=False) as labels:
        for sample in samples:
            assert sample.outputs is not None
            assert len(sample.inputs["image"]) == len(labels[f"sample{sample.id}"])
    assert sum(file.stat().st_size for file in demo.DATA.iterdir()) < 300_000


def test_without_onnxruntime_the_message_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['onnxruntime'] = None; "
        "from halve.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "demo", "--output", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("halve: error: ONNX Runtime cannot be imported")
    assert "halve[cpu]" in done.stderr
    assert done.stderr.count("\n") == 1
