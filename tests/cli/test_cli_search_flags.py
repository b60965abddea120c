"""The flags of a search and of samples against the records that they describe."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

from halve.cli.auto import make_parser
from halve.cli.parser import normalise
from halve.cli.sample_flags import SampleRequest, sample_request, spread
from halve.cli.search_flags import (
    FLAGS,
    TOLERANCE_FLAGS,
    WITHOUT_FLAG,
    search_options,
    shown_options,
)
from halve.errors import OptionError
from halve.options import ConvertOptions
from halve.search_options import EVALUATORS, SearchOptions
from halve.search_types import OutputTolerance, Tolerances
from halve.session.random_samples import RandomSampling


def options(*args: str) -> SearchOptions:
    return search_options(make_parser().parse(spread(["in.onnx", "out.onnx", *args])))


def samples(*args: str, seed: int = 0) -> SampleRequest:
    return sample_request(make_parser().parse(spread(["in.onnx", *args])), seed=seed)


def test_every_field_has_a_flag() -> None:
    fields = {field.name for field in dataclasses.fields(SearchOptions)}
    assert sorted(flag.field for flag in FLAGS) == sorted(fields - WITHOUT_FLAG)
    assert fields >= WITHOUT_FLAG
    tolerances = [field.name for field in dataclasses.fields(OutputTolerance)]
    assert [flag.field for flag in TOLERANCE_FLAGS] == tolerances


def test_defaults_are_those_of_the_record() -> None:
    assert options() == SearchOptions()


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_help_shows_the_evaluators(evaluator: str) -> None:
    (flag,) = (flag for flag in FLAGS if flag.field == "evaluator")
    assert flag.metavar == "|".join(EVALUATORS)
    assert options("--evaluator", evaluator).evaluator == evaluator


@pytest.mark.parametrize(
    ("args", "field", "value"),
    [
        (["--margin", "0.5"], "margin", 0.5),
        (["--holdout", "0"], "holdout", 0),
        (["--seed", "7"], "seed", 7),
        (["--time_budget", "90"], "time_budget_s", 90.0),
        (["--max-trials", "12"], "max_trials", 12),
        (["--workers", "3"], "workers", 3),
        (["--threads_per_trial", "2"], "threads_per_trial", 2),
        (["--isolate"], "isolate", True),
        (["--trial-timeout", "5"], "trial_timeout_s", 5.0),
        (["--provider", "CUDAExecutionProvider"], "provider", "CUDAExecutionProvider"),
        (["--provider-option", "a=b", "--provider_option", "c=d=e"], "provider_options",
         {"a": "b", "c": "d=e"}),
        (["--session-option", "session.x=1"], "session_options", {"session.x": "1"}),
        (["--optimise", "basic"], "optimise", "basic"),
        (["--feedback", "h_out:h_in", "--feedback", "c:0:c_in"], "feedback",
         (("h_out", "h_in"), ("c:0", "c_in"))),
        (["--assume_fused"], "assume_fused", True),
        (["--workspace", "w"], "workspace", Path("w")),
        (["--clean"], "clean", True),
    ],
)  # fmt: skip
def test_a_flag_sets_its_field(args: list[str], field: str, value: object) -> None:
    assert options(*args) == dataclasses.replace(SearchOptions(), **{field: value})


@pytest.mark.parametrize(
    ("args", "devices"),
    [(["--device", "1"], (1,)), (["--device", "0", "2", "--device=3,4"], (0, 2, 3, 4))],
)
def test_devices_are_those_of_a_provider(args: list[str], devices: tuple[int, ...]) -> None:
    assert options("--provider", "CUDAExecutionProvider", *args).devices == devices
    with pytest.raises(OptionError, match=r"and CPUExecutionProvider has none to choose from"):
        options(*args)


def test_flags_of_a_conversion_go_into_it() -> None:
    made = options("--dtype", "bfloat16", "--keep-io-types", "--fp32_nodes", "3,5")
    expected = ConvertOptions(dtype="bfloat16", keep_io_types=True, fp32_nodes=(3, 5))
    assert made.convert == expected


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--rtol", "1e-3"], Tolerances(OutputTolerance(rtol=1e-3))),
        (
            ["--rtol", "1e-3", "--atol=0", "--rtol", "out:0:1e-4", "--ntol", "y:0.1"],
            Tolerances(
                OutputTolerance(rtol=1e-3, atol=0.0),
                {
                    "out:0": OutputTolerance(rtol=1e-4, atol=0.0),
                    "y": OutputTolerance(rtol=1e-3, atol=0.0, ntol=0.1),
                },
            ),
        ),
        (["--cos-sim"], Tolerances(OutputTolerance(cos_sim=0.99))),
        (["--cos_sim", "0.999"], Tolerances(OutputTolerance(cos_sim=0.999))),
        (["--norm-rel", "0.01"], Tolerances(OutputTolerance(norm_rel=0.01))),
    ],
)
def test_tolerances(args: list[str], expected: Tolerances) -> None:
    assert options(*args).tolerances == expected


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "my_checks.py"
    path.write_text("def near(a, b):\n    return len(a) == len(b)\n\nlimit = 3\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "my_checks", raising=False)
    return path


@pytest.mark.parametrize("place", ["my_checks", "my_checks.py", "./my_checks.py"])
def test_a_validate_function_replaces_the_tolerances(module: Path, place: str) -> None:
    made = options("--validate", f"{place}:near")
    assert made.validate is not None
    assert made.validate([np.zeros(1)], []) is False
    assert made.validate_only
    assert str(module.parent) not in sys.path


def test_a_validate_function_beside_a_tolerance_adds_to_it(module: Path) -> None:
    made = options("--validate", "my_checks:near", "--atol", "1")
    assert not made.validate_only
    assert made.tolerances.default.atol == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("my_checks", "--validate is 'my_checks'; allowed: MODULE:FUNCTION, or FILE.py:FUNCTION"),
        ("my_checks:far", "has no function 'far'; allowed: near"),
        ("my_checks:limit", "has no function 'limit'; allowed: near"),
        ("no_such_module_here:f", "cannot be imported (ModuleNotFoundError"),
        ("none.py:f", "cannot be imported (FileNotFoundError"),
    ],
)
def test_a_wrong_validate_function_is_named(module: Path, text: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        options("--validate", text)
    assert message in str(caught.value)


def test_a_module_that_fails_is_named(module: Path) -> None:
    module.write_text("1 / 0\n", "utf-8")
    with pytest.raises(OptionError, match="ZeroDivisionError"):
        options("--validate", "my_checks.py:near")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--margin", "x"], "--margin is 'x'; allowed: a number"),
        (["--margin", "2"], "margin is 2.0; allowed: above 0 and at most 1"),
        (["--holdout", "1.5"], "--holdout is '1.5'; allowed: a whole number"),
        (["--evaluator", "gpu"], "evaluator is 'gpu'; allowed: auto, probe, sessions"),
        (["--time-budget", "0"], "time_budget_s is 0.0; allowed: a positive number of seconds"),
        (["--device", "x"], "--device is 'x'; allowed: a whole number"),
        (["--provider-option", "ab"], "--provider-option is 'ab'; allowed: KEY=VALUE"),
        (["--session-option", "=1"], "--session-option is '=1'; allowed: KEY=VALUE"),
        (["--feedback", "h"], "--feedback is 'h'; allowed: OUTPUT:INPUT"),
        (["--feedback", ":h"], "--feedback is ':h'; allowed: OUTPUT:INPUT"),
        (["--rtol", "-1"], "--rtol is '-1'; allowed: a number from 0, or OUTPUT:NUMBER"),
        (["--rtol", "nan"], "--rtol is 'nan'; allowed: a number from 0"),
        (["--atol", "inf"], "--atol is 'inf'; allowed: a number from 0"),
        (["--rtol", "out:"], "--rtol is 'out:'; allowed"),
        (["--ntol", "2"], "--ntol is '2'; allowed: a number from 0 to 1"),
        (["--cos-sim", "y:1.1"], "--cos-sim is 'y:1.1'; allowed: a number from -1 to 1"),
    ],
)
def test_a_wrong_value_says_what_is_allowed(args: list[str], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        options(*args)
    assert message in str(caught.value)


def test_shown_options_are_plain_and_say_what_decides() -> None:
    made = options("--rtol", "1e-3", "--rtol", "y:0.5", "--workers", "2", "--max-trials", "9")
    shown = shown_options(made)
    assert shown["tolerances"] == {
        "all": "rtol 0.001 atol 0.01 ntol 0",
        "y": "rtol 0.5 atol 0.01 ntol 0",
    }
    assert shown["max_trials"] == 9
    assert shown["validate"] is None
    assert "workers" not in shown  # the result does not depend on it


def test_a_sample_folder() -> None:
    made = samples("--sample_dir", "d")
    assert made == SampleRequest(folder=Path("d"))
    assert made.note == ""


def test_random_samples() -> None:
    made = samples(
        "--min-shapes", "x:[1,3]", "a:b:2,4", "s:[]", "--max_shapes=x:[8, 3]",
        "--range", "x:-1,1e3", "t:0,9", seed=5,
    )  # fmt: skip
    assert made.random == RandomSampling(
        {"x": (1, 3), "a:b": (2, 4), "s": ()},
        {"x": (8, 3)},
        {"x": (-1.0, 1e3), "t": (0.0, 9.0)},
        5,
    )
    assert "random (seed 5)" in made.note


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--min-shapes", "x"], "--min-shapes is 'x'; allowed: NAME:[D,...], as in images:[1,"),
        (["--max-shapes", "x:[1,-1]"], "--max-shapes is 'x:[1,-1]'; allowed: NAME:[D,...]"),
        (["--range", "x:1"], "--range is 'x:1'; allowed: NAME:LO,HI, as in tokens:0,30521"),
        (["--sample-dir", "d", "--range", "x:1,2"], "--sample-dir and --range exclude each other"),
    ],
)
def test_wrong_samples_say_what_is_allowed(args: list[str], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        samples(*args)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("args", "paths", "devices"),
    [
        (["--device", "0", "1", "in.onnx", "out.onnx"], ["in.onnx", "out.onnx"], ["0", "1"]),
        (["in.onnx", "--device", "0", "out.onnx"], ["in.onnx", "out.onnx"], ["0"]),
        (["in.onnx", "out.onnx", "--device", "0", "--isolate"], ["in.onnx", "out.onnx"], ["0"]),
        (["--device=0", "1", "out.onnx"], ["1", "out.onnx"], ["0"]),
        (["--device", "0", "--", "1", "2"], ["1", "2"], ["0"]),
    ],
)
def test_several_values_leave_paths_alone(
    args: list[str], paths: list[str], devices: list[str]
) -> None:
    parsed = make_parser().parse(spread(args))
    assert parsed.paths == paths
    assert parsed.devices == devices


def test_spelling_of_spread_flags() -> None:
    args = spread(["--min_shapes", "x:[1]", "y:[2]", "in.onnx"])
    assert normalise(args) == ["--min-shapes", "x:[1]", "--min-shapes", "y:[2]", "in.onnx"]
