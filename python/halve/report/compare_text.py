"""A comparison for people: plain lines, and tables of outputs and of their worst elements."""

from __future__ import annotations

import os
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from halve.comparisons import ComparedSide, WorstElement
from halve.report.compare_record import CompareReport, OutputSummary
from halve.report.search_text import number_text
from halve.report.text import NAME_CHARACTERS, shorten

__all__ = ["compare_lines", "print_comparison"]

# What fits a screen; the JSON record has every row.
_ROWS_SHOWN = 12
_CELL_CHARACTERS = 44
_Worst = tuple[str, int | None, WorstElement]


def compare_lines(report: CompareReport) -> list[str]:
    """What was compared, the verdict, a line an output, and the worst elements."""
    lines = _head(report)
    lines += [_line("output", _output_text(row)) for row in report.outputs]
    worst = list(_worst_elements(report))
    lines += [_line("worst", _worst_text(item)) for item in worst[:_ROWS_SHOWN]]
    return lines + _notes(report)


def print_comparison(report: CompareReport, console: Console) -> None:
    """Prints the verdict and the two tables."""
    for line in _head(report):
        style = ""
        if line.startswith("verdict"):
            style = "bold green" if report.result.passed else "bold red"
        console.print(Text(line, style=style), soft_wrap=True)
    console.print(_output_table(report.outputs))
    worst = list(_worst_elements(report))
    if worst:
        console.print(_worst_table(worst))
    for line in _notes(report):
        console.print(Text(line), soft_wrap=True)


def _line(label: str, text: str) -> str:
    return f"{label:<11}{text}"


def _head(report: CompareReport) -> list[str]:
    result = report.result
    return [
        _line("a", _side(result.a)),
        _line("b", f"{_side(result.b)}; the reference"),
        _line("verdict", _verdict(report)),
    ]


def _side(side: ComparedSide) -> str:
    if side.level == "archive":
        return os.fspath(side.path)
    types = " and ".join(("float32", *side.half_types)) if side.half_types else "no 16-bit values"
    how = {
        "emulated": f"every 16-bit value rounded, on {side.provider}",
        "cpu": f"run on {side.provider}",
        "device": f"run on {side.provider}",
    }[side.level]
    return f"{side.path} ({types}; {how})"


def _verdict(report: CompareReport) -> str:
    failed = [row for row in report.outputs if not row.passed]
    samples = [sample for sample in report.result.samples if sample.id is not None]
    counts = _count(len(report.outputs), "output")
    if samples:
        counts += f", {_count(len(samples), 'sample')}"
    if not failed:
        return f"passed: all within tolerance ({counts})"
    return f"FAILED: {_count(len(failed), 'output')} beyond tolerance ({counts})"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _notes(report: CompareReport) -> list[str]:
    notes = [*report.result.notes, *report.notes]
    left = report.result.left_out
    if left:
        notes.append(f"not compared: {', '.join(left[:_ROWS_SHOWN])}")
    return [_line("note", text) for text in notes]


def _output_text(row: OutputSummary) -> str:
    parts = [f"{number_text(row.error)} of the tolerance"]
    if row.max_abs_error is not None:
        parts += [
            f"max abs error {number_text(row.max_abs_error)}",
            f"max rel error {number_text(row.max_rel_error)}",
            f"cosine {_digits(row.cosine)}",
            f"norm ratio {_digits(row.norm_ratio)}",
            f"NaN {row.a_nan:,} and {row.b_nan:,}",
            f"infinite {row.a_inf:,} and {row.b_inf:,}",
        ]
    parts.append(f"{row.mismatches:,} of {row.elements:,} elements do not match")
    word = "passed" if row.passed else "FAILED"
    return f"{shorten(repr(row.name), NAME_CHARACTERS)} {word}: {', '.join(parts)}"


def _worst_elements(report: CompareReport) -> Iterator[_Worst]:
    """Of every output the worst over all samples, those of failed outputs first."""
    for row in sorted(report.outputs, key=lambda row: row.passed):
        found = [
            (row.name, sample.id, item)
            for sample in report.result.samples
            for output in sample.outputs
            if output.name == row.name
            for item in output.worst
        ]
        most = max((len(o.worst) for s in report.result.samples for o in s.outputs), default=0)
        yield from sorted(found, key=lambda item: -item[2].error)[:most]


def _worst_text(worst: _Worst) -> str:
    name, sample, item = worst
    where = "" if sample is None else f" of sample {sample}"
    return (
        f"{shorten(repr(name), NAME_CHARACTERS)}{_index(item)}{where}: {_value(item.a)} against"
        f" {_value(item.b)}, {number_text(item.error)} of rtol and atol"
    )


def _index(item: WorstElement) -> str:
    return f"[{', '.join(map(str, item.index))}]"


def _value(value: float | int | str) -> str:
    if isinstance(value, str):
        return shorten(repr(value), _CELL_CHARACTERS)
    return f"{value:.7g}"


def _digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.6f}"


def _output_table(rows: tuple[OutputSummary, ...]) -> Table:
    table = Table(title=f"outputs: {min(len(rows), _ROWS_SHOWN)} of {len(rows)}")
    table.add_column("output", overflow="fold")
    table.add_column("verdict")
    for name in ("error", "max abs", "max rel", "cosine", "norm ratio", "mismatches", "NaN, inf"):
        table.add_column(name, justify="right")
    for row in sorted(rows, key=lambda row: row.passed)[:_ROWS_SHOWN]:
        nan, inf = row.a_nan + row.b_nan, row.a_inf + row.b_inf
        cells = (
            shorten(row.name, _CELL_CHARACTERS),
            "passed" if row.passed else "FAILED",
            number_text(row.error),
            number_text(row.max_abs_error),
            number_text(row.max_rel_error),
            _digits(row.cosine),
            _digits(row.norm_ratio),
            f"{row.mismatches:,} of {row.elements:,}",
            f"{nan:,}, {inf:,}",
        )
        table.add_row(*map(Text, cells))
    return table


def _worst_table(worst: list[_Worst]) -> Table:
    table = Table(title=f"worst elements: {min(len(worst), _ROWS_SHOWN)} of {len(worst)}")
    table.add_column("output", overflow="fold")
    table.add_column("sample", justify="right")
    table.add_column("index")
    for name in ("a", "b", "abs error", "rel error", "of rtol and atol"):
        table.add_column(name, justify="right")
    for name, sample, item in worst[:_ROWS_SHOWN]:
        cells = (
            shorten(name, _CELL_CHARACTERS),
            "-" if sample is None else str(sample),
            _index(item),
            _value(item.a),
            _value(item.b),
            number_text(item.abs_error),
            number_text(item.rel_error),
            number_text(item.error),
        )
        table.add_row(*map(Text, cells))
    return table
