"""`halve auto` with its real search, on the demo's model and samples."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest

from halve.cli.demo import DATA
from halve.cli.main import main
from halve.report.search_text import number_text

VERDICT_SCHEMA = Path(__file__).parents[2] / "docs" / "verdict.schema.json"
SCHEMA = Path(__file__).parents[2] / "docs" / "auto.schema.json"
MODEL = str(DATA / "model.onnx")


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    folder = tmp_path / "samples"
    folder.mkdir()
    for file in DATA.glob("sample*.npz"):
        shutil.copy(file, folder)
    return folder


def auto(folder: Path, samples: Path, *more: str) -> int:
    target = str(folder / "mixed.onnx")
    return main(["auto", MODEL, target, "--sample-dir", str(samples), "--keep-io-types", *more])


def test_search_report_workspace_and_plan(
    tmp_path: Path, samples: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space, record = tmp_path / "w", tmp_path / "r.json"
    files = ["--report", str(tmp_path / "r.html"), "--output_json", str(record)]
    assert auto(tmp_path, samples, "--workspace", str(space), "--holdout", "3", *files) == 0
    out, err = capsys.readouterr()
    assert "passed, emulated" in out
    assert err == ""
    report = json.loads(record.read_text("utf-8"))
    jsonschema.validate(report, json.loads(SCHEMA.read_text("utf-8")))
    assert len(report["required"]) == 4
    assert "/input/Mul_2" in (tmp_path / "r.html").read_text("utf-8")
    onnx.checker.check_model(str(tmp_path / "mixed.onnx"), full_check=True)

    journal = (space / "journal.jsonl").read_bytes()
    written = (tmp_path / "mixed.onnx").read_bytes()
    assert auto(tmp_path, samples, "--workspace", str(space), "--holdout", "3", "--quiet") == 0
    assert capsys.readouterr().out == ""
    assert (space / "journal.jsonl").read_bytes() == journal
    assert (tmp_path / "mixed.onnx").read_bytes() == written

    plan = ["--verify-plan", str(space / "plan.json"), "--keep-io-types"]
    assert main(["auto", MODEL, "--sample-dir", str(samples), *plan]) == 0
    assert "3 of 3 passed" in capsys.readouterr().out
    verdict = tmp_path / "v.json"
    assert main(["auto", MODEL, "--sample-dir", str(samples), *plan, "--atol", "1e-9",
                 "--rtol", "1e-9", "--output-json", str(verdict)]) == 2  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["verdict    FAILED, emulated", "samples    0 of 3 passed"]
    record = json.loads(verdict.read_text("utf-8"))
    jsonschema.validate(record, json.loads(VERDICT_SCHEMA.read_text("utf-8")))
    errors = [outputs["probability"]["error"] for outputs in record["model_outputs"]]
    assert all(error > 1 for error in errors)
    assert [line.split(" times")[0] for line in lines[2:]] == [
        f"sample     {row['id']}: output 'probability': error {number_text(error)}"
        for row, error in zip(record["verified"]["samples"], errors, strict=True)
    ]


def test_a_workspace_of_other_options_is_refused(
    tmp_path: Path, samples: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = ["--workspace", str(tmp_path / "w")]
    assert auto(tmp_path, samples, *space, "--quiet") == 0
    assert auto(tmp_path, samples, *space, "--rtol", "0.5") == 1
    assert "of another search: tolerances" in capsys.readouterr().err
    assert auto(tmp_path, samples, *space, "--rtol", "0.5", "--clean", "--quiet") == 0


def test_nothing_passes(tmp_path: Path, samples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts above 65504 as float16 inputs: only float32 inputs help, and the message says so."""
    for file in samples.glob("*_inputs.npz"):
        with np.load(file) as arrays:
            scaled = {name: array * np.float32(40) for name, array in arrays.items()}
        np.savez(file, **scaled)
    for file in samples.glob("*_outputs.npz"):
        file.unlink()
    target = tmp_path / "mixed.onnx"
    assert main(["auto", MODEL, str(target), "--sample-dir", str(samples)]) == 2
    err = capsys.readouterr().err
    assert "--keep-io-types" in err
    assert err.count("\n") == 1
    assert not target.exists()


def close(reference: list[np.ndarray], mixed: list[np.ndarray]) -> bool:
    """Whether the same digits are named."""
    return bool((reference[0].argmax(1) == mixed[0].argmax(1)).all())


def test_a_function_of_ones_own_and_a_tolerance_an_output(tmp_path: Path, samples: Path) -> None:
    name = f"{__name__}:close"
    assert auto(tmp_path, samples, "--validate", name, "--quiet") == 0
    assert auto(tmp_path, samples, "--rtol", "probability:1e-3", "--quiet") == 0


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "input 'image' is missing"),
        ({"image": np.zeros((2, 1, 8, 7), np.float32)}, "shape [2, 1, 8, 7]"),
        ({"image": np.zeros((2, 1, 8, 8), np.int32)}, "type int32"),
        ({"image": np.zeros((2, 1, 8, 8), np.float32), "more": np.zeros(1)}, "no input 'more'"),
    ],
)
def test_samples_that_do_not_fit(
    inputs: dict[str, np.ndarray],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "samples"
    folder.mkdir()
    np.savez(folder / "sample0_inputs.npz", **inputs)
    assert auto(tmp_path, folder) == 1
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    assert not (tmp_path / "mixed.onnx").exists()


def test_random_samples_and_an_isolated_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = str(tmp_path / "mixed.onnx")
    shapes = ["--min-shapes", "image:[2,1,8,8]", "--isolate", "--workers", "1"]
    assert main(["auto", MODEL, target, "--keep-io-types", "--json", *shapes]) == 0
    record = json.loads(capsys.readouterr().out)
    assert any("random" in note for note in record["notes"])


def refused(capsys: pytest.CaptureFixture[str], target: Path) -> str:
    """The one line of the error; nothing was printed or written beside it."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("halve: error: ")
    assert err.count("\n") == 1
    assert not target.exists()
    return err


def test_golden_outputs_that_are_nan(
    tmp_path: Path, samples: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(samples / "sample1_outputs.npz") as arrays:
        broken = {name: np.full_like(array, np.nan) for name, array in arrays.items()}
    np.savez(samples / "sample1_outputs.npz", **broken)
    assert auto(tmp_path, samples) == 1
    error = refused(capsys, tmp_path / "mixed.onnx")
    assert "sample1_outputs.npz: golden output 'probability' holds NaN" in error


def test_a_folder_that_is_no_workspace_is_left_alone(
    tmp_path: Path, samples: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = tmp_path / "thesis"
    space.mkdir()
    (space / "chapter.txt").write_text("years", "utf-8")
    for more in ([], ["--clean"]):
        assert auto(tmp_path, samples, "--workspace", str(space), *more) == 1
        assert str(space) in refused(capsys, tmp_path / "mixed.onnx")
        assert [item.name for item in space.iterdir()] == ["chapter.txt"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--validate", "no_such_module:f"], "no_such_module"),
        (["--validate", f"{__name__}:missing"], "has no function 'missing'"),
        (["--rtol", "nothing:1e-3"], "output 'nothing', which the model does not have"),
        (["--max-trials", "-3"], "max_trials"),
    ],
)
def test_options_that_cannot_be(
    more: list[str],
    words: str,
    tmp_path: Path,
    samples: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert auto(tmp_path, samples, *more) == 1
    assert words in refused(capsys, tmp_path / "mixed.onnx")


def test_an_interrupted_search_goes_on(tmp_path: Path, samples: Path) -> None:
    """A journal cut after some answers, as a killed process leaves it, leads to the same file."""
    space = tmp_path / "w"
    more = ["--workspace", str(space), "--quiet"]
    assert auto(tmp_path, samples, *more) == 0
    journal, target = space / "journal.jsonl", tmp_path / "mixed.onnx"
    whole, written = journal.read_bytes(), target.read_bytes()
    lines = whole.splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[: len(lines) // 2]) + lines[len(lines) // 2][:7])
    target.unlink()
    assert auto(tmp_path, samples, *more) == 0
    assert target.read_bytes() == written
    assert len(journal.read_bytes().splitlines()) == len(lines)


def test_underscores_are_dashes(tmp_path: Path, samples: Path) -> None:
    target, other = tmp_path / "a.onnx", tmp_path / "b.onnx"
    dashes = ["--sample-dir", str(samples), "--keep-io-types", "--max-trials", "50", "--quiet"]
    lines = [part.replace("-", "_").replace("__", "--", 1) if part[:2] == "--" else part
             for part in dashes]  # fmt: skip
    assert "--sample_dir" in lines
    assert main(["auto", MODEL, str(target), *dashes]) == 0
    assert main(["auto", MODEL, str(other), *lines]) == 0
    assert target.read_bytes() == other.read_bytes()
