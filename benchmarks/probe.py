"""What a trial costs: a run of the probe against a plain float32 run, on one thread.

    python benchmarks/probe.py [--models DIR] [--only NAME,…] [--rounds 11] [--json FILE]

Ratios are medians over interleaved rounds: a trial with all units in 16 bits, with none, and with
every second one, against the plain model at the same optimisation level ("disabled"), and with both
fully optimised.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
from timing import interleave, machine, median_s, ratio, versions, write_json
from transformer import encoder, encoder_feed

import halve
from halve import ConvertOptions, Sample, SearchOptions
from halve.auto.candidate import Judge
from halve.auto.evaluators import make_evaluator
from halve.auto.job import prepare
from halve.auto.workspace import open_workspace
from halve.session import load, run

MASKS = ("all 16-bit", "none", "every second")


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
    plain = load(source, optimise=level)
    every = frozenset(range(len(job.units)))
    sets = dict(zip(MASKS, (frozenset(), every, frozenset(range(0, len(every), 2))), strict=True))
    work: dict[str, Callable[[], object]] = {"plain": lambda: run(plain, sample.inputs)}
    for name, fp32 in sets.items():
        work[name] = lambda fp32=fp32: probe.run(fp32, 0)
    times = interleave(work, rounds)
    probe.close()
    # `ratio` says how many times faster; a trial is slower than the plain run.
    found = {name: 1 / ratio(times, "plain", name) for name in MASKS}
    return found | {"plain_ms": 1e3 * median_s(times, "plain"), "units": len(job.units)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", type=Path, default=os.environ.get("HALVE_MODELS"))
    parser.add_argument("--only", default="")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", type=Path)
    parsed = parser.parse_args()
    only = set(filter(None, parsed.only.split(",")))
    folder = Path(parsed.models) if parsed.models else None
    rows: dict[str, dict[str, dict[str, float]]] = {}
    print("| model | units | level | plain ms | " + " | ".join(MASKS) + " |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="halve-bench-") as name:
        for model, source, sample in cases(folder, only, Path(name)):
            rows[model] = {}
            for level in ("disabled", "all"):
                row = rows[model][level] = measure(source, sample, level, parsed.rounds)
                ratios = " | ".join(f"{row[mask]:.2f}" for mask in MASKS)
                units, plain_ms = row["units"], row["plain_ms"]
                print(
                    f"| {model} | {units:.0f} | {level} | {plain_ms:.2f} | {ratios} |", flush=True
                )
    if parsed.json:
        packages = versions("onnx", "onnxruntime", "numpy")
        write_json(parsed.json, {"machine": machine(), "versions": packages, "rows": rows})


if __name__ == "__main__":
    main()
