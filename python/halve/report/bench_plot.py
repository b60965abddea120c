"""A benchmark as a picture: PNG, or a page of HTML that needs nothing else."""

# ruff: noqa: ANN401 - matplotlib is an optional package, imported when a picture is asked for

from __future__ import annotations

import importlib
import io
import os
import secrets
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from halve.errors import BackendUnavailableError, OutputError
from halve.files import write_text
from halve.report.bench_record import BenchReport
from halve.report.bench_text import LATENCY_COLUMNS, MODEL_COLUMNS, latency_cells, model_cells
from halve.report.html import printable

__all__ = ["check_plotting", "draw_bench", "make_bench_page", "write_bench_page", "write_bench_png"]

_TEMPLATES = Path(__file__).parent / "templates"
# Okabe and Ito's colours, which people with any colour vision tell apart.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
_PNG_DPI = 150


def check_plotting() -> None:
    """Find out before the work whether a picture can be drawn.

    Raises:
        BackendUnavailableError: matplotlib is not installed.
    """
    _matplotlib("figure")


def draw_bench(report: BenchReport, kind: str) -> bytes:
    """The picture as "png" or "svg"; equal reports give equal bytes.

    Raises:
        BackendUnavailableError: matplotlib is not installed.
    """
    figure = _figure(report)
    buffer = io.BytesIO()
    dated = {"Date": None} if kind == "svg" else {"Software": None}
    settings = {"svg.hashsalt": "halve", "svg.fonttype": "path"}
    with _matplotlib("").rc_context(settings):
        figure.savefig(buffer, format=kind, dpi=_PNG_DPI, metadata=dated)
    return buffer.getvalue()


def write_bench_png(path: Path, report: BenchReport) -> None:
    """Writes the picture; what was there stays until the new file is whole.

    Raises:
        BackendUnavailableError: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    data = draw_bench(report, "png")
    part = path.with_name(f".halve-tmp-{secrets.token_hex(8)}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        raise OutputError(
            f"report {path} cannot be written: {error.strerror or error}; name a file in a folder "
            "with room that you may write to"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def make_bench_page(report: BenchReport) -> str:
    """The page as text: tables, warnings and the picture.

    Raises:
        BackendUnavailableError: matplotlib is not installed.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(name=printable)
    svg = draw_bench(report, "svg").decode("utf-8")
    return environment.get_template("bench.html.j2").render(
        report=report,
        result=report.result,
        latency_columns=LATENCY_COLUMNS,
        model_columns=MODEL_COLUMNS,
        latency_cells=latency_cells,
        model_cells=model_cells,
        # From "<svg" on: what stands before it is for files of their own.
        picture=Markup(svg[svg.index("<svg") :]),
    )


def write_bench_page(path: Path, report: BenchReport) -> None:
    """Writes the page; what was there stays until the new file is whole.

    Raises:
        BackendUnavailableError: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    write_text(path, make_bench_page(report), what="report")


def _matplotlib(part: str) -> Any:
    # The package would otherwise look for a screen, and for a folder to keep its fonts in.
    os.environ.setdefault("MPLBACKEND", "agg")
    try:
        return importlib.import_module(f"matplotlib.{part}" if part else "matplotlib")
    except ImportError as error:
        raise BackendUnavailableError(
            f"a picture needs matplotlib, which cannot be imported ({error}); install the extra "
            "halve[report], or write the report as .json"
        ) from error


def _figure(report: BenchReport) -> Any:
    groups = list(report.groups())
    labels = [printable(label) for label in report.labels]
    height = 1.2 + 0.32 * len(groups) * (len(labels) + 1)
    figure = _matplotlib("figure").Figure(figsize=(10, height), layout="constrained")
    latency, throughput = figure.subplots(1, 2, sharey=True)
    ticks = []
    for number, (_, rows) in enumerate(groups):
        base = number * (len(labels) + 1)
        ticks.append(base + (len(labels) - 1) / 2)
        for row in rows:
            place, colour = base + row.model, _COLOURS[row.model % len(_COLOURS)]
            label = labels[row.model] if number == 0 else None
            latency.barh(place, 1e3 * row.p50_s, color=colour, height=0.8, label=label)
            ends = [1e3 * row.p50_s, 1e3 * row.p99_s]
            latency.plot(ends, [place, place], color="#333333", linewidth=1)
            latency.plot([1e3 * row.p90_s], [place], "|", color="#333333", markersize=8)
            throughput.barh(place, row.throughput, color=colour, height=0.8)
    latency.set_yticks(ticks, [title for title, _ in groups])
    latency.invert_yaxis()
    latency.set_xlabel("latency in ms: bar p50, tick p90, line to p99")
    throughput.set_xlabel("throughput in items a second")
    figure.legend(loc="outside upper center", ncols=min(4, len(labels)))
    for axes in (latency, throughput):
        axes.set_xlim(left=0)
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
