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

import numpy as np
from numpy.typing import NDArray
from timing import interleave, machine, median_s, ratio, versions, write_json

from halve._native.cast import cast_into, copy_into
from halve._native.features import chosen_backend
from halve.types import CastBounds, DType

CAST_BYTES = 6
COPY_BYTES = 8
# onnxconverter-common needs some 60 bytes of temporaries an element: a rate from a smaller array.
PEER_ELEMENTS = 1 << 22
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
    from onnxconverter_common.float16 import convert_np_to_float16

    numpy_out = out.view(np.float16)
    small = x[:PEER_ELEMENTS]
    return {
        "numpy astype": lambda: np.copyto(numpy_out, x, casting="unsafe"),
        "onnxconverter-common": lambda: convert_np_to_float16(small),
    }


def measure(threads: int, arguments: argparse.Namespace) -> dict[str, object]:
    """One table: times in seconds, rates, and ratios to the faster copy and to the peers."""
    n = arguments.elements
    x, copy, out = weights(n), np.zeros(n, np.float32), np.zeros(n, np.uint16)
    cases = cast_cases(x, out, threads) | copy_cases(x, copy, threads)
    if threads == 1:
        cases |= peer_cases(x, out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        times = interleave(cases, arguments.rounds)
    fastest = min(("memcpy", "streaming copy"), key=lambda name: median_s(times, name))
    rows = []
    for name in cases:
        count = min(n, PEER_ELEMENTS) if name == "onnxconverter-common" else n
        traffic = COPY_BYTES if name in {"memcpy", "streaming copy"} else CAST_BYTES
        row = {
            "name": name,
            "elements": count,
            "median_s": median_s(times, name),
            "gb_per_s": traffic * count / median_s(times, name) / 1e9,
            "traffic_to_copy": ratio(times, fastest, name) * traffic * count / (COPY_BYTES * n),
        }
        for peer, peer_n in (("numpy astype", n), ("onnxconverter-common", min(n, PEER_ELEMENTS))):
            if peer in cases and name.startswith("halve"):
                row[f"times {peer}"] = ratio(times, peer, name) * count / peer_n
        rows.append(row)
    return {"threads": threads, "fastest_copy": fastest, "rows": rows}


def print_table(table: dict[str, object]) -> None:
    rows = table["rows"]
    assert isinstance(rows, list)
    print(f"\n{table['threads']} thread(s); ratios of traffic to {table['fastest_copy']}\n")
    print("| | traffic GB/s | traffic to copy | times numpy astype | times onnxconverter-common |")
    print("|---|---|---|---|---|")
    for row in rows:
        peers = [
            f"{row[key]:.1f}" if key in row else ""
            for key in ("times numpy astype", "times onnxconverter-common")
        ]
        cells = [row["name"], f"{row['gb_per_s']:.2f}", f"{row['traffic_to_copy']:.2f}", *peers]
        print("| " + " | ".join(cells) + " |")


def main() -> None:
    """Measure on one thread and on all, print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--elements", type=int, default=1 << 26)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", type=Path, help="write the record here")
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    tables = [measure(threads, arguments) for threads in sorted({1, cores})]
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
