"""The cast kernel against numpy, onnxconverter-common, and copies of memory.

All counts are computed. `traffic` is bytes read and written: 6 an element for a cast, 8 for a
copy. Every ratio is within one run: the median over interleaved rounds of the ratio in a round.

    python benchmarks/cast.py --json cast.json
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from timing import Times, interleave, machine, median_s, ratio, versions, write_json

from halve._native.cast import cast_into, copy_into
from halve._native.features import chosen_backend
from halve.types import CastBounds, DType

CAST_BYTES = 6
COPY_BYTES = 8
COPIES = ("memcpy", "streaming copy")
PEERS = ("numpy astype", "onnxconverter-common")
BOUNDS = {DType.FLOAT16: CastBounds(0.0, 65504.0), DType.BFLOAT16: CastBounds()}

Cases = dict[str, Callable[[], object]]


def weights(n: int) -> NDArray[np.float32]:
    """Normal with a standard deviation of 0.02, as in a trained layer."""
    block = np.random.default_rng(0).standard_normal(1 << 20, np.float32) * np.float32(0.02)
    return np.resize(block, n)


def cast_cases(x: NDArray[np.float32], out: NDArray[np.uint16], threads: int) -> Cases:
    """The kernel as halve.cast calls it, for both types."""
    return {
        f"halve {half.name.lower()}": lambda half=half: cast_into(  # type: ignore[misc]
            x, out, half, BOUNDS[half], threads=threads
        )
        for half in BOUNDS
    }


def copy_cases(x: NDArray[np.float32], copy: NDArray[np.float32], threads: int) -> Cases:
    return {
        "memcpy": lambda: copy_into(x, copy, threads=threads),
        "streaming copy": lambda: copy_into(x, copy, threads=threads, streaming=True),
    }


def peer_cases(x: NDArray[np.float32], out: NDArray[np.uint16]) -> Cases:
    """What people use today; both run on one thread. numpy writes into an array it is given."""
    from onnxconverter_common.float16 import (  # type: ignore[import-untyped]
        convert_np_to_float16,
    )

    numpy_out = out.view(np.float16)
    return {
        "numpy astype": lambda: np.copyto(numpy_out, x, casting="unsafe"),
        "onnxconverter-common": lambda: convert_np_to_float16(x),
    }


def measure(threads: int, elements: int, rounds: int) -> dict[str, object]:
    """One table: times in seconds, rates, and ratios to the faster copy and to the peers."""
    x = weights(elements)
    copy, out = np.zeros(elements, np.float32), np.zeros(elements, np.uint16)
    cases = cast_cases(x, out, threads) | copy_cases(x, copy, threads)
    if threads == 1:
        cases |= peer_cases(x, out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        times = interleave(cases, rounds)
    fastest = min(COPIES, key=lambda name: median_s(times, name))
    rows = [row(times, name, elements, fastest) for name in cases]
    return {"threads": threads, "fastest_copy": fastest, "rows": rows}


def row(times: Times, name: str, elements: int, fastest: str) -> dict[str, object]:
    """A line of the table."""
    nbytes = COPY_BYTES if name in COPIES else CAST_BYTES
    peers = [peer for peer in PEERS if peer in times and name.startswith("halve")]
    return {
        "name": name,
        "median_s": median_s(times, name),
        "gb_per_s": nbytes * elements / median_s(times, name) / 1e9,
        "traffic_to_copy": ratio(times, fastest, name) * nbytes / COPY_BYTES,
        "speedup": {peer: ratio(times, peer, name) for peer in peers},
    }


def print_table(table: dict[str, Any]) -> None:
    print(f"\n{table['threads']} thread(s); ratios of traffic to {table['fastest_copy']}\n")
    print("| | traffic GB/s | traffic to copy | times " + " | times ".join(PEERS) + " |")
    print("|---|---|---|---|---|")
    for line in table["rows"]:
        speedups = [line["speedup"].get(peer) for peer in PEERS]
        cells = [
            line["name"],
            f"{line['gb_per_s']:.2f}",
            f"{line['traffic_to_copy']:.2f}",
            *("" if value is None else f"{value:.1f}" for value in speedups),
        ]
        print("| " + " | ".join(cells) + " |")


def main() -> None:
    """Measure on one thread and on all, print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--elements", type=int, default=1 << 26)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", type=Path, help="write the record here")
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    tables = [measure(n, arguments.elements, arguments.rounds) for n in sorted({1, cores})]
    for table in tables:
        print_table(table)
    if arguments.json:
        record = {
            "benchmark": "cast",
            "machine": machine(),
            "versions": versions("halve", "numpy", "onnxconverter-common"),
            "backend": chosen_backend(),
            "elements": arguments.elements,
            "rounds": arguments.rounds,
            "tables": tables,
        }
        write_json(arguments.json, record)


if __name__ == "__main__":
    main()
