"""What it costs to import halve, and to ask the command for help: processes timed from their start.

    python benchmarks/imports.py

Every case is a process of its own; rounds are interleaved, one run of each case a round, after one
that is not counted. What importing halve costs beyond numpy and onnx, which a program that has
models to convert imports anyway, is the median over the rounds of the difference within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from processes import child_environment
from timing import machine, versions, write_json

_LIBRARIES = "import numpy, onnx"
_CASES = {
    "python": ("-c", "pass"),
    "numpy, onnx": ("-c", _LIBRARIES),
    "numpy, onnx, halve": ("-c", f"{_LIBRARIES}, halve"),
    "numpy, onnx, halve.convert": ("-c", f"{_LIBRARIES}, halve; halve.convert"),
    "halve alone": ("-c", "import halve"),
    "halve --help": ("-m", "halve", "--help"),
    "halve convert --help": ("-m", "halve", "convert", "--help"),
}
# Case, and what it is measured beyond.
_BEYOND = {
    "numpy, onnx, halve": "numpy, onnx",
    "numpy, onnx, halve.convert": "numpy, onnx",
    "halve alone": "python",
}


class _Seconds(NamedTuple):
    elapsed: float
    processor: float


def _run(arguments: Sequence[str]) -> _Seconds:
    start = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, env=child_environment()
    )
    _, status, usage = os.wait4(child.pid, 0)
    elapsed = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(arguments)}: exit status {child.returncode}")
    return _Seconds(elapsed, usage.ru_utime + usage.ru_stime)


def _measure(rounds: int) -> dict[str, list[_Seconds]]:
    found: dict[str, list[_Seconds]] = {name: [] for name in _CASES}
    for number in range(rounds + 1):
        for name, arguments in _CASES.items():
            seconds = _run(arguments)
            if number:
                found[name].append(seconds)
    return found


def _row(name: str, found: Mapping[str, Sequence[_Seconds]]) -> dict[str, object]:
    row: dict[str, object] = {
        "case": name,
        "elapsed_s": statistics.median(run.elapsed for run in found[name]),
        "processor_s": statistics.median(run.processor for run in found[name]),
        "least_elapsed_s": min(run.elapsed for run in found[name]),
    }
    base = _BEYOND.get(name)
    if base is not None:
        pairs = list(zip(found[name], found[base], strict=True))
        row |= {
            "beyond": base,
            "beyond_elapsed_s": statistics.median(a.elapsed - b.elapsed for a, b in pairs),
            "beyond_processor_s": statistics.median(a.processor - b.processor for a, b in pairs),
        }
    return row


def _table(rows: Sequence[Mapping[str, object]]) -> str:
    lines = [
        "| process | ms | processor ms | beyond | ms | processor ms |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        fields = ("elapsed_s", "processor_s", "beyond_elapsed_s", "beyond_processor_s")
        spent = [f"{1000 * float(str(row[f])):.0f}" if f in row else "" for f in fields]
        lines.append(
            f"| {row['case']} | {spent[0]} | {spent[1]} | {row.get('beyond', '')} "
            f"| {spent[2]} | {spent[3]} |"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="runs of each case (default: 15)")
    parser.add_argument("--json", type=Path, help="where to write the result (default: stdout)")
    args = parser.parse_args(argv)
    found = _measure(args.rounds)
    rows = [_row(name, found) for name in _CASES]
    print(_table(rows), file=sys.stderr)
    record = {"machine": machine(), "versions": versions("halve", "numpy", "onnx"), "cases": rows}
    if args.json is None:
        print(json.dumps(record, indent=2))
    else:
        write_json(args.json, record)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
