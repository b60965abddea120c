"""What manual mode costs: time and memory against a plain float32 run of the same model.

Time is processor time of one sample on one thread, with a plain run between any two samples, and
ratios are medians of theirs; the plain run has the same optimisation level (none), or ONNX
Runtime's full one. Memory is the growth of the resident set, in a process of its own each. Without
models on the command line it measures a transformer's encoder and a generated chain of 1,200 nodes,
memory on the chain alone.
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
from transformer import encoder, encoder_feed

import halve
from halve.manual_types import ManualEvent
from halve.session import Sample, load, read_samples, run

MODES = ("plain", "calc", "raw")
LEVELS = {"plain": False, "optimised": True}
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


class Rounds:
    """Processor times of a model's samples in one mode, and of plain runs between them."""

    def __init__(self, model: ModelProto | Path, sample: Sample) -> None:
        self.model, self.sample = model, sample
        self.plain = {level: load(model, optimise=level) for level in (False, True)}
        for session in self.plain.values():
            run(session, sample.inputs)

    def measure(self, mode: str, rounds: int) -> list[dict[str, float]]:
        """A row a round: the mode's seconds, and those of a plain run at each level right before
        it. The first two samples, which load the parts and cut them anew, do not count.
        """
        rows: list[dict[str, float]] = []
        started, place = 0.0, -1

        def progress(event: ManualEvent) -> None:
            nonlocal started, place
            if event.stage != "measure" or event.sample == place:
                return
            if rows:
                rows[-1]["mode"] = time.process_time() - started
            place = event.sample
            rows.append({name: self.plain_s(level) for name, level in LEVELS.items()})
            started = time.process_time()

        options = halve.ManualOptions(mode=mode, progress=progress)
        halve.measure(self.model, [self.sample] * (rounds + 3), options=options)
        return rows[2:-1]

    def plain_s(self, level: bool) -> float:
        started = time.process_time()
        run(self.plain[level], self.sample.inputs)
        return time.process_time() - started


def time_row(name: str, model: ModelProto | Path, sample: Sample, rounds: int) -> dict[str, object]:
    """Medians of processor time in ms, and medians of the rounds' ratios."""
    rounds_of = Rounds(model, sample)
    tensors, elements = sizes(model, sample)
    row: dict[str, object] = {"model": name, "tensors": tensors, "elements": elements}
    for mode in MODES[1:]:
        times = rounds_of.measure(mode, rounds)
        row[f"{mode}_ms"] = 1e3 * statistics.median(each["mode"] for each in times)
        for level in LEVELS:
            row[f"{level}_ms"] = 1e3 * statistics.median(each[level] for each in times)
            ratios = [each["mode"] / each[level] for each in times]
            row[f"{mode}_to_{level}"] = statistics.median(ratios)
    return row


def sizes(model: ModelProto | Path, sample: Sample) -> tuple[int, int]:
    """Measured tensors and their elements."""
    report = halve.measure(model, [sample])
    items = [item for node in report.merged.nodes for item in node.outputs if item.fp32]
    return len(items), sum(item.fp32.elements for item in items if item.fp32)


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
        result["time"] = [
            time_row("encoder", encoder(), Sample(0, encoder_feed()), args.rounds),
            time_row("chain", chain(1200, (1024, 256)), Sample(0, {"x": x}), args.rounds),
        ]
        result["memory"] = [memory_row(1200, (1024, 256)), memory_row(1200, (16384, 256))]
    text = json.dumps(result, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
