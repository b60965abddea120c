"""CUDA's libraries are loaded from packages before a provider asks for them by name."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_runtime import FakeRuntime
from halve.session import provider_libraries
from halve.session.provider_libraries import load_provider_libraries
from halve.session.providers import CPU_PROVIDER, CUDA_PROVIDER, TENSORRT_PROVIDER
from halve.session.runtime import load
from onnx_text import parse

OF_13 = ("cu13/lib/libcublas.so.13", "cu13/lib/libcublasLt.so.13", "cu13/lib/libcudart.so.13")
OF_12 = ("cublas/lib/libcublas.so.12", "cuda_runtime/lib/libcudart.so.12")
OTHERS = ("cudnn/lib/libcudnn.so.9", "cudnn/lib/libcudnn_ops.so.9", "nccl/lib/libnccl.so.2")


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What was loaded of packages for CUDA 12 and 13 that lie in one folder."""
    for name in (*OF_13, *OF_12, *OTHERS):
        path = tmp_path / "nvidia" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "platform", "linux")
    found: list[str] = []

    def note(path: str) -> None:
        found.append(str(Path(path).relative_to(tmp_path / "nvidia")))
        if "cublas.so" in path:
            raise OSError("invalid ELF header")

    monkeypatch.setattr(ctypes, "CDLL", note)
    provider_libraries._load.cache_clear()
    yield found
    provider_libraries._load.cache_clear()


def runtime(cuda: str) -> FakeRuntime:
    fake = FakeRuntime([TENSORRT_PROVIDER, CUDA_PROVIDER, CPU_PROVIDER])
    fake.cuda_version = cuda  # type: ignore[attr-defined]  # as ONNX Runtime has it
    return fake


@pytest.mark.parametrize("provider", [CUDA_PROVIDER, TENSORRT_PROVIDER])
def test_a_session_finds_them_loaded(
    provider: str, loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("halve.session.runtime.runtime_module", lambda **_: runtime("13.0"))
    model = parse("g (float[2] x) => (float[2] y) { y = Sin(x) }")
    load(model, provider=CPU_PROVIDER)
    assert not loaded
    for _ in range(2):  # once is enough
        load(model, provider=provider)
    wanted = ["cudart.so.13", "cublasLt.so.13", "cublas.so.13", "cudnn.so.9"]
    assert [Path(name).name.removeprefix("lib") for name in loaded] == wanted


def test_those_of_the_runtimes_version_are_taken(loaded: list[str]) -> None:
    kept = load_provider_libraries(runtime("12.8"), CUDA_PROVIDER)
    assert loaded == [OF_12[1], OF_12[0], OTHERS[0]]
    assert [path.name for path in kept] == ["libcudart.so.12", "libcudnn.so.9"]


@pytest.mark.parametrize("cuda", ["", None])
def test_a_runtime_without_cuda_needs_none(cuda: str, loaded: list[str]) -> None:
    assert load_provider_libraries(runtime(cuda), CUDA_PROVIDER) == ()
    assert not loaded
