"""`halve compare`: two models or two archives, from arguments to exit status."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper
from rich.console import Console

from halve.cli.compare import FLAGS, compare_options, make_parser
from halve.cli.main import main
from halve.comparisons import (
    ComparedOutput,
    ComparedSample,
    ComparedSide,
    CompareOptions,
    ModelComparison,
)
from halve.convert import convert
from halve.options import ConvertOptions
from halve.report.compare_record import CompareReport
from halve.report.compare_text import print_comparison
from halve.search_types import OutputTolerance, Tolerances
from halve.session import Sample, read_samples, write_samples
from halve.session.half_types import half_types
from halve.session.side_by_side import compare_models
from halve.types import Comparison
from models import mlp
from onnx_text import parse

SCHEMA = Path(__file__).parents[2] / "docs" / "compare.schema.json"
TWO = "g (float[N,4] x) => (float[N,4] y, float[N,4] z) { y = Relu(x) \n z = Mul(x, x) }"
# 300 x 300 leaves float16's range, and 1 + 2^-12 is not one of its numbers.
PRODUCT = "g (float[N] x) => (float[N] y) { y = Mul(x, x) }"


def save(path: Path, model: ModelProto) -> str:
    path.write_bytes(model.SerializeToString())
    return str(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two outputs in float32 and float16, and samples for them."""
    source = parse(TWO)
    save(tmp_path / "b.onnx", source)
    convert(source, tmp_path / "a.onnx", options=ConvertOptions(target="any"))
    random = np.random.default_rng(0)
    samples = [Sample(i, {"x": random.normal(size=(3, 4)).astype(np.float32)}) for i in (2, 5)]
    write_samples(tmp_path / "s", samples)
    return tmp_path


def models(folder: Path, *more: str) -> list[str]:
    paths = [str(folder / "a.onnx"), str(folder / "b.onnx")]
    return ["compare", *paths, "--sample-dir", str(folder / "s"), *more]


def archives(folder: Path, a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    np.savez(folder / "a.npz", **a)
    np.savez(folder / "b.npz", **b)
    return ["compare", str(folder / "a.npz"), str(folder / "b.npz")]


def record(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What was printed with --json, held against its schema."""
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text("utf-8"))).validate(found)
    return found


def error_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    return shown.err


def test_every_field_has_a_flag() -> None:
    fields = {field.name for field in dataclasses.fields(CompareOptions)}
    assert {flag.field for flag in FLAGS} == fields - {"tolerances"}
    assert compare_options(make_parser().parse(["a", "b"])) == CompareOptions()


def test_within_tolerance_is_status_0(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(models(folder, "--json")) == 0
    found = record(capsys)
    assert found["passed"] is True
    assert [row["name"] for row in found["outputs"]] == ["y", "z"]
    assert [sample["id"] for sample in found["samples"]] == [2, 5]
    assert (found["a"]["level"], found["a"]["half_types"]) == ("emulated", ["float16"])
    assert (found["b"]["level"], found["b"]["half_types"]) == ("cpu", [])


def test_beyond_tolerance_is_status_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(models(folder, "--rtol", "0", "--atol", "1e-7", "--json", "--worst", "2")) == 2
    found = record(capsys)
    output = found["samples"][0]["outputs"][1]
    x = np.load(folder / "s" / "sample2_inputs.npz")["x"]
    half = x.astype(np.float16)
    a = (half.astype(np.float32) ** 2).astype(np.float16)
    difference = np.abs(a.astype(np.float64) - (x * x).astype(np.float64))
    place = np.unravel_index(difference.argmax(), x.shape)
    assert output["mismatches"] == np.count_nonzero(difference > 1e-7)
    assert output["comparison"]["max_abs_error"] == difference.max()
    assert output["comparison"]["max_abs_index"] == list(place)
    assert output["worst"][0]["index"] == list(place)
    assert output["worst"][0]["a"] == float(a[place])
    assert len(output["worst"]) == 2


def test_sixteen_bits_are_really_rounded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime's CPU provider alone would find both models equal."""
    save(tmp_path / "b.onnx", parse(PRODUCT))
    convert(parse(PRODUCT), tmp_path / "a.onnx", options=ConvertOptions(target="any"))
    write_samples(tmp_path / "s", [Sample(0, {"x": np.array([300, 1 + 2**-12], np.float32)})])
    assert main(models(tmp_path, "--json", "--rtol", "1e-6", "--atol", "0")) == 2
    worst = record(capsys)["samples"][0]["outputs"][0]["worst"]
    assert [(row["index"], row["a"], row["b"]) for row in worst] == [
        ([0], "inf", 90000.0),
        ([1], 1.0, float(np.float32((1 + 2**-12) ** 2))),
    ]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_either_side_may_be_of_16_bits(
    folder: Path, dtype: str, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(parse(TWO), folder / "b.onnx", options=ConvertOptions(target="any", dtype=dtype))
    assert main(models(folder, "--rtol", "2e-2", "--json")) == 0
    assert record(capsys)["b"]["half_types"] == [dtype]


def test_16_bit_samples_are_widened(folder: Path) -> None:
    x = np.ones((1, 4), np.float16)
    write_samples(folder / "s", [Sample(2, {"x": x}), Sample(5, {"x": x})])
    assert main(models(folder, "--quiet")) == 0


def test_half_types_are_found_in_bodies() -> None:
    model = parse(
        "g (bool c, float[1] t) => (float[1] u) "
        "{ u = If (c) <then_branch = a () => (float[1] p) { h = Cast <to = 16> (t) "
        " p = Cast <to = 1> (h) }, else_branch = b () => (float[1] q) { q = Identity(t) }> }"
    )
    assert half_types(model) == ("bfloat16",)
    assert half_types(mlp()) == ()


def test_tolerances_an_output(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tight = ("--rtol", "1e-2", "--rtol", "z:0", "--atol", "z:1e-9", "--atol", "1e-2", "--json")
    assert main(models(folder, *tight)) == 2
    found = record(capsys)
    assert {row["name"]: row["passed"] for row in found["outputs"]} == {"y": True, "z": False}
    assert found["tolerances"]["z"]["atol"] == 1e-9


@pytest.mark.parametrize(
    ("flags", "status"),
    [
        (["--atol=0", "--rtol=0", "--ntol=1"], 0),
        (["--atol=0", "--rtol=0", "--ntol=0.01"], 2),
        (["--atol=0", "--rtol=0", "--cos-sim"], 0),
        (["--cos-sim", "0.9999999999"], 2),
        (["--norm-rel", "1e-2"], 0),
        (["--norm-rel", "1e-9"], 2),
    ],
)
def test_the_other_tolerances(folder: Path, flags: list[str], status: int) -> None:
    assert main(models(folder, "--quiet", *flags)) == status


def test_one_output_of_two(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(models(folder, "--output", "y", "--rtol=0", "--atol=1e-2", "--json")) == 0
    found = record(capsys)
    assert [row["name"] for row in found["outputs"]] == ["y"]
    assert found["left_out"] == ["z"]


def test_archives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = {"y": np.array([[1.0, 2.5]], np.float16), "i": np.array([1, 2])}
    b = {"i": np.array([1, 3]), "y": np.array([[1.0, 2.0]], ">f4")}
    assert main([*archives(tmp_path, a, b), "--json"]) == 2
    found = record(capsys)
    assert [row["name"] for row in found["outputs"]] == ["i", "y"]
    (sample,) = found["samples"]
    assert sample["id"] is None
    integers, floats = sample["outputs"]
    assert integers["worst"][0]["index"] == [1]
    assert floats["comparison"]["max_abs_error"] == 0.5
    assert floats["worst"][0]["index"] == [0, 1]


def test_equal_archives_are_status_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = {"y": np.ones(3), "t": np.array(["a"]), "e": np.zeros((0, 2))}
    assert main([*archives(tmp_path, same, same), "--rtol=0", "--atol=0"]) == 0
    assert "verdict    passed: all within tolerance (3 outputs" in capsys.readouterr().out


def test_nan_matches_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = {"y": np.array([np.nan, 1.0])}
    assert main([*archives(tmp_path, both, both), "--json"]) == 2
    found = record(capsys)
    assert (found["outputs"][0]["a_nan"], found["outputs"][0]["b_nan"]) == (1, 1)
    assert found["samples"][0]["outputs"][0]["worst"][0]["a"] == "nan"


def test_another_shape_is_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*archives(tmp_path, {"y": np.ones(3)}, {"y": np.ones(4)}), "--json"]) == 2
    (row,) = record(capsys)["samples"][0]["outputs"]
    assert (row["reason"], row["error"]) == ("shape [3] against [4]", "inf")


def test_a_pickled_archive_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = archives(tmp_path, {"y": np.array([{}], object)}, {"y": np.ones(1)})
    assert "a.npz: not an archive of plain arrays" in error_of(arguments, capsys)


def test_bfloat16_in_an_archive_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = archives(tmp_path, {"y": np.ones(1, ml_dtypes.bfloat16)}, {"y": np.ones(1)})
    assert "save it as float32" in error_of(arguments, capsys)


@pytest.mark.parametrize(
    ("a", "b", "missing"),
    [({"y": 1.0}, {"y": 1.0, "z": 1.0}, "a.npz"), ({"y": 1.0, "z": 1.0}, {"y": 1.0}, "b.npz")],
)
def test_an_output_of_one_side_only(
    tmp_path: Path,
    a: dict[str, float],
    b: dict[str, float],
    missing: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = archives(tmp_path, a, b)
    message = error_of(arguments, capsys)
    assert f"{missing}: there is no output 'z'; its outputs: 'y'; name" in message
    assert "--output NAME" in message
    assert main([*arguments, "--output", "y", "--quiet"]) == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--output", "w"], "there is no output 'w'; allowed: 'y', 'z'"),
        (["--rtol", "w:1"], "there is no output 'w'; allowed: 'y', 'z'"),
        (["--rtol", "-1"], "--rtol is '-1'; allowed: a number from 0"),
        (["--ntol", "2"], "--ntol is '2'; allowed: a number from 0 to 1"),
        (["--worst", "-1"], "worst is -1; allowed: 0 or more"),
        (["--worst", "x"], "--worst is 'x'; allowed: a whole number"),
        (["--threads", "0"], "threads is 0; allowed: 1 to 1024"),
        (["--optimise", "most"], "optimise is 'most'; allowed: disabled, basic"),
        (["--provider", "No"], "has no usable No here; available:"),
        (["--min-shapes", "x:[1,4]"], "--sample-dir and --min-shapes exclude each other"),
        (["third.onnx"], "expected two models or two .npz files, A and B, received"),
        (["--output-json", ""], "the path of --output-json is ''"),
    ],
)
def test_wrong_usage_of_models(
    folder: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in error_of(models(folder, *more), capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "received nothing"),
        (["a.npz", "b.onnx"], "are an archive and a model; allowed: two of one kind"),
        (["a.npz", "b.npz", "--sample-dir", "s"], "--sample-dir is for models"),
        (["a.npz", "b.npz", "--provider", "P"], "--provider is for models"),
        (["a.npz", "b.npz"], "a.npz: there is no such file"),
        (["a.onnx", "b.onnx", "--sample-dir", "s"], "s: there is no such folder"),
    ],
)
def test_wrong_usage(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in error_of(["compare", *arguments], capsys)


def test_a_sample_that_does_not_fit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_samples(folder / "s", [Sample(2, {"w": np.ones((1, 4), np.float32)})])
    assert "the model has no input 'w'; its inputs: 'x'" in error_of(models(folder), capsys)


def test_a_file_that_is_no_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.onnx").write_bytes(b"\x00" * 40)
    assert "a.onnx" in error_of(models(folder), capsys)


def test_random_samples_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", str(folder / "a.onnx"), str(folder / "b.onnx"), "--seed", "3"]
    assert main([*arguments, "--min-shapes", "x:[1,4]", "--max-shapes", "x:[5,4]", "--json"]) == 0
    found = record(capsys)
    assert found["notes"] == ["the samples were random (seed 3)"]
    shapes = [sample["outputs"][0]["b"]["shape"] for sample in found["samples"]]
    assert shapes == [[1, 4], [5, 4], [3, 4], [4, 4]]


def test_golden_outputs_are_not_looked_at(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = {"y": np.full((1, 4), 9, np.float32), "z": np.full((1, 4), 9, np.float32)}
    write_samples(folder / "s", [Sample(2, {"x": np.ones((1, 4), np.float32)}, golden)])
    assert main(models(folder, "--json")) == 0
    assert "golden outputs were not looked at" in record(capsys)["notes"][0]


def test_outputs_are_fed_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "g (float[2] x, float[2] h) => (float[2] n) { n = Add(x, h) }"
    save(tmp_path / "b.onnx", parse(text))
    convert(parse(text), tmp_path / "a.onnx", options=ConvertOptions(target="any"))
    steps = np.array([[2048, 1], [1, 1], [1, 1]], np.float32)
    write_samples(tmp_path / "s", [Sample(0, {"x": steps, "h": np.zeros(2, np.float32)})])
    assert main(models(tmp_path, "--feedback", "n:h", "--json", "--atol=0.5", "--rtol=0")) == 2
    (worst, second) = record(capsys)["samples"][0]["outputs"][0]["worst"]
    # 2048 + 1 is 2048 in float16, so each step falls behind by one more.
    assert (worst["index"], worst["a"], worst["b"]) == ([2, 0], 2048.0, 2050.0)
    assert second["index"] == [1, 0]


def test_quiet_is_silent_and_json_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = folder / "out.json"
    assert main(models(folder, "--quiet", "--output-json", str(target))) == 0
    assert capsys.readouterr() == ("", "")
    assert json.loads(target.read_text("utf-8"))["kind"] == "compare"


def test_the_json_replaces_no_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (folder / "b.onnx").read_bytes()
    arguments = models(folder, "--output-json", str(folder / "b.onnx"))
    assert "is the model itself" in error_of(arguments, capsys)
    assert (folder / "b.onnx").read_bytes() == before


def test_lines_of_a_failure(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(models(folder, "--atol=1e-9", "--rtol=0", "--worst", "1")) == 2
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "a", "b", "verdict", "output", "output", "worst", "worst",
    ]  # fmt: skip
    assert "FAILED: 2 outputs beyond tolerance (2 outputs, 2 samples)" in lines[2]


def test_the_table_of_a_terminal(folder: Path) -> None:
    exact = CompareOptions()
    result = compare_models(
        folder / "a.onnx", folder / "b.onnx", read_samples(folder / "s"), options=exact
    )
    shown = io.StringIO()
    print_comparison(CompareReport("0", result), Console(file=shown, width=160))
    text = shown.getvalue()
    assert "outputs: 2 of 2" in text
    assert "worst elements: 10 of 10" in text


def test_a_metric_that_is_no_number_is_the_worst() -> None:
    rows = [Comparison(2, sum_aa=1, sum_bb=1, sum_ab=1), Comparison(2, sum_aa=math.nan)]
    samples = tuple(
        ComparedSample(
            i,
            (ComparedOutput("y", "float32", "float32", (2,), (2,), True, float(i), 0, row),),
        )
        for i, row in enumerate(rows)
    )
    side = ComparedSide("m", "cpu")
    tolerances = Tolerances(OutputTolerance())
    report = CompareReport("0", ModelComparison(side, side, samples, tolerances))
    (row,) = report.outputs
    assert row.worst_sample == 1
    assert row.cosine is not None
    assert math.isnan(row.cosine)
    assert row.elements == 4


def test_the_schema_names_every_field(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(models(folder, "--json"))
    found = record(capsys)
    schema = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text("utf-8")))
    assert not schema.is_valid({**found, "more": 1})
    for name in found:
        assert not schema.is_valid({key: found[key] for key in found if key != name})


def test_an_external_model(folder: Path) -> None:
    model = onnx.load(folder / "b.onnx")
    model.graph.initializer.append(
        helper.make_tensor("w", 1, [4], np.arange(4, dtype=np.float32).tobytes(), raw=True)
    )
    model.graph.node[0].input[0] = "x"
    onnx.save_model(
        model, folder / "b.onnx", save_as_external_data=True, location="b.data", size_threshold=0
    )
    assert main(models(folder, "--quiet")) == 0
