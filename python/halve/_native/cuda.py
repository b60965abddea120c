"""The CUDA module, loaded when first asked for; its absence is a normal state with a reason."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType

from halve.errors import BackendUnavailableError

__all__ = ["CudaDevice", "CudaStatus", "load", "status"]

_NOT_BUILT = (
    "the CUDA module was not built: install the CUDA toolkit (nvcc 12.4 or newer) and reinstall "
    "halve with -Ccmake.define.HALVE_CUDA=ON"
)


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
