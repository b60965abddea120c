"""Which casts weights faster here, the processor or a GPU: measured, from host memory to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from halve._native.cast import cast_into
from halve._native.cuda import CudaStatus
from halve._native.cuda_arrays import cast_through
from halve.errors import BackendUnavailableError
from halve.types import CastBounds, DType

__all__ = ["CastChoice", "measure_choice"]

_ELEMENTS = 16 << 20
_ROUNDS = 3
_BOUNDS = CastBounds(0.0, 65504.0)


@dataclass(frozen=True, slots=True)
class CastChoice:
    """Gigabytes of float32 a second that each casts, host memory to host memory, and who is faster.

    `faster` is "cpu" or a device's number as text; `reason` says why nothing was measured, where
    that is so (`faster` is "cpu" then). The processor is used unless a device is asked for.
    """

    faster: str
    cpu_gb_s: float | None = None
    devices_gb_s: tuple[tuple[int, float], ...] = ()
    reason: str = ""


def measure_choice(status: CudaStatus) -> CastChoice:
    """Time the processor and every usable device on the same array, best of a few rounds."""
    usable = [device.index for device in status.devices if device.architecture]
    if not usable:
        return CastChoice("cpu", reason=f"there is no GPU to measure: {status.reason}")
    src = np.random.default_rng(0).standard_normal(_ELEMENTS, np.float32)
    dst = np.empty(_ELEMENTS, np.float16)
    cpu = _rate(lambda: cast_into(src, dst, DType.FLOAT16, _BOUNDS), src.nbytes)
    devices: list[tuple[int, float]] = []
    for index in usable:
        try:
            rate = _rate(
                lambda i=index: cast_through(src, dst, DType.FLOAT16, _BOUNDS, device=i),  # type: ignore[misc]  # the default binds the loop's value
                src.nbytes,
            )
        except BackendUnavailableError as error:
            return CastChoice("cpu", cpu, tuple(devices), str(error))
        devices.append((index, rate))
    best, rate = max(devices, key=lambda item: item[1])
    return CastChoice(str(best) if rate > cpu else "cpu", cpu, tuple(devices))


def _rate(work: Callable[[], object], nbytes: int) -> float:
    """The best round, after one that allocates."""
    work()
    times = []
    for _ in range(_ROUNDS):
        started_s = time.perf_counter()
        work()
        times.append(time.perf_counter() - started_s)
    return nbytes / min(times) / 1e9
