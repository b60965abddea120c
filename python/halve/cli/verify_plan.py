"""`halve auto IN --sample-dir D --verify-plan P`: the verdict on a plan, without a search."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
from pathlib import Path

from halve import __version__
from halve.cli.convert import show_warnings
from halve.cli.parser import Parser
from halve.cli.paths import report_paths
from halve.cli.sample_flags import RANDOM_SAMPLES, sample_request
from halve.cli.search_flags import FLAGS, search_options, shown_options
from halve.errors import OptionError
from halve.files import given_path
from halve.report import write_json
from halve.report.verdict_record import VerdictReport, verdict_lines
from halve.search_options import SearchOptions

__all__ = ["SEARCH_ONLY", "run_verify_plan", "versions"]

_DONE, _FAILED_VERDICT = 0, 2
_PROGRAMS = ("onnx", "onnxruntime", "onnxruntime-gpu", "numpy")
SEARCH_ONLY = (
    "margin", "holdout", "time_budget_s", "max_trials", "workers", "evaluator", "isolate",
    "trial_timeout_s", "optimise", "assume_fused", "workspace", "clean",
)  # fmt: skip
"""Fields of SearchOptions that say how to search: they cannot matter to a verdict on a plan."""


def run_verify_plan(parser: Parser, parsed: argparse.Namespace) -> int:
    """Judges the plan; returns 0, or 2 where the verdict is a failure.

    Raises:
        HalveError: wrong usage, or what `halve.verify_plan` raises.
    """
    source = _model(parser, parsed)
    plan = given_path(parsed.verify_plan, what="--verify-plan")
    _refuse_search_flags(parser, parsed)
    why = " (the page shows a search, and --verify-plan makes none)"
    reports = report_paths(parsed, source, plan, kinds=(".json",), why=why)
    # Here, because it brings onnx and ONNX Runtime, which --help does not need.
    from halve.auto import verify_plan

    options = search_options(parsed, source)
    if options.convert.plan is not None:
        raise OptionError(
            f"--fp32-nodes @{options.convert.plan} and --verify-plan {plan} each name a plan;"
            " allowed: one of them, and ids in --fp32-nodes"
        )
    request = sample_request(parsed, seed=options.seed)
    verdict = verify_plan(source, plan, request.load(source), options=options)
    report = VerdictReport(
        halve_version=__version__,
        source=str(source),
        plan=str(plan),
        provider=options.provider,
        verdict=verdict,
        options=_shown(options),
        versions=versions(),
        notes=(RANDOM_SAMPLES,) if request.note else (),
    )
    for path in reports:
        write_json(path, report.as_json())
    _show(report, parsed)
    return _DONE if verdict.passed else _FAILED_VERDICT


def versions() -> dict[str, str]:
    """The versions of the programs that take part, by name."""
    found = {}
    for name in _PROGRAMS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _model(parser: Parser, parsed: argparse.Namespace) -> Path:
    given = [parsed.input_onnx] if hasattr(parsed, "input_onnx") else []
    paths = given + parsed.paths
    if len(paths) != 1:
        parser.error(f"--verify-plan takes the model IN alone, received {paths or 'nothing'}")
    return given_path(paths[0], what="the model IN")


def _refuse_search_flags(parser: Parser, parsed: argparse.Namespace) -> None:
    """A flag that cannot matter was meant for something else."""
    names = {flag.field: flag.name for flag in FLAGS if flag.field in SEARCH_ONLY}
    names["progress_lines"] = "--progress-lines"
    given = [name for field, name in names.items() if hasattr(parsed, field)]
    if given:
        does = "does" if len(given) == 1 else "do"
        parser.error(
            f"{', '.join(given)} {does} not apply to --verify-plan, which makes no search; allowed:"
            " --report F.json, --output-json, and the flags of samples, tolerances, --validate,"
            " the provider and the conversion"
        )


def _shown(options: SearchOptions) -> dict[str, object]:
    return {key: v for key, v in shown_options(options).items() if key not in SEARCH_ONLY}


def _show(report: VerdictReport, parsed: argparse.Namespace) -> None:
    if not parsed.quiet:
        show_warnings(report.verdict.warnings)
    if parsed.json:
        print(json.dumps(report.as_json(), indent=2, allow_nan=False))
    elif not parsed.quiet:
        print("\n".join(verdict_lines(report.verdict)))
