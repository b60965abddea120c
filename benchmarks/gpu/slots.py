"""Trials on real sessions with 1, 2, 4 and 8 slots: trials a second, memory, and one answer.

The model is an encoder with random weights that overflows float16 in one place. The same random
sets of float32 units are tried with each number of slots, then a search is run with each. Printed
are the trials a second, and the memory of the device that all processes hold at most; all numbers
of slots must give the same trials and find the same set.

    PYTHONPATH=benchmarks python benchmarks/gpu/slots.py [--provider P] [--slots 1,8,4,2]
        [--sets 32] [--trials 16] [--layers 4] [--json FILE]

Without the provider, the record says so and nothing is measured. With the CPU provider the scripts'
own working is tried, nothing else: it has no 16-bit arithmetic.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from provider import CPU, why_not
from timing import machine, versions, write_json
from transformer import encoder, encoder_feed

import halve
from halve import ConvertOptions, OutputTolerance, Sample, SearchOptions, Tolerances
from halve.auto.candidate import Judge
from halve.auto.evaluators import make_evaluator
from halve.auto.job import prepare
from halve.auto.workspace import Workspace, open_workspace
from halve.search_types import Evaluator

# Asking takes the driver's time, and what is held is held to the end.
_INTERVAL_S = 0.3


class Memory:
    """The most memory that processes held on the device while this was open, in bytes."""

    def __init__(self) -> None:
        self.most: int | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        ended = False
        while not ended and self._look():
            ended = self._end.wait(_INTERVAL_S)
        self._look()

    def _look(self) -> bool:
        """Ask once; whether there was an answer."""
        query = [
            "nvidia-smi",
            "--query-gpu=memory.used",
            "--format=csv,noheader,nounits",
            "-i",
            "0",
        ]
        try:
            done = subprocess.run(query, capture_output=True, text=True, check=True)
            self.most = max(self.most or 0, int(done.stdout.split()[0]) << 20)
        except (OSError, ValueError, subprocess.CalledProcessError):
            return False
        return True


def options_for(provider: str, slots: int, trials: int | None = None) -> SearchOptions:
    return SearchOptions(
        convert=ConvertOptions(keep_io_types=True, target="cpu" if provider == CPU else "cuda"),
        tolerances=Tolerances(OutputTolerance(1e-2, 1e-3)),
        provider=provider,
        evaluator="sessions",
        workers=slots,
        max_trials=trials,
    )


class Trials:
    """A prepared model, and random sets of its units."""

    def __init__(self, source: Path, provider: str, count: int, workspace: Workspace) -> None:
        samples = [Sample(0, encoder_feed())]
        self.workspace = workspace
        self.job = prepare(source, samples, options_for(provider, 1), workspace)
        self.judge = Judge.prepare(source, samples, frozenset(), self.job.options, workspace)
        random = np.random.default_rng(0)
        self.everything = frozenset(range(len(self.job.units)))
        self.sets = [
            frozenset(np.flatnonzero(random.random(len(self.everything)) < share).tolist())
            for share in random.random(count)
        ]

    def evaluator(self, slots: int) -> Evaluator:
        job = replace(self.job, options=replace(self.job.options, workers=slots))
        return make_evaluator(job, self.judge, self.workspace)


def tried(trials_of: Trials, slots: int) -> dict[str, Any]:
    """All sets, `slots` at a time; what is loaded once is loaded before the clock."""
    evaluator = trials_of.evaluator(slots)
    with Memory() as memory, ThreadPoolExecutor(slots) as pool:
        evaluator.run(frozenset(), 0)
        evaluator.run(trials_of.everything, 0)
        started_s = time.perf_counter()
        trials = list(pool.map(lambda fp32: evaluator.run(fp32, 0), trials_of.sets))
        elapsed_s = time.perf_counter() - started_s
    evaluator.close()
    return {
        "slots": slots,
        "seconds": elapsed_s,
        "trials_per_s": len(trials) / elapsed_s,
        "memory_bytes": memory.most,
        "failures": sum(bool(trial.failure) for trial in trials),
        "errors": [str(trial.error) for trial in trials],
    }


def searched(source: Path, provider: str, slots: int, trials: int) -> dict[str, Any]:
    samples = [Sample(k, encoder_feed(seed=k)) for k in range(2)]
    started_s = time.perf_counter()
    result = halve.search(source, samples, options=options_for(provider, slots, trials))
    return {
        "search_s": time.perf_counter() - started_s,
        "runs": result.runs,
        "kept": sorted(result.fp32),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--provider", default="CUDAExecutionProvider")
    parser.add_argument("--slots", default="1,8,4,2")
    parser.add_argument("--sets", type=int, default=32)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--json", type=Path)
    parsed = parser.parse_args()
    record: dict[str, Any] = {
        "machine": machine(),
        "versions": versions("onnxruntime", "onnxruntime-gpu", "onnx"),
        "provider": parsed.provider,
    }
    if reason := why_not(parsed.provider):
        record["not_run"] = reason
        print("not run:", reason)
    with tempfile.TemporaryDirectory(prefix="halve-bench-") as name:
        for found in () if reason else rows_so_far(parsed, Path(name)):
            record |= found
            print(found["same_result"], found["times_one_slot"], flush=True)
            save(parsed.json, record)  # the time may end before the slots do
    save(parsed.json, record)
    if not record.get("same_result", True):
        raise SystemExit("NOT the same result for any number of slots")


def rows_so_far(parsed: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """What is known after each number of slots was tried, and after each search."""
    source = folder / "encoder.onnx"
    onnx.save(encoder(parsed.layers), source)
    rows: dict[int, dict[str, Any]] = {}
    numbers = [int(text) for text in parsed.slots.split(",")]
    with open_workspace(None, clean=False) as workspace:
        trials = Trials(source, parsed.provider, parsed.sets, workspace)
        for slots in numbers:
            rows[slots] = tried(trials, slots)
            yield summary(source, rows)
    for slots in numbers:
        rows[slots] |= searched(source, parsed.provider, slots, parsed.trials)
        yield summary(source, rows)


def summary(source: Path, rows: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    """The rows, and what they say together."""
    first = next(iter(rows.values()))
    results = [[row[key] for row in rows.values() if key in row] for key in ("errors", "kept")]
    return {
        "weight_bytes": source.stat().st_size,
        "same_result": all(item == found[0] for found in results for item in found),
        "times_one_slot": {
            slots: row["trials_per_s"] / first["trials_per_s"] for slots, row in rows.items()
        },
        "rows": list(rows.values()),
    }


def save(path: Path | None, record: dict[str, Any]) -> None:
    if path is not None:
        write_json(path, record)


if __name__ == "__main__":
    main()
