"""A stand-in for ONNX Runtime with providers that are not here."""

from __future__ import annotations

from typing import Any

import onnxruntime as ort

from halve.session.providers import CPU_PROVIDER


class FakeRuntime:
    """An ONNX Runtime with other providers, which notes what a session is asked for."""

    def __init__(self, available: list[str]) -> None:
        self.available = available
        self.sessions: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(ort, name)

    def get_available_providers(self) -> list[str]:
        return self.available

    def InferenceSession(
        self, given: Any, options: Any, *, providers: Any, enable_fallback: int
    ) -> Any:
        assert not enable_fallback
        self.sessions.append((options, providers))
        inner = ort.InferenceSession(given, options, providers=[CPU_PROVIDER])
        return FakeSession(inner, [name for name, _ in providers])


class FakeSession:
    """A session that says it runs on other providers."""

    def __init__(self, inner: Any, providers: list[str]) -> None:
        self.inner = inner
        self.providers = providers

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def get_providers(self) -> list[str]:
        return self.providers
