"""Manual mode as one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from halve.files import write_text
from halve.manual_types import ManualReport, OutputStatistics
from halve.report.html import environment, option_rows, printable
from halve.report.manual_drawing import (
    DECADES,
    EXPONENTS,
    GRADES,
    distribution,
    draw_graph,
    draw_strip,
    grade_limits,
    half_range,
    node_error,
)
from halve.report.manual_rows import DEFAULT_SORT, ManualRow, manual_rows
from halve.report.manual_text import share_text
from halve.report.search_text import number_text

__all__ = ["make_manual_page", "write_manual_page"]

LEVELS = {
    "device": "Both runs are real: the 16-bit model ran in its own types on the provider.",
    "emulated": "Every 16-bit value was really rounded, around float32 arithmetic, as kernels that "
    "accumulate in float32 compute; the provider here has no 16-bit kernels.",
}
"""How 16 bits were computed, in a sentence."""
_LOCALS = {
    "exact": "The local error is what a node's own rounding adds, from exact inputs: the norm of "
    "the difference over the norm of the float32 values.",
    "output": "The local error is what rounding a node's output alone changes: the norm of the "
    "difference over the norm of the values before it. Where a node inherits what is not finite, "
    "it cannot be told.",
}
_GRADE_NAMES = {
    "over": "an overflow originates here",
    "e4": "more than 32 roundings",
    "e3": "up to 32 roundings",
    "e2": "up to 4 roundings",
    "e1": "up to one rounding",
    "none": "no error of its own, or not measured",
}
# More rows than this slow a browser down; the JSON has all.
_ROWS_SHOWN = 5000


def make_manual_page(
    report: ManualReport,
    *,
    halve_version: str,
    source: str | None = None,
    edges: Iterable[tuple[int, int]] = (),
    sort: str = DEFAULT_SORT,
) -> str:
    """The page as text; equal reports give equal pages.

    `edges` are (maker, reader) ids of nodes, as halve.plan.edges.node_edges finds them; without
    them there is no drawing of the graph, only the strip of nodes. `sort` is one of SORT_KEYS.

    Raises:
        OptionError: `sort` is unknown.
    """
    dtype = str(report.plan.options.get("dtype", "float16"))
    rows = manual_rows(report.merged, limit=report.limit, sort=sort, local=report.local)
    shown = rows[:_ROWS_SHOWN]
    strip = draw_strip(report, dtype)
    over = list(report.over_limit())
    return (
        environment()
        .get_template("manual.html.j2")
        .render(
            report=report,
            merged=report.merged,
            halve_version=halve_version,
            source=source,
            dtype=dtype,
            level_text=LEVELS.get(report.level, ""),
            local_text=_LOCALS.get(report.local, ""),
            over=over,
            keep=sorted({*report.fp32_nodes, *(node.id for node in over)}),
            strip=strip,
            graph=draw_graph(report, edges, dtype),
            decades=DECADES,
            exponents=EXPONENTS,
            half=half_range(dtype),
            grade_names={grade: _GRADE_NAMES[grade] for grade in GRADES},
            grade_limits=grade_limits(dtype),
            rows=shown,
            row_count=len(rows),
            most_local=_most_local(rows),
            tightest=_tightest(rows),
            nodes=_columns(report, strip.grades),
            options=option_rows(report.options),
            draw=_drawn,
            value=_sortable,
            share=share_text,
        )
    )


def write_manual_page(  # noqa: PLR0913 - keywords; what the page shows beside the record
    path: Path,
    report: ManualReport,
    *,
    halve_version: str,
    source: str | None = None,
    edges: Iterable[tuple[int, int]] = (),
    sort: str = DEFAULT_SORT,
) -> None:
    """Writes the page (see make_manual_page); what was there stays until the new file is whole.

    Raises:
        OutputError: the file cannot be written.
        OptionError: `sort` is unknown.
    """
    page = make_manual_page(
        report, halve_version=halve_version, source=source, edges=edges, sort=sort
    )
    write_text(path, page, what="report")


def _most_local(rows: Sequence[ManualRow]) -> ManualRow | None:
    known = [row for row in rows if row.local_error is not None]
    return max(known, key=lambda row: row.local_error or 0.0, default=None)


def _tightest(rows: Sequence[ManualRow]) -> ManualRow | None:
    known = [row for row in rows if row.head_room is not None]
    return min(known, key=lambda row: row.head_room or 0.0, default=None)


def _drawn(item: OutputStatistics) -> dict[str, str]:
    """A distribution's outline, and what it shows in words."""
    if not item.exponents:
        return {"path": "", "words": "no nonzero values" if item.sampled else "not sampled"}
    first, last = item.exponents[0][0], item.exponents[-1][0]
    words = f"magnitudes from 2^{first} to 2^{last + 1}, {item.sampled:,} values sampled"
    return {"path": distribution(item.exponents), "words": words}


def _sortable(value: float | None) -> str:
    """A number for the table's own sorting; what is not finite is above all, None below."""
    if value is None:
        return "-1"
    return f"{value:.6g}" if math.isfinite(value) else "1e999"


def _columns(report: ManualReport, grades: Sequence[str]) -> dict[str, object]:
    """What the page says of a node under the pointer: a column a field."""
    found = {node.id: node for node in report.merged.nodes}
    nodes = report.plan.nodes
    return {
        "ids": [node.id for node in nodes],
        "names": [printable(node.name) for node in nodes],
        "types": [printable(node.type) for node in nodes],
        "scopes": [printable(node.scope) for node in nodes],
        "dtypes": [node.dtype for node in nodes],
        "grades": [GRADES.index(grade) for grade in grades],
        "grade_names": [_GRADE_NAMES[grade] for grade in GRADES],
        "errors": [
            number_text(node_error(found[node.id], report.local)) if node.id in found else ""
            for node in nodes
        ],
        "reasons": [printable(node.reason) for node in nodes],
        "unmeasured": {
            place: printable(found[node.id].unmeasured)
            for place, node in enumerate(nodes)
            if node.id in found and found[node.id].unmeasured
        },
    }
