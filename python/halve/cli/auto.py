"""`halve auto IN OUT --sample-dir D`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from halve import __version__
from halve.cli.convert import show_warnings
from halve.cli.flags import add_convert_flags
from halve.cli.parser import Parser
from halve.cli.paths import add_paths, model_paths, report_paths
from halve.cli.sample_flags import SampleRequest, add_sample_flags, sample_request, spread
from halve.cli.search_flags import add_search_flags, search_options, shown_options
from halve.cli.simplify_flags import add_simplify_flags
from halve.cli.verify_plan import run_verify_plan, versions
from halve.errors import OutputError
from halve.report import write_json
from halve.report.search_record import AutoReport
from halve.report.search_text import auto_summary_lines, print_auto_report
from halve.search_options import SearchOptions
from halve.search_types import SearchEvent

if TYPE_CHECKING:
    from halve.auto import AutoResult

__all__ = ["make_parser", "run", "search_progress"]

_DONE, _FAILED_VERDICT = 0, 2
# What stands in a workspace after a search, by the name that a report gives it.
_WORKSPACE_FILES = {
    "plan": "plan.json",
    "journal": "journal.jsonl",
    "fp32_executable": "fp32.onnx",
    "fp16_executable": "fp16.onnx",
}


def make_parser() -> Parser:
    """The parser of `halve auto`."""
    parser = Parser(
        "auto",
        description="Find the nodes that must stay float32, write the mixed model, and verify it. "
        "Exit status 2 where no verified model was found.",
        usage="IN OUT --sample-dir DIR",
        example="halve auto model.onnx mixed.onnx --sample-dir samples --rtol 1e-2 "
        "--report out.html",
    )
    add_paths(parser)
    parser.add_argument(
        "--verify-plan",
        metavar="PLAN.json",
        help="judge the plan again, without a search; takes neither OUT nor flags of the search",
    )
    parser.add_argument(
        "--report", metavar="F.html|F.json", help="write the page or the JSON record of the search"
    )
    parser.add_argument("--output-json", metavar="F.json", help="write the JSON record as well")
    parser.add_argument(
        "--progress-lines",
        action="store_true",
        help="progress as plain lines on stderr, in a pipe too: one where the phase or the groups "
        "change",
    )
    add_sample_flags(parser)
    add_search_flags(parser)
    add_convert_flags(parser)
    add_simplify_flags(parser)
    return parser


def run(args: Sequence[str]) -> int:
    """Searches, writes and judges; returns 0, or 2 where the verdict is a failure.

    Raises:
        HalveError: wrong usage, or what `halve.auto` raises.
    """
    parser = make_parser()
    parsed = parser.parse(spread(args))
    if hasattr(parsed, "verify_plan"):
        return run_verify_plan(parser, parsed)
    # Here, because it brings onnx and ONNX Runtime, which --help does not need.
    from halve.auto import auto

    source, target = model_paths(parser, parsed)
    reports = report_paths(parsed, source, target)
    with search_progress(quiet=parsed.quiet, lines=hasattr(parsed, "progress_lines")) as progress:
        options = search_options(parsed, source, progress=progress)
        request = sample_request(parsed, seed=options.seed)
        result = auto(source, target, request.load(source), options=options)
    report = _report(result, source, options, request)
    _write_reports(reports, report)
    _show(report, parsed)
    return _DONE if result.verdict.passed else _FAILED_VERDICT


@contextmanager
def search_progress(
    *, quiet: bool, lines: bool = False
) -> Iterator[Callable[[SearchEvent], None] | None]:
    """A callback for SearchOptions.progress: a bar, or plain lines where `lines` asks for them.

    None with `quiet`, and for the bar where stderr is no terminal.
    """
    if quiet or not (lines or sys.stderr.isatty()):
        yield None
        return
    from halve.report.bar import SearchBar

    with SearchBar(plain=lines) as bar:
        yield bar


def _report(
    result: AutoResult, source: Path, options: SearchOptions, request: SampleRequest
) -> AutoReport:
    search = result.search
    if request.note:
        search = replace(search, notes=(*search.notes, request.note))
    return AutoReport.of(
        search,
        result.convert,
        halve_version=__version__,
        source=source,
        borders=result.borders,
        output_files=_workspace_files(options.workspace),
        options=shown_options(options),
        versions=versions(),
    )


def _workspace_files(workspace: Path | None) -> dict[str, Path]:
    if workspace is None:
        return {}
    files = {name: workspace / file for name, file in _WORKSPACE_FILES.items()}
    return {name: path for name, path in files.items() if path.is_file()}


def _write_reports(paths: Sequence[Path], report: AutoReport) -> None:
    written = [Path(file).resolve() for file in report.files]
    for path in paths:
        if path.resolve() in written:
            raise OutputError(
                f"{path} is a file of the new model, which is complete; no report was written: "
                "give it a name of its own"
            )
        if path.suffix.lower() == ".html":
            from halve.report.html import write_page

            write_page(path, report)
        else:
            write_json(path, report.as_json())


def _show(report: AutoReport, parsed: argparse.Namespace) -> None:
    if not parsed.quiet:
        show_warnings(report.warnings)
    if parsed.json:
        print(json.dumps(report.as_json(), indent=2, allow_nan=False))
    elif not parsed.quiet and sys.stdout.isatty():
        from rich.console import Console

        print_auto_report(report, Console())
    elif not parsed.quiet:
        print("\n".join(auto_summary_lines(report)))
