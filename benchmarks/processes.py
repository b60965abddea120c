"""Times child processes: wall time with the data on disk, and peak memory of the child alone."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ChildRun", "child_environment", "run_child", "warm"]

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class ChildRun:
    """One run of a command: seconds until `sync` returned, processor time (user and system),
    peak resident bytes, exit status.

    `error` holds the last line that the child wrote to stderr, where it failed.
    """

    elapsed_s: float
    processor_s: float
    peak_rss_bytes: int
    status: int
    error: str = ""


def child_environment() -> dict[str, str]:
    """This process's environment, but that Python keeps the bytecode of what it imports.

    An installed package has its bytecode; without this a checkout would be compiled in every run.
    """
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def run_child(command: Sequence[str], log: Path) -> ChildRun:
    """Runs a command, waits for `sync`, and reads its peak memory from wait4.

    The kernel counts the parent's memory at the time of the fork into the child's peak, so the
    caller must itself stay small: import nothing heavy, make models in children.
    """
    os.sync()
    with log.open("wb") as output:
        started = time.perf_counter()
        child = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=child_environment()
        )
        _, status, usage = os.wait4(child.pid, 0)
        os.sync()
        elapsed_s = time.perf_counter() - started
    code = child.returncode = os.waitstatus_to_exitcode(status)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    error = (lines[-1][:300] if lines else f"exit status {code}") if code else ""
    processor_s = usage.ru_utime + usage.ru_stime
    return ChildRun(elapsed_s, processor_s, usage.ru_maxrss * 1024, code, error)


def warm(path: Path) -> None:
    """Reads a file once, so that what runs next finds it in the page cache."""
    block = bytearray(4 * _MIB)
    with path.open("rb", buffering=0) as file:
        while file.readinto(block):
            pass
