"""Manual mode by a provider's own 16-bit kernels, on a machine without such a provider.

ONNX Runtime's CPU provider computes a 16-bit node that is alone in its session as the emulation
does: widened, in float32, and rounded. So one node a session gives the emulation's numbers, by the
path that a device takes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import halve
from halve import ConvertOptions, ManualOptions
from halve.errors import BackendUnavailableError, OptionError, SessionError
from halve.manual_types import ManualReport, OutputStatistics
from halve.session import read_samples, twin
from halve.session.twin_program import Program
from onnx_text import parse
from worked_example import make_worked_example

RELU = "g (float[3] x) => (float[3] y) { y = Relu(x) }"


@pytest.fixture
def on_device(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ManualReport]:
    """Measures as on a device, one node a session."""

    def measure(source: Any, samples: Any, **options: Any) -> ManualReport:
        with monkeypatch.context() as patch:
            patch.setattr(ManualOptions, "on_device", property(lambda _: True))
            patch.setattr(twin, "check_arithmetic", lambda *_, **__: None)
            patch.setattr(Program, "next_stop", lambda _, start, __: start + 1)
            return halve.measure(source, samples, options=ManualOptions(**options))

    return measure


def numbers(item: OutputStatistics) -> tuple[object, ...]:
    """What must be equal; `clip` need not: a kernel shows no result before it is rounded."""
    half = item.fp16
    assert half is not None
    return (item.name, item.dtype, item.fp32, half.elements, half.nan, half.inf, half.ge, half.le,
            half.minimum, half.maximum, half.inherited, item.total, item.local)  # fmt: skip


def check_equal(real: ManualReport, emulated: ManualReport) -> None:
    assert (real.level, emulated.level) == ("device", "emulated")
    assert real.local == emulated.local == "exact"
    for a, b in zip(real.merged.nodes, emulated.merged.nodes, strict=True):
        assert [numbers(item) for item in a.outputs] == [numbers(item) for item in b.outputs], a.id
    assert real.merged.model_outputs == emulated.merged.model_outputs


@pytest.mark.parametrize("ids", [(), (2,), (2, 3)])
def test_the_numbers_of_the_emulation(
    ids: tuple[int, ...], tmp_path: Path, on_device: Callable[..., ManualReport]
) -> None:
    make_worked_example(tmp_path)
    source, samples = tmp_path / "worked.onnx", tmp_path / "samples"
    convert = ConvertOptions(fp32_nodes=ids)
    real = on_device(source, samples, convert=convert)
    options = ManualOptions(convert=convert, mode="raw")
    emulated = halve.measure(source, samples, options=options)
    check_equal(real, emulated)
    assert [n.id for n in real.over_limit()] == [n.id for n in emulated.over_limit()]


@pytest.mark.parametrize("name", ["mnist_cntk", "silero_vad_ifless"])
def test_trained_models(
    name: str, trained_model_dir: Path, on_device: Callable[..., ManualReport]
) -> None:
    source = trained_model_dir / name / "model.onnx"
    samples = read_samples(source.parent)[:1]
    real = on_device(source, samples, mode="raw")
    check_equal(real, halve.measure(source, samples, options=ManualOptions(mode="raw")))


def test_the_models_that_ran_are_kept(
    tmp_path: Path, on_device: Callable[..., ManualReport]
) -> None:
    make_worked_example(tmp_path)
    report = on_device(tmp_path / "worked.onnx", tmp_path / "samples", workspace=tmp_path / "w")
    assert report.files.fp16_executable is not None
    assert b"lowered" not in report.files.fp16_executable.read_bytes()
    assert report.files.fp16_hlir is not None


def test_a_provider_that_is_not_here() -> None:
    options = ManualOptions(provider="CUDAExecutionProvider")
    assert options.on_device
    assert options.runs_local
    with pytest.raises(BackendUnavailableError, match="no usable CUDAExecutionProvider"):
        halve.measure(parse(RELU), [{}], options=options)


def test_kernels_that_compute_in_float32_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ManualOptions, "on_device", property(lambda _: True))
    with pytest.raises(SessionError, match="float16 arithmetic on CPUExecutionProvider"):
        halve.measure(parse(RELU), [{}])


def test_local_runs_are_part_of_it() -> None:
    with pytest.raises(OptionError, match="exact_local is False for provider 'Some'"):
        ManualOptions(provider="Some", exact_local=False)
