"""What manual mode costs: time and memory against a plain float32 run of the same model.

Time is processor time of one sample on one thread, both in turn, medians, after a first sample
that loads the parts; the plain run has the same optimisation level (none) and ONNX Runtime's full
one. Memory is the growth of the resident set, in a process of its own each. Without models on the
command line it measures a generated chain of 1,200 nodes whose every value is measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

import halve
from halve.session import Sample, Session, load, read_samples, run

MODES = ("plain", "calc", "raw")
MIB = 1 << 20


def chain(nodes: int, shape: tuple[int, int]) -> ModelProto:
    """Matrix products with activations and skips; every tensor has the same shape."""
    random = np.random.default_rng(0)
    width = shape[1]
    made, weights, last = [], [], "x"
    for number in range(nodes):
        name = f"t{number}"
        if number % 4 == 0:
            weight = random.standard_normal((width, width)).astype(np.float32) / width**0.5
            weights.append(numpy_helper.from_array(weight, f"w{number % 32}"))
            made.append(helper.make_node("MatMul", [last, f"w{number % 32}"], [name]))
        elif number % 20 == 19:
            made.append(helper.make_node("Add", [last, f"t{number - 10}"], [name]))
        else:
            kind = ("Relu", "Tanh", "Abs")[number % 3]
            made.append(helper.make_node(kind, [last], [name]))
        last = name
    unique = {tensor.name: tensor for tensor in weights}
    graph = helper.make_graph(
        made,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)],
        list(unique.values()),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def peak_growth(work: Callable[[], object]) -> float:
    """MiB that the resident set grows by at most while `work` runs."""
    before, peak, done = resident(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            peak[0] = max(peak[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    done.set()
    watcher.join()
    return (max(peak[0], resident()) - before) / MIB


def memory_of(mode: str, nodes: int, shape: tuple[int, int]) -> None:
    """Prints the peak of one mode; a small model first loads all that is imported."""
    model = chain(nodes, shape)
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)

    def plain(model: ModelProto, feed: dict[str, Any]) -> None:
        run(load(model, optimise=False), feed)

    def measured(model: ModelProto, feed: dict[str, Any]) -> None:
        halve.measure(model, [feed], options=halve.ManualOptions(mode=mode))

    work = plain if mode == "plain" else measured
    work(chain(8, (4, 4)), {"x": x[:4, :4].copy()})
    print(peak_growth(lambda: work(model, {"x": x})))


def memory_row(nodes: int, shape: tuple[int, int]) -> dict[str, object]:
    peaks = {}
    for mode in MODES:
        command = [sys.executable, __file__, "--memory-of", mode, str(nodes), *map(str, shape)]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[mode] = float(result.stdout)
    tensor = shape[0] * shape[1] * 4 / MIB
    more = {mode: (peaks[mode] - peaks["plain"]) / tensor for mode in MODES[1:]}
    return {"nodes": nodes, "tensor_mib": tensor, "peak_mib": peaks, "tensors_more": more}


class Measured:
    """A model made ready in one mode, whose samples can be run again and again."""

    def __init__(self, model: ModelProto | Path, sample: Sample, mode: str) -> None:
        self.model, self.sample = model, sample
        self.options = halve.ManualOptions(mode=mode)

    def seconds(self, rounds: int) -> list[float]:
        """Processor time of each sample but the first, which loads the parts."""
        times: list[float] = []
        last = [0.0]

        def progress(event: object) -> None:
            now = time.process_time()
            place = getattr(event, "sample", 0)
            if getattr(event, "stage", "") == "measure" and place != len(times):
                times.append(now - last[0])
                last[0] = now

        options = halve.ManualOptions(mode=self.options.mode, progress=progress)
        last[0] = time.process_time()
        halve.measure(self.model, [self.sample] * (rounds + 3), options=options)
        return times[2:]


def time_row(name: str, model: ModelProto | Path, sample: Sample, rounds: int) -> dict[str, object]:
    """Medians of processor time in ms; plain runs before and after each mode."""
    plain: dict[bool, list[float]] = {False: [], True: []}
    sessions = {level: load(model, optimise=level) for level in plain}
    found: dict[str, float] = {}
    for mode in MODES[1:]:
        for level, session in sessions.items():
            plain[level] += plain_seconds(session, sample, rounds)
        found[mode] = statistics.median(Measured(model, sample, mode).seconds(rounds)) * 1e3
    base, optimised = (statistics.median(plain[level]) * 1e3 for level in (False, True))
    return {
        "model": name,
        "plain_ms": base,
        "plain_optimised_ms": optimised,
        **{f"{mode}_ms": value for mode, value in found.items()},
        **{f"{mode}_to_plain": value / base for mode, value in found.items()},
        **{f"{mode}_to_optimised": value / optimised for mode, value in found.items()},
    }


def plain_seconds(session: Session, sample: Sample, rounds: int) -> list[float]:
    run(session, sample.inputs)
    times = []
    for _ in range(rounds):
        started = time.process_time()
        run(session, sample.inputs)
        times.append(time.process_time() - started)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", type=Path, help="folders of model.onnx and samples")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory-of", nargs=4, metavar=("MODE", "NODES", "ROWS", "WIDTH"))
    args = parser.parse_args()
    if args.memory_of:
        mode, *sizes = args.memory_of
        nodes, rows, width = map(int, sizes)
        memory_of(mode, nodes, (rows, width))
        return
    rows_of_time = [
        time_row(folder.name, folder / "model.onnx", read_samples(folder)[0], args.rounds)
        for folder in args.models
    ]
    result: dict[str, object] = {"time": rows_of_time}
    if not args.models:
        x = np.random.default_rng(1).standard_normal((1024, 256)).astype(np.float32)
        sample = Sample(0, {"x": x})
        result["time"] = [time_row("chain", chain(1200, (1024, 256)), sample, args.rounds)]
        result["memory"] = [memory_row(1200, (1024, 256)), memory_row(1200, (16384, 256))]
    text = json.dumps(result, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
