"""What every benchmark shares: interleaved rounds, medians, the machine, JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["Times", "interleave", "machine", "median_s", "ratio", "versions", "write_json"]

# Seconds of every case, a number a round.
Times = Mapping[str, list[float]]


def interleave(
    cases: Mapping[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    *,
    warm: bool = False,
) -> dict[str, list[float]]:
    """Seconds of every case in every round by that clock, all cases once a round.

    Whatever else the machine does in a round meets all of them; with time.process_time, its waiting
    for a processor is left out. One round before the first warms up caches and pages and is not
    counted. With `warm`, a case also runs right before it is timed, for what is done over and over:
    the other cases' data has then left the caches.
    """
    times: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, run in cases.items():
            if warm:
                run()
            start = clock()
            run()
            elapsed = clock() - start
            if number > 0:
                times[name].append(elapsed)
    return times


def median_s(times: Times, name: str) -> float:
    """The median time of a case in seconds."""
    return statistics.median(times[name])


def ratio(times: Times, baseline: str, name: str) -> float:
    """How many times faster `name` is than `baseline`: the median of the rounds' ratios."""
    pairs = zip(times[baseline], times[name], strict=True)
    return statistics.median(slow / fast for slow, fast in pairs)


def machine() -> dict[str, str | int]:
    """Processor, usable cores, system and Python."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def versions(*packages: str) -> dict[str, str | None]:
    """Installed versions; None for what is not installed."""
    return {name: _version(name) for name in packages}


def write_json(path: Path, record: Mapping[str, object]) -> None:
    """Write a benchmark's record."""
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
