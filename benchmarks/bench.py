"""What `halve bench` itself adds to a run.

Two ways to see it: the measuring loop around a call that does nothing, as a share of a run of
10 ms; and a real model's runs in that loop against bare `run_with_iobinding` calls, in rounds that
take turns, by the wall time a run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from halve.bench.measure import run_for
from halve.session.bound import BoundRun
from halve.session.runtime import load

WIDTH = 1024
RUN_S = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    loop_s = idle_loop_s()
    bare_s, measured_s = runs(args.rounds)
    record = {
        "loop_us": 1e6 * loop_s,
        "share_of_10_ms": loop_s / RUN_S,
        "model_run_ms": 1e3 * statistics.median(bare_s),
        "measured_to_bare": statistics.median(
            m / b for m, b in zip(measured_s, bare_s, strict=True)
        ),
    }
    text = json.dumps(record, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")


def idle_loop_s() -> float:
    """Seconds that the measuring loop takes a run, around a call that does nothing."""

    def nothing() -> None:
        return

    latencies, wall_s = run_for([nothing], 0.5)  # type: ignore[list-item]  # it is called
    return wall_s / len(latencies)


def runs(rounds: int) -> tuple[list[float], list[float]]:
    """Wall seconds a run of a model of about 10 ms: bare, and in the measuring loop."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        onnx.save(model(), path)
        session = load(path, threads=1)
    bound = BoundRun(session, {"x": np.ones((256, WIDTH), np.float32)})
    bare: list[float] = []
    measured: list[float] = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(10):
            session.inner.run_with_iobinding(bound.binding)
        bare.append((time.perf_counter() - start) / 10)
        latencies, wall_s = run_for([bound], 10 * bare[-1])
        measured.append(wall_s / len(latencies))
    return bare, measured


def model() -> onnx.ModelProto:
    """A matrix product, on one thread."""
    weight = np.random.default_rng(0).standard_normal((WIDTH, WIDTH)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [256, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [256, WIDTH])],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


if __name__ == "__main__":
    main()
