"""halve.from_torch where PyTorch, or what its exporter needs, is not installed."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

import halve


def test_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(halve.BackendUnavailableError, match=r"install the extra halve\[torch\]"):
        halve.from_torch(object(), ())


def test_no_onnxscript(monkeypatch: pytest.MonkeyPatch) -> None:
    class Module:
        pass

    torch = ModuleType("torch")
    torch.nn = SimpleNamespace(Module=Module)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(halve.BackendUnavailableError, match="or use exporter='torchscript'"):
        halve.from_torch(Module(), ())
