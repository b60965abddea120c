"""halve doctor: complete with and without ONNX Runtime, CUDA or a usable backend."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import onnx
import pytest

from halve._native import features
from halve.cli import doctor
from halve.cli.main import main
from halve.errors import SessionError

KEYS = {
    "schema_version",
    "kind",
    "halve_version",
    "python",
    "platform",
    "threads",
    "packages",
    "kernels",
    "cuda",
    "cast_choice",
    "onnxruntime",
    "tf32",
    "canary",
}


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record.keys() == KEYS
    assert record["packages"]["onnx"] == onnx.__version__
    assert record["kernels"]["chosen"] == features.chosen_backend()
    assert {row["state"] for row in record["canary"].values()} == {"holds"}
    assert record["onnxruntime"]["supported"] is True
    assert record["cuda"]["usable"] is True or record["cuda"]["reason"]


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for label in ("CPU kernels", "CUDA module", "ONNX Runtime", "TF32", "float16 canary"):
        assert f"\n{label}" in out
    assert "CPUExecutionProvider" in out


def test_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def run_apart(code: str, **environment: str) -> dict[str, Any]:
    """What `halve doctor --json` prints in an interpreter of its own, after `code`."""
    script = f"{code}\nimport sys; from halve.cli.main import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", script, "doctor", "--json"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    record: dict[str, Any] = json.loads(done.stdout)
    return record


def test_without_onnxruntime() -> None:
    record = run_apart("import sys; sys.modules['onnxruntime'] = None")
    assert record["onnxruntime"]["version"] == ""
    assert "halve[cpu]" in record["onnxruntime"]["note"]
    assert {row["state"] for row in record["canary"].values()} == {"not run"}


def test_a_forced_backend_that_is_not_there() -> None:
    kernels = run_apart("", HALVE_FORCE_BACKEND="abacus")["kernels"]
    assert kernels["chosen"] == ""
    assert "HALVE_FORCE_BACKEND is 'abacus'" in kernels["problem"]


def test_a_canary_that_fails_is_a_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def erased(dtype: str) -> None:
        raise SessionError(f"the {dtype} pair is erased")

    monkeypatch.setattr(doctor, "check_canary", erased)
    assert main(["doctor"]) == 2
    assert "float16 canary   fails: the float16 pair is erased" in capsys.readouterr().out


def test_lines_describe_devices_and_missing_parts() -> None:
    record = doctor.collect()
    record["cuda"] = {
        "built": True,
        "usable": True,
        "reason": "",
        "runtime": "13.0",
        "driver": "13.1",
        "devices": [
            {
                "index": 0,
                "name": "Card",
                "capability": (9, 0),
                "memory_bytes": 80 << 30,
                "multiprocessors": 132,
                "architecture": 900,
                "problem": "",
            }
        ],
    }
    record["onnxruntime"] |= {"distribution": "", "version": "", "providers": (), "note": "why"}
    lines = list(doctor._lines(record))
    assert "CUDA module      usable" in lines
    assert "  device 0       Card, 9.0, 80 GiB, runs code for 900" in lines
    assert "ONNX Runtime     not installed (supported: >= 1.20)" in lines
    assert "  note           why" in lines
