"""How manual mode is shown: the flags of its page, JSON record and table, and what they do."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from halve import __version__
from halve.cli import values
from halve.cli.convert import show_warnings
from halve.cli.paths import report_paths
from halve.errors import OptionError
from halve.manual_types import ManualReport
from halve.report import write_json
from halve.report.manual_rows import DEFAULT_SORT, SORT_KEYS
from halve.report.manual_text import DEFAULT_TOP, manual_lines, print_manual_report

__all__ = ["ManualView", "add_view_flags", "manual_view"]


@dataclass(frozen=True, slots=True)
class ManualView:
    """What is shown of a measurement, and where it is written."""

    paths: tuple[Path, ...]
    top: int
    sort: str
    quiet: bool
    as_json: bool
    allow_links: bool = False

    @property
    def wants_distribution(self) -> bool:
        """Whether what is written shows the distribution of each tensor."""
        return any(path.suffix.lower() == ".html" for path in self.paths)

    def deliver(
        self,
        report: ManualReport,
        record: Callable[[], dict[str, object]],
        source: Path,
    ) -> None:
        """Writes the files that were asked for, and prints: JSON, a table (terminal) or lines.

        `record` makes the JSON record.

        Raises:
            OutputError: a file cannot be written.
            ModelError: the source is no longer readable, whose graph the page draws.
        """
        for path in self.paths:
            if path.suffix.lower() == ".html":
                self._write_page(path, report, source)
            else:
                write_json(path, record())
        if not self.quiet:
            show_warnings(report.warnings)
        if self.as_json:
            print(json.dumps(record(), indent=2, allow_nan=False))
        elif not self.quiet and sys.stdout.isatty():
            from rich.console import Console

            print_manual_report(report, Console(), source=str(source), top=self.top, sort=self.sort)
        elif not self.quiet:
            print("\n".join(manual_lines(report, source=str(source), top=self.top, sort=self.sort)))

    def _write_page(self, path: Path, report: ManualReport, source: Path) -> None:
        # Here, because they bring onnx and jinja2, which a table does not need.
        from halve.plan import analyse
        from halve.plan.edges import node_edges
        from halve.report.manual_page import write_manual_page
        from halve.source import open_model

        model = open_model(source, allow_links=self.allow_links)
        write_manual_page(
            path,
            report,
            halve_version=__version__,
            source=str(source),
            edges=node_edges(analyse(model.proto)),
            sort=self.sort,
        )


def add_view_flags(parser: argparse.ArgumentParser) -> None:
    """Adds `--report`, `--output-json`, `--top` and `--sort`."""
    group = parser.add_argument_group("report")
    for flag, metavar, text in (
        ("--report", "F.html|F.json", "write the page or the JSON record of the statistics"),
        ("--output-json", "F.json", "write the JSON record as well"),
        ("--top", "N", f"tensors in the table (default {DEFAULT_TOP})"),
        ("--sort", "|".join(SORT_KEYS), f"what the tables are sorted by (default {DEFAULT_SORT})"),
    ):
        group.add_argument(flag, metavar=metavar, help=text)


def manual_view(
    parsed: argparse.Namespace, source: Path, *, written: Sequence[Path] = ()
) -> ManualView:
    """What the given flags ask for, checked before the work; `written` are files of the model
    that the command writes.

    Raises:
        OptionError: a value is not understood or not allowed, or a report is the model itself.
        OutputError: a report cannot be written, or would replace what is no report.
    """
    top = DEFAULT_TOP
    if hasattr(parsed, "top"):
        top = values.whole_number("--top", parsed.top)
        if top < 0:
            raise OptionError(f"--top is {top}; allowed: 0 or more")
    sort = getattr(parsed, "sort", DEFAULT_SORT)
    if sort not in SORT_KEYS:
        raise OptionError(f"--sort is {sort!r}; allowed: {', '.join(SORT_KEYS)}")
    paths = tuple(report_paths(parsed, source, *written))
    links = hasattr(parsed, "allow_links")
    return ManualView(paths, top, sort, parsed.quiet, parsed.json, links)
