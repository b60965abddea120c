"""Fixtures and skips that every folder of tests shares."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from halve._native import cuda

# Models without control flow; a test that takes `trained_model` runs on each of them.
FIRST_GROUP = ("dtln_1", "ultraface_rfb", "mnist_cntk", "fastestdet", "yunet", "basic_pitch")
_ON_TRAINED = "ran on trained models"
_TRAINED_TESTS = pytest.StashKey[int]()


@pytest.fixture(scope="session")
def trained_model_dir() -> Path:
    """The folder of trained models, one folder each; tests that need it are skipped without it."""
    folder = os.environ.get("HALVE_MODELS", "")
    if not folder:
        pytest.skip("HALVE_MODELS is not set: it names the folder of trained models")
    if not Path(folder).is_dir():
        pytest.fail(f"HALVE_MODELS is {folder!r}, which is no folder")
    return Path(folder)


@pytest.fixture(params=FIRST_GROUP)
def trained_model(request: pytest.FixtureRequest, trained_model_dir: Path) -> Path:
    """The folder of one trained model: model.onnx and its samples."""
    folder = trained_model_dir / str(request.param)
    assert (folder / "model.onnx").is_file(), f"{folder} holds no model.onnx"
    return folder


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TRAINED_TESTS] = 0


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        status = cuda.status()
        if not status.usable:
            pytest.skip(f"no usable GPU: {status.reason}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Says of a test's report whether it ran on trained models; reports cross processes."""
    report = yield
    uses = "trained_model_dir" in getattr(item, "fixturenames", ())
    if uses and call.when == "call" and not report.skipped:
        report.user_properties.append((_ON_TRAINED, True))
    return report


def pytest_report_teststatus(report: pytest.TestReport, config: pytest.Config) -> None:
    """Counts those reports, in the process that prints them."""
    if report.when == "call" and (_ON_TRAINED, True) in map(tuple, report.user_properties):
        config.stash[_TRAINED_TESTS] += 1


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    terminalreporter.write_line(f"tests on trained models: {config.stash[_TRAINED_TESTS]}")


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Every process that the test starts through `subprocess`, as it is started."""
    started: list[subprocess.Popen[bytes]] = []

    class Kept(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Kept)
    return started
