"""Widening 16-bit values, and rounding float32 to 16 bits and back, against copies and numpy.

`traffic` is bytes read and written: 6 an element for widening, 8 for rounding and for a copy. Every
ratio is within one run: the median over interleaved rounds of the ratio in a round.

    python benchmarks/widen.py [--elements N] [--rounds N] [--json widen.json]
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from timing import interleave, machine, median_s, ratio, versions, write_json

from halve._native.cast import copy_into, round_into, widen_into
from halve._native.features import chosen_backend
from halve.types import CastBounds, DType

_TYPES: dict[DType, Any] = {DType.FLOAT16: np.float16, DType.BFLOAT16: ml_dtypes.bfloat16}
_COPY = "memcpy of float32"
_WIDENING_BYTES, _ROUNDING_BYTES = 6, 8

Case = tuple[Callable[[], object], int]


def cases(elements: int, threads: int) -> dict[str, Case]:
    """What runs, and the bytes that it moves an element; arrays are there already."""
    block = np.random.default_rng(0).standard_normal(1 << 20, np.float32) * np.float32(0.02)
    x = np.resize(block, elements)
    out = np.zeros(elements, np.float32)
    found: dict[str, Case] = {_COPY: (lambda: copy_into(x, out, threads=threads), _ROUNDING_BYTES)}
    for half, dtype in _TYPES.items():
        found |= of_type(x, x.astype(dtype), out, half, threads)
    return found


def of_type(
    x: NDArray[np.float32],
    narrow: NDArray[Any],
    out: NDArray[np.float32],
    half: DType,
    threads: int,
) -> dict[str, Case]:
    name, bounds = half.name.lower(), CastBounds(0.0, 65504.0)
    found: dict[str, Case] = {
        f"widen {name}": (
            lambda: widen_into(narrow, out, half, threads=threads), _WIDENING_BYTES
        ),
        f"round to {name}": (
            lambda: round_into(x, out, half, bounds, threads=threads), _ROUNDING_BYTES
        ),
    }  # fmt: skip
    if threads == 1:
        found[f"numpy, widen {name}"] = (lambda: np.copyto(out, narrow), _WIDENING_BYTES)
    return found


def measure(threads: int, elements: int, rounds: int) -> list[dict[str, object]]:
    rows = cases(elements, threads)
    times = interleave({name: call for name, (call, _) in rows.items()}, rounds)
    return [
        {
            "threads": threads,
            "name": name,
            "gb_per_s": nbytes * elements / median_s(times, name) / 1e9,
            "traffic_to_copy": ratio(times, _COPY, name) * nbytes / _ROUNDING_BYTES,
            "times_numpy": ratio(times, peer, name)
            if (peer := f"numpy, {name}") in times
            else None,
        }
        for name, (_, nbytes) in rows.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--elements", type=int, default=1 << 25)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", type=Path)
    parsed = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    rows = [
        row
        for threads in sorted({1, cores})
        for row in measure(threads, parsed.elements, parsed.rounds)
    ]
    print("| | threads | traffic GB/s | traffic to copy | times numpy |")
    print("|---|---|---|---|---|")
    for row in rows:
        peer = "" if row["times_numpy"] is None else f"{row['times_numpy']:.1f}"
        print(
            f"| {row['name']} | {row['threads']} | {row['gb_per_s']:.2f} |"
            f" {row['traffic_to_copy']:.2f} | {peer} |"
        )
    if parsed.json:
        record = {"benchmark": "widen", "machine": machine(), "backend": chosen_backend()}
        record |= {"versions": versions("halve", "numpy", "ml_dtypes"), "rows": rows}
        write_json(parsed.json, record)


if __name__ == "__main__":
    main()
