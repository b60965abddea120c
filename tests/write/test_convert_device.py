"""Conversions whose weights are cast by way of a device."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

import halve
from fake_cuda import FakeStreamCaster, fake_module
from halve._native.cuda import status
from halve.cli.device_choice import measure_choice
from halve.cli.main import main
from halve.errors import BackendUnavailableError, OptionError
from models import mlp


@pytest.fixture(autouse=True)
def _module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "halve._cuda", fake_module())
    monkeypatch.setattr(FakeStreamCaster, "made", [])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    onnx.save(mlp((300, 200, 100)), tmp_path / "in.onnx")
    return tmp_path / "in.onnx"


def test_the_file_is_the_same_and_the_device_cast_it(source: Path, tmp_path: Path) -> None:
    halve.convert(source, tmp_path / "cpu.onnx")
    assert not FakeStreamCaster.made
    assert (
        main(["convert", str(source), str(tmp_path / "gpu.onnx"), "--device", "2", "--quiet"]) == 0
    )
    assert (tmp_path / "gpu.onnx").read_bytes() == (tmp_path / "cpu.onnx").read_bytes()
    (caster,) = FakeStreamCaster.made
    assert caster.device == 2
    assert caster.elements >= 300 * 200 + 200 * 100


def test_a_model_in_memory_goes_through_the_device_too(source: Path) -> None:
    model = onnx.load(source)
    on_device = halve.convert(model, options=halve.ConvertOptions(device=0))
    assert on_device.model == halve.convert(model).model
    assert FakeStreamCaster.made


def test_a_device_that_fails_is_named_and_nothing_is_written(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = FakeStreamCaster.__init__

    def broken(self: Any, device: int) -> None:
        made(self, device)
        self.problem = "cudaMalloc failed: out of memory"

    monkeypatch.setattr(FakeStreamCaster, "__init__", broken)
    with pytest.raises(BackendUnavailableError, match=r"cudaMalloc failed.*leave the device out"):
        halve.convert(source, tmp_path / "out.onnx", options=halve.ConvertOptions(device=0))
    assert [path.name for path in tmp_path.iterdir()] == ["in.onnx"]


def test_a_device_that_is_not_there(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.onnx"
    with pytest.raises(BackendUnavailableError, match="CUDA device 7 cannot be used"):
        halve.convert(source, target, options=halve.ConvertOptions(device=7))
    monkeypatch.setitem(sys.modules, "halve._cuda", None)  # type: ignore[arg-type]  # not built
    with pytest.raises(BackendUnavailableError, match="was not built"):
        halve.convert(source, target, options=halve.ConvertOptions(device=0))
    with pytest.raises(OptionError, match="device is -1"):
        halve.ConvertOptions(device=-1)
    assert not target.exists()


def test_the_choice_is_measured_where_there_is_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("halve.cli.device_choice._ELEMENTS", 1000)
    choice = measure_choice(status())
    assert choice.faster in ("cpu", "0")
    assert choice.reason == ""
    assert choice.cpu_gb_s
    assert [index for index, _ in choice.devices_gb_s] == [0]
    fastest = max([("cpu", choice.cpu_gb_s), ("0", choice.devices_gb_s[0][1])], key=lambda x: x[1])
    assert choice.faster == fastest[0]


def test_without_a_device_the_processor_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "halve._cuda", None)  # type: ignore[arg-type]  # not built
    choice = measure_choice(status())
    assert choice.faster == "cpu"
    assert choice.cpu_gb_s is None
    assert choice.reason.startswith("there is no GPU to measure: the CUDA module was not built")


def test_doctor_says_who_casts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("halve.cli.device_choice._ELEMENTS", 1000)
    assert main(["doctor"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("casts")]
    assert "GB of float32 a second: processor" in line
    assert "device 0" in line
    assert line.endswith("leave --device out") or "--device 0 is faster" in line
