"""The record as a table for people, on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from halve.report.record import ConversionReport, dtype_name
from halve.report.text import NAME_CHARACTERS, shorten, summary_lines
from halve.types import TensorRow

__all__ = ["print_report"]

# What fits a screen beside the summary; the JSON report has every row.
_ROWS_SHOWN = 10


def print_report(report: ConversionReport, console: Console) -> None:
    """Prints the summary and the tensors with the largest errors."""
    for line in summary_lines(report):
        console.print(Text(line), soft_wrap=True)
    cast = [row for row in report.tensors if row.dtype != row.source_dtype]
    if cast:
        console.print(_table(cast))


def _table(rows: list[TensorRow]) -> Table:
    worst = sorted(rows, key=lambda row: -row.counts.max_abs_error)[:_ROWS_SHOWN]
    table = Table(title=f"largest errors: {len(worst)} of {len(rows)} cast tensors")
    table.add_column("tensor", overflow="fold")
    for name in ("type", "elements", "bytes", "clipped", "flushed", "max |x|", "max error"):
        table.add_column(name, justify="right")
    for row in worst:
        table.add_row(*_cells(row))
    return table


def _cells(row: TensorRow) -> tuple[Text, ...]:
    counts = row.counts
    cells = (
        shorten(row.name, NAME_CHARACTERS),
        dtype_name(row.dtype),
        f"{counts.elements:,}",
        f"{row.nbytes:,}",
        f"{counts.raised + counts.lowered:,}",
        f"{counts.flushed:,}",
        f"{counts.max_abs:.3g}",
        f"{counts.max_abs_error:.3g}",
    )
    return tuple(Text(cell) for cell in cells)
