"""docs/tutorial.md is true: every command prints what stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from halve.cli.main import main
from worked_example import TUTORIAL, make_worked_example

STEPS = re.findall(r"```console\n\$ ([^\n]*)\n(.*?)```", TUTORIAL.read_text("utf-8"), re.DOTALL)


def without_times(text: str) -> str:
    return re.sub(r"\d+\.\d+ s\b", "# s", text)


def test_the_tutorial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_worked_example(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert len(STEPS) == 5
    for command, expected in STEPS:
        program, *args = shlex.split(command)
        assert program == "halve"
        assert main(args) == 0
        assert without_times(capsys.readouterr().out) == without_times(expected), command
