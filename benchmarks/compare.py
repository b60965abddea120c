"""The comparison and statistics kernels against numpy and plain reads of the same bytes.

One thread each, or --threads of the kernel and of reading; numpy's matrix library is held to one:
its others would go on waiting in a loop for milliseconds, into the next measurement. Every ratio is
within one run: the median over interleaved rounds of the ratio in a round. Rates count the bytes of
the arrays, once. Without the peers (--skip-peers) a run takes seconds.
--processor-time leaves out the waiting for a processor that others use.

    python benchmarks/compare.py --json compare.json
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from timing import Times, interleave, machine, median_s, ratio, versions, write_json

from halve._native.compare import compare_arrays, measure_array, read_array
from halve._native.features import chosen_backend

TYPES = ("float32", "float16", "bfloat16", "float64")
PAIRS = tuple(itertools.combinations_with_replacement(TYPES, 2))
RULE = {"rtol": 1e-2, "atol": 1e-3}
LIBRARY_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
FLOAT16_MAX, FLOAT16_SMALLEST_NORMAL = 65504.0, 2.0**-14

Array = NDArray[Any]
Cases = dict[str, Callable[[], object]]


@dataclass(frozen=True)
class Rounds:
    """How many, what time is, the threads of the kernel and of reading, and whether numpy runs."""

    count: int
    clock: Callable[[], float]
    threads: int
    peers: bool


def numpy_type(name: str) -> np.dtype[Any]:
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def activations(n: int) -> NDArray[np.float32]:
    """Normal with a standard deviation of 1."""
    block = np.random.default_rng(0).standard_normal(min(n, 1 << 20), np.float32)
    return np.resize(block, n)


def at_least_float32(x: Array) -> Array:
    return x if x.dtype.itemsize >= 4 else x.astype(np.float32)


def cosine(a: Array, b: Array) -> float:
    """As it is written most often, in float32 at least."""
    x, y = at_least_float32(a), at_least_float32(b)
    return float(np.dot(x, y) / (np.linalg.norm(x) * np.linalg.norm(y)))


def read(arrays: Sequence[Array], threads: int) -> None:
    """Every thread its share of each."""
    if threads == 1:
        for array in arrays:
            read_array(array)
        return
    parts = zip(*(np.array_split(array, threads) for array in arrays), strict=True)
    list(readers(threads).map(lambda part: read(part, 1), parts))


@cache
def readers(threads: int) -> ThreadPoolExecutor:
    """Threads that are there already: to start one takes a part of what reading takes."""
    return ThreadPoolExecutor(threads)


def compare_cases(a: Array, b: Array, threads: int) -> Cases:
    """The kernel gives all metrics at once, each peer one."""
    return {
        "halve": lambda: compare_arrays(a, b, threads=threads, **RULE),
        "read": lambda: read((a, b), threads),
        "numpy allclose": lambda: np.allclose(a, b, **RULE),
        "numpy cosine": lambda: cosine(a, b),
    }


def numpy_statistics(array: Array) -> tuple[object, ...]:
    """The same with numpy, in float32 at least; subnormals are not counted."""
    x = at_least_float32(array)
    size = np.abs(x)
    counts = (size >= FLOAT16_MAX, size <= FLOAT16_SMALLEST_NORMAL, np.isnan(x), np.isinf(x))
    return x.min(), x.max(), *map(np.count_nonzero, (*counts, x == 0)), np.dot(x, x)


def stats_cases(x: Array, threads: int) -> Cases:
    bounds = {"ge": FLOAT16_MAX, "le": FLOAT16_SMALLEST_NORMAL}
    return {
        "halve": lambda: measure_array(x, **bounds, threads=threads),
        "read": lambda: read((x,), threads),
        "numpy": lambda: numpy_statistics(x),
    }


def row(name: str, nbytes: int, cases: Cases, rounds: Rounds) -> dict[str, Any]:
    """A line of a table."""
    peers = [case for case in cases if case not in ("halve", "read")]
    if not rounds.peers:
        cases, peers = {name: cases[name] for name in ("halve", "read")}, []
    times: Times = interleave(cases, rounds.count, rounds.clock)
    return {
        "name": name,
        "gb_per_s": nbytes / median_s(times, "halve") / 1e9,
        "read_gb_per_s": nbytes / median_s(times, "read") / 1e9,
        "to_read": ratio(times, "read", "halve"),
        "times": {peer: ratio(times, peer, "halve") for peer in peers},
    }


def compare_rows(elements: int, rounds: Rounds) -> list[dict[str, Any]]:
    """Every pairing: the same values, rounded, with noise of 1e-5 of their size."""
    x = activations(elements)
    y = x * np.float32(1.00001)
    rows = []
    for first, second in PAIRS:
        a, b = x.astype(numpy_type(first)), y.astype(numpy_type(second))
        name = f"{first}, {second}"
        rows.append(row(name, a.nbytes + b.nbytes, compare_cases(a, b, rounds.threads), rounds))
    return rows


def stats_rows(elements: int, rounds: Rounds) -> list[dict[str, Any]]:
    x = activations(elements)
    arrays = {name: x.astype(numpy_type(name)) for name in TYPES}
    return [
        row(name, a.nbytes, stats_cases(a, rounds.threads), rounds) for name, a in arrays.items()
    ]


def print_table(title: str, rows: list[dict[str, Any]]) -> None:
    peers = list(rows[0]["times"])
    print(f"\n{title}\n")
    columns = ["", "GB/s", "read GB/s", "to read", *(f"times {peer}" for peer in peers)]
    print("| " + " | ".join(columns) + " |")
    print("|---" * (4 + len(peers)) + "|")
    for line in rows:
        cells = [f"{line[key]:.2f}" for key in ("gb_per_s", "read_gb_per_s", "to_read")]
        cells += [f"{line['times'][peer]:.1f}" for peer in peers]
        print("| " + " | ".join([line["name"], *cells]) + " |")


def hold_libraries_to_one_thread() -> None:
    """Start anew where the environment does not say so: numpy has read it by now."""
    if all(os.environ.get(name) == "1" for name in LIBRARY_THREADS):
        return
    environment = os.environ | dict.fromkeys(LIBRARY_THREADS, "1")
    os.execve(sys.executable, sys.orig_argv, environment)


def main() -> None:
    """Measure both kernels and print a table each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--elements", type=int, default=1 << 25)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="of the kernel and of reading")
    parser.add_argument("--skip-peers", action="store_true", help="leave numpy out")
    parser.add_argument("--processor-time", action="store_true", help="on a busy machine")
    parser.add_argument("--json", type=Path, help="write the record here")
    arguments = parser.parse_args()
    hold_libraries_to_one_thread()
    clock = time.process_time if arguments.processor_time else time.perf_counter
    rounds = Rounds(arguments.rounds, clock, arguments.threads, not arguments.skip_peers)
    tables = {
        "comparison": compare_rows(arguments.elements, rounds),
        "statistics": stats_rows(arguments.elements, rounds),
    }
    for title, rows in tables.items():
        print_table(title, rows)
    if arguments.json:
        record = {
            "benchmark": "compare",
            "machine": machine(),
            "versions": versions("halve", "numpy", "ml_dtypes"),
            "backend": chosen_backend(),
            "elements": arguments.elements,
            "rounds": arguments.rounds,
            "threads": arguments.threads,
            "clock": clock.__name__,
            "tables": tables,
        }
        write_json(arguments.json, record)


if __name__ == "__main__":
    main()
