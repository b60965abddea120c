"""`halve convert IN OUT`."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from halve import __version__
from halve.cli.flags import add_convert_flags, convert_options
from halve.cli.parser import Parser
from halve.cli.progress import conversion_progress
from halve.errors import OptionError, OutputError
from halve.report import ConversionReport, shorten, summary_lines, write_json

__all__ = ["make_parser", "run", "show"]

# More warnings than this hide the summary; the report has all of them.
_WARNINGS_SHOWN = 10
# A name in a warning may be of any length.
_WARNING_CHARACTERS = 500
# The start of an object in JSON as text: a brace, and before any member its quoted name.
_JSON_HEAD_BYTES = 16
_JSON_HEAD = re.compile(rb"(\s*\{\s*(\"[^\x00-\x1f]*|\}\s*)?)?")


def make_parser() -> Parser:
    """The parser of `halve convert`."""
    parser = Parser(
        "convert",
        description="Convert a float32 ONNX model of any size to float16 or bfloat16.",
        usage="IN OUT",
        example="halve convert model.onnx model_fp16.onnx --keep-io-types --op-block Softmax",
    )
    parser.add_argument(
        "paths", nargs="*", default=[], metavar="IN OUT", help="the model, and where to write"
    )
    parser.add_argument("--input-onnx", metavar="IN", help="the model, in place of the first path")
    parser.add_argument("--report", metavar="F.json", help="write a row a tensor and a row a cast")
    add_convert_flags(parser)
    return parser


def run(args: Sequence[str]) -> int:
    """Converts; returns 0.

    Raises:
        HalveError: wrong usage, or what `halve.convert` raises.
    """
    parser = make_parser()
    parsed = parser.parse(args)
    source, target = _models(parser, parsed)
    report_path = Path(parsed.report) if hasattr(parsed, "report") else None
    _check_report_path(report_path, source, target)
    with conversion_progress(quiet=parsed.quiet) as progress:
        options = convert_options(parsed, progress=progress)
        from halve.convert import convert

        result = convert(source, target, options=options)
    report = ConversionReport.of(result, halve_version=__version__, source=source)
    if report_path is not None:
        _write_report(report_path, report, result.summary.files)
    show(report, quiet=parsed.quiet, as_json=parsed.json)
    return 0


def show(report: ConversionReport, *, quiet: bool, as_json: bool) -> None:
    """Prints warnings to stderr and the report to stdout: JSON, a table (terminal) or lines."""
    if not quiet:
        _show_warnings(report.warnings)
    if as_json:
        print(json.dumps(report.as_json(), indent=2, allow_nan=False))
    elif not quiet and sys.stdout.isatty():
        from rich.console import Console

        from halve.report.terminal import print_report

        print_report(report, Console())
    elif not quiet:
        print("\n".join(summary_lines(report)))


def _models(parser: Parser, parsed: argparse.Namespace) -> tuple[Path, Path]:
    given = [parsed.input_onnx] if hasattr(parsed, "input_onnx") else []
    paths = given + parsed.paths
    if len(paths) != 2:
        received = " ".join(map(repr, paths)) or "nothing"
        parser.error(f"expected the model IN and the file to write OUT, received {received}")
    return Path(paths[0]), Path(paths[1])


def _check_report_path(report: Path | None, source: Path, target: Path) -> None:
    """Finds out before the work is done what would spoil the report, or the report would spoil."""
    if report is None:
        return
    if report.resolve() in (source.resolve(), target.resolve()):
        raise OptionError(f"--report {report} is the model itself; give it a file of its own")
    if not report.parent.is_dir():
        raise OutputError(f"--report {report}: there is no folder {report.parent}; make it first")
    if report.is_dir():
        raise OutputError(f"--report {report} is a folder; name a file in it")
    if report.exists() and not report.is_file():
        raise OutputError(f"--report {report} is no regular file; --json prints the report")
    # Whatever else lies there may be anybody's, the model's own weights for one.
    if report.exists() and not _looks_like_json(report):
        raise OutputError(f"--report {report} exists and is no JSON file; name another file")


def _looks_like_json(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(_JSON_HEAD_BYTES)
    except OSError as error:
        raise OutputError(f"--report {path} cannot be read: {error.strerror}") from error
    # A brace alone is nothing: one file of weights in 256 begins with that byte.
    return _JSON_HEAD.fullmatch(head) is not None


def _write_report(path: Path, report: ConversionReport, written: Sequence[Path]) -> None:
    if path.resolve() in [file.resolve() for file in written]:
        raise OutputError(
            f"--report {path} is a file of the new model, which is complete; "
            "no report was written: give it a name of its own"
        )
    write_json(path, report.as_json())


def _show_warnings(warnings: Sequence[str]) -> None:
    for text in warnings[:_WARNINGS_SHOWN]:
        print(
            "halve: warning: " + shorten(" ".join(text.split()), _WARNING_CHARACTERS),
            file=sys.stderr,
        )
    rest = len(warnings) - _WARNINGS_SHOWN
    if rest > 0:
        print(f"halve: warning: {rest} more; --report F.json lists all", file=sys.stderr)
