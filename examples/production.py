"""A mixed model in a build: searched once, its plan under version control, judged in every build.

    python examples/production.py model.onnx samples build/model_mixed.onnx --plan model.plan.json

The plan file says which nodes stay float32, and why; it is small, readable in a diff, and belongs
under version control. A build applies it and judges the file that it made on every sample: no
search, so it takes seconds. Where there is no plan yet, or with --search, the search runs and
writes it. In a workspace a search that was interrupted goes on where it stopped.

Exit status, for a pipeline: 0 the model was written and is verified, 2 it is not good enough (the
gate), 1 something is wrong with the files or the machine.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import halve

LOG = logging.getLogger("build")
VERIFIED, BROKEN, NOT_GOOD_ENOUGH = 0, 1, 2
# What the application can bear: of probabilities, an error of a hundredth.
TOLERANCES = halve.Tolerances(halve.OutputTolerance(rtol=1e-2, atol=1e-2))


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        if args.search or not args.plan.is_file():
            return search(args)
        return build(args)
    except halve.VerdictError as error:
        LOG.error("the gate is shut: %s", error)
        return NOT_GOOD_ENOUGH
    except halve.HalveError as error:
        # One class for all that can go wrong on purpose; nothing was half-written.
        LOG.error("%s: %s", type(error).__name__, error)
        return BROKEN


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("model", type=Path)
    parser.add_argument("samples", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--search", action="store_true", help="make the plan anew")
    parser.add_argument("--workspace", type=Path)
    return parser.parse_args(argv)


def options(args: argparse.Namespace, *, plan: Path | None = None) -> halve.SearchOptions:
    return halve.SearchOptions(
        # float32 inputs and outputs: the program around the model stays as it is.
        convert=halve.ConvertOptions(keep_io_types=True, plan=plan),
        tolerances=TOLERANCES,
        workspace=args.workspace,
        progress=show,
    )


def show(event: halve.SearchEvent) -> None:
    """Called after every trial, in the calling thread."""
    if event.row is not None and event.trials % 10 == 0:
        kept = "none yet" if event.best_kept is None else f"{event.best_kept} units in float32"
        LOG.info("trial %d, %s, best: %s", event.trials, event.phase, kept)


def search(args: argparse.Namespace) -> int:
    """Find the plan, write the model, and keep the plan."""
    found = halve.auto(args.model, args.output, args.samples, options=options(args))
    for row in found.search.evidence:
        LOG.info("nodes %s stay float32 (%s): %s", row.nodes, row.role, row.reason)
    for warning in found.search.warnings:
        LOG.warning(warning)
    found.search.plan.save(args.plan)
    LOG.info("%s: verified (%s); commit %s", args.output, found.verdict.level, args.plan)
    return VERIFIED


def build(args: argparse.Namespace) -> int:
    """Judge what the plan makes of this model on these samples, and only then write it."""
    verdict = halve.verify_plan(args.model, args.plan, args.samples, options=options(args))
    for sample in verdict.samples:
        worst = max(sample.outputs, key=lambda output: output.error)
        LOG.info("sample %d: %.0f %% of the tolerance used", sample.id, 100 * worst.error)
    if not verdict.passed:
        LOG.error("the model changed beyond its plan: search again with --search")
        return NOT_GOOD_ENOUGH
    converting = options(args, plan=args.plan).convert
    result = halve.convert(args.model, args.output, options=converting)
    for warning in result.warnings:
        LOG.warning(warning)
    LOG.info("%s: verified (%s)", result.target, verdict.level)
    return VERIFIED


if __name__ == "__main__":
    sys.exit(main())
