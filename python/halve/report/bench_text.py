"""A benchmark as plain lines, and as tables on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from halve.bench_types import BenchModel, BenchRow
from halve.report.bench_record import BenchReport
from halve.report.text import NAME_CHARACTERS, shorten

__all__ = ["LATENCY_COLUMNS", "MODEL_COLUMNS", "bench_lines", "latency_cells", "model_cells"]
__all__ += ["print_bench"]

LATENCY_COLUMNS = ("p50 ms", "p90 ms", "p99 ms", "min ms", "runs", "items/s", "to the first")
"""What `latency_cells` has a cell for."""
MODEL_COLUMNS = ("file MB", "load ms", "loaded MB", "peak MB", "16-bit nodes", "of them in float32")
"""What `model_cells` has a cell for."""
_MB = 1e6


def latency_cells(row: BenchRow) -> tuple[str, ...]:
    """A row's numbers as text; "to the first" is the speed against the first model."""
    times = (row.p50_s, row.p90_s, row.p99_s, row.min_s)
    return (
        *(f"{1e3 * value:.3f}" for value in times),
        f"{row.runs:,}",
        f"{row.throughput:,.1f}",
        f"{row.speedup:.2f}x",
    )


def model_cells(model: BenchModel) -> tuple[str, ...]:
    """A model's numbers as text; "-" for what was not measured."""
    return (
        f"{model.nbytes / _MB:.2f}",
        "-" if model.load_s is None else f"{1e3 * model.load_s:.1f}",
        *("-" if n is None else f"{n / _MB:.1f}" for n in (model.loaded_bytes, model.peak_bytes)),
        f"{model.half_nodes}",
        "-" if model.load_s is None else f"{len(model.float32)}",
    )


def bench_lines(report: BenchReport) -> list[str]:
    """The tables as aligned lines, for a pipe."""
    result, labels = report.result, report.labels
    lines = [_head(report)]
    for title, rows in report.groups():
        body = [(labels[row.model], *latency_cells(row)) for row in rows]
        lines += ["", *_aligned((title, *LATENCY_COLUMNS), body)]
    models = [(label, *model_cells(m)) for label, m in zip(labels, result.models, strict=True)]
    return [*lines, "", *_aligned(("a process of its own", *MODEL_COLUMNS), models)]


def print_bench(report: BenchReport, console: Console) -> None:
    """Prints a table a setting, and one of the models."""
    console.print(Text(_head(report)))
    labels = report.labels
    for title, rows in report.groups():
        body = [(labels[row.model], *latency_cells(row)) for row in rows]
        console.print(_table(title, LATENCY_COLUMNS, body))
    models = zip(labels, report.result.models, strict=True)
    body = [(label, *model_cells(model)) for label, model in models]
    console.print(_table("a process of its own", MODEL_COLUMNS, body))


def _head(report: BenchReport) -> str:
    result = report.result
    return (
        f"ONNX Runtime {result.runtime}, {result.options.provider}, {result.threads} threads a "
        f"run, {result.options.rounds} interleaved rounds"
    )


def _table(title: str, columns: Sequence[str], body: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("model", overflow="fold")
    for column in columns:
        table.add_column(column, justify="right")
    for cells in body:
        table.add_row(*(Text(shorten(cell, NAME_CHARACTERS)) for cell in cells))
    return table


def _aligned(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    rows = [head, *([shorten(cell, NAME_CHARACTERS) for cell in row] for row in body)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
