"""The examples run, and do what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import halve

EXAMPLES = Path(__file__).parents[1] / "examples"
DEMO = Path(halve.__file__).parent / "data" / "demo"


def run(*arguments: str | Path, status: int = 0) -> str:
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def test_walkthrough(tmp_path: Path) -> None:
    text = run(EXAMPLES / "walkthrough.py", tmp_path / "out")
    assert "3. all float16: FAILED" in text
    assert "4. mixed: passed (emulated)" in text
    assert "nodes (" in text
    assert "have no 16-bit kernel in CPUExecutionProvider" in text
    labels = np.load(DEMO / "labels.npz")
    first = labels[labels.files[0]].ravel()[0]
    assert f"7. the first image is a {int(first)}" in text


def test_production(tmp_path: Path) -> None:
    """Searched once, then built from the plan; a model that changed shuts the gate."""
    script, output, plan = EXAMPLES / "production.py", tmp_path / "m.onnx", tmp_path / "m.plan.json"
    arguments = [DEMO / "model.onnx", DEMO, output, "--plan", plan]
    text = run(script, *arguments)
    assert "INFO nodes (" in text
    assert "verified (emulated); commit" in text
    kept = [row["id"] for row in json.loads(plan.read_text("utf-8"))["nodes"]
            if row["dtype"] == "float32"]  # fmt: skip
    assert len(kept) == 4
    searched = output.read_bytes()
    assert "% of the tolerance used" in run(script, *arguments)
    assert output.read_bytes() == searched

    empty = json.loads(plan.read_text("utf-8"))
    for row in empty["nodes"]:
        row["dtype"] = "float16" if row["dtype"] == "float32" else row["dtype"]
    plan.write_text(json.dumps(empty), "utf-8")
    assert "search again with --search" in run(script, *arguments, status=2)
    assert output.read_bytes() == searched


@pytest.mark.parametrize("broken", ["no model", "no samples"])
def test_production_says_what_is_wrong(broken: str, tmp_path: Path) -> None:
    model = tmp_path / "none.onnx" if broken == "no model" else DEMO / "model.onnx"
    samples = tmp_path if broken == "no samples" else DEMO
    output = tmp_path / "m.onnx"
    arguments = [model, samples, output, "--plan", tmp_path / "p.json"]
    text = run(EXAMPLES / "production.py", *arguments, status=1)
    assert "ERROR " in text
    assert "Error: " in text
    assert not output.exists()


@pytest.mark.parametrize(("dtypes", "status"), [("mixed", 0), ("float16", 2), ("none", 1)])
def test_gate(dtypes: str, status: int, tmp_path: Path) -> None:
    """Open for the model that is right, shut for the one that is not, broken without one."""
    source, built = DEMO / "model.onnx", tmp_path / "built.onnx"
    keep = halve.ConvertOptions(keep_io_types=True)
    if dtypes == "mixed":
        halve.auto(source, built, DEMO, options=halve.SearchOptions(convert=keep))
    elif dtypes == "float16":
        halve.convert(source, built, options=keep)
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    record = tmp_path / "gate.json"
    done = subprocess.run(
        ["sh", EXAMPLES / "gate.sh", built, source, DEMO, record],
        env={**os.environ, "PATH": programs},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    if status != 1:
        assert json.loads(record.read_text("utf-8"))["passed"] is (status == 0)


def test_every_example_is_listed() -> None:
    text = (EXAMPLES / "README.md").read_text("utf-8")
    for path in (*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.sh")):
        assert f"({path.name})" in text
