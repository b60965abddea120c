"""What a trial costs: a run of the probe against a plain float32 run, on one thread.

    python benchmarks/probe.py [--models DIR] [--only NAME,…] [--rounds 21] [--json FILE]

Ratios are medians over interleaved rounds, in processor time, of loops of some milliseconds, each
after one like it, because in a search trials follow each other, too: a trial with all units in 16
bits, with none, and with every second one, against the plain model at the same optimisation level
("disabled"), and with both fully optimised. "static" is a run of the model with all its roundings,
as casts, and no gate. The last line is what ONNX Runtime takes to enter a gate, which a trial does
for each node whose weights change when they are rounded.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper
from timing import interleave, machine, median_s, ratio, versions, write_json
from transformer import encoder, encoder_feed

import halve
from halve import ConvertOptions, Sample, SearchOptions
from halve.auto.candidate import Judge
from halve.auto.evaluators import make_evaluator
from halve.auto.job import at_own_opset, prepare
from halve.auto.workspace import open_workspace
from halve.convert import convert
from halve.session import load, lower, run

MASKS = ("all 16-bit", "none", "every second")
CASES = (*MASKS, "static")
LOOP_S = 5e-3


def cases(folder: Path | None, only: set[str], scratch: Path) -> Iterator[tuple[str, Path, Sample]]:
    for item in sorted(folder.iterdir()) if folder else ():
        if (item / "model.onnx").is_file() and (not only or item.name in only):
            sample = halve.read_samples(item)[0]
            yield item.name, item / "model.onnx", Sample(0, sample.inputs)
    if not only or "transformer" in only:
        path = scratch / "transformer.onnx"
        onnx.save(encoder(), path)
        yield "transformer", path, Sample(0, encoder_feed())


def measure(source: Path, sample: Sample, level: str, rounds: int) -> dict[str, float]:
    options = SearchOptions(
        convert=ConvertOptions(keep_io_types=True), optimise=level, holdout=0, evaluator="probe"
    )
    with open_workspace(None, clean=False) as workspace:
        job = prepare(source, [sample], options, workspace)
        judge = Judge.prepare(source, [sample], frozenset(), options, workspace)
        probe = make_evaluator(job, judge, workspace)
    plain, static = load(source, optimise=level), load(emulation(source), optimise=level)
    every = frozenset(range(len(job.units)))
    sets = dict(zip(MASKS, (frozenset(), every, frozenset(range(0, len(every), 2))), strict=True))
    work: dict[str, Callable[[], object]] = {
        "plain": lambda: run(plain, sample.inputs),
        "static": lambda: run(static, sample.inputs),
    }
    for name, fp32 in sets.items():
        work[name] = lambda fp32=fp32: probe.run(fp32, 0)
    count = runs_for(work["plain"])
    loops = {name: partial(repeat, case, count) for name, case in work.items()}
    times = interleave(loops, rounds, time.process_time, warm=True)
    probe.close()
    # `ratio` says how many times faster; a trial is slower than the plain run.
    found = {name: 1 / ratio(times, "plain", name) for name in CASES}
    plain_s = median_s(times, "plain") / count
    return found | {"plain_ms": 1e3 * plain_s, "units": len(job.units)}


def runs_for(work: Callable[[], object]) -> int:
    """How many runs take some milliseconds: what lies between two of them is then seen as well."""
    work()
    start = time.perf_counter()
    work()
    return math.ceil(LOOP_S / (time.perf_counter() - start))


def repeat(work: Callable[[], object], count: int) -> None:
    for _ in range(count):
        work()


def emulation(source: Path) -> ModelProto:
    """The model that a conversion writes, with float32 arithmetic around rounded values."""
    options = at_own_opset(ConvertOptions(keep_io_types=True), onnx.load(source))
    model = convert(source, options=options).model
    assert model is not None
    return lower(model)


def entering_us(rounds: int) -> float:
    """Microseconds that entering an If takes: a chain of them around Identity, and without them."""
    count, chains = 200, {"gated": list[NodeProto](), "plain": list[NodeProto]()}
    names = ["x", *(f"v{number}" for number in range(count - 1)), "y"]
    for source, result in itertools.pairwise(names):
        chains["plain"].append(helper.make_node("Identity", [source], [result]))
        branches = [
            helper.make_graph(
                [helper.make_node("Identity", [source], [f"{result}.{kind}"])],
                kind,
                [],
                [ValueInfoProto(name=f"{result}.{kind}")],
            )
            for kind in ("then", "else")
        ]
        chains["gated"].append(
            helper.make_node(
                "If", ["m"], [result], then_branch=branches[0], else_branch=branches[1]
            )
        )
    feeds = {"x": np.ones(64, np.float32), "m": np.array(True)}
    ports = [("x", TensorProto.FLOAT, [64]), ("m", TensorProto.BOOL, [])]
    inputs = [helper.make_tensor_value_info(*port) for port in ports]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [64])]
    sessions = {
        name: load(
            helper.make_model(
                helper.make_graph(nodes, name, inputs, outputs),
                opset_imports=[helper.make_opsetid("", 17)],
                ir_version=8,
            ),
            optimise="disabled",
        )
        for name, nodes in chains.items()
    }
    work: dict[str, Callable[[], object]] = {
        name: lambda session=session: run(session, feeds) for name, session in sessions.items()
    }
    times = interleave(work, 10 * rounds, time.process_time)
    return 1e6 * (median_s(times, "gated") - median_s(times, "plain")) / count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", type=Path, default=os.environ.get("HALVE_MODELS"))
    parser.add_argument("--only", default="")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--json", type=Path)
    parsed = parser.parse_args()
    only = set(filter(None, parsed.only.split(",")))
    folder = Path(parsed.models) if parsed.models else None
    rows: dict[str, dict[str, dict[str, float]]] = {}
    print("| model | units | level | plain ms | " + " | ".join(CASES) + " |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="halve-bench-") as name:
        for model, source, sample in cases(folder, only, Path(name)):
            rows[model] = {}
            for level in ("disabled", "all"):
                row = rows[model][level] = measure(source, sample, level, parsed.rounds)
                ratios = " | ".join(f"{row[case]:.2f}" for case in CASES)
                units, plain_ms = row["units"], row["plain_ms"]
                print(
                    f"| {model} | {units:.0f} | {level} | {plain_ms:.2f} | {ratios} |", flush=True
                )
    entering = entering_us(parsed.rounds)
    print(f"\nentering an If takes {entering:.1f} us")
    if parsed.json:
        packages = versions("onnx", "onnxruntime", "numpy")
        write_json(
            parsed.json,
            {"machine": machine(), "versions": packages, "rows": rows, "entering_us": entering},
        )


if __name__ == "__main__":
    main()
