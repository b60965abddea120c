"""The CUDA module, loaded when first asked for; its absence is a normal state with a reason."""

from __future__ import annotations

import importlib
import threading
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halve.errors import BackendUnavailableError

__all__ = [
    "CudaDevice",
    "CudaStatus",
    "context",
    "copy_to_device",
    "load",
    "pointer_device",
    "status",
    "stream_caster",
]

_NOT_BUILT = (
    "the CUDA module was not built: install the CUDA toolkit (nvcc 12.4 or newer) and reinstall "
    "halve with -Ccmake.define.HALVE_CUDA=ON"
)

# A context a thread and device: threads do not wait for each other.
_contexts = threading.local()


@dataclass(frozen=True, slots=True)
class CudaDevice:
    """A device: its index, name, compute capability, and the architecture of the code it ran.

    `architecture` is as in 900 for 9.0, or 0 where this build's code does not run on the device;
    `problem` then says why.
    """

    index: int
    name: str
    capability: tuple[int, int]
    memory_bytes: int
    multiprocessors: int
    architecture: int
    problem: str


@dataclass(frozen=True, slots=True)
class CudaStatus:
    """Whether the CUDA module is built and usable here, and if not, `reason` says why.

    `runtime` and `driver` are versions like "13.0", empty where there is none.
    """

    built: bool
    usable: bool
    reason: str
    runtime: str = ""
    driver: str = ""
    devices: tuple[CudaDevice, ...] = ()


def load() -> ModuleType:
    """The compiled module `halve._cuda`.

    Raises:
        BackendUnavailableError: this build has none, or it cannot be loaded.
    """
    try:
        return importlib.import_module("halve._cuda")
    except ModuleNotFoundError as error:
        raise BackendUnavailableError(_NOT_BUILT) from error
    except ImportError as error:
        raise BackendUnavailableError(f"the CUDA module cannot be loaded: {error}") from error


def status() -> CudaStatus:
    """What CUDA can do here; never raises for a missing build, driver or device."""
    try:
        module = load()
    except BackendUnavailableError as error:
        built = not isinstance(error.__cause__, ModuleNotFoundError)
        return CudaStatus(built=built, usable=False, reason=str(error))
    return _query(module)


def context(device: int) -> Any:  # noqa: ANN401 - the compiled module has no types
    """This thread's stream and scratch memory on a device, made by the first call.

    Raises:
        BackendUnavailableError: CUDA is not usable here, or there is no such device.
    """
    module = load()
    found: dict[tuple[ModuleType, int], Any] = _contexts.__dict__.setdefault("found", {})
    key = (module, device)
    if key not in found:
        try:
            found[key] = module.Context(device)
        except module.CudaError as error:
            raise BackendUnavailableError(
                f"CUDA device {device} cannot be used: {_reason(error)}"
            ) from error
    return found[key]


def copy_to_device(device: int, pointer: int, array: NDArray[Any]) -> None:
    """Copy an array, in C order, to an address in a device's memory, and wait for that.

    Raises:
        BackendUnavailableError: CUDA is not usable here, or fails.
    """
    module, whole = load(), np.ascontiguousarray(array)
    try:
        module.copy(context(device), pointer, whole.ctypes.data, whole.nbytes)
    except module.CudaError as error:
        raise BackendUnavailableError(f"the GPU failed: {error}; see `halve doctor`") from error


def pointer_device(pointer: int) -> int | None:
    """The device whose memory an address is in; None for host memory.

    Raises:
        BackendUnavailableError: CUDA is not usable here.
    """
    module = load()
    try:
        found: int | None = module.pointer_device(pointer)
    except module.CudaError as error:
        raise BackendUnavailableError(f"CUDA cannot be used: {_reason(error)}") from error
    return found


def stream_caster(device: int) -> Any:  # noqa: ANN401 - the compiled module has no types
    """Casts the payload of a stream by way of a device; see halve._native.stream.

    Raises:
        BackendUnavailableError: CUDA is not usable here, or there is no such device.
    """
    module = load()
    try:
        return module.StreamCaster(device)
    except module.CudaError as error:
        raise BackendUnavailableError(
            f"CUDA device {device} cannot be used: {_reason(error)}"
        ) from error


def _reason(error: Exception) -> str:
    """The status's reason where nothing can be used, else the error's own words."""
    found = status()
    return f"{found.reason or error}; see `halve doctor`"


def _query(module: ModuleType) -> CudaStatus:
    runtime, driver = (_version(number) for number in module.versions())
    if not driver:
        reason = "no NVIDIA driver is installed (libcuda was not found)"
        return CudaStatus(built=True, usable=False, reason=reason, runtime=runtime)
    try:
        devices = tuple(_device(module, row) for row in module.devices())
    except module.CudaError as error:
        return CudaStatus(True, False, str(error), runtime, driver)
    usable = any(device.architecture for device in devices)
    reason = "" if usable else "; ".join(d.problem for d in devices) or "no device is visible"
    return CudaStatus(True, usable, reason, runtime, driver, devices)


def _device(module: ModuleType, row: dict[str, object]) -> CudaDevice:
    architecture, problem = 0, ""
    try:
        architecture = module.executed_architecture(row["index"])
    except module.CudaError as error:
        problem = f"device {row['index']} ({row['name']}): {error}"
    return CudaDevice(**row, architecture=architecture, problem=problem)  # type: ignore[arg-type]  # the module's dicts have these keys


def _version(number: int) -> str:
    """ "13.0" for CUDA's 13000; empty for 0."""
    return f"{number // 1000}.{number % 1000 // 10}" if number else ""
