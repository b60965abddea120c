"""`halve manual` and `halve mix-precision`: flags, JSON, workspace, finalised models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest

from halve.auto.workspace import open_workspace
from halve.cli.main import main
from halve.cli.manual import FLAGS, WITHOUT_EFFECT, make_parser, manual_options
from halve.errors import OptionError
from halve.manual_options import ManualOptions
from halve.plans import Plan
from worked_example import make_worked_example

SCHEMA = Path(__file__).parents[2] / "docs" / "manual.schema.json"


@pytest.fixture(scope="session")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worked")
    make_worked_example(folder)
    return folder


def manual(worked: Path, *flags: str) -> int:
    return main(["manual", str(worked / "worked.onnx"), "--sample-dir", str(worked / "samples"),
                 "--atol", "1e-3", *flags])  # fmt: skip


def record(worked: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, Any]:
    """The JSON of a run, which follows the schema."""
    assert manual(worked, "--json", *flags) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    schema = json.loads(SCHEMA.read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(found)
    return found


def error_of(capsys: pytest.CaptureFixture[str], status: int) -> str:
    assert status == 1
    text = capsys.readouterr().err
    assert text.startswith("halve: error: ")
    assert text.count("\n") == 1
    return text


def test_calc_has_the_fields_of_topsideas(worked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = record(worked, capsys)
    assert len(found["op_statistic"]) == len(found["model_outputs"]) == 3
    square = found["op_statistic"][0]["2"]
    assert (square["id"], square["name"], square["type"]) == (2, "square", "Mul")
    (output,) = square["outputs"]
    assert output["fp16_clip_ratio"] == output["fp32_clip_ratio"] == 0.3125
    assert output["fp16_check_nan"] is False
    assert found["op_statistic"][0]["3"]["outputs"][0]["fp16_clip_ratio"] == 0
    assert found["merged"]["op_statistic"]["2"]["outputs"][0]["fp16_clip_ratio"] == 0.375
    assert set(found["output_files"].values()) == {None}


def test_raw_has_counts_and_the_comparison(
    worked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = record(worked, capsys, "--mode", "RAW")
    assert found["local"] == "exact"
    (output,) = found["op_statistic"][0]["2"]["outputs"]
    assert (output["fp16_element_count"], output["fp16_inf_count"]) == (16, 5)
    assert output["numpy_allclose"] == "fail"
    assert output["exceed_tol_count"] >= 5
    block = found["model_outputs"][0]["y"]
    assert block["fp16_fp32"]["numpy_allclose"] == "fail"
    assert block["fp16_golden"]["cos_sim_value"] is None


@pytest.mark.parametrize(
    ("flags", "ids"),
    [
        (("--op-id-filter", "1", "2"), [1, 2]),
        (("--op_id_bypass", "1,2"), [0, 3, 4]),
        (("--op-type-filter", "Mul"), [1, 2, 3]),
        (("--op_type_bypass", "Mul", "Tanh"), [0]),
    ],
)
def test_filters(
    flags: tuple[str, ...], ids: list[int], worked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = record(worked, capsys, *flags)
    assert [int(key) for key in found["merged"]["op_statistic"]] == ids


def test_filters_exclude_each_other(worked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = manual(worked, "--op-id-filter", "1", "--op-type-bypass", "Mul")
    assert "exclude each other" in error_of(capsys, status)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--op-id-filter", "9"), "allowed: ids 0 to 4"),
        (("--op-type-filter", "Conv"), "allowed: MatMul, Mul, Tanh"),
        (("--fp32-nodes", "17"), "17"),
        (("--mode", "fast"), "allowed: calc, raw"),
        (("--provider", "Nowhere"), "Nowhere"),
        (("--output", "x.onnx"), "--finalize"),
        (("--rtol", "z:1e-3"), "output 'z', which the model does not have; allowed: y"),
        (("--provider", "CUDAExecutionProvider"), "no usable CUDAExecutionProvider"),
        (("--ge-value-thres", "much"), "allowed: a number"),
    ],
)
def test_wrong_use(
    flags: tuple[str, ...], message: str, worked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in error_of(capsys, manual(worked, *flags))


def test_thresholds_are_what_is_counted(worked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--ge-value-thres", "0", "--le-value-thres", "1e9", "--op-id-filter", "0")
    (output,) = record(worked, capsys, *flags)["merged"]["op_statistic"]["0"]["outputs"]
    assert [output[f"{run}_{kind}_ratio"] for run in ("fp16", "fp32") for kind in ("ge", "le")] == (
        [1.0] * 4
    )


def test_ntol_and_cosine_judge(worked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--mode", "raw", "--op-id-filter", "2")
    loose = record(worked, capsys, *flags, "--ntol", "0.5")
    assert loose["op_statistic"][0]["2"]["outputs"][0]["numpy_allclose"] == "pass"
    assert loose["passed"] is True
    cosine = record(worked, capsys, *flags, "--cos-sim")
    assert cosine["op_statistic"][0]["2"]["outputs"][0]["numpy_allclose"] == "fail"
    wide = record(worked, capsys, *flags, "--cos-sim", "0.9")["model_outputs"][0]["y"]["fp16_fp32"]
    assert (wide["numpy_allclose"], wide["passed"]) == ("fail", True)


def test_golden_outputs(worked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.load(worked / "samples" / "sample0_inputs.npz")["x"]
    np.savez(tmp_path / "sample0_inputs.npz", x=x)
    np.savez(tmp_path / "sample0_outputs.npz", y=np.zeros((1, 16), np.float32))
    found = record(worked, capsys, "--sample-dir", str(tmp_path))
    block = found["model_outputs"][0]["y"]
    assert block["fp32_golden"]["numpy_allclose"] == "fail"
    assert block["fp32_golden"]["norm_rel"] == "inf"
    assert found["passed"] is False


def test_a_workspace_is_reused_and_cleaned(
    worked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = ("--workspace", str(tmp_path / "work"))
    first = record(worked, capsys, *work)
    assert first["reused"] == []
    files = first["output_files"]
    assert {Path(path).name for path in files.values() if path} == {
        "fp16.onnx", "fp16.optimised.onnx", "fp32.onnx", "fp32.optimised.onnx", "plan.json"
    }  # fmt: skip
    onnx.checker.check_model(files["fp32_executable"])
    assert record(worked, capsys, *work)["reused"] == ["fp32.onnx", "fp16.onnx"]
    assert record(worked, capsys, *work, "--fp32-nodes", "2")["reused"] == ["fp32.onnx"]
    assert record(worked, capsys, *work, "--clean")["reused"] == []
    assert record(worked, capsys, *work)["options"]["tolerances"]["all"]["atol"] == 1e-3


def test_weights_that_changed_are_not_reused(
    worked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, work = tmp_path / "m.onnx", str(tmp_path / "work")
    samples = ["--sample-dir", str(worked / "samples")]
    model = onnx.load(worked / "worked.onnx")
    (tensor,) = (item for item in model.graph.initializer if item.name == "w")
    for scale, reused in ((1, []), (1, ["fp32.onnx", "fp16.onnx"]), (2, [])):
        weight = onnx.numpy_helper.to_array(tensor) * scale
        tensor.CopyFrom(onnx.numpy_helper.from_array(weight.astype(np.float32), "w"))
        onnx.save(model, source)
        assert main(["manual", str(source), *samples, "--workspace", work, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["reused"] == reused


def test_two_runs_in_one_workspace(
    worked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    with open_workspace(work, clean=False):
        (work / "fp32.onnx").touch()
        status = manual(worked, "--workspace", str(work), "--clean")
        assert "is in use by another run; wait" in error_of(capsys, status)
        assert (work / "fp32.onnx").exists()
    assert manual(worked, "--workspace", str(work), "--clean") == 0


def test_a_workspace_that_cannot_be_made(
    worked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for flags in ((), ("--finalize",)):
        status = manual(worked, "--workspace", str(tmp_path / "file" / "work"), *flags)
        assert "name another folder" in error_of(capsys, status)


def test_the_plan_says_what_it_passed_on(
    worked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    flags = ("--workspace", str(work))
    record(worked, capsys, *flags)
    assert Plan.load(work / "plan.json").runtime == ""
    found = record(worked, capsys, *flags, "--fp32-nodes", "2,3")
    assert Plan.load(work / "plan.json").runtime == found["runtime"]
    assert found["output_files"]["deploy"] is None
    assert manual(worked, *flags, "--fp32-nodes", "2,3", "--finalize") == 0
    capsys.readouterr()
    plan = Plan.load(work / "plan.json")
    assert (plan.runtime, plan.provider) == (found["runtime"], "CPUExecutionProvider")
    again = record(worked, capsys, *flags, "--fp32-nodes", "2,3")
    assert again["output_files"]["deploy"] == str(work / "deploy.onnx")
    assert record(worked, capsys, *flags)["output_files"]["deploy"] is None  # another plan


def test_a_search_replaces_the_deployable_model(
    worked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work, model = tmp_path / "work", str(worked / "worked.onnx")
    flags = ("--workspace", str(work), "--fp32-nodes", "2,3,4")
    assert manual(worked, *flags, "--finalize") == 0
    capsys.readouterr()
    assert record(worked, capsys, *flags)["output_files"]["deploy"] == str(work / "deploy.onnx")
    assert main(["auto", model, str(tmp_path / "out.onnx"), "--workspace", str(work), "--quiet",
                 "--sample-dir", str(worked / "samples"), "--atol=1e-3"]) == 0  # fmt: skip
    assert (work / "deploy.onnx").read_bytes() == (tmp_path / "out.onnx").read_bytes()
    assert record(worked, capsys, *flags)["output_files"]["deploy"] is None


def test_a_workspace_of_another_model(
    worked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = ("--workspace", str(tmp_path / "work"))
    record(worked, capsys, *work)
    model = onnx.load(worked / "worked.onnx")
    model.graph.node[4].op_type = "Sigmoid"
    onnx.save(model, tmp_path / "worked.onnx")
    status = main(["manual", str(tmp_path / "worked.onnx"), "--sample-dir",
                   str(worked / "samples"), *work])  # fmt: skip
    assert "another model" in error_of(capsys, status)


def test_finalize(worked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(worked / "worked.onnx")
    assert "needs --workspace" in error_of(capsys, main(["manual", model, "--finalize"]))
    out = tmp_path / "out.onnx"
    assert main(["manual", model, "--finalize", "--fp32-nodes", "2,3", "--output", str(out)]) == 0
    assert len(onnx.load(out).graph.node) == 7
    work = tmp_path / "work"
    assert main(["manual", "--input_onnx", model, "--finalize", "--workspace", str(work)]) == 0
    assert (work / "deploy.onnx").is_file()
    assert (work / "plan.json").is_file()


def test_flags_of_a_search_are_named_where_they_have_no_effect(
    worked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert manual(worked, "--workers", "2", "--max-trials", "3") == 0
    assert "--max-trials, --workers: without effect" in capsys.readouterr().err


def test_what_finalize_does_not_do_is_named(
    worked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--finalize", "--output", str(tmp_path / "out.onnx"))
    assert manual(worked, *flags, "--report", "r.html", "--mode", "raw") == 0
    assert "--report, --mode: without effect with --finalize" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("provider", "device", "found"),
    [
        ("CPUExecutionProvider", ["--device", "0"], {}),
        ("CUDAExecutionProvider", [], {}),
        ("CUDAExecutionProvider", ["--device", "1"], {"device_id": "1"}),
    ],
)
def test_the_device_is_the_providers(
    provider: str, device: list[str], found: dict[str, str]
) -> None:
    parsed = make_parser().parse(["x.onnx", f"--provider={provider}", *device])
    assert manual_options(parsed).provider_options == found


def test_the_processor_is_one_device() -> None:
    with pytest.raises(OptionError, match=r"devices is \(3,\), and CPUExecutionProvider has none"):
        manual_options(make_parser().parse(["x.onnx", "--device", "3"]))


def test_one_device_only() -> None:
    parsed = make_parser().parse(["x.onnx", "--provider=CUDAExecutionProvider", "--device=0,1"])
    with pytest.raises(OptionError, match="--device names 2 devices; allowed in manual mode: one"):
        manual_options(parsed)


def test_random_samples_are_told(worked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["manual", str(worked / "worked.onnx"), "--json"]) == 0
    assert "the samples were random" in json.loads(capsys.readouterr().out)["notes"][0]


def test_every_field_of_the_options_has_a_flag() -> None:
    own = {flag.field for flag in FLAGS}
    shared = {"convert", "tolerances", "threads", "provider", "provider_options",
              "session_options", "feedback", "workspace", "clean"}  # fmt: skip
    without = {"distribution", "progress"}  # the page's, the program's
    assert own | shared | without == set(ManualOptions.__dataclass_fields__)
    assert not own & set(WITHOUT_EFFECT)


def test_flags_reach_the_options() -> None:
    args = ["x.onnx", "--threads-per-trial", "2", "--fp32-nodes", "3", "--feedback", "a:b"]
    options = manual_options(make_parser().parse([*args, "--exact-local", "--mode=raw"]))
    assert (options.threads, options.mode, options.runs_local) == (2, "raw", True)
    assert options.convert.fp32_nodes == (3,)
    assert options.feedback == (("a", "b"),)


def mix(worked: Path, *flags: str) -> int:
    return main(["mix_precision", "--input_onnx", str(worked / "worked.onnx"), "--sample_dir",
                 str(worked / "samples"), "--atol", "1e-3", *flags])  # fmt: skip


def test_mix_precision_by_hand(
    worked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    status = mix(worked, "--manual", "--workspace", str(tmp_path / "w"), "--mode", "CALC",
                 "--fp32_nodes", "2", "3", "--output_json", str(out), "--resource_mode", "1c2s",
                 "--op_id_filter", "3", "--cos_sim", "--device", "0",
                 "--compile_options", '{"session.disable_prepacking": "1"}')  # fmt: skip
    assert status == 0, capsys.readouterr().err
    found = json.loads(out.read_text("utf-8"))
    assert found["fp32_nodes"] == [2, 3]
    assert found["passed"] is True
    assert list(found["merged"]["op_statistic"]) == ["3"]


def test_mix_precision_automatic(
    worked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "w"
    status = mix(worked, "--workspace", str(work), "--json", "--cluster", "0", "1")
    assert status == 0, capsys.readouterr().err
    assert json.loads(capsys.readouterr().out)["fp32_nodes"] == [2, 3]
    assert (work / "deploy.onnx").is_file()
    assert mix(worked, "--workspace", str(work), "--finalize", "--fp32_nodes", "2") == 0
    assert len(onnx.load(work / "deploy.onnx").graph.node) == 7


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "--workspace is missing"),
        (("--workspace", "w", "--mode", "CALC"), "--manual"),
        (("--workspace", "w", "--compile_options", "{"), "no JSON"),
        (("--workspace", "w", "--compile_options", "[1]"), "JSON object"),
        (("--workspace", "w", "--resource_mode", "fast"), "4c2t"),
    ],
)
def test_wrong_use_of_mix_precision(
    flags: tuple[str, ...],
    message: str,
    worked: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [str(tmp_path / "w") if flag == "w" else flag for flag in flags]
    assert message in error_of(capsys, mix(worked, *given))
    assert not list(tmp_path.iterdir())
