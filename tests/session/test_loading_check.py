"""Whether a written file loads fully optimised, seen in a child process."""

from __future__ import annotations

import os
from pathlib import Path

import onnx

from halve.session.loading import LoadingCheck
from models import FLOAT16, mlp, text_model


def test_there_is_nothing_to_say_of_a_model_that_loads(tmp_path: Path) -> None:
    onnx.save(mlp(dtype=FLOAT16), tmp_path / "m.onnx")
    check = LoadingCheck()
    check.begin(tmp_path / "m.onnx")
    assert check.notes() == ()
    check.close()


def test_a_model_that_the_provider_refuses_is_told_with_the_reason(tmp_path: Path) -> None:
    model = text_model("g (float[2] x) => (float[2] y) { y = NoSuchOp(x) }")
    onnx.save(model, tmp_path / "m.onnx")
    check = LoadingCheck()
    check.begin(tmp_path / "m.onnx")
    (note,) = check.notes()
    assert "only with graph optimisations off" in note
    assert "NoSuchOp" in note


def test_a_check_that_is_given_up_leaves_no_process(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.onnx")  # a file that never ends
    before = _children()
    check = LoadingCheck()
    check.begin(tmp_path / "m.onnx")
    assert _children() - before
    check.close()
    assert not _children() - before
    check.close()


def test_a_check_that_is_told_no_file_leaves_no_process() -> None:
    before = _children()
    check = LoadingCheck()
    assert _children() - before
    check.close()
    assert not _children() - before


def test_a_child_that_ends_early_is_told_of(tmp_path: Path) -> None:
    check = LoadingCheck(tmp_path / "no such library.so")
    check.begin(tmp_path / "m.onnx")
    (note,) = check.notes()
    assert "no such library" in note


def _children() -> set[int]:
    tasks = Path("/proc/self/task").iterdir()
    return {int(pid) for task in tasks for pid in (task / "children").read_text().split()}
