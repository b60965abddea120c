"""The result of a search for people: plain lines, and a table of what stays float32 and why."""

from __future__ import annotations

import math
from collections import Counter

from rich.console import Console
from rich.table import Table
from rich.text import Text

from halve.report.search_record import AutoReport, KeptNode
from halve.report.text import NAME_CHARACTERS, shorten
from halve.search_types import FinalVerdict

__all__ = ["auto_summary_lines", "number_text", "print_auto_report", "unit_error_text"]

# What fits a screen beside the summary; the JSON report and the page have every row.
_ROWS_SHOWN = 12
# Magnitudes that are shown as whole numbers.
_WHOLE_FROM, _WHOLE_TO = 1e3, 1e6
# Of a name in the table; the other columns need room.
_CELL_CHARACTERS = 44


def auto_summary_lines(report: AutoReport) -> list[str]:
    """A handful of lines: files, verdict, what is kept, sizes, casts, head-room and trials."""
    rows = (
        ("model", f"{report.source or 'in memory'} -> {report.target or 'in memory'}"),
        ("verdict", _verdict(report)),
        ("samples", _samples(report.search.verdict)),
        ("float32", _kept(report)),
        ("causes", _causes(report)),
        ("size", _size(report)),
        ("casts", _casts(report)),
        ("head-room", _headroom(report)),
        ("trials", _trials(report)),
    )
    return [f"{label:<11}{text}" for label, text in rows if text]


def print_auto_report(report: AutoReport, console: Console) -> None:
    """Prints the summary and the nodes that stay float32, the most telling first."""
    for line in auto_summary_lines(report):
        style = ""
        if line.startswith("verdict"):
            style = "bold green" if report.search.verdict.passed else "bold red"
        console.print(Text(line, style=style), soft_wrap=True)
    kept = report.kept
    if kept:
        console.print(_table(kept))


def number_text(value: float | None) -> str:
    """About three digits, without an exponent where that is short; "-" for what is not known."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return "not finite"
    return f"{value:,.0f}" if _WHOLE_FROM <= abs(value) < _WHOLE_TO else f"{value:.3g}"


def unit_error_text(energy: float | None) -> str:
    """An error alone as a share of the tolerance, in words where it is not finite."""
    if energy is None:
        return "-"
    return f"{energy:.3g}" if math.isfinite(energy) else "not finite"


def _table(kept: tuple[KeptNode, ...]) -> Table:
    shown = kept[:_ROWS_SHOWN]
    table = Table(title=f"float32 nodes: {len(shown)} of {len(kept)}")
    table.add_column("id", justify="right")
    table.add_column("node", overflow="fold", ratio=2)
    table.add_column("type", overflow="fold")
    table.add_column("role")
    table.add_column("error alone", justify="right")
    table.add_column("reason", overflow="fold", ratio=3)
    for row in shown:
        table.add_row(*(Text(cell) for cell in _cells(row)))
    return table


def _cells(row: KeptNode) -> tuple[str, ...]:
    node = row.node
    name = f"{node.scope}: {node.name}" if node.scope else node.name
    return (
        str(node.id),
        shorten(name, _CELL_CHARACTERS),
        shorten(node.type, _CELL_CHARACTERS),
        row.role,
        unit_error_text(row.energy),
        shorten(row.reason, 2 * NAME_CHARACTERS),
    )


def _verdict(report: AutoReport) -> str:
    verdict = report.search.verdict
    word = "passed" if verdict.passed else "FAILED"
    note = "; the search ended early, and some nodes may not be needed"
    early = "" if report.search.complete else note
    return f"{word}, {verdict.level}{early}"


def _samples(verdict: FinalVerdict) -> str:
    samples = verdict.samples
    passed = sum(sample.passed for sample in samples)
    errors = [output.error for sample in samples for output in sample.outputs]
    worst = max(errors, key=lambda error: math.inf if math.isnan(error) else error, default=None)
    held = sum(sample.held_out for sample in samples)
    text = f"{passed} of {len(samples)} passed, {held} held out from the search"
    if not verdict.by_tolerance:
        return f"{text}; by the validate function alone"
    return text if worst is None else f"{text}; worst error {worst:.3g} of the tolerance"


def _kept(report: AutoReport) -> str:
    roles = Counter(row.role for row in report.kept)
    search = report.search
    nodes = sum(node.dtype != "" for node in search.plan.nodes)
    parts = [f"{roles[role]} {role}" for role in ("required", "carried", "given") if roles[role]]
    if roles["rule"]:
        parts.append(f"{roles['rule']} by the plan's rules")
    total = sum(roles.values())
    listed = f": {', '.join(parts)}" if parts else ""
    return (
        f"{total} of {nodes} nodes{listed}; {search.fp32_flop_share:.2%} of the floating-point "
        "operations"
    )


def _causes(report: AutoReport) -> str:
    causes = Counter(row.cause for row in report.search.evidence if row.cause)
    return ", ".join(f"{count} {cause}" for cause, count in causes.most_common())


def _size(report: AutoReport) -> str:
    share = f" ({report.bytes_written / report.source_nbytes:.1%})" if report.source_nbytes else ""
    return f"{report.source_nbytes:,} -> {report.bytes_written:,} bytes{share}"


def _casts(report: AutoReport) -> str:
    nbytes = report.cast_bytes
    moved = "" if nbytes is None else f", {nbytes:,} bytes moved by them in a run"
    return f"{len(report.casts)} inserted (lower bound {report.cast_lower_bound}){moved}"


def _headroom(report: AutoReport) -> str:
    row = report.tightest
    if row is None:
        return ""
    name = shorten(repr(row.tensor), NAME_CHARACTERS)
    return f"{number_text(row.headroom)}x at the tightest border, {name}"


def _trials(report: AutoReport) -> str:
    search = report.search
    return f"{len(search.trials)} ({search.runs} runs) with the evaluator {search.evaluator!r}"
