"""The ONNX Runtime that is installed: its module, its version, what it raises, what it knows."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from halve.errors import BackendUnavailableError, was_interrupted

__all__ = [
    "OLDEST_SUPPORTED",
    "RuntimeInfo",
    "describe_runtime",
    "one_line",
    "operator_schemas",
    "runtime_errors",
    "runtime_module",
    "takes_data_folder",
]

OLDEST_SUPPORTED = (1, 20)

_DATA_FOLDER_SINCE = (1, 21)
_INSTALL_HINT = "install one of the extras: halve[cpu], halve[cuda12] or halve[cuda13]"


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """What this machine's ONNX Runtime is; `version` is empty where none is installed."""

    version: str
    distribution: str
    providers: tuple[str, ...]
    supported: bool
    supported_range: str
    note: str
    tf32: str


def describe_runtime() -> RuntimeInfo:
    """Version, providers and caveats of the installed ONNX Runtime, which may be absent."""
    oldest = ".".join(map(str, OLDEST_SUPPORTED))
    try:
        ort = runtime_module(check_version=False)
    except BackendUnavailableError as error:
        return RuntimeInfo("", "", (), False, f">= {oldest}", str(error), "no CUDA provider here")
    providers = tuple(ort.get_available_providers())
    supported = _version_tuple(ort.__version__) >= OLDEST_SUPPORTED
    note = "" if supported else f"too old; {_INSTALL_HINT}"
    return RuntimeInfo(
        version=ort.__version__,
        distribution=_distribution(),
        providers=providers,
        supported=supported,
        supported_range=f">= {oldest}",
        note=note,
        tf32=_tf32_note(providers),
    )


def runtime_module(*, check_version: bool = True) -> ModuleType:
    """ONNX Runtime's module, for this package's own files.

    Raises:
        BackendUnavailableError: it is not here, or too old.
        KeyboardInterrupt: its import was interrupted.
    """
    try:
        import onnxruntime as ort  # type: ignore[import-untyped]  # it ships no types
    except ImportError as error:
        if was_interrupted(error):
            raise KeyboardInterrupt from error
        raise BackendUnavailableError(
            f"ONNX Runtime cannot be imported ({error}); {_INSTALL_HINT}"
        ) from error
    if check_version and _version_tuple(ort.__version__) < OLDEST_SUPPORTED:
        oldest = ".".join(map(str, OLDEST_SUPPORTED))
        raise BackendUnavailableError(
            f"ONNX Runtime {ort.__version__} is too old; allowed: {oldest} and newer; "
            f"{_INSTALL_HINT}"
        )
    return ort  # type: ignore[no-any-return]  # an untyped module


def operator_schemas() -> list[Any]:
    """Every op schema that ONNX Runtime knows, its own domains included.

    Raises:
        BackendUnavailableError: ONNX Runtime is not here.
    """
    ort = runtime_module()
    return list(ort.capi.onnxruntime_pybind11_state.get_all_operator_schema())


def takes_data_folder(ort: ModuleType) -> bool:
    """Whether a session that is loaded from bytes can be told where external data lies."""
    return _version_tuple(ort.__version__) >= _DATA_FOLDER_SINCE


def runtime_errors(ort: ModuleType) -> tuple[type[Exception], ...]:
    """ONNX Runtime's exceptions share no base class below Exception."""
    state = ort.capi.onnxruntime_pybind11_state
    own = tuple(
        value
        for value in vars(state).values()
        if isinstance(value, type) and issubclass(value, Exception)
    )
    return (*own, RuntimeError, ValueError, TypeError)


def one_line(error: BaseException) -> str:
    """An error's message without its line breaks, or its class."""
    return " ".join(str(error).split()) or type(error).__name__


@functools.cache
def _version_tuple(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2])


@functools.cache
def _distribution() -> str:
    """Which package provides the module: the GPU wheel and the CPU wheel share its name."""
    for name in ("onnxruntime-gpu", "onnxruntime"):
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def _tf32_note(providers: Iterable[str]) -> str:
    names = set(providers)
    if "CUDAExecutionProvider" not in names:
        return "no CUDA provider here"
    note = (
        "ONNX Runtime's CUDA provider computes float32 MatMul and Conv in TF32 unless "
        "use_tf32=0 is set; halve sets it in its own sessions"
    )
    if "TensorrtExecutionProvider" in names:
        note += "; TensorRT uses TF32 unless NVIDIA_TF32_OVERRIDE=0 is in the environment"
    return note
