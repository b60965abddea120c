"""`halve convert IN OUT`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from halve import __version__
from halve.ahead import write_ahead
from halve.cli import values
from halve.cli.flags import add_convert_flags, convert_options
from halve.cli.parser import Parser
from halve.cli.paths import add_paths, check_report_path, model_paths
from halve.cli.progress import conversion_progress
from halve.cli.sample_flags import add_sample_flags, sample_request, spread
from halve.cli.simplify_flags import add_simplify_flags, simplify_options
from halve.errors import OptionError, OutputError
from halve.files import given_path
from halve.options import SimplifyOptions

if TYPE_CHECKING:
    from halve.report import ConversionReport

__all__ = ["make_parser", "run", "show", "show_warnings"]

# More warnings than this hide the summary; the report has all of them.
_WARNINGS_SHOWN = 10
# A name in a warning may be of any length.
_WARNING_CHARACTERS = 500


def make_parser() -> Parser:
    """The parser of `halve convert`."""
    parser = Parser(
        "convert",
        description="Convert a float32 ONNX model of any size to float16 or bfloat16.",
        usage="IN OUT",
        example="halve convert model.onnx model_fp16.onnx --keep-io-types --op-block Softmax",
    )
    add_paths(parser)
    parser.add_argument("--report", metavar="F.json", help="write a row a tensor and a row a cast")
    parser.add_argument(
        "--device",
        metavar="N",
        help="cast weights by way of this CUDA device (default: the processor; `halve doctor` "
        "measures which is faster)",
    )
    add_convert_flags(parser)
    add_simplify_flags(parser)
    add_sample_flags(parser)
    return parser


def run(args: Sequence[str]) -> int:
    """Converts; returns 0.

    Raises:
        HalveError: wrong usage, or what `halve.convert` raises.
    """
    parser = make_parser()
    parsed = parser.parse(spread(args))
    source, target = model_paths(parser, parsed)
    report_path: Path | None = None
    if hasattr(parsed, "report"):
        report_path = given_path(parsed.report, what="--report")
    check_report_path(report_path, source, target)
    with conversion_progress(quiet=parsed.quiet) as progress:
        options = convert_options(
            parsed,
            progress=progress,
            simplify=_simplify(parsed, source),
            device=_device(parsed),
        )
        with write_ahead(source, target, options) as ahead:
            # What follows imports numpy and onnx, which takes longer than many a model's weights.
            from halve.conversion import convert_begun

            result = convert_begun(source, target, options=options, ahead=ahead)
    from halve.report import ConversionReport

    report = ConversionReport.of(result, halve_version=__version__, source=source)
    if report_path is not None:
        _write_report(report_path, report, result.summary.files)
    show(report, quiet=parsed.quiet, as_json=parsed.json)
    return 0


def _simplify(parsed: argparse.Namespace, source: Path) -> SimplifyOptions | None:
    """How to simplify first; samples are for that alone."""
    options = simplify_options(parsed)
    flags = ("sample_dir", "min_shapes", "max_shapes", "range")
    given = [flag for flag in flags if hasattr(parsed, flag)]
    if options is None:
        if given:
            raise OptionError(
                f"--{given[0].replace('_', '-')} is for --simplify: a conversion runs nothing; "
                "leave it out"
            )
        return None
    return replace(options, samples=sample_request(parsed).load(source))


def _device(parsed: argparse.Namespace) -> int | None:
    given: str | None = getattr(parsed, "device", None)
    return None if given is None else values.whole_number("--device", given)


def show(report: ConversionReport, *, quiet: bool, as_json: bool) -> None:
    """Prints warnings to stderr and the report to stdout: JSON, a table (terminal) or lines."""
    if not quiet:
        show_warnings(report.warnings)
    if as_json:
        print(json.dumps(report.as_json(), indent=2, allow_nan=False))
    elif not quiet and sys.stdout.isatty():
        from rich.console import Console

        from halve.report.terminal import print_report

        print_report(report, Console())
    elif not quiet:
        from halve.report import summary_lines

        print("\n".join(summary_lines(report)))


def _write_report(path: Path, report: ConversionReport, written: Sequence[Path]) -> None:
    if path.resolve() in [file.resolve() for file in written]:
        raise OutputError(
            f"--report {path} is a file of the new model, which is complete; "
            "no report was written: give it a name of its own"
        )
    from halve.report import write_json

    write_json(path, report.as_json())


def show_warnings(warnings: Sequence[str]) -> None:
    """Prints warnings to stderr, a line each, ten at most."""
    from halve.report import shorten

    for text in warnings[:_WARNINGS_SHOWN]:
        print(
            "halve: warning: " + shorten(" ".join(text.split()), _WARNING_CHARACTERS),
            file=sys.stderr,
        )
    rest = len(warnings) - _WARNINGS_SHOWN
    if rest > 0:
        print(f"halve: warning: {rest} more; --report F.json lists all", file=sys.stderr)
