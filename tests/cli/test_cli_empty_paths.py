"""'' as a path: a shell's unset variable, as a rule. It never stands for the current folder."""

from __future__ import annotations

from pathlib import Path

import pytest

import halve
from halve import OptionError, Plan
from halve.cli.main import main
from models import mlp

LINES = [
    ["convert", "", "OUT"],
    ["convert", "IN", ""],
    ["convert", "IN", "OUT", "--report", ""],
    ["convert", "IN", "OUT", "--fp32-nodes", "@"],
    ["convert", "IN", "OUT", "--custom-op-library", ""],
    ["auto", "IN", "OUT", "--sample-dir", ""],
    ["auto", "IN", "OUT", "--workspace", ""],
    ["auto", "IN", "OUT", "--report", ""],
]


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_a_flag_or_argument(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in.onnx"
    source.write_bytes(mlp().SerializeToString())
    places = {"IN": str(source), "OUT": str(tmp_path / "out.onnx")}
    assert main([places.get(word, word) for word in line]) == 1
    assert "is ''; allowed: the name of a file" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.onnx"]


def test_in_a_program(tmp_path: Path) -> None:
    for call in (
        lambda: halve.convert(""),
        lambda: halve.convert(mlp(), ""),
        lambda: halve.auto("", tmp_path / "o.onnx", []),
        lambda: halve.auto(mlp(), "", []),
        lambda: Plan.load(""),
    ):
        with pytest.raises(OptionError, match="is ''; allowed"):
            call()
