"""`--feedback OUT:IN` with names that hold colons, in each command that takes it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from halve.cli.feedback import feedback_pairs
from halve.cli.main import main
from halve.errors import OptionError
from halve.session import Sample, write_samples
from models import build

STATE, OUTPUT, INPUT = "in:0", "Identity:0", "x:0"


@pytest.fixture
def recurrent(tmp_path: Path) -> Path:
    """A sum over steps, named as TensorFlow's exports are; in float16 2048 + 1 is 2048."""
    shape = (TensorProto.FLOAT, (2,))
    node = helper.make_node("Add", [INPUT, STATE], [OUTPUT])
    onnx.save(build([node], {INPUT: shape, STATE: shape}, {OUTPUT: shape}), tmp_path / "model.onnx")
    steps = np.array([[2048, 1], [1, 1], [1, 1]], np.float32)
    write_samples(tmp_path / "s", [Sample(0, {INPUT: steps, STATE: np.zeros(2, np.float32)})])
    return tmp_path


def model_named(folder: Path, inputs: list[str], outputs: list[str]) -> Path:
    shape = (TensorProto.FLOAT, (2,))
    nodes = [helper.make_node("Neg", [inputs[0]], [name]) for name in outputs]
    made = build(nodes, dict.fromkeys(inputs, shape), dict.fromkeys(outputs, shape))
    onnx.save(made, folder / "named.onnx")
    return folder / "named.onnx"


@pytest.mark.parametrize(
    ("command", "more"),
    [
        (["auto", "model.onnx", "out.onnx"], ["--rtol=1e-2"]),
        (["auto", "model.onnx", "--verify-plan", "w/plan.json"], []),
        (["manual", "model.onnx"], []),
        (["compare", "model.onnx", "model.onnx"], []),
    ],
)
def test_every_command_takes_names_with_colons(
    recurrent: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    more: list[str],
) -> None:
    monkeypatch.chdir(recurrent)
    flags = ["--sample-dir", "s", "--feedback", f"{OUTPUT}:{STATE}"]
    assert main(["manual", "model.onnx", "--quiet", "--workspace", "w", *flags]) == 0
    assert main([*command, *flags, "--json", *more]) == 0
    assert json.loads(capsys.readouterr().out)["schema_version"] == 1


def test_a_pair_that_names_nothing_of_the_model(
    recurrent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(recurrent / "model.onnx")
    flags = ["--sample-dir", str(recurrent / "s"), "--feedback", "Identity:1:in:0"]
    assert main(["auto", source, str(recurrent / "out.onnx"), *flags]) == 1
    assert (
        "--feedback is 'Identity:1:in:0', which names no output and input of the model at any of"
        " its colons; allowed: OUTPUT:INPUT with outputs ['Identity:0'], inputs ['in:0', 'x:0']"
    ) in capsys.readouterr().err


def test_a_pair_is_divided_where_both_names_are_the_models(tmp_path: Path) -> None:
    source = model_named(tmp_path, ["c", "b:c:d"], ["a", "a:b"])
    assert feedback_pairs(["a:b:c:d"], source) == (("a", "b:c:d"),)
    assert feedback_pairs(["a:b:c", "a:c"], source) == (("a:b", "c"), ("a", "c"))


def test_a_pair_that_can_be_read_twice(tmp_path: Path) -> None:
    source = model_named(tmp_path, ["c", "b:c"], ["a", "a:b"])
    with pytest.raises(OptionError, match=r"can be read as \('a', 'b:c'\) or \('a:b', 'c'\)"):
        feedback_pairs(["a:b:c"], source)


def test_one_colon_needs_no_model(tmp_path: Path) -> None:
    assert feedback_pairs(["a:b"], tmp_path / "none.onnx") == (("a", "b"),)
