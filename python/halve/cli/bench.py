"""`halve bench A [B ...]`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from halve import __version__
from halve.bench_types import BenchOptions, BenchResult
from halve.cli import values
from halve.cli.convert import show_warnings
from halve.cli.flags import Flag
from halve.cli.parser import Parser
from halve.cli.paths import check_report_path
from halve.cli.sample_flags import add_sample_flags, sample_request, spread
from halve.cli.search_flags import PROVIDER_FLAGS
from halve.errors import OptionError
from halve.files import given_path
from halve.report import write_json
from halve.report.bench_record import BenchReport

__all__ = ["FLAGS", "WITHOUT_FLAG", "make_parser", "run"]

_REPORT_KINDS = (".html", ".json", ".png")


def _numbers(name: str) -> Callable[[Sequence[str]], tuple[int, ...]]:
    def convert(texts: Sequence[str]) -> tuple[int, ...]:
        items = [item for text in texts for item in text.split(",")]
        return tuple(values.whole_number(name, item) for item in items)

    return convert


FLAGS = (
    Flag("--rounds", "rounds", "N", "interleaved rounds (default 20)", values.whole("--rounds")),
    Flag(
        "--round-time",
        "round_s",
        "SECONDS",
        "how long a model is run for in a round (default 0.1)",
        values.number("--round-time"),
    ),
    Flag(
        "--warmup",
        "warmup",
        "N",
        "runs of each model before the first round (default 3)",
        values.whole("--warmup"),
    ),
    Flag(
        "--batch-size",
        "batch_sizes",
        "N,...",
        "sizes of the first dimension to measure (default: as the sample is)",
        _numbers("--batch-size"),
    ),
    Flag(
        "--concurrency",
        "concurrency",
        "N,...",
        "numbers of runs at the same time to measure (default 1)",
        _numbers("--concurrency"),
    ),
    Flag(
        "--threads",
        "threads",
        "N",
        "threads inside a run (default 0: one a core)",
        values.whole("--threads"),
    ),
    *PROVIDER_FLAGS,
    Flag("--device", "device", "N", "the device id (default 0)", values.whole("--device")),
    Flag(
        "--optimise",
        "optimise",
        "disabled|basic|extended|all",
        "ONNX Runtime's optimisation level (default all)",
        values.last,
    ),
    Flag(
        "--custom-op-library",
        "custom_op_library",
        "FILE",
        "a shared library with custom ops",
        values.path,
    ),
)
# `memory` has a flag that switches it off; `progress` makes sense only in a program.
WITHOUT_FLAG = {"memory", "progress"}


def make_parser() -> Parser:
    """The parser of `halve bench`."""
    parser = Parser(
        "bench",
        description="Measure models side by side on one provider, in interleaved rounds with bound "
        "inputs and outputs. The first is what the others are compared with.",
        usage="A [B ...]",
        example="halve bench model.onnx model_fp16.onnx mixed.onnx --sample-dir samples "
        "--report out.html",
    )
    parser.add_argument("paths", nargs="*", default=[], metavar="A B ...", help="the models")
    parser.add_argument(
        "--report",
        metavar="F.html|F.json|F.png",
        action="append",
        help="write a page, the record or the picture; may be repeated",
    )
    add_sample_flags(parser)
    group = parser.add_argument_group("measurement")
    for flag in FLAGS:
        group.add_argument(
            flag.name, dest=flag.field, metavar=flag.metavar, help=flag.help, action="append"
        )
    group.add_argument(
        "--no-memory",
        action="store_true",
        help="start no process a model, which measures its memory and first load and finds where "
        "its nodes run",
    )
    return parser


def run(args: Sequence[str]) -> int:
    """Measures; returns 0.

    Raises:
        HalveError: wrong usage, or what `halve.bench` raises.
    """
    parser = make_parser()
    parsed = parser.parse(spread(args))
    if not parsed.paths:
        parser.error("expected one model or more, received nothing")
    paths = [given_path(path, what="a model") for path in parsed.paths]
    reports = _report_paths(parsed, paths)
    options = _options(parsed)
    # Here, because it brings onnx and ONNX Runtime, which --help does not need.
    from halve.bench.run import RANDOM_INPUTS, bench

    request = sample_request(parsed)
    result = bench(paths, samples=request.load(paths[0]), options=options)
    if request.folder is None:
        result = replace(result, warnings=(RANDOM_INPUTS, *result.warnings))
    report = BenchReport(__version__, result)
    _write_reports(reports, report)
    _show(report, parsed)
    return 0


def _options(parsed: argparse.Namespace) -> BenchOptions:
    given: dict[str, object] = {
        flag.field: flag.convert(getattr(parsed, flag.field))
        for flag in FLAGS
        if hasattr(parsed, flag.field)
    }
    if getattr(parsed, "no_memory", False):
        given["memory"] = False
    if not parsed.quiet and sys.stderr.isatty():
        given["progress"] = _say
    return BenchOptions(**given)  # type: ignore[arg-type]  # FLAGS has one type for each field


def _say(text: str) -> None:
    print(f"halve: {text}", file=sys.stderr)


def _report_paths(parsed: argparse.Namespace, models: Sequence[Path]) -> list[Path]:
    """Where reports go, each checked before the work."""
    paths = [given_path(text, what="--report") for text in getattr(parsed, "report", ())]
    for place, path in enumerate(paths):
        if path.resolve() in (other.resolve() for other in paths[:place]):
            raise OptionError(f"--report names {path} twice; give each a file of its own")
        kind = path.suffix.lower()
        if kind not in _REPORT_KINDS:
            allowed = ", ".join(_REPORT_KINDS)
            raise OptionError(f"--report is {str(path)!r}; allowed: a name that ends in {allowed}")
        for model in models:
            check_report_path(path, model, model, kind=kind)
        if kind != ".json":
            from halve.report.bench_plot import check_plotting

            check_plotting()
    return paths


def _write_reports(paths: Sequence[Path], report: BenchReport) -> None:
    for path in paths:
        if path.suffix.lower() == ".json":
            write_json(path, report.as_json())
            continue
        from halve.report.bench_plot import write_bench_page, write_bench_png

        write = write_bench_page if path.suffix.lower() == ".html" else write_bench_png
        write(path, report)


def _show(report: BenchReport, parsed: argparse.Namespace) -> None:
    result: BenchResult = report.result
    if not parsed.quiet:
        show_warnings(result.warnings)
    if parsed.json:
        print(json.dumps(report.as_json(), indent=2, allow_nan=False))
        return
    if parsed.quiet:
        return
    from halve.report.bench_text import bench_lines, print_bench

    if sys.stdout.isatty():
        from rich.console import Console

        print_bench(report, Console())
    else:
        print("\n".join(bench_lines(report)))
