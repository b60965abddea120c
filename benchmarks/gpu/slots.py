"""Searches on real sessions with 1, 2, 4 and 8 slots: trials a second, memory, and one result.

The model is an encoder with random weights that overflows float16 in one place; the weights' bytes
and the memory of the device that this process holds at most are printed beside what was found. All
numbers of slots must find the same set.

    python benchmarks/gpu/slots.py [--provider P] [--slots 1,2,4,8] [--trials 40] [--json FILE]

With the CPU provider the scripts' own working is tried, nothing else: it has no 16-bit arithmetic.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import onnx
from timing import machine, versions, write_json
from transformer import encoder, encoder_feed

import halve
from halve import ConvertOptions, OutputTolerance, Sample, SearchOptions, Tolerances

CPU = "CPUExecutionProvider"
_INTERVAL_S = 0.05


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
        query = [
            "nvidia-smi",
            "--query-gpu=memory.used",
            "--format=csv,noheader,nounits",
            "-i",
            "0",
        ]
        while not self._end.wait(_INTERVAL_S):
            try:
                done = subprocess.run(query, capture_output=True, text=True, check=True)
                self.most = max(self.most or 0, int(done.stdout.split()[0]) << 20)
            except (OSError, ValueError, subprocess.CalledProcessError):
                return


def search(source: Path, provider: str, slots: int, trials: int) -> dict[str, Any]:
    options = SearchOptions(
        convert=ConvertOptions(keep_io_types=True, target="cpu" if provider == CPU else "cuda"),
        tolerances=Tolerances(OutputTolerance(1e-2, 1e-3)),
        provider=provider,
        evaluator="sessions",
        workers=slots,
        max_trials=trials,
    )
    samples = [Sample(k, encoder_feed(seed=k)) for k in range(2)]
    started_s = time.perf_counter()
    with Memory() as memory:
        result = halve.search(source, samples, options=options)
    elapsed_s = time.perf_counter() - started_s
    return {
        "slots": slots,
        "seconds": elapsed_s,
        "runs": result.runs,
        "runs_per_s": result.runs / elapsed_s,
        "kept": sorted(result.fp32),
        "memory_bytes": memory.most,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--provider", default="CUDAExecutionProvider")
    parser.add_argument("--slots", default="1,2,4,8")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--json", type=Path)
    parsed = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="halve-bench-") as name:
        source = Path(name) / "encoder.onnx"
        model = encoder(parsed.layers)
        onnx.save(model, source)
        for slots in map(int, parsed.slots.split(",")):
            row = search(source, parsed.provider, slots, parsed.trials)
            rows.append(row)
            print({key: value for key, value in row.items() if key != "kept"}, flush=True)
        weights = source.stat().st_size
    same = all(row["kept"] == rows[0]["kept"] for row in rows)
    record = {
        "machine": machine(),
        "versions": versions("onnxruntime", "onnxruntime-gpu", "onnx"),
        "provider": parsed.provider,
        "weight_bytes": weights,
        "same_result": same,
        "times_one_slot": {row["slots"]: row["runs_per_s"] / rows[0]["runs_per_s"] for row in rows},
        "rows": rows,
    }
    print("the same result for any number of slots:", "yes" if same else "NO")
    if parsed.json:
        write_json(parsed.json, record)
    if not same:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
