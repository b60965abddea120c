"""The CUDA kernels against a device-to-device copy of the same run, and against what else there is.

The arrays hold normal values of the kernel's own types. "Traffic" is bytes read plus written a
second, by the device's own clock around the kernel; "call_s" is that clock around the whole call
(tables in, kernel, counts out, and Python's way there and back). "To copy" is the kernel's ratio to
a device-to-device copy that moves as many bytes, in the same rounds, by the same clock. Then the
comparison of two arrays against cupy expressions, where cupy is installed, and against copying both
to the host and numpy.allclose, by the host's clock.

    PYTHONPATH=benchmarks python benchmarks/gpu/kernels.py [--megabytes 256,1024] [--rounds 9]
        [--warm 0.2] [--json FILE]

Before its rounds, a kernel and the copy run for `--warm` seconds: an idle device clocks down.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from timing import machine, versions, write_json

from halve._native import cuda
from halve._native.compare import FLOAT_TYPES
from halve._native.cuda_arrays import cast_through
from halve.types import CastBounds, DType

TYPES: dict[str, np.dtype[Any]] = {str(dtype): dtype for dtype in FLOAT_TYPES}
PAIRS = (
    ("float32", "float32"),
    ("float16", "float32"),
    ("bfloat16", "float32"),
    ("float16", "float16"),
    ("float64", "float64"),
)
RULE = (1e-2, 1e-3, False)
Work = Callable[[], object]


class Bench:
    """A device with three large arrays: two to read, and room for results and copies."""

    def __init__(self, nbytes: int) -> None:
        self.module: Any = cuda.load()
        self.context = cuda.context(0)
        self.timer = self.module.Timer(self.context)
        self.nbytes = nbytes
        self.first, self.second, self.room = (self.module.Memory(0, nbytes) for _ in range(3))

    def fill(self, first: str, second: str) -> None:
        """Normal values of these types, the second array's a little off the first's."""
        block = np.random.default_rng(0).standard_normal(1 << 16)
        self._repeat(self.first, block.astype(TYPES[first]))
        self._repeat(self.second, (block * 1.001).astype(TYPES[second]))

    def _repeat(self, memory: Any, block: NDArray[Any]) -> None:  # noqa: ANN401 - compiled
        filled = min(block.nbytes, self.nbytes)
        self.module.copy(self.context, memory.pointer, block.ctypes.data, filled)
        while filled < self.nbytes:
            more = min(filled, self.nbytes - filled)
            self.module.copy(self.context, memory.pointer + filled, memory.pointer, more)
            filled += more

    def copy(self, moved_bytes: int) -> Work:
        """A copy that reads and writes `moved_bytes` together."""
        target, source = self.room.pointer, self.first.pointer
        return lambda: self.module.copy(self.context, target, source, moved_bytes // 2, wait=False)

    def call_s(self, work: Work) -> float:
        self.timer.start()
        work()
        return float(self.timer.stop_ms()) / 1e3

    def kernel_s(self) -> float:
        """Of the last call that launched one, or of the last copy."""
        return float(self.context.kernel_ms) / 1e3


@dataclass(frozen=True, slots=True)
class Effort:
    """How long a kernel is run before it is measured, and how often then."""

    rounds: int
    warm_s: float


def measure(bench: Bench, work: Work, moved_bytes: int, effort: Effort) -> dict[str, float]:
    """Medians over interleaved rounds; one before the first is not counted."""
    copied = min(moved_bytes, 2 * bench.nbytes)
    copy = bench.copy(copied)

    def one_round() -> tuple[float, float, float]:
        call_s, kernel_s = bench.call_s(work), bench.kernel_s()
        copy()
        return call_s, kernel_s, bench.kernel_s()

    until_s = time.monotonic() + effort.warm_s
    one_round()
    while time.monotonic() < until_s:
        one_round()
    times = [one_round() for _ in range(effort.rounds)]
    calls, kernels, copies = zip(*times, strict=True)
    ratios = [moved_bytes / k * c / copied for k, c in zip(kernels, copies, strict=True)]
    return {
        "kernel_s": statistics.median(kernels),
        "call_s": statistics.median(calls),
        "traffic_gb_s": moved_bytes / statistics.median(kernels) / 1e9,
        "copy_gb_s": copied / statistics.median(copies) / 1e9,
        "to_copy": statistics.median(ratios),
    }


def kernel_rows(megabytes: int, effort: Effort) -> dict[str, dict[str, float]]:
    """Every kernel on arrays of that size."""
    bench = Bench(megabytes << 20)
    a, b, room = (memory.pointer for memory in (bench.first, bench.second, bench.room))
    context = bench.context
    rows = {}
    bench.fill("float32", "float32")
    for kind, name in enumerate(("float16", "bfloat16")):
        n = bench.nbytes // 4
        work = lambda k=kind, n=n: context.cast(k, [(a, room, n)], 0.0, 65504.0)  # noqa: E731
        rows[f"cast {name}"] = measure(bench, work, 6 * n, effort)
    for x, y in PAIRS:
        tx, ty = TYPES[x], TYPES[y]
        n = bench.nbytes // max(tx.itemsize, ty.itemsize)
        kinds, items = (FLOAT_TYPES[tx], FLOAT_TYPES[ty]), [(a, b, n)]
        bench.fill(x, y)
        work = lambda k=kinds, i=items: context.compare(*k, i, *RULE)  # noqa: E731
        rows[f"compare {x}, {y}"] = measure(bench, work, (tx.itemsize + ty.itemsize) * n, effort)
    for name, dtype in TYPES.items():
        n = bench.nbytes // dtype.itemsize
        bench.fill(name, name)
        kind = FLOAT_TYPES[dtype]
        work = lambda k=kind, n=n: context.statistics(k, [(a, n)], 65504.0, 2.0**-14)  # noqa: E731
        rows[f"statistics {name}"] = measure(bench, work, dtype.itemsize * n, effort)
    return rows


def host_seconds(work: Work, rounds: int) -> float:
    work()
    times = []
    for _ in range(rounds):
        started_s = time.perf_counter()
        work()
        times.append(time.perf_counter() - started_s)
    return statistics.median(times)


def against_host(megabytes: int, rounds: int) -> dict[str, float]:
    """Comparing on the device, against copying both arrays to the host and numpy.allclose."""
    bench = Bench(megabytes << 20)
    bench.fill("float32", "float32")
    n = bench.nbytes // 4
    a, b = np.empty(n, np.float32), np.empty(n, np.float32)

    def by_host() -> None:
        for array, memory in ((a, bench.first), (b, bench.second)):
            bench.module.copy(bench.context, array.ctypes.data, memory.pointer, bench.nbytes)
        np.allclose(a, b, RULE[0], RULE[1])

    items = [(bench.first.pointer, bench.second.pointer, n)]
    ours_s = host_seconds(lambda: bench.context.compare(0, 0, items, *RULE), rounds)
    host_s = host_seconds(by_host, 1)
    return {"device_s": ours_s, "host_s": host_s, "times_faster": host_s / ours_s}


def against_cupy(megabytes: int, rounds: int) -> dict[str, Any]:
    """The same numbers by cupy's expressions, a pass or more each."""
    try:
        import cupy  # type: ignore[import-not-found]
    except ImportError as error:
        return {"not_run": str(error)}
    import halve

    a = cupy.random.standard_normal((megabytes << 20) // 4, dtype=cupy.float32)
    b = a * cupy.float32(1.00001)

    def expressions() -> None:
        error = cupy.abs(a - b)
        mismatches = (error > RULE[1] + RULE[0] * cupy.abs(b)).sum()
        numbers = [mismatches, error.max(), error.argmax(), (a * a).sum(), (b * b).sum()]
        numbers += [(a * b).sum(), (error * error).sum(), cupy.isnan(a).sum(), cupy.isnan(b).sum()]
        cupy.asnumpy(cupy.stack([number.astype(cupy.float64) for number in numbers]))

    ours_s = host_seconds(lambda: halve.compare(a, b, rtol=RULE[0], atol=RULE[1]), rounds)
    cupy_s = host_seconds(expressions, rounds)
    return {"device_s": ours_s, "cupy_s": cupy_s, "times_faster": cupy_s / ours_s}


def through_device(megabytes: int) -> dict[str, float]:
    """The cast of host memory by way of the device, in GB of float32 a second."""
    src = np.random.default_rng(1).standard_normal((megabytes << 20) // 4, np.float32)
    dst = np.empty(src.shape, np.float16)
    bounds = CastBounds(0.0, 65504.0)
    seconds = host_seconds(lambda: cast_through(src, dst, DType.FLOAT16, bounds, device=0), 3)
    return {"input_gb_s": src.nbytes / seconds / 1e9}


def sections(sizes: list[int], effort: Effort) -> dict[str, Work]:
    """What is measured, by its name in the record."""
    return {
        **{f"kernels_{size}_mb": functools.partial(kernel_rows, size, effort) for size in sizes},
        "against_host": functools.partial(against_host, sizes[-1], effort.rounds),
        "against_cupy": functools.partial(against_cupy, sizes[-1], effort.rounds),
        "through_device": functools.partial(through_device, sizes[0]),
    }


def show(name: str, section: Any) -> None:  # noqa: ANN401 - rows of numbers, or one
    if not name.startswith("kernels"):
        print(name, section, flush=True)
        return
    for kernel, row in section.items():
        print(
            f"{name}  {kernel:30} {row['traffic_gb_s']:8.1f} GB/s  {row['to_copy']:.2f}", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--megabytes", default="256,1024")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--warm", type=float, default=0.2)
    parser.add_argument("--json", type=Path)
    parsed = parser.parse_args()
    status = cuda.status()
    record: dict[str, Any] = {
        "machine": machine(),
        "versions": versions("numpy", "cupy-cuda12x", "cupy-cuda13x"),
        "devices": [device.name for device in status.devices],
    }
    if not status.usable:
        record["not_run"] = status.reason
        print("not run:", status.reason)
    elif failed := run_sections(parsed, record):
        raise SystemExit(f"failed: {', '.join(failed)}")
    save(parsed.json, record)


def run_sections(parsed: argparse.Namespace, record: dict[str, Any]) -> list[str]:
    """The names of those that failed. What there is, is saved after each."""
    failed = []
    sizes = [int(text) for text in parsed.megabytes.split(",")]
    for name, section in sections(sizes, Effort(parsed.rounds, parsed.warm)).items():
        try:
            record[name] = section()
            show(name, record[name])
        except Exception as error:  # the others are still worth their time
            traceback.print_exc()
            record[name] = {"failure": f"{type(error).__name__}: {error}"}
            failed.append(name)
        save(parsed.json, record)
    return failed


def save(path: Path | None, record: dict[str, Any]) -> None:
    if path is not None:
        write_json(path, record)


if __name__ == "__main__":
    main()
