"""Verdicts by emulation against verdicts by real models on the provider, on the same random sets.

On each trained model, `--masks` random sets of float32 units (of every size) are judged on the
first sample by the probe on the processor and by sessions on the provider. Printed are the share
that agrees, and each set where they do not, with the node on which, alone in 16 bits, their errors
differ most. Without a folder of models the demo's model is used. With `--seconds` each model has
its share of them, and a row says how many of the sets were judged.

    PYTHONPATH=benchmarks python benchmarks/gpu/agreement.py [--models DIR] [--masks 200]
        [--seconds S] [--provider P] [--json FILE]
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from provider import CPU, why_not
from timing import machine, versions, write_json

import halve
from halve import ConvertOptions, OutputTolerance, Sample, SearchOptions, Tolerances
from halve.auto.candidate import Judge
from halve.auto.evaluators import make_evaluator
from halve.auto.job import Job, prepare
from halve.auto.workspace import open_workspace
from halve.search_types import Evaluator, UnitSet


@dataclass(frozen=True, slots=True)
class Limit:
    """How many sets are judged at most, and until when by the monotonic clock."""

    masks: int
    until_s: float


def random_sets(count: int, masks: int) -> list[UnitSet]:
    """Sets of all sizes: a share is drawn first, then each unit by it."""
    random = np.random.default_rng(0)
    return [
        frozenset(np.flatnonzero(random.random(count) < random.random()).tolist())
        for _ in range(masks)
    ]


def suspect(job: Job, fp32: UnitSet, pair: Sequence[Evaluator], limit: Limit) -> str:
    """The 16-bit unit on whose own error the two differ most; a few are tried, in the time left."""
    everything = frozenset(range(len(job.units)))
    worst, label = -1.0, ""
    for unit in sorted(everything - fp32)[:16]:
        if time.monotonic() > limit.until_s:
            break
        errors = [evaluator.run(everything - {unit}, 0).error for evaluator in pair]
        own = math.inf if not all(map(math.isfinite, errors)) else abs(errors[0] - errors[1])
        if own > worst:
            worst, label = own, f"{job.units[unit].label}, ids {job.units[unit].ids}"
    return label


def agree(source: Path, sample: Sample, options: SearchOptions, limit: Limit) -> dict[str, Any]:
    """One model's row. Both evaluators compare with the same references."""
    with open_workspace(None, clean=False) as workspace:
        job = prepare(source, [sample], options, workspace)
        judge = Judge.prepare(source, [sample], frozenset(), options, workspace)
        emulated = replace(job.options, evaluator="probe", provider=CPU, provider_options={})
        # A runtime that crashes on a mixed model ends a child, not the table.
        real = replace(job.options, evaluator="sessions", isolate=True, workers=1)
        pair = [
            make_evaluator(replace(job, options=own), judge, workspace) for own in (emulated, real)
        ]
        done, disagreements = 0, []
        for fp32 in random_sets(len(job.units), limit.masks):
            if time.monotonic() > limit.until_s:
                break
            disagreements += judged_apart(job, fp32, pair, limit)
            done += 1
        for evaluator in pair:
            evaluator.close()
    return {
        "units": len(job.units),
        "masks": done,
        "agree": done - len(disagreements),
        "disagreements": disagreements,
    }


def judged_apart(
    job: Job, fp32: UnitSet, pair: Sequence[Evaluator], limit: Limit
) -> list[dict[str, Any]]:
    """What there is to say of a set on which the two disagree; nothing where they agree."""
    probe, real = (evaluator.run(fp32, 0) for evaluator in pair)
    if probe.passed == real.passed:
        return []
    return [
        {
            "fp32": sorted(fp32),
            "emulated_error": finite(probe.error),
            "real_error": finite(real.error),
            "failure": real.failure,
            "node": suspect(job, fp32, pair, limit),
        }
    ]


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def sources(models: Path | None, only: set[str]) -> dict[str, tuple[Path, Sample]]:
    """Models with their first samples, the smallest first."""
    if models is None:
        demo = Path(halve.__file__).parent / "data" / "demo"
        return {"demo": (demo / "model.onnx", halve.read_samples(demo)[0])}
    paths = sorted(models.glob("*/model.onnx"), key=lambda path: path.stat().st_size)
    return {
        path.parent.name: (path, halve.read_samples(path.parent)[0])
        for path in paths
        if not only or path.parent.name in only
    }


def rows_of(parsed: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """A row a model; what is left of the time is shared out among the models that are left."""
    options = SearchOptions(
        convert=ConvertOptions(
            keep_io_types=True, target="cpu" if parsed.provider == CPU else "cuda"
        ),
        tolerances=Tolerances(OutputTolerance(1e-2, 1e-3)),
        provider=parsed.provider,
        workers=1,
        holdout=0,
    )
    found = sources(parsed.models, set(filter(None, parsed.only.split(","))))
    end_s = time.monotonic() + parsed.seconds
    for number, (name, (path, first)) in enumerate(found.items()):
        started_s = time.monotonic()
        if started_s > end_s:
            yield name, {"not_run": "the time was used up by smaller models"}
            continue
        share_s = (end_s - started_s) / (len(found) - number)
        limit = Limit(parsed.masks, started_s + share_s)
        try:
            row = agree(path, Sample(first.id, first.inputs), options, limit)
        except halve.HalveError as error:
            row = {"failure": str(error)}
        yield name, {**row, "seconds": time.monotonic() - started_s}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    folder = os.environ.get("HALVE_MODELS")
    parser.add_argument("--models", type=Path, default=Path(folder) if folder else None)
    parser.add_argument("--only", default="")
    parser.add_argument("--masks", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--provider", default="CUDAExecutionProvider")
    parser.add_argument("--json", type=Path)
    parsed = parser.parse_args()
    record: dict[str, Any] = {
        "machine": machine(),
        "versions": versions("onnxruntime", "onnxruntime-gpu"),
        "provider": parsed.provider,
        "rows": {},
    }
    if reason := why_not(parsed.provider):
        record["not_run"] = reason
        print("not run:", reason)
    for name, row in () if reason else rows_of(parsed):
        record["rows"][name] = row
        print(name, {k: v for k, v in row.items() if k != "disagreements"}, flush=True)
        for item in row.get("disagreements", ()):
            print("   ", item, flush=True)
        if parsed.json:  # after every model: the time may end before the models do
            write_json(parsed.json, record)
    if parsed.json:
        write_json(parsed.json, record)


if __name__ == "__main__":
    main()
