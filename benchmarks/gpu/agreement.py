"""Verdicts by emulation against verdicts by real models on the provider, on the same random sets.

On each trained model, `--masks` random sets of float32 units (of every size) are judged on the
first sample by the probe and by sessions. Printed are the share that agrees, and each set where
they do not, with the node on which, alone in 16 bits, their errors differ most.

    python benchmarks/gpu/agreement.py [--models DIR] [--masks 200] [--provider P] [--json FILE]
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from timing import machine, versions, write_json

import halve
from halve import ConvertOptions, OutputTolerance, Sample, SearchOptions, Tolerances
from halve.auto.candidate import Judge
from halve.auto.evaluators import make_evaluator
from halve.auto.job import Job, prepare
from halve.auto.workspace import open_workspace
from halve.search_types import Evaluator, UnitSet

CPU = "CPUExecutionProvider"


def random_sets(count: int, masks: int) -> list[UnitSet]:
    """Sets of all sizes: a share is drawn first, then each unit by it."""
    random = np.random.default_rng(0)
    return [
        frozenset(np.flatnonzero(random.random(count) < random.random()).tolist())
        for _ in range(masks)
    ]


def suspect(job: Job, fp32: UnitSet, pair: Sequence[Evaluator]) -> str:
    """The 16-bit unit on whose own error the two differ most; a few are tried."""
    everything = frozenset(range(len(job.units)))
    worst, label = -1.0, ""
    for unit in sorted(everything - fp32)[:16]:
        errors = [evaluator.run(everything - {unit}, 0).error for evaluator in pair]
        if not all(map(math.isfinite, errors)):
            return job.units[unit].label
        if abs(errors[0] - errors[1]) > worst:
            worst, label = abs(errors[0] - errors[1]), job.units[unit].label
    return label


def agree(source: Path, sample: Sample, options: SearchOptions, masks: int) -> dict[str, Any]:
    """One model's row. Both evaluators compare with the same references."""
    with open_workspace(None, clean=False) as workspace:
        job = prepare(source, [sample], options, workspace)
        judge = Judge.prepare(source, [sample], frozenset(), options, workspace)
        pair = [
            make_evaluator(replace(job, options=replace(options, evaluator=kind)), judge, workspace)
            for kind in ("probe", "sessions")
        ]
        disagreements = []
        sets = random_sets(len(job.units), masks)
        for fp32 in sets:
            probe, real = (evaluator.run(fp32, 0) for evaluator in pair)
            if probe.passed != real.passed:
                disagreements.append(
                    {
                        "fp32": sorted(fp32),
                        "emulated_error": finite(probe.error),
                        "real_error": finite(real.error),
                        "failure": real.failure,
                        "node": suspect(job, fp32, pair),
                    }
                )
        for evaluator in pair:
            evaluator.close()
    return {
        "units": len(job.units),
        "masks": len(sets),
        "agree": len(sets) - len(disagreements),
        "disagreements": disagreements,
    }


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", type=Path, default=os.environ.get("HALVE_MODELS"))
    parser.add_argument("--only", default="")
    parser.add_argument("--masks", type=int, default=200)
    parser.add_argument("--provider", default="CUDAExecutionProvider")
    parser.add_argument("--json", type=Path)
    parsed = parser.parse_args()
    if parsed.models is None:
        raise SystemExit("name the folder of trained models: --models DIR, or HALVE_MODELS")
    options = SearchOptions(
        convert=ConvertOptions(
            keep_io_types=True, target="cpu" if parsed.provider == CPU else "cuda"
        ),
        tolerances=Tolerances(OutputTolerance(1e-2, 1e-3)),
        provider=parsed.provider,
        workers=1,
        holdout=0,
    )
    rows: dict[str, Any] = {}
    only = set(filter(None, parsed.only.split(",")))
    for folder in sorted(path.parent for path in Path(parsed.models).glob("*/model.onnx")):
        if only and folder.name not in only:
            continue
        first = halve.read_samples(folder)[0]
        started_s = time.perf_counter()
        try:
            row = agree(
                folder / "model.onnx", Sample(first.id, first.inputs), options, parsed.masks
            )
        except halve.HalveError as error:
            row = {"failure": str(error)}
        row["seconds"] = time.perf_counter() - started_s
        rows[folder.name] = row
        print(folder.name, {k: v for k, v in row.items() if k != "disagreements"}, flush=True)
        for item in row.get("disagreements", ()):
            print("   ", item, flush=True)
        if parsed.json:  # after every model: the time may end before the models do
            record = {"machine": machine(), "versions": versions("onnxruntime-gpu"), "rows": rows}
            write_json(parsed.json, record)


if __name__ == "__main__":
    main()
