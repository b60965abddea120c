"""The CUDA module: absence and a missing driver are states with a reason; devices where any are."""

from __future__ import annotations

import importlib
import sys
import types

import pytest

from halve._native import cuda
from halve.errors import BackendUnavailableError


class FakeCudaError(RuntimeError):
    """What a fake module raises."""


def fake(**functions: object) -> types.ModuleType:
    module = types.ModuleType("halve._cuda")
    module.CudaError = FakeCudaError  # type: ignore[attr-defined]
    for name, function in functions.items():
        setattr(module, name, function)
    return module


ROW = {
    "index": 0,
    "name": "Card",
    "capability": (9, 0),
    "memory_bytes": 1 << 30,
    "multiprocessors": 2,
}


def refuse(*_: object) -> None:
    raise FakeCudaError("no kernel image")


def use(monkeypatch: pytest.MonkeyPatch, module: types.ModuleType | None) -> None:
    """`halve._cuda` is `module`, or not built at all."""
    monkeypatch.setitem(sys.modules, "halve._cuda", module)  # type: ignore[arg-type]


def test_this_machine_has_a_reason_or_a_device() -> None:
    status = cuda.status()
    assert status.usable == (status.reason == "")
    assert status.usable == any(device.architecture for device in status.devices)


def test_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, None)
    status = cuda.status()
    assert (status.built, status.usable) == (False, False)
    assert "HALVE_CUDA=ON" in status.reason
    with pytest.raises(BackendUnavailableError, match="was not built"):
        cuda.load()


def test_built_but_not_loadable(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> types.ModuleType:
        raise ImportError("libstdc++ is too old")

    monkeypatch.setattr(importlib, "import_module", broken)
    status = cuda.status()
    assert (status.built, status.usable) == (True, False)
    assert status.reason == "the CUDA module cannot be loaded: libstdc++ is too old"


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, fake(versions=lambda: (13000, 0), devices=refuse))
    status = cuda.status()
    assert (status.built, status.usable, status.runtime) == (True, False, "13.0")
    assert "no NVIDIA driver" in status.reason


def test_driver_without_device(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, fake(versions=lambda: (12080, 12040), devices=refuse))
    status = cuda.status()
    assert (status.runtime, status.driver) == ("12.8", "12.4")
    assert (status.usable, status.reason) == (False, "no kernel image")


def test_a_device_that_cannot_run_this_build(monkeypatch: pytest.MonkeyPatch) -> None:
    module = fake(
        versions=lambda: (13000, 13000), devices=lambda: [dict(ROW)], executed_architecture=refuse
    )
    use(monkeypatch, module)
    status = cuda.status()
    assert not status.usable
    assert status.reason == "device 0 (Card): no kernel image"


def test_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    module = fake(
        versions=lambda: (13000, 13000),
        devices=lambda: [dict(ROW)],
        executed_architecture=lambda _: 900,
    )
    use(monkeypatch, module)
    status = cuda.status()
    assert status.usable
    assert status.devices[0].architecture == 900


def test_the_real_module_without_a_driver() -> None:
    status = cuda.status()
    if not status.built or status.driver:
        pytest.skip("needs the CUDA module and no NVIDIA driver")
    module = cuda.load()
    runtime, driver = module.versions()
    assert runtime >= 12040
    assert driver == 0
    calls = (
        module.devices,
        lambda: module.executed_architecture(0),
        lambda: module.Context(0),
        lambda: module.Memory(0, 16),
        lambda: module.StreamCaster(0),
        lambda: module.pointer_device(64),
    )
    for call in calls:
        with pytest.raises(module.CudaError, match=r"failed: .* \(cuda\w+\) at \w+\.(cu|h):\d+"):
            call()
    for use in (cuda.context, cuda.stream_caster, cuda.pointer_device):
        with pytest.raises(BackendUnavailableError, match="no NVIDIA driver is installed"):
            use(0)


@pytest.mark.gpu
def test_every_device_runs_code_made_for_it() -> None:
    for device in cuda.status().devices:
        major, minor = device.capability
        assert 0 < device.architecture <= major * 100 + minor * 10
        assert device.memory_bytes > 0
