"""Libraries that simplify ONNX models, on real models: what each leaves, and whether it is right.

For every model in $HALVE_MODELS and every library that is installed: nodes before and after (bodies
included), seconds inside the library, and the largest use of halve's tolerance (rtol 1e-3, atol
1e-4) of any output of the first sample, against the original, without ONNX Runtime's optimisation.
A library that raises, or whose model does not load or lacks an output, has failed.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import ModelProto

from halve.compare.verdict import compare_outputs
from halve.errors import HalveError
from halve.search_types import OutputTolerance, Tolerances
from halve.session import load, read_samples, run
from halve.source.scopes import iter_nodes

TOLERANCES = Tolerances(OutputTolerance(1e-3, 1e-4))


def onnxsim(model: ModelProto) -> ModelProto:
    import onnxsim as library

    return library.simplify(model, certify=False)[0]


def onnxoptimizer(model: ModelProto) -> ModelProto:
    import onnxoptimizer as library

    return library.optimize(model, library.get_fuse_and_elimination_passes())


def onnxslim(model: ModelProto) -> ModelProto:
    import onnxslim as library

    found: ModelProto = library.slim(model)
    return found


LIBRARIES: dict[str, Callable[[ModelProto], ModelProto]] = {
    "onnxsim": onnxsim,
    "onnxoptimizer": onnxoptimizer,
    "onnxslim": onnxslim,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    folders = sorted(p.parent for p in Path(os.environ["HALVE_MODELS"]).glob("*/model.onnx"))
    rows = [row for folder in folders for row in measure(folder)]
    print("| model | library | nodes | seconds | of the tolerance |\n|---|---|---|---|---|")
    for row in rows:
        after = row["after"] if not row["failure"] else f"failed: {row['failure']}"
        used = "-" if row["failure"] else f"{row['error']:.2g}"
        print(
            f"| {row['model']} | {row['library']} | {row['before']} -> {after} | "
            f"{row['seconds']:.2f} | {used} |"
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def measure(folder: Path) -> list[dict[str, object]]:
    original = onnx.load(folder / "model.onnx")
    sample = read_samples(folder)[0]
    session = load(original, optimise=False)
    names = [port.name for port in session.outputs]
    reference = dict(zip(names, run(session, sample.inputs), strict=True))
    rows: list[dict[str, object]] = []
    for name, library in LIBRARIES.items():
        given = ModelProto()
        given.CopyFrom(original)
        row: dict[str, object] = {"model": folder.name, "library": name, "before": count(original)}
        start = time.perf_counter()
        try:
            made = library(given)
            row |= {"seconds": time.perf_counter() - start, "after": count(made), "failure": ""}
            values = dict(zip(names, run(load(made, optimise=False), sample.inputs), strict=True))
            trials = compare_outputs(values, reference, TOLERANCES)
            row["error"] = max(trial.error for trial in trials)
        except (HalveError, RuntimeError, ValueError, TypeError, KeyError) as error:
            seconds = time.perf_counter() - start
            row |= {"seconds": seconds, "after": 0, "error": 0.0, "failure": str(error)[:80]}
        rows.append(row)
    return rows


def count(model: ModelProto) -> int:
    return sum(1 for _ in iter_nodes(model))


if __name__ == "__main__":
    main()
