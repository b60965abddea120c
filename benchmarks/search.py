"""The search against bisection in graph order and against onnxconverter-common's.

On each model, with the same samples and tolerance: halve's search; the classic bisection of
clusters in graph order with halve's own evaluator, and where the written file fails, the same
repaired until it passes; onnxconverter-common's
auto_convert_mixed_precision, in a child with a time limit, as it is and ("emulated") with its
candidates really rounded to float16, the seconds for that left out. Every set that is judged counts
as a trial, in whatever phase. What each found is written and judged on all samples by emulation of
the written file (the last sample was not shown to any search).

"alone" is the cost of the units that fail on some sample as the only ones in 16 bits: no set is
cheaper in which errors do not cancel each other.

    python benchmarks/search.py [--models DIR] [--only NAME,…] [--peer-limit 120] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from timing import machine, versions, write_json
from transformer import classifier, encoder, encoder_feed

import halve
from halve import ConvertOptions, OutputTolerance, Sample, SearchOptions, Tolerances
from halve.auto.candidate import Judge, judge_settings
from halve.auto.evaluators import make_evaluator
from halve.auto.job import Job, prepare
from halve.auto.workspace import open_workspace
from halve.search import Problem, SearchOutcome, repair
from halve.search import search as find_units
from halve.search.engine import Setting
from halve.search_types import Evaluator, FinalVerdict, UnitSet
from halve.session.written import open_written

TOLERANCES = Tolerances(OutputTolerance(1e-2, 1e-3))
# Both with random weights: probabilities at the end, where few units fail hard, and every hidden
# state at the end, where the error budget decides.
TRANSFORMERS = {"classifier": classifier, "encoder": encoder}
_PEER = Path(__file__).with_name("peer_search.py")


Rows = list[dict[str, Any]]
"""What a method found, and where that fails as a file and it can be repaired, what it became."""


def options_for(samples: Sequence[Sample]) -> SearchOptions:
    holdout = len(samples) if len(samples) > 1 else 0
    convert = ConvertOptions(keep_io_types=True)
    return SearchOptions(convert=convert, tolerances=TOLERANCES, holdout=holdout)


def cases(folder: Path | None, only: set[str], scratch: Path) -> Iterator[tuple[str, Path, Any]]:
    """(name, model, samples without golden outputs: all are judged against the float32 run)."""
    found = sorted(folder.iterdir()) if folder else []
    for item in found:
        if (item / "model.onnx").is_file() and (not only or item.name in only):
            samples = [Sample(s.id, s.inputs) for s in halve.read_samples(item)]
            yield item.name, item / "model.onnx", tuple(samples)
    for name, build in TRANSFORMERS.items():
        if not only or name in only:
            path = scratch / f"{name}.onnx"
            onnx.save(build(), path)
            yield name, path, tuple(Sample(k, encoder_feed(seed=k)) for k in range(3))


def ours(source: Path, samples: tuple[Sample, ...], scratch: Path) -> Rows:
    target = scratch / "halve.onnx"
    started = time.perf_counter()
    result = halve.auto(source, target, samples, options=options_for(samples))
    elapsed_s = time.perf_counter() - started
    found = result.search
    row = {
        "seconds": elapsed_s,
        "trials": len(found.trials),
        "runs": found.runs,
        "kept": len(found.fp32),
        "units": len(found.units),
        "cost": sum(found.units[unit].cost for unit in found.fp32),
        "fp32_flop_share": found.fp32_flop_share,
        **passed(found.verdict),
    }
    return [row]


def bisection(source: Path, samples: tuple[Sample, ...], scratch: Path) -> Rows:
    options = options_for(samples)
    started = time.perf_counter()
    with open_workspace(None, clean=False) as workspace:
        job = prepare(source, samples, options, workspace)
        judge = Judge.prepare(source, samples, job.held_out, options, workspace)
        evaluator = make_evaluator(job, judge, workspace)
        problem = Problem(
            units=job.units,
            samples=len(samples),
            held_out=job.held_out,
            margin=options.margin,
            carry=job.carry,
            strategy="bisection",
        )

        def verdict_on(fp32: UnitSet) -> FinalVerdict:
            return judge.candidate(job.node_ids(fp32), "bisection.onnx")[1]

        def row(outcome: SearchOutcome, verdict: FinalVerdict) -> dict[str, Any]:
            return {
                "seconds": time.perf_counter() - started,
                "trials": len(outcome.trials),
                "runs": sum(row.runs for row in outcome.trials),
                "kept": len(outcome.fp32),
                "units": len(job.units),
                "cost": sum(job.units[unit].cost for unit in outcome.fp32),
                "fp32_flop_share": job.fp32_flop_share(outcome.fp32),
                **passed(verdict),
            }

        setting = Setting(workers=os.cpu_count() or 1)
        outcome = find_units(problem, evaluator, setting=setting)
        verdict = verdict_on(outcome.fp32)
        rows = [row(outcome, verdict)]
        if not verdict.passed:
            outcome = repair(
                problem, outcome, evaluator, lambda f: verdict_on(f).passed, setting=setting
            )
            rows.append(row(outcome, verdict_on(outcome.fp32)))
        alone = sum(job.units[unit].cost for unit in failing_alone(job, evaluator))
        evaluator.close()
    return [found | {"cost_alone": alone} for found in rows]


def failing_alone(job: Job, evaluator: Evaluator) -> frozenset[int]:
    """The units that no set may have in 16 bits."""
    every = frozenset(unit.index for unit in job.units)

    def passes(unit: int, sample: int) -> bool:
        trial = evaluator.run(every - {unit}, sample)
        # The most that any search may take it for.
        whole = sample in job.held_out and trial.error <= 1 / job.options.margin
        return whole or trial.passed

    samples = range(len(job.samples))
    return frozenset(u for u in every if not all(passes(u, sample) for sample in samples))


def peer(
    source: Path, samples: tuple[Sample, ...], scratch: Path, limit_s: float, *, emulated: bool
) -> Rows:
    """onnxconverter-common takes one feed only: the first."""
    target = scratch / "peer.onnx"
    target.unlink(missing_ok=True)
    request = pickle.dumps((str(source), dict(samples[0].inputs), str(target), emulated))
    started = time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, str(_PEER)], input=request, capture_output=True, timeout=limit_s,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return [{"failure": f"not done in {limit_s:g} s", "seconds": limit_s}]
    elapsed_s = time.perf_counter() - started
    told = json.loads(done.stdout.splitlines()[-1])
    row = {"seconds": elapsed_s - told["apart_s"], "trials": told["trials"]}
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        return [row | {"failure": (lines or ["?"])[-1][:120]}]
    try:
        return [row | passed(judged(source, target, samples))]
    except halve.HalveError as error:
        return [row | {"failure": f"does not load: {error}"[:120]}]


def judged(source: Path, target: Path, samples: tuple[Sample, ...]) -> FinalVerdict:
    options = options_for(samples)
    with open_workspace(None, clean=False) as workspace:
        held_out = frozenset({len(samples) - 1} if len(samples) > 1 else ())
        judge = Judge.prepare(source, samples, held_out, options, workspace)
    written = open_written(target, judge_settings(options))
    return written.judge(samples, judge.references, TOLERANCES, held_out=held_out)


def passed(verdict: FinalVerdict) -> dict[str, Any]:
    rows = verdict.samples
    worst = [max((o.error for o in row.outputs), default=0.0) for row in rows]
    return {
        "passes": verdict.passed,
        "held_out_passes": all(row.passed for row in rows if row.held_out),
        "worst_error": max(worst) if np.isfinite(max(worst)) else None,
    }


def show(name: str, method: str, row: dict[str, Any]) -> None:
    if "failure" in row:
        print(
            f"| {name} | {method} | {row['seconds']:.1f} | {row.get('trials', '')} | | | | |"
            f" {row['failure']} |",
            flush=True,
        )
        return
    kept = f"{row['kept']} of {row['units']}" if "kept" in row else ""
    flops = f"{row['fp32_flop_share']:.1%}" if "fp32_flop_share" in row else ""
    cost = f"{row['cost']:.3g}" if "cost" in row else ""
    alone = f"{row['cost_alone']:.3g}" if "cost_alone" in row else ""
    word = "yes" if row["passes"] else "NO"
    print(
        f"| {name} | {method} | {row['seconds']:.1f} | {row['trials']} | {kept} | {cost} | {alone}"
        f" | {flops} | {word} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", type=Path, default=os.environ.get("HALVE_MODELS"))
    parser.add_argument("--only", default="")
    parser.add_argument("--peer-limit", type=float, default=120.0)
    parser.add_argument("--json", type=Path)
    parsed = parser.parse_args()
    only = set(filter(None, parsed.only.split(",")))
    rows: dict[str, dict[str, Any]] = {}
    print(
        "| model | search | seconds | trials | kept units | cost | alone | float32 FLOPs | passes |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="halve-bench-") as name:
        scratch = Path(name)
        for model, source, samples in cases(parsed.models and Path(parsed.models), only, scratch):
            rows[model] = {}
            limited = partial(peer, limit_s=parsed.peer_limit)
            for method, work in (
                ("halve", ours),
                ("bisection", bisection),
                ("onnxconverter-common", partial(limited, emulated=False)),
                ("onnxconverter-common, emulated", partial(limited, emulated=True)),
            ):
                try:
                    found = work(source, samples, scratch)
                except halve.HalveError as error:
                    found = [{"failure": str(error)[:120], "seconds": float("nan")}]
                names = (method, f"{method}, repaired")
                for row_name, row in zip(names, found, strict=False):
                    rows[model][row_name] = row
                    show(model, row_name, row)
    if parsed.json:
        packages = versions("onnx", "onnxruntime", "onnxconverter-common", "numpy")
        write_json(parsed.json, {"machine": machine(), "versions": packages, "rows": rows})


if __name__ == "__main__":
    main()
